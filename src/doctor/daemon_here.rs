//! The daemon that runs on this machine, if one does, and the addresses it needs if none does.

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use http::Method;
use tokio::time::timeout;

use super::{ANSWER, finding::Finding};
use crate::{
    config::Settings,
    control::{
        self, State, Status,
        client::{CallError, call, process_id},
    },
};

const CHECK: &str = "daemon";

/// Of all connections, in percent, from which the instance is nearly full.
const NEARLY_FULL: usize = 90;

/// What was heard over the control socket.
pub struct Here {
    status: Result<Status, CallError>,
    took: Duration,
    /// Of the daemon, if it runs.
    pub process: Option<i32>,
}

impl Here {
    /// Asks the daemon with this `instance.runtime_dir`.
    pub async fn ask(runtime_dir: &Path) -> Self {
        let (path, start) = (control::path(runtime_dir), Instant::now());
        let nothing: Option<&()> = None;
        let asked = timeout(ANSWER, call(&path, Method::GET, "/status", nothing)).await;
        let status = asked.unwrap_or(Err(CallError::Silent));
        let took = start.elapsed();
        let process = match status {
            Err(CallError::NotRunning { .. } | CallError::Denied(_)) => None,
            _ => process_id(&path).await,
        };
        Self { status, took, process }
    }

    /// How it is.
    pub fn finding(&self) -> Finding {
        match &self.status {
            Ok(status) => judge(status).in_time(self.took),
            Err(CallError::NotRunning { .. }) => Finding::skipped(CHECK, "none runs here"),
            Err(CallError::Denied(path)) => {
                Finding::skipped(CHECK, format!("{path} is for root and the group wsfleetd"))
            }
            Err(CallError::Silent) => Finding::error(
                CHECK,
                format!("it does not answer within {} s", ANSWER.as_secs()),
                "look at `journalctl --unit=wsfleetd`; the watchdog replaces a frozen daemon",
            ),
            Err(error) => {
                Finding::warning(CHECK, error.to_string(), "restart it if it is of another version")
            }
        }
    }

    /// Whether what is to be listened on is free; a daemon that runs has it already.
    pub fn listeners(&self, settings: &Settings) -> Vec<Finding> {
        const CHECK: &str = "listen";
        if !matches!(self.status, Err(CallError::NotRunning { .. })) {
            return vec![Finding::skipped(CHECK, "a daemon listens already")];
        }
        let listen = &settings.listen;
        let all = [("app", listen.app), ("api", listen.api), ("admin", listen.admin)];
        let taken = all.iter().filter_map(|(name, address)| {
            let error = TcpListener::bind(address).err()?;
            let found = format!("listen.{name} = {address} cannot be listened on: {error}");
            let remedy = format!("see who has it: ss -ltnp 'sport = :{}'", address.port());
            Some(Finding::error(CHECK, found, remedy))
        });
        let taken: Vec<_> = taken.collect();
        match taken.is_empty() {
            true => vec![Finding::ok(CHECK, "the addresses are free")],
            false => taken,
        }
    }
}

fn judge(status: &Status) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let (open, max) = (status.connections.open, status.connections.max);
    let found = format!("version {}, {open} of {max} connections", status.version);
    if !status.failing.is_empty() {
        let failing: Vec<_> =
            status.failing.iter().map(|(what, why)| format!("{what}: {why}")).collect();
        let remedy = "the checks before this one say why; it mends itself when they are well";
        return Finding::error(CHECK, failing.join("; "), remedy);
    }
    if status.state == State::Draining {
        return Finding::warning(
            CHECK,
            format!("it is draining, {open} are left"),
            "wait, or start it again",
        );
    }
    if open * 100 >= max * NEARLY_FULL {
        let remedy = "add instances, or raise limits.max_connections and LimitNOFILE";
        return Finding::warning(CHECK, format!("nearly full: {found}"), remedy);
    }
    let lost = status.fleet.as_ref().map_or(0, |fleet| fleet.possible_loss);
    if lost > 0 {
        let found = format!("{found}; {lost} messages may have been lost since its start");
        return Finding::warning(CHECK, found, "see the journal for \"possible loss\"");
    }
    if status.version != own {
        let remedy = "restart it to run what is installed";
        return Finding::warning(CHECK, format!("{found}; {own} is installed"), remedy);
    }
    Finding::ok(CHECK, found)
}
