//! When to ping, and when to give a connection up.
//!
//! One timer per connection, set to whatever comes first. Pings keep the load balancer's idle
//! timeout from firing and find peers that died without a word; jitter keeps thousands of
//! connections that came together from pinging together.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::protocol::close::Close;

/// Pings that may go unanswered: with the third due, the peer has been silent for two periods.
const UNANSWERED: u8 = 2;

/// How much earlier than its period a ping, and than its time a lifetime, may come: a tenth.
const JITTER: f64 = 0.1;

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Between pings.
    pub ping_interval: Duration,
    /// Closed after this long without a message in either direction; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Closed at this age; `None`: never.
    pub max_lifetime: Option<Duration>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send a ping.
    Ping,
    /// Close the connection with this.
    Close(Close),
    /// Drop it: the peer is dead and would read no close frame.
    Dead,
}

/// The timer of one connection.
pub struct Keepalive {
    config: Arc<Config>,
    ping_at: Instant,
    unanswered: u8,
    last_message: Instant,
    end_at: Option<Instant>,
    sleep: std::pin::Pin<Box<Sleep>>,
}

impl Keepalive {
    /// Starts now.
    pub fn new(config: Arc<Config>) -> Self {
        let now = Instant::now();
        let ping_at = now + jittered(config.ping_interval);
        let end_at = config.max_lifetime.map(|lifetime| now + jittered(lifetime));
        let sleep = Box::pin(sleep_until(ping_at));
        let mut timer = Self { config, ping_at, unanswered: 0, last_message: now, end_at, sleep };
        timer.rearm();
        timer
    }

    /// Anything came from the peer: it lives.
    pub fn heard(&mut self) {
        self.unanswered = 0;
    }

    /// A message went either way: the connection is in use.
    pub fn used(&mut self, now: Instant) {
        self.last_message = now;
    }

    /// Waits for what is due next. Cancel-safe: all state is kept here.
    pub async fn due(&mut self) -> Due {
        loop {
            self.sleep.as_mut().await;
            let due = self.check(Instant::now());
            self.rearm();
            if let Some(due) = due {
                return due;
            }
        }
    }

    fn check(&mut self, now: Instant) -> Option<Due> {
        let ended = self.end_at.is_some_and(|at| now >= at);
        if ended || self.idle_at().is_some_and(|at| now >= at) {
            return Some(Due::Close(Close::GoingAway));
        }
        if now < self.ping_at {
            return None;
        }
        self.ping_at = now + jittered(self.config.ping_interval);
        if self.unanswered == UNANSWERED {
            return Some(Due::Dead);
        }
        self.unanswered += 1;
        Some(Due::Ping)
    }

    fn rearm(&mut self) {
        let ends = [self.end_at, self.idle_at()];
        let next = ends.into_iter().flatten().fold(self.ping_at, Instant::min);
        self.sleep.as_mut().reset(next);
    }

    fn idle_at(&self) -> Option<Instant> {
        self.config.idle_timeout.map(|timeout| self.last_message + timeout)
    }
}

fn jittered(period: Duration) -> Duration {
    period.mul_f64(1.0 - JITTER * rand::rng().random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { ping_interval: Duration::from_secs(25), idle_timeout: None, max_lifetime: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_is_pinged_for_ever() {
        let mut timer = Keepalive::new(config().into());
        for _ in 0..100 {
            assert_eq!(timer.due().await, Due::Ping);
            timer.heard();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_silent_for_two_periods_is_dead_within_75_seconds() {
        let start = Instant::now();
        let mut timer = Keepalive::new(config().into());
        assert_eq!(timer.due().await, Due::Ping);
        assert_eq!(timer.due().await, Due::Ping);
        assert_eq!(timer.due().await, Due::Dead);
        let silent = start.elapsed();
        assert!((50..=75).contains(&silent.as_secs()), "{silent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn pings_do_not_count_as_use() {
        let idle_timeout = Some(Duration::from_secs(600));
        let mut timer = Keepalive::new(Config { idle_timeout, ..config() }.into());
        let start = Instant::now();
        loop {
            match timer.due().await {
                Due::Ping => timer.heard(),
                due => break assert_eq!(due, Due::Close(Close::GoingAway)),
            }
        }
        assert_eq!(start.elapsed().as_secs(), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn use_puts_the_idle_timeout_off_but_not_the_end_of_life() {
        let idle_timeout = Some(Duration::from_secs(30));
        let max_lifetime = Some(Duration::from_secs(7200));
        let start = Instant::now();
        let config = Config { idle_timeout, max_lifetime, ..config() };
        let mut timer = Keepalive::new(config.into());
        while timer.due().await == Due::Ping {
            timer.heard();
            timer.used(Instant::now());
        }
        assert!((6480..=7200).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }
}
