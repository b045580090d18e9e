//! The classic protocol: what today's clients speak (PROTOCOL §3).
//!
//! Three outcomes for bad input, as in the original: a frame that no route takes is answered
//! `Forbidden`, a `send` that made its Lambda fail is answered `Internal server error`, and a
//! recipient who is not there is answered by silence.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::python_json;
use crate::ids::ConnectionId;

/// A client's frame, understood.
#[derive(Debug, PartialEq)]
pub enum Inbound<'a> {
    /// Deliver `text` to every connection of user `to`.
    Send {
        /// The recipient's name as the sender wrote it.
        to: Cow<'a, str>,
        /// The frame to deliver: `message` as Python prints it.
        text: Bytes,
    },
    /// No route takes it.
    Forbidden,
    /// The route's code would have failed on it.
    Failed,
}

/// What an error frame or a refusal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No route takes the frame.
    Forbidden,
    /// The route failed.
    Internal,
    /// The client speaks too fast. API Gateway's own frame is not known; these are the words of its
    /// HTTP answer.
    TooMany,
}

impl Fault {
    /// API Gateway's own words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Forbidden => "Forbidden",
            Self::Internal => "Internal server error",
            Self::TooMany => "Too Many Requests",
        }
    }
}

/// API Gateway's error object: a space after `"message":` and none after the other colons.
pub fn error_frame(message: &str, connection: ConnectionId, request: ConnectionId) -> String {
    format!(r#"{{"message": "{message}", "connectionId":"{connection}", "requestId":"{request}"}}"#)
}

/// Reads one text frame.
pub fn parse(text: &str) -> Inbound<'_> {
    let mut json = serde_json::Deserializer::from_str(text);
    let Ok(fields) = json.deserialize_map(FieldsVisitor) else { return Inbound::Forbidden };
    if json.end().is_err() {
        return Inbound::Forbidden;
    }
    match fields.action.and_then(string).as_deref() {
        Some("send") => fields.send().unwrap_or(Inbound::Failed),
        _ => Inbound::Forbidden,
    }
}

/// The members a route looks at; of a repeated one the last counts, as in Python.
#[derive(Default)]
struct Fields<'a> {
    action: Option<&'a RawValue>,
    to: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    fn send(self) -> Option<Inbound<'a>> {
        let to = string(self.to?)?;
        let raw = self.message?.get();
        // Escaping `é` doubles its bytes; most texts keep their length.
        let mut printed = Vec::with_capacity(raw.len() + raw.len() / 8);
        python_json::reprint(raw, &mut printed).ok()?;
        Some(Inbound::Send { to, text: printed.into() })
    }
}

/// The value as a string, without a copy where it holds no escape; `None` for anything else.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}

enum Key {
    Action,
    To,
    Message,
    Other,
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Action => fields.action = Some(map.next_value()?),
                Key::To => fields.to = Some(map.next_value()?),
                Key::Message => fields.message = Some(map.next_value()?),
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}

/// Reads a key as bytes: a key with half a surrogate pair is no reason to refuse the frame.
struct KeySeed;

impl<'de> serde::de::DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Key, E> {
        Ok(match key {
            b"action" => Key::Action,
            b"to" => Key::To,
            b"message" => Key::Message,
            _ => Key::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{IdSource, Origin};

    fn sent(frame: &str) -> (String, String) {
        match parse(frame) {
            Inbound::Send { to, text } => {
                (to.into_owned(), String::from_utf8(text.to_vec()).unwrap())
            }
            other => panic!("{frame}: {other:?}"),
        }
    }

    #[test]
    fn the_transcripts_own_frame_is_a_send() {
        let frame = r#"{"action":"send", "to":"Sid", "message":"Hey!!"}"#;
        assert_eq!(sent(frame), ("Sid".into(), r#""Hey!!""#.into()));
    }

    #[test]
    fn members_may_stand_anywhere_and_repeat() {
        let frame =
            r#"{"x":[{}],"message":1,"to":"a","\u0061ction":"send","message":2.50,"\ud800":1}"#;
        assert_eq!(sent(frame), ("a".into(), "2.5".into()));
        assert_eq!(sent(r#"{"action":"send","to":"Z\u00fc\"","message":null}"#).0, "Zü\"");
    }

    #[test]
    fn frames_no_route_takes_are_forbidden() {
        for frame in [
            "",
            "hello",
            "[]",
            "\"send\"",
            "1",
            "null",
            "{",
            r#"{"action":"send"} x"#,
            "{}",
            r#"{"action":"sendmessage","to":"a","message":1}"#,
            r#"{"action":["send"],"to":"a","message":1}"#,
            r#"{"action":"SEND","to":"a","message":1}"#,
            r#"{"to":"a","message":1}"#,
            r#"{"action":"send","to":"a","message":NaN}"#,
        ] {
            assert_eq!(parse(frame), Inbound::Forbidden, "{frame}");
        }
    }

    #[test]
    fn sends_the_lambda_failed_on_are_failed() {
        for frame in [
            r#"{"action":"send"}"#,
            r#"{"action":"send","to":"a"}"#,
            r#"{"action":"send","message":"a"}"#,
            r#"{"action":"send","to":1,"message":"a"}"#,
            r#"{"action":"send","to":null,"message":"a"}"#,
            r#"{"action":"send","to":"\ud800","message":"a"}"#,
        ] {
            assert_eq!(parse(frame), Inbound::Failed, "{frame}");
        }
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let frame = format!(r#"{{"action":"send","to":"a","message":{deep}}}"#);
        assert_eq!(parse(&frame), Inbound::Failed);
    }

    #[test]
    fn error_frames_have_api_gateways_odd_spacing() {
        let id = IdSource::new(Origin::random()).issue().1;
        let want =
            format!(r#"{{"message": "Forbidden", "connectionId":"{id}", "requestId":"{id}"}}"#);
        assert_eq!(error_frame(Fault::Forbidden.text(), id, id), want);
    }
}
