//! The releases of the last while, to be said again when the store may have forgotten them.
//!
//! A replica that takes over may have missed them, and then lists connections that are gone, for
//! an epoch that lives: nobody would look for those before the next sweep. To say a release again
//! is harmless, for it names its tag.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{ids::Epoch, store::Release};

/// How long one is remembered: far longer than a replica lags behind before a failover.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Releases remembered; the oldest beyond are left to the sweep.
const MOST: usize = 10_000;

/// The last releases, oldest first.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<(Instant, Epoch, Release)>>);

impl Recent {
    /// The store has answered this one. What it kept of the user's messages is not kept here.
    pub(super) fn note(&self, epoch: Epoch, release: Release) {
        let mut recent = self.lock();
        while recent.len() >= MOST
            || recent.front().is_some_and(|(at, ..)| at.elapsed() > REMEMBERED)
        {
            recent.pop_front();
        }
        recent.push_back((Instant::now(), epoch, Release { unwritten: Vec::new(), ..release }));
    }

    /// All of the last while; they are forgotten here.
    pub(super) fn take(&self) -> Vec<(Epoch, Release)> {
        let all = std::mem::take(&mut *self.lock());
        let fresh = all.into_iter().filter(|(at, ..)| at.elapsed() <= REMEMBERED);
        fresh.map(|(_, epoch, release)| (epoch, release)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Epoch, Release)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
