//! What another configuration changes in the one in force, key by key.
//!
//! Some keys can be changed in a running daemon and some cannot, so what is in force after a
//! reload is neither the old configuration nor the new one. It must still keep every rule between
//! keys: a live key that would break one together with a key that has to wait, waits with it.

use std::fmt;

use super::{
    keys::{KEYS, Key, Reload, Trust},
    rules,
    settings::Settings,
};

/// The difference between what is in force and what was read.
#[derive(Clone, Debug)]
pub struct Changes {
    /// What is in force with every live change made.
    pub settings: Settings,
    pub live: Vec<Change>,
    /// What takes a restart.
    pub waiting: Vec<Change>,
}

/// One key whose value is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: &'static str,
    /// As TOML writes them, the old first; `None` for a secret.
    values: Option<(String, String)>,
}

impl Changes {
    /// What taking over `new` means for `old`.
    pub fn between(old: &Settings, new: &Settings) -> Self {
        let changed = |key: &&Key| key.field.print(old) != key.field.print(new);
        let (mut live, mut waiting): (Vec<_>, Vec<_>) =
            KEYS.iter().filter(changed).partition(|key| key.reload == Reload::Live);
        let mut settings = old.clone();
        live.iter().for_each(|key| key.field.copy(new, &mut settings));
        // At most once for each live key: each round puts one of them back.
        while let Some(key) = premature(&settings, &live) {
            key.field.copy(old, &mut settings);
            live.retain(|other| other.name != key.name);
            waiting.push(key);
        }
        let change = |key: &Key| Change::of(key, old, new);
        Self {
            settings,
            live: live.into_iter().map(change).collect(),
            waiting: waiting.into_iter().map(change).collect(),
        }
    }

    /// Leaves a live key as it was, because the change could not be made.
    pub fn give_back(&mut self, name: &str, old: &Settings) {
        if let Some(key) = super::keys::find(name) {
            key.field.copy(old, &mut self.settings);
        }
        self.live.retain(|change| change.key != name);
    }
}

/// A live key that breaks a rule for as long as others wait.
fn premature(settings: &Settings, live: &[&'static Key]) -> Option<&'static Key> {
    let mut in_broken_rules = rules::broken(settings).flatten();
    in_broken_rules.find_map(|name| live.iter().find(|key| key.name == *name)).copied()
}

impl Change {
    fn of(key: &Key, old: &Settings, new: &Settings) -> Self {
        let public = key.trust == Trust::Public;
        let values = public.then(|| (key.field.print(old), key.field.print(new)));
        Self { key: key.name, values }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Some((old, new)) => write!(f, "{} = {new} (was {old})", self.key),
            None => f.write_str(self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.key).collect()
    }

    #[test]
    fn nothing_differs_from_itself() {
        let settings = Settings::default();
        let changes = Changes::between(&settings, &settings);
        assert!(changes.live.is_empty() && changes.waiting.is_empty());
    }

    #[test]
    fn what_is_live_is_taken_and_what_is_not_waits() {
        let (old, mut new) = (Settings::default(), Settings::default());
        new.telemetry.level = "debug".into();
        new.redis.prefix = "other".into();
        new.redis.url = Some("redis://:hunter2@host".into());
        let changes = Changes::between(&old, &new);
        assert_eq!(names(&changes.live), ["telemetry.level"]);
        assert_eq!(names(&changes.waiting), ["redis.url", "redis.prefix"]);
        assert_eq!(changes.settings.telemetry.level, "debug");
        assert_eq!(changes.settings.redis.prefix, "wsfleetd");
        assert_eq!(changes.live[0].to_string(), r#"telemetry.level = "debug" (was "info")"#);
        assert_eq!(changes.waiting[0].to_string(), "redis.url");
        assert!(!format!("{changes:?}").contains("hunter2"));
    }

    #[test]
    fn what_could_not_be_done_is_as_it_was() {
        let (old, mut new) = (Settings::default(), Settings::default());
        new.users.file = "/elsewhere".into();
        let mut changes = Changes::between(&old, &new);
        changes.give_back("users.file", &old);
        assert!(changes.live.is_empty());
        assert_eq!(changes.settings.users.file, old.users.file);
    }
}
