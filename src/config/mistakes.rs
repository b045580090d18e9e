//! What is wrong with a configuration, all of it, in words an operator can act on.
//!
//! Somebody who repairs a configuration on a machine that does not start must not learn of the
//! second mistake by repairing the first, so mistakes are collected and never thrown.

use std::fmt;

use super::origin::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub origin: Origin,
    /// Dotted name; `None` when a file as a whole is at fault.
    pub key: Option<String>,
    /// As it may be shown: never a secret, and never the value of a key nobody knows, which may
    /// be a secret's key misspelt.
    pub value: Option<String>,
    pub problem: String,
    pub remedy: String,
}

/// All that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Orders them by place. `None` if there are none.
    pub fn of(mut mistakes: Vec<Mistake>) -> Option<Self> {
        mistakes.sort();
        mistakes.dedup();
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    /// In the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, ": {key} = {value}")?,
            (Some(key), None) => write!(f, ": {key}")?,
            (None, _) => {}
        }
        write!(f, "\n  problem: {}\n  remedy:  {}", self.problem, self.remedy)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}\n")?;
        }
        match self.0.len() {
            1 => f.write_str("1 mistake in the configuration"),
            count => write!(f, "{count} mistakes in the configuration"),
        }
    }
}
