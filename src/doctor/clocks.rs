//! How far another's clock may be from ours.
//!
//! No lease and no order hangs on the calendar; tokens do, and so does everyone who compares logs.

use super::finding::Finding;
use crate::config::{Settings, settings::AuthMode};

/// Machines that ask a time server are within milliseconds.
const NOTED_SECONDS: f64 = 1.0;

/// Judges an offset in seconds against `whose` clock.
pub fn judge(check: &'static str, whose: &str, offset: f64, settings: &Settings) -> Finding {
    let size = offset.abs();
    if size < NOTED_SECONDS {
        return Finding::ok(check, format!("{whose} clock is within {:.0} ms of ours", size * 1e3));
    }
    let side = if offset > 0.0 { "before" } else { "behind" };
    let found = format!("{whose} clock is {size:.1} s {side} ours");
    let remedy = "look at `timedatectl` here and there: whichever is not synchronized is wrong";
    let leeway = settings.auth.token_leeway.as_secs_f64();
    if settings.auth.modes.contains(&AuthMode::Token) && size >= leeway {
        let found = format!("{found}, more than auth.token.leeway: good tokens may be refused");
        return Finding::error(check, found, remedy);
    }
    Finding::warning(check, found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn what_breaks_tokens_is_an_error() {
        let settings = Settings::default();
        for (offset, verdict) in [
            (0.2, Verdict::Ok),
            (-0.9, Verdict::Ok),
            (1.5, Verdict::Warning),
            (-29.0, Verdict::Warning),
            (31.0, Verdict::Error),
            (-3600.0, Verdict::Error),
        ] {
            let finding = judge("x", "Redis's", offset, &settings);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
        let found = judge("x", "Redis's", -3600.0, &settings).found;
        assert!(found.contains("3600.0 s behind ours"), "{found}");
    }
}
