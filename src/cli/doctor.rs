//! `wsfleetd doctor`: what is wrong, and what to do first.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;

use super::{finish, runtime, table::printable, unless_pipe_is_broken};
use crate::{
    config::Source,
    doctor::{Finding, Report, Verdict, examine},
    lifecycle::Exit,
};

/// What a name that is still being looked up may take, when all has been said.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// How it is said, and how strictly it is taken.
#[derive(Debug, Args)]
pub struct Doctor {
    /// One JSON object, for scripts
    #[arg(long)]
    json: bool,
    /// Exit with 1 for warnings, too
    #[arg(long)]
    strict: bool,
}

impl Doctor {
    /// Looks, and prints.
    pub fn run(&self, source: &Source) -> Exit {
        let loaded = source.load();
        let runtime = match runtime(0) {
            Ok(runtime) => runtime,
            Err(error) => return finish(Err(error.into())),
        };
        let report = runtime.block_on(examine(loaded.as_ref()));
        runtime.shutdown_timeout(LAST_WAIT);
        let said = self.say(&report, &mut io::stdout().lock());
        match finish(unless_pipe_is_broken(said)) {
            Exit::Ok if loaded.is_err() => Exit::Config,
            Exit::Ok => self.judge(report.verdict),
            failed => failed,
        }
    }

    fn judge(&self, verdict: Verdict) -> Exit {
        match verdict {
            Verdict::Error => Exit::Failure,
            Verdict::Warning if self.strict => Exit::Failure,
            _ => Exit::Ok,
        }
    }

    fn say(&self, report: &Report, out: &mut impl Write) -> anyhow::Result<()> {
        if self.json {
            return Ok(writeln!(out, "{}", serde_json::to_string(report)?)?);
        }
        let is_skipped = |finding: &&Finding| finding.verdict == Verdict::Skipped;
        report.checks.iter().filter(|one| !is_skipped(one)).try_for_each(|one| line(one, out))?;
        skipped(report.checks.iter().filter(is_skipped), out)?;
        if report.todo.is_empty() {
            return Ok(writeln!(out, "\nNothing is wrong.")?);
        }
        writeln!(out, "\nWhat to do, the first first:")?;
        for (nth, finding) in report.to_do().enumerate() {
            let remedy = finding.remedy.as_deref().unwrap_or_default();
            writeln!(out, "{:>3}. {}: {}", nth + 1, finding.check, printable(remedy))?;
        }
        Ok(())
    }
}

fn line(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Skipped => "skipped",
        Verdict::Warning => "WARNING",
        Verdict::Error => "ERROR",
    };
    let took = finding.took_ms.map(|took| format!("{took:.1} ms")).unwrap_or_default();
    // What several lines say, the mistakes of a configuration, stays several lines.
    let mut lines = finding.found.lines().map(printable);
    let first = lines.next().unwrap_or_default();
    writeln!(out, "{verdict:<7} {:<18} {took:>9}  {first}", finding.check)?;
    lines.try_for_each(|more| writeln!(out, "{:38}{more}", ""))
}

/// What was not looked at, by the reason.
fn skipped<'a>(
    findings: impl Iterator<Item = &'a Finding>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for finding in findings {
        match reasons.iter_mut().find(|(reason, _)| *reason == finding.found) {
            Some((_, checks)) => checks.push(finding.check),
            None => reasons.push((&finding.found, vec![finding.check])),
        }
    }
    reasons.iter().try_for_each(|(reason, checks)| {
        writeln!(out, "skipped {}: {}", checks.join(", "), printable(reason))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(doctor: &Doctor, findings: Vec<Finding>) -> (String, Exit) {
        let (report, mut out) = (Report::new(findings), Vec::new());
        doctor.say(&report, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), doctor.judge(report.verdict))
    }

    #[test]
    fn what_is_to_do_comes_last_and_decides_the_exit_code() {
        let findings = || {
            vec![
                Finding::ok("redis", "answers").in_time(Duration::from_micros(1234)),
                Finding::warning("redis.replicas", "no \u{1b}[2Jreplica", "add one"),
                Finding::skipped("a", "no reason"),
                Finding::skipped("b", "another"),
                Finding::skipped("c", "no reason"),
            ]
        };
        let (text, exit) = said(&Doctor { json: false, strict: false }, findings());
        assert_eq!(exit, Exit::Ok);
        assert!(text.contains("ok      redis                 1.2 ms  answers\n"), "{text}");
        assert!(text.ends_with("first:\n  1. redis.replicas: add one\n"), "{text}");
        assert!(text.contains("\nskipped a, c: no reason\nskipped b: another\n\nWhat"), "{text}");
        assert!(!text.contains('\u{1b}'), "nobody moves the cursor");
        assert_eq!(said(&Doctor { json: false, strict: true }, findings()).1, Exit::Failure);
        let (text, exit) = said(&Doctor { json: true, strict: false }, findings());
        assert_eq!(exit, Exit::Ok);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["verdict"], "warning");
        assert_eq!(value["todo"], serde_json::json!(["redis.replicas"]));
        assert_eq!(value["checks"][0]["took_ms"], 1.234);
    }
}
