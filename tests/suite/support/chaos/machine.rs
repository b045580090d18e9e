//! Notices when the machine itself stands still: what is promised here are bounds on time, and a
//! machine that has none to give breaks them all at once.
//!
//! It is an excuse that must not be had for nothing: a story says how much of its time went this
//! way, and fails when it was too much to have proven anything.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::timeline::Timeline;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// A look that comes later than this finds that the machine stood still.
const LATE: Duration = Duration::from_millis(1500);

/// Per cent of the last ten seconds in which nobody could run for want of memory.
const THRASHING: f64 = 10.0;

/// Looks until `stop`.
pub async fn watch(timeline: Arc<Timeline>, stop: CancellationToken) {
    let mut last = Instant::now();
    while !stop.is_cancelled() {
        sleep(PERIOD).await;
        if last.elapsed() > LATE || thrashes() {
            timeline.stall(last);
        }
        last = Instant::now();
    }
}

/// As the kernel says it, where it does.
fn thrashes() -> bool {
    let Ok(text) = fs::read_to_string("/proc/pressure/memory") else { return false };
    let full = text.lines().find_map(|line| line.strip_prefix("full avg10="));
    let share = full.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    share.is_some_and(|share| share > THRASHING)
}
