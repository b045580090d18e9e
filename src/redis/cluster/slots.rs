//! Which server owns which slot, as a server of the cluster tells it.

use redis::{FromRedisValue, Value};

use crate::redis::{
    dialler::Address,
    keys::{SLOTS, slot},
};

/// More primaries than ElastiCache allows servers.
const MAX_PRIMARIES: usize = 500;

/// The owner of each slot: an index into `primaries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    pub primaries: Vec<Address>,
    owners: Vec<Option<u16>>,
}

impl Slots {
    /// Nobody is known to own anything.
    pub fn none() -> Self {
        Self { primaries: Vec::new(), owners: vec![None; usize::from(SLOTS)] }
    }

    /// Reads the answer to `CLUSTER SLOTS`; `asked` stands for a server that does not say its host.
    /// `None` where it is no such answer, or names no owner at all.
    pub fn parse(answer: &Value, asked: &str) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut slots = Self::none();
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [first, last, primary, ..] = parts.as_slice() else { return None };
            let (first, last) = (number(first)?, number(last)?);
            let owner = slots.index_of(address(primary, asked)?)?;
            slots.owners.get_mut(first..=last)?.fill(Some(owner));
        }
        (!slots.primaries.is_empty()).then_some(slots)
    }

    /// The owner of a key's slot.
    pub fn owner(&self, key: &str) -> Option<usize> {
        self.owners[usize::from(slot(key))].map(usize::from)
    }

    /// Whether every slot has an owner.
    pub fn are_covered(&self) -> bool {
        self.owners.iter().all(Option::is_some)
    }

    /// One slot has moved to `owner`; false if that one is not known yet.
    pub fn move_to(&mut self, slot: u16, owner: &Address) -> bool {
        let known = self.primaries.iter().position(|primary| primary == owner);
        if let (Some(at), Some(entry)) = (known, self.owners.get_mut(usize::from(slot))) {
            *entry = Some(at as u16);
        }
        known.is_some()
    }

    fn index_of(&mut self, address: Address) -> Option<u16> {
        let known = self.primaries.iter().position(|primary| *primary == address);
        let index = known.unwrap_or_else(|| {
            self.primaries.push(address);
            self.primaries.len() - 1
        });
        (index < MAX_PRIMARIES).then_some(index as u16)
    }
}

fn number(value: &Value) -> Option<usize> {
    usize::from_redis_value_ref(value).ok()
}

/// `[host, port, …]`
fn address(server: &Value, asked: &str) -> Option<Address> {
    let Value::Array(parts) = server else { return None };
    let [host, port, ..] = parts.as_slice() else { return None };
    let host = Option::<String>::from_redis_value_ref(host).ok()?.unwrap_or_default();
    let host = if host.is_empty() || host == "?" { asked.to_owned() } else { host };
    Some((host, u16::from_redis_value_ref(port).ok()?))
}

/// `host:port` of a redirection; an empty host is the one that was `asked`.
pub(super) fn redirected(text: &str, asked: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = if host.is_empty() { asked } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let server = Value::Array(vec![host, Value::Int(port), text("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), server])
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_server_tells_who_owns_what() {
        let told = Value::Array(vec![
            range(0, 8000, text("10.0.0.1"), 6379),
            range(8001, 12_000, Value::Nil, 6380),
            range(12_001, 16_383, text("10.0.0.1"), 6379),
        ]);
        let mut slots = Slots::parse(&told, "seed").expect("an answer");
        assert_eq!(slots.primaries, [("10.0.0.1".to_owned(), 6379), ("seed".to_owned(), 6380)]);
        assert!(slots.are_covered());
        // Slot 9500, then 12182.
        assert_eq!([slots.owner("{}foo"), slots.owner("foo")], [Some(1), Some(0)]);
        assert!(slots.move_to(12_182, &("seed".to_owned(), 6380)));
        assert_eq!(slots.owner("foo"), Some(1));
        assert!(!slots.move_to(12_182, &("elsewhere".to_owned(), 1)));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let short = Value::Array(vec![Value::Array(vec![Value::Int(0)])]);
        let beyond = Value::Array(vec![range(0, 16_384, text("a"), 1)]);
        let backwards = Value::Array(vec![range(9, 3, text("a"), 1)]);
        for bad in [Value::Nil, Value::Array(Vec::new()), short, beyond, backwards] {
            assert_eq!(Slots::parse(&bad, "seed"), None, "{bad:?}");
        }
    }

    #[test]
    fn a_redirection_may_leave_its_host_to_be_known() {
        assert_eq!(redirected(":6381", "seed"), Some(("seed".to_owned(), 6381)));
        assert_eq!(redirected("::1:6381", "seed"), Some(("::1".to_owned(), 6381)));
        assert_eq!(redirected("nonsense", "seed"), None);
    }
}
