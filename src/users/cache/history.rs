//! Which answers were asked for before a change: by order, not by time, because the two can fall
//! into one instant.
//!
//! Names share slots, so that what is remembered of changes has a bound. Two names in one slot
//! cost a question too many and never a wrong answer.

use std::{
    array,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use crate::ids::UserId;

/// A change of one user makes the directory be asked again for one in so many others.
const SLOTS: usize = 1024;

/// When a question was put.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How old the answer is.
    pub at: Instant,
    /// How many changes were known.
    count: u64,
}

/// The changes so far.
#[derive(Debug)]
pub struct History {
    count: AtomicU64,
    /// The number of the last change of anybody.
    all: AtomicU64,
    /// The number of the last change of one of the slot's names.
    slots: [AtomicU64; SLOTS],
    hasher: RandomState,
}

impl Default for History {
    fn default() -> Self {
        let (count, all) = (AtomicU64::new(0), AtomicU64::new(0));
        let slots = array::from_fn(|_| AtomicU64::new(0));
        Self { count, all, slots, hasher: RandomState::new() }
    }
}

impl History {
    /// For a question that is put now.
    pub fn now(&self) -> Asked {
        Asked { at: Instant::now(), count: self.count.load(Ordering::SeqCst) }
    }

    /// What was asked about this user before is old.
    pub fn changed(&self, name: &UserId) {
        self.slot(name).fetch_max(self.next(), Ordering::SeqCst);
    }

    /// What was asked before is old.
    pub fn all_changed(&self) {
        self.all.fetch_max(self.next(), Ordering::SeqCst);
    }

    /// Whether the user may have changed since.
    pub fn has_changed(&self, name: &UserId, asked: &Asked) -> bool {
        let last = self.slot(name).load(Ordering::SeqCst).max(self.all.load(Ordering::SeqCst));
        asked.count < last
    }

    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn slot(&self, name: &UserId) -> &AtomicU64 {
        &self.slots[self.hasher.hash_one(name) as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_change_is_old_and_what_is_asked_after_it_is_not() {
        let (history, sid) = (History::default(), UserId::parse("Sid").unwrap());
        let before = history.now();
        assert!(!history.has_changed(&sid, &before));
        history.changed(&sid);
        let between = history.now();
        assert!(history.has_changed(&sid, &before) && !history.has_changed(&sid, &between));
        history.all_changed();
        assert!(history.has_changed(&sid, &between) && !history.has_changed(&sid, &history.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn few_others_are_touched_by_a_change() {
        let (history, asked) = (History::default(), History::default().now());
        history.changed(&UserId::parse("Sid").unwrap());
        let others = (0..1000).map(|n| UserId::parse(&n.to_string()).unwrap());
        let touched = others.filter(|other| history.has_changed(other, &asked)).count();
        assert!(touched < 20, "{touched} of 1000");
    }
}
