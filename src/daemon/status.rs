//! The line that `systemctl status` shows: how full, how busy, what it leans on, how far the drain is.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::parts::Parts;
use crate::{
    config::settings::Settings, http::Health, hub::Hub, lifecycle::notify, router::Router,
};

/// How often systemd is told.
const PERIOD: Duration = Duration::from_secs(10);

/// A rate over less than this would be noise: the last one is said again.
const SHORTEST: Duration = Duration::from_secs(1);

/// What the line is made from; clones share the last look.
#[derive(Clone)]
pub struct StatusLine {
    hub: Hub,
    router: Router,
    health: Health,
    in_fleet: bool,
    has_database: bool,
    /// Std locks, held for a few figures and a line.
    last: Arc<Mutex<Look>>,
    said: Arc<Mutex<Option<String>>>,
}

/// When, how many messages there had been, and how many a second came since the look before.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    messages: u64,
    rate: f64,
}

impl StatusLine {
    /// Of this instance.
    pub fn new(settings: &Settings, parts: &Parts) -> Self {
        Self {
            hub: parts.hub.clone(),
            router: parts.router.clone(),
            health: parts.health.clone(),
            in_fleet: settings.redis.url.is_some(),
            has_database: settings.database.url.is_some(),
            last: Arc::new(Mutex::new(Look { at: Instant::now(), messages: 0, rate: 0.0 })),
            said: Arc::default(),
        }
    }

    /// Tells systemd now and then, until `stop`; what is said of the drain must stand.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let Some(line) = stop.run_until_cancelled(self.serving()).await else { return };
            notify::status(&line);
            if timeout(PERIOD, stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// What was said last, for those who must not wait for an answer of the database.
    pub fn latest(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        said.unwrap_or_else(|| format!("serving {} connections", self.hub.len()))
    }

    /// While clients are served. Asks what `/readyz` asks, each within its bound.
    async fn serving(&self) -> String {
        let failing = self.health.report().await.failing;
        let rate = self.rate();
        let fleet = if self.in_fleet { redis(&failing) } else { "alone".to_owned() };
        let users = match (self.has_database, failing.get("users")) {
            (false, _) => "users from a file".to_owned(),
            (true, None) => "PostgreSQL ok".to_owned(),
            (true, Some(reason)) => format!("PostgreSQL: {}", words(reason)),
        };
        let count = self.hub.len();
        let line = format!("serving {count} connections, {rate:.0} messages/s; {fleet}; {users}");
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
        line
    }

    fn rate(&self) -> f64 {
        let counters = self.router.counters();
        let [local, remote] = [&counters.local, &counters.remote];
        let messages = local.load(Ordering::Relaxed) + remote.load(Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.followed_by(Instant::now(), messages);
        last.rate
    }
}

impl Look {
    fn followed_by(self, at: Instant, messages: u64) -> Self {
        let passed = at.duration_since(self.at);
        if passed < SHORTEST {
            return self;
        }
        let rate = messages.saturating_sub(self.messages) as f64 / passed.as_secs_f64();
        Self { at, messages, rate }
    }
}

/// While they are sent away.
pub fn draining(left: usize, total: usize, passed: Duration, bound: Duration) -> String {
    let (passed, bound) = (passed.as_secs(), bound.as_secs_f64());
    format!("draining: {left} of {total} connections left, {passed} s of {bound:.0} s")
}

fn redis(failing: &Map<String, Value>) -> String {
    match (failing.get("redis"), failing.get("lease")) {
        (None, None) => "Redis ok".to_owned(),
        (Some(reason), _) => format!("Redis: {}", words(reason)),
        (None, Some(reason)) => format!("Redis ok, lease {}", words(reason)),
    }
}

/// On one line: a line break would end the message to systemd.
fn words(reason: &Value) -> String {
    let text = reason.as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rate_is_that_since_the_last_look_and_no_noise() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let first = Look { at: start, messages: 0, rate: 0.0 }.followed_by(at(2000), 100);
        assert!((first.rate - 50.0).abs() < f64::EPSILON);
        let hasty = first.followed_by(at(2100), 200);
        assert!((hasty.rate - 50.0).abs() < f64::EPSILON);
        assert!((hasty.followed_by(at(4000), 200).rate - 50.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_fails_is_said_with_its_reason_on_one_line() {
        let failing = |value: Value| value.as_object().expect("an object").clone();
        assert_eq!(redis(&failing(json!({}))), "Redis ok");
        let down = json!({"redis": "not\n connected", "lease": "not held"});
        assert_eq!(redis(&failing(down)), "Redis: not connected");
        assert_eq!(redis(&failing(json!({"lease": "not held"}))), "Redis ok, lease not held");
    }

    #[test]
    fn a_drain_says_how_far_it_is() {
        let line = draining(3, 200, Duration::from_millis(7400), Duration::from_secs(10));
        assert_eq!(line, "draining: 3 of 200 connections left, 7 s of 10 s");
    }
}
