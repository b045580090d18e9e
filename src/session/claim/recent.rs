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

use super::lost::Leaving;

/// How long one is remembered: far longer than a replica lags behind before a failover.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Releases remembered; the oldest beyond are left to the sweep.
const MOST: usize = 10_000;

/// The last releases, oldest first.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<(Instant, Leaving)>>);

impl Recent {
    /// The store has answered this one. What it kept of the user's messages is not kept here.
    pub(super) fn note(&self, leaving: &Leaving) {
        let mut recent = self.lock();
        while recent.len() >= MOST
            || recent.front().is_some_and(|(at, ..)| at.elapsed() > REMEMBERED)
        {
            recent.pop_front();
        }
        recent.push_back((Instant::now(), leaving.without_messages()));
    }

    /// All of the last while; they are forgotten here.
    pub(super) fn take(&self) -> Vec<Leaving> {
        let all = std::mem::take(&mut *self.lock());
        let fresh = all.into_iter().filter(|(at, _)| at.elapsed() <= REMEMBERED);
        fresh.map(|(_, leaving)| leaving).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Leaving)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::{super::lost::tests::leaving, *};

    fn devices(all: &[Leaving]) -> Vec<&str> {
        all.iter().map(|one| one.device.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_minutes_releases_are_said_again_once_and_in_their_order() {
        let recent = Recent::default();
        recent.note(&leaving(1, &[]));
        advance(REMEMBERED / 2).await;
        recent.note(&leaving(2, &[]));
        recent.note(&leaving(3, &[]));
        advance(REMEMBERED / 2 + Duration::from_millis(1)).await;
        assert_eq!(devices(&recent.take()), ["~2", "~3"], "the first is over a minute ago");
        assert!(recent.take().is_empty(), "and they are said again once");
        recent.note(&leaving(4, &[]));
        assert_eq!(devices(&recent.take()), ["~4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_kept_is_not_said_again() {
        let recent = Recent::default();
        recent.note(&leaving(1, &[10, 20]));
        let again = recent.take();
        assert_eq!(devices(&again), ["~1"]);
        assert!(again[0].unwritten.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_give_way_and_nothing_old_is_kept_for_long() {
        let recent = Recent::default();
        for number in 0..=MOST as u64 {
            recent.note(&leaving(number, &[]));
        }
        assert_eq!(recent.lock().len(), MOST);
        let first = recent.lock().front().map(|(_, one)| one.device.clone());
        assert_eq!(first.as_deref(), Some("~1"));
        advance(REMEMBERED * 2).await;
        recent.note(&leaving(1, &[]));
        assert_eq!(recent.lock().len(), 1, "the next one throws the old ones out");
    }
}
