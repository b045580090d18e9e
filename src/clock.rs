//! The one source of wall time.
//!
//! Intervals and deadlines use `tokio::time`, which tests pause; the calendar is needed only to
//! show or to store a moment, and asking for it in one place keeps the two from being mixed up
//! (`clippy.toml` refuses `SystemTime::now` elsewhere).

use std::{
    fmt::Display,
    time::{Duration, SystemTime},
};

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "this is the place all others are sent to")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Microseconds since 1970, for what Redis's `TIME` would say if there were one.
pub fn micros() -> u64 {
    let since = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Time since the machine was started, its sleep included: for leases, which go on while a machine
/// is suspended. `tokio::time` stands still meanwhile.
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// `moment` in UTC with milliseconds, by RFC 3339 and ISO 8601: `2026-11-24T03:06:41.250Z`.
pub fn rfc3339(moment: SystemTime) -> impl Display {
    humantime::format_rfc3339_millis(moment)
}

/// How far `theirs`, read between two looks at our clock, is before ours, in seconds.
pub fn offset(before: SystemTime, after: SystemTime, theirs: SystemTime) -> f64 {
    let half = after.duration_since(before).unwrap_or_default() / 2;
    let ours = before + half;
    match theirs.duration_since(ours) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_told_from_the_middle_of_the_question() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(offset(start, later(2), later(1)), 0.0);
        assert_eq!(offset(start, later(2), later(11)), 10.0);
        assert_eq!(offset(later(10), later(12), later(1)), -10.0);
    }

    #[test]
    fn a_moment_is_written_in_utc_with_milliseconds() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_123);
        assert_eq!(rfc3339(moment).to_string(), "2001-09-09T01:46:40.123Z");
    }

    #[test]
    fn the_clock_goes_forward() {
        assert!(now() > SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 50));
    }
}
