//! What has changed in the directory, for whoever must act on it: a bounded, forgetful queue.
//!
//! A change says only *who*; what is so now is read when it is acted upon, so a name waits once
//! however often it changed. When more wait than fit, everything counts as changed: nothing is
//! lost, and who falls behind has one thing to do instead of thousands.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::ids::UserId;

/// Names that wait; about what one reads from the directory in a second or two, one by one.
const MAX_NAMES: usize = 1000;

/// Told by many, heard by one; clones share what waits.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A std lock: held to add a name, or to take all.
    waiting: Mutex<Waiting>,
    call: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    names: HashSet<UserId>,
    everything: bool,
}

/// What changed since the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These were added, changed or removed.
    Users(Vec<UserId>),
    /// Anybody may have been.
    Everything,
}

impl Changes {
    /// This user was added, changed or removed.
    pub fn tell(&self, name: UserId) {
        let mut waiting = self.waiting();
        if !waiting.everything {
            waiting.names.insert(name);
            waiting.everything = waiting.names.len() > MAX_NAMES;
        }
        drop(waiting);
        self.0.call.notify_one();
    }

    /// Anybody may have been added, changed or removed.
    pub fn tell_everything(&self) {
        self.waiting().everything = true;
        self.0.call.notify_one();
    }

    /// Waits for a change and takes what there is. Cancel-safe.
    pub async fn next(&self) -> Change {
        loop {
            if let Some(change) = self.take() {
                return change;
            }
            self.0.call.notified().await;
        }
    }

    fn take(&self) -> Option<Change> {
        let Waiting { names, everything } = mem::take(&mut *self.waiting());
        match (everything, names.is_empty()) {
            (true, _) => Some(Change::Everything),
            (false, true) => None,
            (false, false) => Some(Change::Users(names.into_iter().collect())),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_name_waits_once_and_is_gone_when_taken() {
        let changes = Changes::default();
        changes.tell(name("Sid"));
        changes.tell(name("Sid"));
        assert_eq!(changes.next().await, Change::Users(vec![name("Sid")]));
        assert_eq!(changes.take(), None);
    }

    #[tokio::test]
    async fn more_than_fits_is_everything() {
        let changes = Changes::default();
        for n in 0..MAX_NAMES {
            changes.tell(name(&n.to_string()));
        }
        assert!(matches!(changes.take(), Some(Change::Users(names)) if names.len() == MAX_NAMES));
        for n in 0..=MAX_NAMES * 3 {
            changes.tell(name(&n.to_string()));
        }
        assert!(changes.waiting().names.len() <= MAX_NAMES + 1);
        assert_eq!(changes.next().await, Change::Everything);
        assert_eq!(changes.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_and_misses_nothing_told_before() {
        let changes = Changes::default();
        changes.tell_everything();
        assert_eq!(changes.next().await, Change::Everything);
        let (changed, ()) = tokio::join!(changes.next(), async {
            tokio::task::yield_now().await;
            changes.tell(name("Sid"));
        });
        assert_eq!(changed, Change::Users(vec![name("Sid")]));
    }
}
