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

/// The last releases.
#[derive(Default)]
pub(super) struct Recent(Mutex<State>);

#[derive(Default)]
struct State {
    /// Oldest first.
    all: VecDeque<(Instant, Leaving)>,
    /// How often the store was doubted.
    doubts: u64,
}

impl Recent {
    /// How often the store was doubted so far.
    pub(super) fn doubts(&self) -> u64 {
        self.lock().doubts
    }

    /// The store has answered this one, which was said after so many `doubts`. What it kept of the
    /// user's messages is not kept here. Answers what must be said again: whoever was asked may not
    /// be who is asked now.
    pub(super) fn note(&self, leaving: &Leaving, doubts: u64) -> Option<Leaving> {
        let mut state = self.lock();
        if state.doubts != doubts {
            return Some(leaving.without_messages());
        }
        let recent = &mut state.all;
        while recent.len() >= MOST
            || recent.front().is_some_and(|(at, ..)| at.elapsed() > REMEMBERED)
        {
            recent.pop_front();
        }
        recent.push_back((Instant::now(), leaving.without_messages()));
        None
    }

    /// The store is doubted: all of the last while, which are forgotten here.
    pub(super) fn take(&self) -> Vec<Leaving> {
        let mut state = self.lock();
        state.doubts += 1;
        let all = std::mem::take(&mut state.all);
        drop(state);
        let fresh = all.into_iter().filter(|(at, _)| at.elapsed() <= REMEMBERED);
        fresh.map(|(_, leaving)| leaving).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::{super::lost::tests::leaving, *};

    /// One that is said and answered in the same breath.
    fn note(recent: &Recent, leaving: &Leaving) {
        let again = recent.note(leaving, recent.doubts());
        assert!(again.is_none());
    }

    fn devices(all: &[Leaving]) -> Vec<&str> {
        all.iter().map(|one| one.device.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_minutes_releases_are_said_again_once_and_in_their_order() {
        let recent = Recent::default();
        note(&recent, &leaving(1, &[]));
        advance(REMEMBERED / 2).await;
        note(&recent, &leaving(2, &[]));
        note(&recent, &leaving(3, &[]));
        advance(REMEMBERED / 2 + Duration::from_millis(1)).await;
        assert_eq!(devices(&recent.take()), ["~2", "~3"], "the first is over a minute ago");
        assert!(recent.take().is_empty(), "and they are said again once");
        note(&recent, &leaving(4, &[]));
        assert_eq!(devices(&recent.take()), ["~4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_after_a_doubt_is_said_again_at_once() {
        let recent = Recent::default();
        let said = recent.doubts();
        assert!(recent.take().is_empty(), "nothing is answered yet");
        let again = recent.note(&leaving(1, &[10]), said).expect("another Redis may be asked now");
        assert!(again.device == "~1" && again.unwritten.is_empty());
        assert!(recent.take().is_empty(), "once is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_kept_is_not_said_again() {
        let recent = Recent::default();
        note(&recent, &leaving(1, &[10, 20]));
        let again = recent.take();
        assert_eq!(devices(&again), ["~1"]);
        assert!(again[0].unwritten.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_give_way_and_nothing_old_is_kept_for_long() {
        let recent = Recent::default();
        for number in 0..=MOST as u64 {
            note(&recent, &leaving(number, &[]));
        }
        assert_eq!(recent.lock().all.len(), MOST);
        let first = recent.lock().all.front().map(|(_, one)| one.device.clone());
        assert_eq!(first.as_deref(), Some("~1"));
        advance(REMEMBERED * 2).await;
        note(&recent, &leaving(1, &[]));
        assert_eq!(recent.lock().all.len(), 1, "the next one throws the old ones out");
    }
}
