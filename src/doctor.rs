//! What is wrong with this instance, and what to do first.
//!
//! Looks at what the daemon would use, as the daemon would: the same configuration, the same ways
//! to Redis and PostgreSQL; a daemon that runs is asked as well. Nothing is changed. All subjects
//! are looked at side by side and each wait is bounded, so that the whole takes seconds when
//! everything is down. What follows from another fault is skipped and says so: the first error in
//! the list is the one to begin with.

mod certificate;
mod clocks;
mod daemon_here;
mod database;
mod directory;
mod ec2;
mod finding;
mod kernel;
mod limits;
mod redis_roundtrip;
mod redis_server;
mod timing;
mod unit;

use std::time::Duration;

use crate::config::{Loaded, Mistakes, Settings};

pub use self::finding::{Finding, Report, Verdict};

/// The longest that any single subject is looked at; all are looked at together.
const PATIENCE: Duration = Duration::from_secs(8);

/// One question to a server that has been reached.
const ANSWER: Duration = Duration::from_secs(2);

/// Looks at everything.
pub async fn examine(loaded: Result<&Loaded, &Mistakes>) -> Report {
    let settings = match loaded {
        Ok(loaded) => &loaded.settings,
        Err(mistakes) => return Report::new(refused(mistakes)),
    };
    let (unit, here, ec2, redis, users) = tokio::join!(
        unit::Unit::ask(),
        daemon_here::Here::ask(&settings.instance.runtime_dir),
        ec2::examine(settings),
        redis_server::examine(settings),
        users(settings),
    );
    let mut findings = vec![configuration(settings)];
    findings.extend(redis);
    findings.extend(users);
    findings.extend(ec2);
    findings.extend(here.listeners(settings));
    findings.push(certificate::examine(settings));
    findings.push(timing::examine(settings, &unit));
    findings.extend(limits::examine(settings, &unit, &here));
    findings.push(kernel::examine(settings));
    findings.push(here.finding());
    Report::new(findings)
}

/// Nothing else can be judged by settings that are not in force.
fn refused(mistakes: &Mistakes) -> Vec<Finding> {
    let remedy = "correct what is named; `wsfleetd check-config` reads it again";
    let mut findings = vec![Finding::error("configuration", mistakes.to_string(), remedy)];
    let others = ["redis", "database", "users", "ec2", "listen", "timeouts", "limits.descriptors"];
    findings.extend(others.map(|check| Finding::skipped(check, "the configuration is refused")));
    findings
}

fn configuration(settings: &Settings) -> Finding {
    let level = crate::telemetry::check_level(&settings.telemetry.level);
    match level {
        Ok(()) => Finding::ok("configuration", "is accepted"),
        Err(error) => Finding::error(
            "configuration",
            format!("telemetry.level: {error}"),
            "write error, warn, info, debug or trace, or a filter by module",
        ),
    }
}

async fn users(settings: &Settings) -> Vec<Finding> {
    match settings.database.url {
        Some(_) => database::examine(settings).await,
        None => {
            let mut findings = database::SKIPPED
                .map(|check| Finding::skipped(check, "database.url is not set"))
                .to_vec();
            findings.push(directory::examine(settings).await);
            findings
        }
    }
}
