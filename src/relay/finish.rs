//! The end: what was said to this instance is read, and what it has to say about it is said.
//!
//! Whoever has a route to an instance sends over it until told otherwise, so an instance whose last
//! connection is gone goes on answering for a moment. Then it lets the subscription go: what was
//! published before is still read, and what is published later comes back to its sender.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::Relay;

/// Nothing said for this long: the answers to what this instance said last are here, too.
const QUIET: Duration = Duration::from_millis(200);

/// A fleet that goes on talking is not listened to for longer.
const LINGER: Duration = Duration::from_millis(800);

/// What was published before may take this long to be read.
const READ: Duration = Duration::from_millis(500);

/// What is to be said about it may take this long.
const SETTLE: Duration = Duration::from_secs(1);

const LOOK: Duration = Duration::from_millis(10);

impl Relay {
    /// Ends the subscription, and returns when all that was read is dealt with; bounded, also while
    /// Redis does not answer.
    pub async fn finish(&self) {
        if self.shared.redis.is_up() {
            self.linger().await;
        }
        self.shared.closing.cancel();
        let _ = timeout(READ, self.shared.closed.cancelled()).await;
        // Who is not told what was read would say it again.
        self.settle_receipts();
        let _ = timeout(SETTLE, self.until_idle()).await;
    }

    async fn linger(&self) {
        let received = || self.shared.counters.received.load(Ordering::Relaxed);
        let (start, mut last, mut since) = (Instant::now(), received(), Instant::now());
        while since.elapsed() < QUIET && start.elapsed() < LINGER {
            sleep(LOOK).await;
            let now = received();
            if now != last || !self.is_idle() {
                (last, since) = (now, Instant::now());
            }
        }
    }

    async fn until_idle(&self) {
        while !self.is_idle() {
            sleep(LOOK).await;
        }
    }

    /// Nothing waits to be said, or to be dealt with.
    fn is_idle(&self) -> bool {
        self.has_dealt_with_all()
            && self.listed().is_empty()
            && !self.shared.is_writing.load(Ordering::Acquire)
    }
}
