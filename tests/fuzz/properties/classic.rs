//! A classic frame: read as a general JSON reader would, and printed as Python would.

use serde_json::Value;
use wsfleetd::protocol::{
    classic::{self, Inbound},
    python_json,
};

/// What Python makes of a byte is at most six, and of `1e15,` 20; the wire counts on it.
const GROWTH: usize = 6;

/// Panics where a property does not hold.
pub fn check(data: &[u8]) {
    let Ok(frame) = std::str::from_utf8(data) else { return };
    match classic::parse(frame) {
        Inbound::Send { to, text } => {
            check_printed(&text, frame.len());
            agree(frame, Some(&to), Some(&text));
        }
        Inbound::Failed => agree(frame, None, None),
        Inbound::Forbidden => {
            if let Some(Value::Object(fields)) = general(frame) {
                let action = fields.get("action");
                assert_ne!(action.and_then(Value::as_str), Some("send"), "{frame} is a send");
            }
        }
    }
}

/// ASCII, printable, bounded, JSON; and printing it again changes nothing.
fn check_printed(text: &[u8], length: usize) {
    assert!(text.iter().all(|b| matches!(b, b' '..=b'~')), "{:?}", String::from_utf8_lossy(text));
    assert!(text.len() <= length * GROWTH, "{} bytes of {length}", text.len());
    let text = std::str::from_utf8(text).expect("ASCII");
    // Python's own `Infinity` is no JSON, for us neither.
    if !text.contains("Infinity") {
        let mut again = Vec::new();
        python_json::reprint(text, &mut again).expect("what was printed can be read");
        assert_eq!(text.as_bytes(), again, "printing is no fixed point");
    }
}

/// What serde_json's own tree says of the same frame. It refuses lone surrogates and numbers too
/// large for it, which Python and we take.
fn agree(frame: &str, to: Option<&str>, text: Option<&[u8]>) {
    let Some(value) = general(frame) else { return };
    let fields = value.as_object().expect("an object");
    assert_eq!(fields.get("action").and_then(Value::as_str), Some("send"), "{frame}");
    let Some(to) = to else { return };
    assert_eq!(fields.get("to").and_then(Value::as_str), Some(to), "{frame}");
    let printed = text.and_then(|text| serde_json::from_slice::<Value>(text).ok());
    if let Some(printed) = printed {
        let said = &fields["message"];
        assert!(same(said, &printed), "{frame}: {said} was printed as {printed}");
    }
}

fn general(frame: &str) -> Option<Value> {
    serde_json::from_str(frame).ok()
}

/// Equal but for the last bit of a number that was written with more digits than it has.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
            (a - b).abs() <= a.abs() * f64::EPSILON * 2.0
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let is_same =
                |((a, x), (b, y)): ((&String, &Value), (&String, &Value))| a == b && same(x, y);
            a.len() == b.len() && a.iter().zip(b).all(is_same)
        }
        (a, b) => a == b,
    }
}
