//! What the daemon answers, as a person reads it.

use std::{io::Write, time::Duration};

use humantime::format_duration;

use crate::{
    cli::table::{Table, printable},
    control::{ConnectionItem, FleetStatus, Kicked, State, Status},
};

/// One fact per line, what is wrong last and in its own words.
pub fn status(status: &Status, out: &mut impl Write) -> anyhow::Result<()> {
    let state = match status.state {
        State::Serving => "serving",
        State::Draining => "draining",
    };
    let uptime = format_duration(Duration::from_secs(status.uptime_s));
    let (instance, version) = (&status.instance, &status.version);
    writeln!(out, "{instance}: wsfleetd {version}, {state}, up {uptime}")?;
    let mut line = |name: &str, value: String| writeln!(out, "  {name:<13}{value}");
    let load = &status.connections;
    line("connections", format!("{} of {}", load.open, load.max))?;
    line("fleet", fleet(status.fleet.as_ref()))?;
    let sent = &status.messages;
    let (local, remote, slow) = (sent.local, sent.remote, sent.slow);
    line("messages", format!("{local} delivered here, {remote} sent to peers, {slow} looked up"))?;
    line("", format!("{} held, {} dropped{}", sent.held, sent.dropped, loss(status)))?;
    line("log level", status.log_level.clone())?;
    match status.failing.is_empty() {
        true => line("health", "all is well".to_owned())?,
        false => status
            .failing
            .iter()
            .try_for_each(|(what, why)| line("NOT WELL", format!("{what}: {why}")))?,
    }
    Ok(())
}

fn fleet(fleet: Option<&FleetStatus>) -> String {
    let Some(fleet) = fleet else { return "alone, without Redis".to_owned() };
    let lease = if fleet.lease { "holds its lease" } else { "has NO lease" };
    format!("one of {}, {lease}, epoch {}", fleet.members, fleet.epoch)
}

fn loss(status: &Status) -> String {
    match status.fleet.as_ref().map_or(0, |fleet| fleet.possible_loss) {
        0 => String::new(),
        lost => format!(", {lost} possibly lost between instances"),
    }
}

/// What a kick has done.
pub fn kicked(user: &str, kicked: &Kicked, out: &mut impl Write) -> anyhow::Result<()> {
    let (here, silent) = (kicked.here, kicked.silent);
    match kicked.instances {
        0 if silent == 0 => writeln!(out, "{user} is not connected")?,
        on => writeln!(out, "{user} is kicked off {on} instances, {here} connections of this one")?,
    }
    if silent > 0 {
        writeln!(out, "{silent} instances with connections of {user} did not hear it: try again")?;
    }
    Ok(())
}

const HEADER: [&str; 6] = ["ID", "USER", "CLIENT", "CONNECTED", "IN FLEET", "WAITING"];

/// The table of connections.
pub fn connections() -> Table<{ HEADER.len() }> {
    Table::new(HEADER)
}

/// A connection's row in it.
pub fn cells(item: &ConnectionItem) -> [String; HEADER.len()] {
    [
        item.id.clone(),
        printable(&item.user),
        item.client.to_string(),
        item.connected_at.clone(),
        if item.registered { "yes" } else { "not yet" }.to_owned(),
        match item.waiting_bytes {
            0 => "-".to_owned(),
            bytes => format!("{bytes} B"),
        },
    ]
}
