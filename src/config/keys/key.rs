//! One setting: what is known of it beside its value.

use super::super::{forms::Field, settings::Settings};

/// What the environment's variables start with; the parts of a key's name follow, joined by `__`.
pub const VARIABLE_PREFIX: &str = "WSFLEETD";

/// One setting.
pub struct Key {
    /// Dotted: `section.key` or `section.subsection.key`.
    pub name: &'static str,
    /// One paragraph.
    pub doc: &'static str,
    pub trust: Trust,
    pub reload: Reload,
    pub field: &'static dyn Field,
}

/// Whether a key's value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Public,
    /// Holds a secret, or may.
    Secret,
}

/// Whether a change takes effect in a running daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Can be changed while connections are open.
    Live,
    /// Fixed when the daemon starts.
    Restart,
}

impl Key {
    /// `redis.password_file` → (`redis`, `password_file`).
    pub fn split(&self) -> (&'static str, &'static str) {
        self.name.rsplit_once('.').unwrap_or(("", self.name))
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}__{}", self.name.replace('.', "__").to_ascii_uppercase())
    }

    /// The setting as it may be shown.
    pub fn show(&self, settings: &Settings) -> String {
        let text = self.field.print(settings);
        match self.trust {
            Trust::Secret if text != "\"\"" => HIDDEN.into(),
            _ => text,
        }
    }
}

/// Stands for a secret's value wherever one would be shown.
pub const HIDDEN: &str = "(hidden)";
