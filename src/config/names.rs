//! Whether every name in a file is a key's or a section's.
//!
//! Asked of each file by itself: a misspelt name is a mistake wherever it stands, and merging
//! would hide it where a higher layer happens to use the same name.

use std::collections::HashMap;

use config::{Value, ValueKind};

use super::{
    document::{self, Document},
    keys::{self, Key},
    mistakes::Mistake,
    origin::Origin,
    suggest,
};

/// Every name that does not exist, and every section and key written as the other.
pub fn check(document: &Document) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    section("", document.root(), &mut mistakes);
    mistakes
}

fn section(prefix: &str, entries: &HashMap<String, Value>, mistakes: &mut Vec<Mistake>) {
    for (entry, value) in entries {
        let name = if prefix.is_empty() { entry.clone() } else { format!("{prefix}.{entry}") };
        if entry.contains('.') {
            mistakes.push(quoted_path(&name, value));
            continue;
        }
        match (&value.kind, keys::find(&name)) {
            (ValueKind::Table(entries), None) if keys::is_section(&name) => {
                section(&name, entries, mistakes);
            }
            (_, None) if keys::is_section(&name) => mistakes.push(not_a_section(&name, value)),
            (ValueKind::Table(_), Some(key)) => mistakes.push(not_a_key(key, value)),
            (_, Some(_)) => {}
            (kind, None) => {
                let is_table = matches!(kind, ValueKind::Table(_));
                mistakes.push(suggest::unknown_name(&name, is_table, origin(value)));
            }
        }
    }
}

fn not_a_section(name: &str, value: &Value) -> Mistake {
    Mistake {
        origin: origin(value),
        key: Some(name.into()),
        value: None,
        problem: "is a section, not a key".into(),
        remedy: format!("write [{name}], and below it {}", suggest::members(name).join(", ")),
    }
}

fn not_a_key(key: &Key, value: &Value) -> Mistake {
    Mistake {
        origin: origin(value),
        key: Some(key.name.into()),
        value: None,
        problem: "is a key, not a section".into(),
        remedy: format!("write {}", key.field.accepts()),
    }
}

fn quoted_path(name: &str, value: &Value) -> Mistake {
    Mistake {
        origin: origin(value),
        key: Some(name.into()),
        value: None,
        problem: "a name in quotes is one name, dots and all, and none has dots".into(),
        remedy: "write the name without quotes".into(),
    }
}

fn origin(value: &Value) -> Origin {
    document::origin_of(value).unwrap_or(Origin::Default)
}
