//! The watchdog: systemd is pinged only while every part of the daemon shows progress.
//!
//! A task that merely pings in a loop goes on pinging on its own worker thread while the rest of
//! the daemon hangs. So each part that does rounds of work holds a [`Heart`] and beats it once a
//! round, or while it waits for work; each thread of the runtime has one too. One silent heart, and
//! the ping stays away until systemd acts.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{error, info};

use super::{Stop, notify, workers::Workers};
use crate::telemetry::events;

/// Pings per watchdog interval: two may be late before systemd gives up.
const PINGS_PER_INTERVAL: u32 = 3;

/// Looks at a thread of the runtime, one for each ping, that may find it unmoved: the first look
/// after the whole machine has stood still does.
const LOOKS: u32 = 2;

/// Silent looks in a row after which the operator is told.
const TOLD_AT: u64 = 2;

/// Beats of a heart at rest within its limit.
const BEATS_AT_REST: u32 = 4;

/// All hearts of the process; clones share them.
#[derive(Clone, Debug)]
pub struct Hearts {
    /// A std lock: held to walk a handful of entries, never across an await.
    pulses: Arc<Mutex<Vec<Arc<Pulse>>>>,
    start: Instant,
}

impl Hearts {
    /// None yet: nobody can be silent.
    pub fn new() -> Self {
        Self { pulses: Arc::default(), start: Instant::now() }
    }

    /// A heart that must beat at least every `limit`; it has just beaten.
    pub fn register(&self, name: &'static str, limit: Duration) -> Heart {
        let pulse = Arc::new(Pulse { name, limit, last: AtomicU64::new(0) });
        let heart = Heart { hearts: self.clone(), pulse };
        heart.beat();
        self.lock().push(heart.pulse.clone());
        heart
    }

    /// The heart that is silent furthest beyond its limit, if any is.
    pub fn silent(&self) -> Option<Silence> {
        let now = self.now();
        let silences =
            self.lock().iter().filter_map(|pulse| pulse.silence(now)).collect::<Vec<_>>();
        silences.into_iter().max_by_key(|silence| silence.lasted.saturating_sub(silence.limit))
    }

    /// Milliseconds since these hearts were made.
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Hearts {
    fn default() -> Self {
        Self::new()
    }
}

/// Held by a part of the daemon while it works; dropping it means the part has ended properly.
#[derive(Debug)]
pub struct Heart {
    hearts: Hearts,
    pulse: Arc<Pulse>,
}

impl Heart {
    /// Another round is done. Costs one atomic store.
    pub fn beat(&self) {
        self.pulse.last.store(self.hearts.now(), Ordering::Relaxed);
    }

    /// Beats after a while: an arm of the `select!` in which a part waits for work, so that it is
    /// seen to wait. Cancel-safe.
    pub async fn rest(&self) {
        sleep(self.pulse.limit / BEATS_AT_REST).await;
        self.beat();
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.hearts.lock().retain(|pulse| !Arc::ptr_eq(pulse, &self.pulse));
    }
}

/// A part that has not beaten within its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    pub name: &'static str,
    /// Since the last beat.
    pub lasted: Duration,
    pub limit: Duration,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} has made no progress for {:.1} s, allowed are {:.1} s",
            self.name,
            self.lasted.as_secs_f32(),
            self.limit.as_secs_f32()
        )
    }
}

#[derive(Debug)]
struct Pulse {
    name: &'static str,
    limit: Duration,
    /// By [`Hearts::now`].
    last: AtomicU64,
}

impl Pulse {
    fn silence(&self, now: u64) -> Option<Silence> {
        let last = self.last.load(Ordering::Relaxed);
        let lasted = Duration::from_millis(now.saturating_sub(last));
        let silence = Silence { name: self.name, lasted, limit: self.limit };
        (lasted > self.limit).then_some(silence)
    }
}

/// Pings systemd until the hard stop, as `WatchdogSec=` asks; returns at once where it does not.
///
/// It goes on while draining, because the watchdog does too.
pub async fn watchdog(hearts: Hearts, stop: Stop) {
    let Some(limit) = notify::watchdog_interval() else { return };
    let period = limit / PINGS_PER_INTERVAL;
    let mut workers = Workers::watch(&hearts, period * LOOKS);
    let rounds = feed(&hearts, period, || workers.look(), notify::watchdog);
    stop.hard().run_until_cancelled(rounds).await;
}

/// Calls `look`, and `ping` while no heart is silent, every `period`; tells once when that changes.
/// Only a second silent look in a row is told of: the first after the whole machine has stood still
/// finds everyone silent who has had no time to beat.
async fn feed(hearts: &Hearts, period: Duration, mut look: impl FnMut(), ping: impl Fn()) {
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0_u64;
    loop {
        ticks.tick().await;
        look();
        let Some(silence) = hearts.silent() else {
            if silent >= TOLD_AT {
                info!("all parts make progress again: the watchdog is fed");
            }
            silent = 0;
            ping();
            continue;
        };
        silent += 1;
        if silent == TOLD_AT {
            report(silence);
        }
    }
}

fn report(silence: Silence) {
    error!(
        message_id = events::STALLED,
        task.name = silence.name,
        duration_ms = silence.lasted.as_millis() as u64,
        "{silence}: the watchdog is no longer fed"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_while_all_parts_beat_and_starves_when_one_stops() {
        let (hearts, pings) = (Hearts::new(), AtomicUsize::new(0));
        let accept = hearts.register("accept", 3 * SECOND);
        let _stuck = hearts.register("membership", 5 * SECOND);
        let beating = async {
            loop {
                accept.beat();
                sleep(SECOND).await;
            }
        };
        let fed = feed(&hearts, SECOND, || {}, || _ = pings.fetch_add(1, Ordering::Relaxed));
        let _ = timeout(20 * SECOND, async { tokio::join!(beating, fed) }).await;
        // Seconds 0 to 5: `membership` is given five of silence.
        assert_eq!(pings.load(Ordering::Relaxed), 6);
        assert_eq!(hearts.silent().map(|silence| silence.name), Some("membership"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_wakes_up_feeds_it_again() {
        let (hearts, pings) = (Hearts::new(), AtomicUsize::new(0));
        let part = hearts.register("relay", SECOND);
        advance(2 * SECOND).await;
        assert!(hearts.silent().is_some());
        part.beat();
        let fed = feed(&hearts, SECOND, || {}, || _ = pings.fetch_add(1, Ordering::Relaxed));
        let _ = timeout(SECOND / 2, fed).await;
        assert_eq!(pings.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_has_ended_is_not_missed() {
        let hearts = Hearts::new();
        let part = hearts.register("api", SECOND);
        advance(2 * SECOND).await;
        drop(part);
        assert_eq!(hearts.silent(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_tells_who_how_long_and_how_long_is_allowed() {
        let hearts = Hearts::new();
        let _relay = hearts.register("relay", SECOND);
        advance(Duration::from_millis(2500)).await;
        let silence = hearts.silent().expect("it is silent");
        let expected = "relay has made no progress for 2.5 s, allowed are 1.0 s";
        assert_eq!(silence.to_string(), expected);
    }
}
