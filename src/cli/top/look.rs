//! One look at everything, and what has happened between two.

use std::time::Instant;

use http::Method;

use super::process::Usage;
use crate::{
    cli::control::{Daemon, NOTHING},
    control::{ConnectionItem, ConnectionPage, PeerItem, PeerList, Status, client::CallError},
};

/// Slow clients that are shown.
pub const SLOW: usize = 8;

/// What there was to see.
pub struct Look {
    at: Instant,
    pub status: Status,
    pub peers: Vec<PeerItem>,
    /// Clients that have most to take, the slowest first.
    pub slow: Vec<ConnectionItem>,
    /// `None`: the kernel does not show it to this user.
    pub usage: Option<Usage>,
}

/// What happened in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Messages that connections here took, and that were sent to peers, read from them, looked up.
    pub here: f64,
    pub to_peers: f64,
    pub from_peers: f64,
    pub looked_up: f64,
    /// Of one core, in percent.
    pub cpu: Option<f64>,
}

impl Look {
    /// Asks the daemon; a daemon of an earlier version knows no peers.
    pub(super) async fn at(daemon: &Daemon) -> Result<Self, CallError> {
        let slow = format!("/connections?waiting=1&limit={SLOW}");
        let (status, peers, slow, process) = tokio::join!(
            daemon.ask::<Status>(Method::GET, "/status", NOTHING),
            daemon.ask::<PeerList>(Method::GET, "/peers", NOTHING),
            daemon.ask::<ConnectionPage>(Method::GET, &slow, NOTHING),
            daemon.process_id(),
        );
        Ok(Self {
            at: Instant::now(),
            status: status?,
            peers: peers.unwrap_or_default().peers,
            slow: slow.map(|page| page.items).unwrap_or_default(),
            usage: process.and_then(Usage::of),
        })
    }

    /// What happened since an earlier one.
    pub fn since(&self, earlier: &Self) -> Rates {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        // A daemon that was started anew counts from the beginning.
        if seconds <= 0.0 || self.status.uptime_s < earlier.status.uptime_s {
            return Rates::default();
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let (now, before) = (&self.status.messages, &earlier.status.messages);
        let received = |look: &Self| look.status.fleet.as_ref().map_or(0, |fleet| fleet.received);
        Rates {
            here: rate(now.local, before.local),
            to_peers: rate(now.remote, before.remote),
            from_peers: rate(received(self), received(earlier)),
            looked_up: rate(now.slow, before.slow),
            cpu: self.usage.zip(earlier.usage).map(|(now, before)| now.since(before, seconds)),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// A look `seconds` after `start`, when so many messages had been taken here.
    pub fn look(start: Instant, seconds: u64, local: u64) -> Look {
        let status = json!({
            "version": "0.1.0", "instance": "i-1", "state": "serving", "uptime_s": 100 + seconds,
            "connections": {"open": 3, "max": 100}, "failing": {}, "tasks": 40, "log_level": "info",
            "fleet": {"epoch": "AAAAAAAAAAA", "members": 2, "lease": true, "sent": 5, "received": 10 * seconds, "possible_loss": 0},
            "messages": {"local": local, "remote": 0, "slow": 0, "held": 1, "dropped": 0},
        });
        let peer = |name: &str, age: u64, connections: Option<u32>| PeerItem {
            instance: name.to_owned(),
            epoch: "AAAAAAAAAAA".to_owned(),
            own: name == "i-1",
            zone: None,
            version: "0.1.0".to_owned(),
            heartbeat_age_ms: Some(age),
            connections,
            lease: connections.map(|_| true),
        };
        Look {
            at: start + Duration::from_secs(seconds),
            status: serde_json::from_value(status).expect("a status"),
            peers: vec![
                peer("i-1", 300, Some(3)),
                peer("i-2", 9000, None),
                peer("i-3", 20, Some(9)),
            ],
            slow: Vec::new(),
            usage: None,
        }
    }

    #[test]
    fn rates_are_differences_over_time() {
        let start = Instant::now();
        let rates = look(start, 4, 90).since(&look(start, 2, 50));
        assert_eq!((rates.here, rates.from_peers, rates.to_peers), (20.0, 10.0, 0.0));
        let mut anew = look(start, 4, 1);
        anew.status.uptime_s = 1;
        assert_eq!(anew.since(&look(start, 2, 50)), Rates::default(), "no rate over a restart");
    }
}
