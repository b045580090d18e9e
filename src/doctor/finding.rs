//! What a check has come to, and all of them together.

use std::time::Duration;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Not looked at; `found` says why.
    Skipped,
    /// Works, and will not always.
    Warning,
    /// Does not work.
    Error,
}

/// One check. Scripts depend on the names of fields and checks: new ones may come.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    /// How long the answer took; `None`: nobody was asked.
    pub took_ms: Option<f64>,
    /// What was found, in words; free of secrets.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, took_ms: None, found: found.into(), remedy: None }
    }

    /// Not looked at.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::ok(check, why) }
    }

    /// Works, and will not always.
    pub fn warning(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Warning, remedy: Some(remedy.into()), ..Self::ok(check, found) }
    }

    /// Does not work.
    pub fn error(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Error, remedy: Some(remedy.into()), ..Self::ok(check, found) }
    }

    /// With the time it took, to the microsecond.
    pub fn in_time(mut self, took: Duration) -> Self {
        self.took_ms = Some((took.as_secs_f64() * 1e6).round() / 1e3);
        self
    }
}

/// All findings, causes before what follows from them.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The worst of all.
    pub verdict: Verdict,
    /// The checks to act upon, the first first: errors, then warnings.
    pub todo: Vec<&'static str>,
    pub checks: Vec<Finding>,
}

impl Report {
    /// Of findings in the order in which one leads to the other.
    pub fn new(checks: Vec<Finding>) -> Self {
        let bad = |verdict| checks.iter().filter(move |one| one.verdict == verdict);
        let todo: Vec<_> =
            bad(Verdict::Error).chain(bad(Verdict::Warning)).map(|one| one.check).collect();
        // A check that was skipped is nobody's fault.
        let worst =
            checks.iter().map(|one| one.verdict).filter(|one| *one != Verdict::Skipped).max();
        Self { verdict: worst.unwrap_or(Verdict::Ok), todo, checks }
    }

    /// What is to be acted upon, the first first.
    pub fn to_do(&self) -> impl Iterator<Item = &Finding> {
        let bad = |verdict| self.checks.iter().filter(move |one| one.verdict == verdict);
        bad(Verdict::Error).chain(bad(Verdict::Warning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_before_warnings_each_in_the_order_of_causes() {
        let report = Report::new(vec![
            Finding::ok("a", "well"),
            Finding::warning("b", "soon", "do"),
            Finding::error("c", "broken", "mend"),
            Finding::skipped("d", "because of c"),
            Finding::error("e", "broken", "mend"),
        ]);
        assert_eq!(report.todo, ["c", "e", "b"]);
        assert_eq!(report.verdict, Verdict::Error);
        assert_eq!(Report::new(vec![Finding::skipped("d", "x")]).verdict, Verdict::Ok);
    }
}
