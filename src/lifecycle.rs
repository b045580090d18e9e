//! How the process lives and ends: stop tokens, the tasks that must end first, signals, systemd.
//!
//! Ending has two strengths. *Soft* means: finish politely, nothing new. *Hard* means: now,
//! whatever it costs. Every task gets both from one [`Stop`], and none is spawned but through
//! [`Tasks`], so that the daemon can wait for all of them and name those that do not end.

mod exit;
mod heart;
pub mod notify;
mod signals;
mod tasks;
mod workers;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

pub use exit::Exit;
pub use heart::{Heart, Hearts, watchdog};
pub use signals::{Reloads, Signals};
pub use tasks::{Leftover, Tasks};

/// The two strengths of stopping; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    soft: CancellationToken,
    hard: CancellationToken,
    succeeded: Arc<AtomicBool>,
}

impl Stop {
    /// Nothing stops yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone to finish politely.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// The same, but another process follows at once and takes the listeners over. Too late when
    /// a stop has begun.
    pub fn begin_hand_over(&self) {
        if !self.soft.is_cancelled() {
            self.succeeded.store(true, Ordering::Release);
        }
        self.soft.cancel();
    }

    /// Whether another process follows; asked after the soft stop.
    pub fn hands_over(&self) -> bool {
        self.succeeded.load(Ordering::Acquire)
    }

    /// Ends everyone now; whoever only listens for [`Self::soft`] is told too.
    pub fn abort(&self) {
        self.hard.cancel();
        self.soft.cancel();
    }

    /// Cancelled when a stop is asked for, politely or not.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when there is no more time.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_stop_leaves_time_and_a_hard_one_does_not() {
        let stop = Stop::new();
        let heard = stop.clone();
        stop.begin();
        assert!(heard.soft().is_cancelled() && !heard.hard().is_cancelled());
        stop.abort();
        assert!(heard.hard().is_cancelled());
    }

    #[test]
    fn who_was_asked_to_leave_has_no_successor() {
        let (leaving, restarting) = (Stop::new(), Stop::new());
        leaving.begin();
        leaving.begin_hand_over();
        restarting.begin_hand_over();
        restarting.begin();
        assert!(leaving.soft().is_cancelled() && !leaving.hands_over());
        assert!(restarting.soft().is_cancelled() && restarting.hands_over());
    }

    #[test]
    fn an_abort_reaches_those_who_only_know_the_polite_stop() {
        let stop = Stop::new();
        stop.abort();
        assert!(stop.soft().is_cancelled());
    }
}
