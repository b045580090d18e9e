//! The runtime's threads: each either sleeps for want of work or gets on with it.
//!
//! A task that blocks its thread takes it away from all others and beats no heart of its own, while
//! the rest of the daemon goes on as if nothing were. So the watchdog looks at each thread: awake,
//! and without a change in what it has done, is stuck.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};

use super::{Heart, Hearts};

/// One heart per thread, beaten on its behalf.
pub(super) struct Workers {
    metrics: RuntimeMetrics,
    each: Vec<Worker>,
}

struct Worker {
    heart: Heart,
    seen: Sight,
}

/// Parkings, and time spent at work; a thread at work counts on after every few dozen polls.
type Sight = (u64, Duration);

impl Workers {
    /// Those of the runtime it is called in, none of which may be stuck for `limit`.
    pub(super) fn watch(hearts: &Hearts, limit: Duration) -> Self {
        let metrics = Handle::current().metrics();
        let each = (0..metrics.num_workers()).map(|at| Worker {
            heart: hearts.register("a thread of the runtime", limit),
            seen: sight(&metrics, at),
        });
        Self { each: each.collect(), metrics }
    }

    /// Beats for those that have moved since the last look, or sleep.
    pub(super) fn look(&mut self) {
        for (at, worker) in self.each.iter_mut().enumerate() {
            let now = sight(&self.metrics, at);
            // tokio: an odd number of parkings and wakings is a thread that sleeps.
            let sleeps = now.0 % 2 == 1;
            if sleeps || now != worker.seen {
                worker.seen = now;
                worker.heart.beat();
            }
        }
    }
}

fn sight(metrics: &RuntimeMetrics, at: usize) -> Sight {
    (metrics.worker_park_unpark_count(at), metrics.worker_total_busy_duration(at))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::lifecycle::Tasks;

    const LIMIT: Duration = Duration::from_millis(500);

    /// Looks for a while; whether a thread was found silent at the end.
    async fn found(hearts: &Hearts, workers: &mut Workers) -> bool {
        let start = Instant::now();
        while start.elapsed() < LIMIT * 3 {
            workers.look();
            sleep(LIMIT / 10).await;
        }
        hearts.silent().is_some()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thread_that_is_blocked_is_found_and_one_that_is_busy_or_idle_is_not() {
        let (hearts, tasks) = (Hearts::new(), Tasks::new());
        let mut workers = Workers::watch(&hearts, LIMIT);
        assert!(!found(&hearts, &mut workers).await, "idle");

        let busy = tasks.spawn("busy", async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        assert!(!found(&hearts, &mut workers).await, "busy");
        busy.abort();

        let (end, wait) = sync_channel::<()>(0);
        tasks.spawn("stuck", async move { _ = wait.recv() });
        assert!(found(&hearts, &mut workers).await, "stuck");
        drop(end);
        assert!(!found(&hearts, &mut workers).await, "free again");
    }
}
