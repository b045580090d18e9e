//! Reads every key from the merged tree: fills the settings, collects every refusal.
//!
//! A bad value that a higher layer overrides is not in effect and no mistake.

use std::collections::{BTreeMap, BTreeSet};

use config::{Value, ValueKind};

use super::{
    document,
    given::{ENVIRONMENT, Given, Refusal},
    keys::{HIDDEN, KEYS, Key, Trust},
    layers::Layers,
    mistakes::Mistake,
    origin::Origin,
    settings::Settings,
};

/// The settings as far as they are known, and where each came from.
#[derive(Debug, Default)]
pub struct Walk {
    pub settings: Settings,
    /// Only of keys that were set.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Keys whose value was refused: their setting is still the default and means nothing.
    pub refused: BTreeSet<&'static str>,
    pub mistakes: Vec<Mistake>,
}

impl Walk {
    /// Reads every key that was written.
    pub fn through(layers: &Layers) -> Self {
        let mut walk = Self::default();
        for key in KEYS {
            if let Some(value) = layers.tree.as_ref().and_then(|tree| find(tree, key.name)) {
                walk.key(key, value);
            }
        }
        walk
    }

    /// Where the key's value came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    fn key(&mut self, key: &'static Key, value: &Value) {
        self.origins.insert(key.name, origin(key, value));
        // A section where a key should be: its file has been told so.
        if matches!(value.kind, ValueKind::Table(_)) {
            self.refused.insert(key.name);
            return;
        }
        let given = Given(value);
        if let Err(refusals) = key.field.set(&mut self.settings, given) {
            self.refused.insert(key.name);
            for refusal in refusals {
                let mistake = self.mistake(key, given, refusal);
                self.mistakes.push(mistake);
            }
        }
    }

    fn mistake(&self, key: &'static Key, given: Given<'_>, refusal: Refusal) -> Mistake {
        let entry_line = refusal.entry.as_ref().and_then(document::origin_of);
        let problem = match &refusal.entry {
            Some(entry) => format!("the entry {} {}", Given(entry).shown(), refusal.problem),
            None => refusal.problem,
        };
        let value = match key.trust {
            Trust::Public => given.shown(),
            Trust::Secret => HIDDEN.into(),
        };
        Mistake {
            origin: entry_line.unwrap_or_else(|| self.origin(key.name)),
            key: Some(key.name.into()),
            value: Some(value),
            problem,
            remedy: format!("write {}", key.field.accepts()),
        }
    }
}

fn find<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    name.split('.').try_fold(tree, |value, part| match &value.kind {
        ValueKind::Table(entries) => entries.get(part),
        _ => None,
    })
}

fn origin(key: &Key, value: &Value) -> Origin {
    match value.origin() {
        Some(ENVIRONMENT) => Origin::Variable(key.variable()),
        _ => document::origin_of(value).unwrap_or(Origin::Default),
    }
}
