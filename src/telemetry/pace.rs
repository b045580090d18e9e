//! How much the journal is given of what is no event.
//!
//! journald drops what a unit says beyond `LogRateLimitBurst=` within `LogRateLimitIntervalSec=`,
//! whatever it is; it counts errors, warnings, and all that is less, each by itself. So ordinary
//! records keep within a part of that, and the rest is left to events.

use std::time::{Duration, Instant};

use tracing::Level;

/// As `LogRateLimitIntervalSec=` in the unit.
const PERIOD: Duration = Duration::from_secs(30);

/// Ordinary records of a level in a period. Two of ours may fall into one of journald's, so that at
/// most half of `LogRateLimitBurst=` is used up.
const SHARE: u32 = 5_000;

/// Counts by level. Debug records are journald's own business: no event is one.
#[derive(Default)]
pub(super) struct Pace {
    errors: Window,
    warnings: Window,
    infos: Window,
}

#[derive(Default)]
struct Window {
    began: Option<Instant>,
    count: u32,
}

impl Pace {
    /// Whether one more may pass.
    pub(super) fn allows(&mut self, level: Level, now: Instant) -> bool {
        let window = match level {
            Level::ERROR => &mut self.errors,
            Level::WARN => &mut self.warnings,
            Level::INFO => &mut self.infos,
            _ => return true,
        };
        window.allows(now)
    }
}

impl Window {
    fn allows(&mut self, now: Instant) -> bool {
        if self.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            *self = Self { began: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = include_str!("../../systemd/wsfleetd.service");

    fn setting(name: &str) -> &'static str {
        UNIT.lines().find_map(|line| line.strip_prefix(name)).expect("in the unit")
    }

    #[test]
    fn half_of_what_journald_takes_is_left_to_events() {
        assert_eq!(setting("LogRateLimitIntervalSec="), format!("{}s", PERIOD.as_secs()));
        let burst: u32 = setting("LogRateLimitBurst=").parse().unwrap();
        assert!(SHARE * 4 <= burst, "two windows of {SHARE} are more than half of {burst}");
    }

    #[test]
    fn each_level_has_its_share_of_each_period() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut passed = |level, at: Duration| {
            (0..SHARE * 2).filter(|_| pace.allows(level, start + at)).count() as u32
        };
        assert_eq!(passed(Level::INFO, Duration::ZERO), SHARE);
        assert_eq!(passed(Level::WARN, Duration::ZERO), SHARE);
        assert_eq!(passed(Level::DEBUG, Duration::ZERO), SHARE * 2);
        assert_eq!(passed(Level::INFO, PERIOD / 2), 0);
        assert_eq!(passed(Level::INFO, PERIOD), SHARE);
    }
}
