//! The Unix socket that the subcommands talk to: JSON over HTTP, one table of routes.
//!
//! HTTP because hyper is here already, because its bounds (heads, bodies, deadlines) are known, and
//! because `curl --unix-socket` speaks it too. Who may ask is decided by the file's mode, 0660, in a
//! directory that only root and the daemon's group may enter; there is nothing else to log in with.
//! An instance that cannot open it serves its clients all the same.

mod answers;
pub mod client;
mod desk;
mod neighbours;
mod socket;

use std::path::{Path, PathBuf};

pub use self::{
    answers::{
        ConnectionItem, ConnectionPage, FleetStatus, Kick, Kicked, Level, Load, Messages, PeerItem,
        PeerList, Problem, State, Status,
    },
    desk::{Desk, Fleet, Parts},
    socket::{BindError, Socket},
};

/// Where the socket of a daemon with this `instance.runtime_dir` stands.
pub fn path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("control.sock")
}
