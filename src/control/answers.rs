//! What is asked and answered over the control socket, for both of its ends.
//!
//! The same types are printed by the daemon and read by the subcommands, and `--json` passes them on
//! as they are: scripts depend on these names. New fields may come; none goes or changes its meaning.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

/// What an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Clients are let in.
    Serving,
    /// Clients are being sent away.
    Draining,
}

/// `GET /status`: one look at everything.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of the daemon that runs, which may not be the file that is installed now.
    pub version: String,
    /// Its label in the fleet.
    pub instance: String,
    pub state: State,
    /// Since it became ready.
    pub uptime_s: u64,
    pub connections: Load,
    /// `None`: the instance is alone.
    pub fleet: Option<FleetStatus>,
    /// Dependencies that are not well, by name, with the reason; as `/readyz`.
    pub failing: BTreeMap<String, String>,
    pub messages: Messages,
    /// Tasks that run, connections' included.
    pub tasks: usize,
    /// `telemetry.level` as it is now.
    pub log_level: String,
}

/// How full it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Connections here.
    pub open: usize,
    /// `limits.max_connections`, resolved.
    pub max: usize,
}

/// The instance's place in the fleet.
#[derive(Debug, Serialize, Deserialize)]
pub struct FleetStatus {
    pub epoch: String,
    /// Members at the last heartbeat, this one included.
    pub members: usize,
    /// Whether this instance holds its lease.
    pub lease: bool,
    /// Envelopes that were written to peers, and read from them.
    pub sent: u64,
    pub received: u64,
    /// Messages that may have been lost between instances.
    pub possible_loss: u64,
}

/// What became of messages since the start.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Messages {
    /// Taken by a connection here.
    pub local: u64,
    /// Sent to a peer.
    pub remote: u64,
    /// For which the store was asked.
    pub slow: u64,
    /// Kept for who had just left.
    pub held: u64,
    /// That nobody could take.
    pub dropped: u64,
}

/// `GET /connections?user=&after=&limit=`: connections of this instance, in the order in which they
/// came; `?waiting=1&limit=`: those whose clients have something to take, the slowest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConnectionPage {
    pub items: Vec<ConnectionItem>,
    /// What to give as `after` for the next page; `None`: there is none.
    pub next: Option<u64>,
}

/// One connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConnectionItem {
    pub id: String,
    pub user: String,
    pub client: IpAddr,
    /// RFC 3339, UTC.
    pub connected_at: String,
    /// Whether the fleet knows it.
    pub registered: bool,
    /// Bytes that its client has still to take.
    pub waiting_bytes: usize,
}

/// `GET /peers`: the members of the fleet, this instance included. None where it is alone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PeerList {
    pub peers: Vec<PeerItem>,
}

/// One member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerItem {
    pub instance: String,
    pub epoch: String,
    /// Whether it is the one that answers.
    pub own: bool,
    pub zone: Option<String>,
    pub version: String,
    /// Since its last heartbeat was seen from here, in milliseconds; `None`: not seen yet.
    pub heartbeat_age_ms: Option<u64>,
    /// What it says when it is asked, at most every few seconds; `None`: it does not answer.
    pub connections: Option<u32>,
    /// Whether it says that it holds its lease.
    pub lease: Option<bool>,
}

/// `POST /kick`: whom.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kick {
    pub user: String,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kicked {
    /// Connections of this instance that are being closed.
    pub here: usize,
    /// Instances that close this user's connections, this one included if it has any.
    pub instances: usize,
    /// Instances that have connections of this user and did not hear it.
    pub silent: usize,
}

/// `GET` and `PUT /log-level`: a level, or a filter by module.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    pub level: String,
}

/// Why something was not done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    pub error: String,
}
