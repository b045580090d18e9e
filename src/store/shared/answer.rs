//! What the scripts answer, as the verbs' answers: the one place that knows their shapes.

use std::collections::HashMap;

use redis::{FromRedisValue, Value};

use crate::{
    ids::{Epoch, MessageId},
    redis::Fault,
    store::{Claimed, Dismissed, Fate, Held, MemberRow, StoreError, Tag},
};

pub(super) fn claimed(answer: &[Value]) -> Result<Claimed, StoreError> {
    match status(answer)?.as_str() {
        "OK" => {
            let siblings = text(answer.get(2))?;
            Ok(Claimed::Registered {
                tag: tag(&text(answer.get(1))?)?,
                siblings: siblings.split(' ').filter_map(|e| Epoch::parse(e.as_bytes())).collect(),
                displaced: Vec::new(),
                held: Vec::new(),
                more_held: false,
            })
        }
        "LIMIT" => Ok(Claimed::Limit(tags(&text(answer.get(1))?))),
        "REVOKED" => Ok(Claimed::Revoked),
        "DISPLACED" => Ok(Claimed::Displaced),
        "FENCED" => Ok(Claimed::Fenced),
        other => Err(StoreError::Answer(other.to_owned())),
    }
}

pub(super) fn asserted(answer: Value) -> Result<Claimed, StoreError> {
    let answer = list(answer)?;
    let mut claimed = claimed(&answer)?;
    if let Claimed::Registered { more_held, .. } = &mut claimed {
        *more_held = value::<u64>(answer.get(3))? == 1;
    }
    Ok(claimed)
}

/// `seq prev mid acc payload`
pub(super) fn entry(value: Value) -> Option<Held> {
    let Value::BulkString(bytes) = value else { return None };
    let bytes = bytes::Bytes::from(bytes);
    let mut parts = bytes.splitn(5, |b| *b == b' ');
    let seq = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let mid = MessageId::parse(parts.nth(1)?)?;
    let start = bytes.len() - parts.nth(1)?.len();
    Some(Held { seq, mid, payload: bytes.slice(start..) })
}

pub(super) fn fate_of(text: &str) -> Result<Fate, StoreError> {
    match text {
        "" => Ok(Fate::NotKept),
        "dup" => Ok(Fate::Duplicate),
        "full" => Ok(Fate::Full),
        seq => seq.parse().map(Fate::Kept).map_err(|_| StoreError::Answer(text.to_owned())),
    }
}

/// A list with spaces between.
pub fn tags(list: &str) -> Vec<Tag> {
    list.split(' ').filter_map(Tag::parse).collect()
}

fn tag(text: &str) -> Result<Tag, StoreError> {
    Tag::parse(text).ok_or_else(|| StoreError::Answer(text.to_owned()))
}

pub(super) fn epochs(texts: Vec<String>) -> Vec<Epoch> {
    texts.iter().filter_map(|e| Epoch::parse(e.as_bytes())).collect()
}

pub(super) fn dismissed(answer: &Value) -> Result<Dismissed, StoreError> {
    let (owners, heard): (String, String) = value(Some(answer))?;
    let parse = |list: String| list.split(' ').filter_map(|e| Epoch::parse(e.as_bytes())).collect();
    Ok(Dismissed { owners: parse(owners), heard: parse(heard) })
}

/// Both hashes of the members' table, flat.
pub(super) fn rows(
    counters: Vec<String>,
    infos: HashMap<String, String>,
) -> Result<Vec<MemberRow>, StoreError> {
    let row = |pair: &[String]| {
        let info = infos.get(&pair[0]).cloned().unwrap_or_default();
        let epoch = Epoch::parse(pair[0].as_bytes())?;
        Some(MemberRow { epoch, counter: pair[1].parse().ok()?, info })
    };
    let rows = counters.chunks_exact(2).map(row).collect::<Option<_>>();
    rows.ok_or_else(|| StoreError::Answer(counters.join(" ")))
}

pub(super) fn list(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(parts) => Ok(parts),
        other => Err(StoreError::Answer(format!("{other:?}"))),
    }
}

pub(super) fn status(answer: &[Value]) -> Result<String, StoreError> {
    text(answer.first())
}

pub(super) fn text(part: Option<&Value>) -> Result<String, StoreError> {
    value(part)
}

pub(super) fn value<T: FromRedisValue>(part: Option<&Value>) -> Result<T, StoreError> {
    let part = part.ok_or_else(|| StoreError::Answer("too short".to_owned()))?;
    T::from_redis_value_ref(part).map_err(|error| StoreError::Answer(error.to_string()))
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Down => Self::Unreachable,
            Fault::Failed(error) => Self::Unknown(error.to_string()),
            Fault::Answer(text) => Self::Answer(text),
        }
    }
}
