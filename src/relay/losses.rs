//! What may have been lost, counted by cause and said once per period.
//!
//! Unstored messages have no acknowledgement, so nobody else will tell the operator. Where loss
//! cannot be excluded it is counted as an upper bound; a record per message would drown the log in
//! the very moment in which somebody reads it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::telemetry::events;

/// How often what was counted is said.
const PERIOD: Duration = Duration::from_secs(10);

/// Parts into which the window of what is held is divided.
const BUCKETS: usize = 8;

/// Messages that may have been lost, by cause; and those that are at risk.
#[derive(Debug)]
pub struct Losses {
    /// Published to peers, and Redis did not answer.
    pub unanswered: AtomicU64,
    /// Came back from peers, or should have gone back to them, and found no room.
    pub overflow: AtomicU64,
    /// Nobody could take them: the store did not answer.
    pub dropped: AtomicU64,
    /// Held for users who were away, in a Redis that has lost data: an upper bound.
    forgotten: AtomicU64,
    /// A std lock: held to add or to sum.
    held: Mutex<Held>,
}

/// How many messages were held lately.
#[derive(Debug)]
struct Held {
    bucket: Duration,
    since: Instant,
    counts: [u64; BUCKETS],
}

impl Losses {
    /// `window` is how long what is held can be waited for.
    pub fn new(window: Duration) -> Self {
        let bucket = (window / BUCKETS as u32).max(Duration::from_millis(1));
        Self {
            unanswered: AtomicU64::new(0),
            overflow: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            held: Mutex::new(Held { bucket, since: Instant::now(), counts: [0; BUCKETS] }),
        }
    }

    /// All so far.
    pub fn total(&self) -> u64 {
        let causes = [&self.unanswered, &self.overflow, &self.dropped, &self.forgotten];
        causes.iter().map(|cause| cause.load(Ordering::Relaxed)).sum()
    }

    /// Notes that a message is held.
    pub fn hold(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.turn();
        held.counts[0] += 1;
    }

    /// Redis has lost data, or may have: what this instance has held lately is at risk.
    pub fn forget(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.turn();
        let sum: u64 = held.counts.iter().sum();
        held.counts = [0; BUCKETS];
        self.forgotten.fetch_add(sum, Ordering::Relaxed);
    }

    /// Says what has been counted, each period until `stop`, and then once more. `replaced` changes
    /// when Redis is another server than before.
    pub async fn report(&self, mut replaced: watch::Receiver<u64>, stop: CancellationToken) {
        let (mut told, mut next) = ([0; 4], Instant::now() + PERIOD);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.tell(&mut told),
                () = sleep_until(next) => {
                    self.tell(&mut told);
                    next += PERIOD;
                }
                Ok(()) = replaced.changed() => self.forget(),
            }
        }
    }

    fn tell(&self, told: &mut [u64; 4]) {
        let causes = [&self.unanswered, &self.overflow, &self.dropped, &self.forgotten];
        let now = causes.map(|cause| cause.load(Ordering::Relaxed));
        let new: [u64; 4] = std::array::from_fn(|at| now[at] - told[at]);
        *told = now;
        let count: u64 = new.iter().sum();
        if count == 0 {
            return;
        }
        let [unanswered, overflow, dropped, forgotten] = new;
        warn!(
            message_id = events::POSSIBLE_LOSS,
            count,
            "up to {count} messages may have been lost in the last {} s: {unanswered} published \
             without an answer, {overflow} for which a queue had no room, {dropped} that Redis \
             was asked to route in vain, {forgotten} held by a Redis that has lost data",
            PERIOD.as_secs()
        );
    }
}

impl Held {
    /// Begins as many buckets as time has passed for.
    fn turn(&mut self) {
        let passed = self.since.elapsed().div_duration_f64(self.bucket) as u32;
        let steps = (passed as usize).min(BUCKETS);
        self.counts.rotate_right(steps);
        self.counts[..steps].fill(0);
        self.since += self.bucket * passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgotten(losses: &Losses) -> u64 {
        losses.forgotten.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_held_within_the_window_is_at_risk() {
        let losses = Losses::new(Duration::from_secs(8));
        for _ in 0..3 {
            losses.hold();
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        losses.hold();
        losses.forget();
        assert_eq!(forgotten(&losses), 3, "held 9 s ago, it is waited for no more");
        losses.forget();
        assert_eq!(forgotten(&losses), 3, "and each is counted once");
        losses.hold();
        tokio::time::advance(Duration::from_secs(1000)).await;
        losses.forget();
        assert_eq!(forgotten(&losses), 3);
    }
}
