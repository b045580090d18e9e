//! A value as it was written, before its key's form has judged it.
//!
//! A file knows numbers, text and lists apart; the environment has only text. What is asked for
//! decides how text from the environment is read, so that the password `0123` stays four
//! characters and `WSFLEETD__FLEET__PARTITIONS=64` is a number.

use config::{Value, ValueKind};

/// What `config` writes as the origin of values from the environment.
pub const ENVIRONMENT: &str = "the environment";

/// Why a value is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Read after "the value …": `is not a size`.
    pub problem: String,
    /// The entry of a list that is at fault, if it is one.
    pub entry: Option<Value>,
}

/// What reading a value gives: the setting, or every reason why not (a list may have several).
pub type Reading<T> = Result<T, Vec<Refusal>>;

/// A value as written.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a>(pub &'a Value);

impl<'a> Given<'a> {
    /// # Errors
    /// If it is anything but text.
    pub fn text(self) -> Reading<&'a str> {
        match &self.0.kind {
            ValueKind::String(text) => Ok(text),
            other => refuse(format!("is {}, not text in quotes", kind_name(other))),
        }
    }

    /// # Errors
    /// If it is anything but a whole number.
    pub fn integer(self) -> Reading<i64> {
        match &self.0.kind {
            ValueKind::I64(number) => Ok(*number),
            ValueKind::String(text) if self.is_environment() => {
                text.trim().parse().or_else(|_| refuse("is not a whole number"))
            }
            other => refuse(format!("is {}, not a whole number", kind_name(other))),
        }
    }

    /// # Errors
    /// If it is neither `true` nor `false`.
    pub fn flag(self) -> Reading<bool> {
        match &self.0.kind {
            ValueKind::Boolean(flag) => Ok(*flag),
            ValueKind::String(text) if self.is_environment() => {
                text.trim().parse().or_else(|_| refuse("is neither true nor false"))
            }
            other => refuse(format!("is {}, not true or false", kind_name(other))),
        }
    }

    /// The entries; in the environment they stand between commas.
    ///
    /// # Errors
    /// If it is anything but a list.
    pub fn entries(self) -> Reading<Vec<Value>> {
        match &self.0.kind {
            ValueKind::Array(entries) => Ok(entries.clone()),
            ValueKind::String(text) if self.is_environment() => Ok(split(text)),
            other => refuse(format!("is {}, not a list in brackets", kind_name(other))),
        }
    }

    /// One line for people, cut where it gets long.
    pub fn shown(self) -> String {
        const MAX_SHOWN_CHARS: usize = 120;
        let shown = print(self.0);
        match shown.char_indices().nth(MAX_SHOWN_CHARS) {
            Some((at, _)) => format!("{}…", &shown[..at]),
            None => shown,
        }
    }

    fn is_environment(self) -> bool {
        self.0.origin() == Some(ENVIRONMENT)
    }
}

/// A refusal of the value as a whole.
///
/// # Errors
/// Always.
pub fn refuse<T>(problem: impl Into<String>) -> Reading<T> {
    Err(vec![Refusal { problem: problem.into(), entry: None }])
}

/// Text as TOML writes it; JSON's escapes are TOML's.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn split(text: &str) -> Vec<Value> {
    let origin = ENVIRONMENT.to_owned();
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| Value::new(Some(&origin), entry))
        .collect()
}

fn kind_name(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::Float(_) => "a number with a fraction",
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a section",
        ValueKind::Array(_) => "a list",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            "a number"
        }
    }
}

fn print(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => quoted(text),
        ValueKind::Table(_) => "{…}".into(),
        ValueKind::Array(entries) => {
            format!("[{}]", entries.iter().map(print).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
