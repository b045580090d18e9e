//! What a replay has gone through.

use std::{collections::BTreeMap, fmt};

/// How many steps of each kind were replayed.
#[derive(Clone, Debug)]
pub struct Counts {
    kinds: BTreeMap<String, u64>,
    /// Steps between two switches from one server to another.
    parts: Vec<u64>,
}

impl Counts {
    /// How many of one kind.
    pub fn of(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }

    /// How many steps were judged before the first switch to another server, between two, and behind
    /// the last.
    pub fn parts(&self) -> &[u64] {
        &self.parts
    }

    pub(super) fn add(&mut self, kind: &str) {
        self.add_so_many(kind, 1);
    }

    pub(super) fn add_so_many(&mut self, kind: &str, count: u64) {
        *self.kinds.entry(kind.to_owned()).or_default() += count;
    }

    /// A step was judged.
    pub(super) fn step(&mut self) {
        self.parts.last_mut().into_iter().for_each(|part| *part += 1);
    }

    /// Another server.
    pub(super) fn switch(&mut self) {
        self.parts.push(0);
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self { kinds: BTreeMap::new(), parts: vec![0] }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> =
            self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        f.write_str(&all.join(", "))
    }
}
