//! All waits against each other: each is right by itself, and together they must be, too.
//!
//! What makes a configuration wrong is refused in `config::rules` already; here is what works until
//! something is slow.

use std::time::Duration;

use humantime::format_duration;

use super::{finding::Finding, unit::Unit};
use crate::config::Settings;

const CHECK: &str = "timeouts";

/// An Application Load Balancer's own, unless it was changed.
const ALB_IDLE: Duration = Duration::from_secs(60);

/// The longest it can be changed to.
const ALB_LONGEST: Duration = Duration::from_secs(4000);

/// What does not go together, and what to do.
type Rule = fn(&Settings, &Unit) -> Option<(String, String)>;

/// The most urgent first.
const RULES: [Rule; 6] = [
    pings_keep_the_load_balancer_open,
    a_slow_answer_does_not_end_the_lease,
    a_handshake_outlasts_its_questions,
    a_stop_ends_before_systemd_kills,
    statements_end_when_nobody_waits,
    a_stale_user_is_older_than_a_fresh_one,
];

pub fn examine(settings: &Settings, unit: &Unit) -> Finding {
    let broken: Vec<_> = RULES.iter().filter_map(|rule| rule(settings, unit)).collect();
    if broken.is_empty() {
        let found = format!(
            "all {} relations hold; set the load balancer's idle timeout above \
             websocket.ping_interval ({})",
            RULES.len(),
            format_duration(settings.websocket.ping_interval)
        );
        return Finding::ok(CHECK, found);
    }
    let (found, remedies): (Vec<_>, Vec<_>) = broken.into_iter().unzip();
    Finding::warning(CHECK, found.join("; "), remedies.join("; "))
}

fn pings_keep_the_load_balancer_open(settings: &Settings, _: &Unit) -> Option<(String, String)> {
    let ping = settings.websocket.ping_interval;
    let shown = format_duration(ping);
    let remedy = if ping >= ALB_LONGEST {
        "lower websocket.ping_interval: no load balancer waits for so long".to_owned()
    } else {
        format!(
            "set the load balancer's idle timeout above {shown}, or lower websocket.ping_interval"
        )
    };
    let found = format!(
        "pings come every {shown}, and an Application Load Balancer closes a silent connection after \
         {}, unless it is told otherwise",
        format_duration(ALB_IDLE)
    );
    (ping >= ALB_IDLE).then_some((found, remedy))
}

fn a_slow_answer_does_not_end_the_lease(settings: &Settings, _: &Unit) -> Option<(String, String)> {
    let (redis, fleet) = (&settings.redis, &settings.fleet);
    // An answer that does not come, another connection, and the next heartbeat on it.
    let worst = fleet.heartbeat + redis.command_timeout + redis.connect_timeout;
    let found = format!(
        "one lost answer of Redis takes {}, and fleet.lease is {}",
        format_duration(worst),
        format_duration(fleet.lease)
    );
    let remedy = "lower redis.command_timeout and redis.connect_timeout, or raise fleet.lease with \
                  fleet.suspect_rounds";
    (redis.url.is_some() && worst >= fleet.lease).then(|| (found, remedy.to_owned()))
}

fn a_handshake_outlasts_its_questions(settings: &Settings, _: &Unit) -> Option<(String, String)> {
    let database = &settings.database;
    let mut worst = Duration::ZERO;
    if database.url.is_some() {
        worst += database.connect_timeout + database.query_timeout;
    }
    if settings.redis.url.is_some() {
        worst += settings.redis.command_timeout;
    }
    let within = settings.websocket.handshake_timeout;
    let found = format!(
        "PostgreSQL and Redis may take {} of a handshake, which is cut off after {}: clients see a \
         closed connection instead of 503",
        format_duration(worst),
        format_duration(within)
    );
    let remedy = "raise websocket.handshake_timeout, or lower database.*_timeout";
    (worst >= within).then(|| (found, remedy.to_owned()))
}

/// The daemon asks for more time while it drains; this is for the one that hangs before it does.
fn a_stop_ends_before_systemd_kills(settings: &Settings, unit: &Unit) -> Option<(String, String)> {
    let (takes, kill) = (settings.drain.stop_timeout, unit.stop_timeout()?);
    let found = format!(
        "drain.stop_timeout = {} is not below TimeoutStopSec={} of wsfleetd.service",
        format_duration(takes),
        format_duration(kill)
    );
    let remedy = "raise TimeoutStopSec= (`systemctl edit wsfleetd`), or lower drain.stop_timeout";
    (takes >= kill).then(|| (found, remedy.to_owned()))
}

fn statements_end_when_nobody_waits(settings: &Settings, _: &Unit) -> Option<(String, String)> {
    let database = &settings.database;
    let (statement, query) = (database.statement_timeout, database.query_timeout);
    let found = format!(
        "PostgreSQL works on for {} at what nobody waits for after {}",
        format_duration(statement),
        format_duration(query)
    );
    let remedy = "make database.statement_timeout at most twice database.query_timeout";
    (database.url.is_some() && statement > query * 2).then(|| (found, remedy.to_owned()))
}

fn a_stale_user_is_older_than_a_fresh_one(
    settings: &Settings,
    _: &Unit,
) -> Option<(String, String)> {
    let users = &settings.users;
    let found = format!(
        "users.cache_stale = {} is below users.cache_ttl = {}: the cache bridges no outage",
        format_duration(users.cache_stale),
        format_duration(users.cache_ttl)
    );
    let remedy = "make users.cache_stale longer than users.cache_ttl";
    let is_used = settings.database.url.is_some();
    (is_used && users.cache_stale < users.cache_ttl).then(|| (found, remedy.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn look(change: impl Fn(&mut Settings)) -> Finding {
        let mut settings = Settings::default();
        settings.redis.url = Some("redis://r/".into());
        settings.database.url = Some("postgres://d/x".into());
        change(&mut settings);
        let unit = Unit::parse("LoadState=loaded\nTimeoutStopUSec=30s\n");
        examine(&settings, &unit)
    }

    #[test]
    fn what_is_shipped_goes_together() {
        let finding = look(|_| {});
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    }

    #[test]
    fn what_does_not_go_together_is_named_by_its_key() {
        let seconds = Duration::from_secs;
        let broken = |words: &str, change: &dyn Fn(&mut Settings)| {
            let finding = look(change);
            assert_eq!(finding.verdict, Verdict::Warning, "{words}");
            let text = format!("{} {}", finding.found, finding.remedy.unwrap_or_default());
            assert!(text.contains(words), "{words}: {text}");
        };
        broken("above 1m", &|s| s.websocket.ping_interval = seconds(60));
        broken("no load balancer", &|s| s.websocket.ping_interval = seconds(4000));
        broken("fleet.lease is 5s", &|s| s.redis.command_timeout = seconds(3));
        broken("websocket.handshake_timeout", &|s| s.database.query_timeout = seconds(9));
        broken("TimeoutStopSec=30s", &|s| s.drain.stop_timeout = seconds(30));
        broken("nobody waits", &|s| s.database.statement_timeout = seconds(5));
        broken("bridges no outage", &|s| s.users.cache_stale = seconds(1));
    }
}
