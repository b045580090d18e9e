//! `status`, `connections`, `kick`, `log-level`, `top`: questions to the daemon that runs on this machine.
//!
//! Text for people, JSON for scripts; what the JSON holds is [`crate::control`]'s word for word.

mod text;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use http::Method;
use serde::Serialize;
use url::form_urlencoded;

use super::top::Top;
use crate::control::{self, ConnectionPage, Kick, Kicked, Level, Status, client::CallError};

/// Connections asked for at a time.
const PAGE: usize = 5000;

/// No body.
pub(super) const NOTHING: Option<&()> = None;

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say how the daemon on this machine is doing
    ///
    /// Connections, its place in the fleet, what became of messages, what is not well.
    Status {
        /// One JSON object, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Watch this instance and the fleet: connections, rates, CPU, memory, peers, slow clients
    ///
    /// q quits, s sorts the members by another column, r looks at once. Where standard output is no
    /// terminal, or with --once, one frame is printed as plain text.
    Top(Top),
    /// List the connections of the daemon on this machine, in the order in which they came
    Connections {
        /// Only this user's
        #[arg(long, value_name = "USERNAME")]
        user: Option<String>,
        /// One JSON object per line, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Close all connections of a user, on every instance of the fleet; the user may connect again
    ///
    /// They are closed with code 1000.
    Kick {
        /// Whose
        username: String,
        /// One JSON object, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Show, or change until the next start or a new telemetry.level, how much the daemon on this machine logs
    LogLevel {
        /// error, warn, info, debug or trace, or a filter by module: info,wsfleetd::relay=debug
        filter: Option<String>,
        /// One JSON object, for scripts
        #[arg(long)]
        json: bool,
    },
}

/// Asks the daemon with this `instance.runtime_dir`, and prints to `out`.
pub async fn run(command: Command, runtime_dir: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let daemon = Daemon(control::path(runtime_dir));
    match command {
        Command::Status { json } => {
            let status: Status = daemon.ask(Method::GET, "/status", NOTHING).await?;
            if json { print_json(&status, out) } else { text::status(&status, out) }
        }
        Command::Top(top) => top.run(&daemon, out).await,
        Command::Connections { user, json } => connections(&daemon, user, json, out).await,
        Command::Kick { username, json } => {
            let kick = Kick { user: username };
            let kicked: Kicked = daemon.ask(Method::POST, "/kick", Some(&kick)).await?;
            if json { print_json(&kicked, out) } else { text::kicked(&kick.user, &kicked, out) }
        }
        Command::LogLevel { filter, json } => {
            let level: Level = match filter {
                Some(level) => {
                    daemon.ask(Method::PUT, "/log-level", Some(&Level { level })).await?
                }
                None => daemon.ask(Method::GET, "/log-level", NOTHING).await?,
            };
            if json { print_json(&level, out) } else { Ok(writeln!(out, "{}", level.level)?) }
        }
    }
}

async fn connections(
    daemon: &Daemon,
    user: Option<String>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut table = text::connections();
    let mut after = None;
    loop {
        let target = page(user.as_deref(), after);
        let page: ConnectionPage = daemon.ask(Method::GET, &target, NOTHING).await?;
        if json {
            page.items.iter().try_for_each(|item| print_json(item, out))?;
        } else {
            table.print(page.items.iter().map(text::cells), out)?;
        }
        match page.next {
            None => return Ok(()),
            next => after = next,
        }
    }
}

fn page(user: Option<&str>, after: Option<u64>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::from("/connections?"));
    query.append_pair("limit", &PAGE.to_string());
    if let Some(user) = user {
        query.append_pair("user", user);
    }
    if let Some(after) = after {
        query.append_pair("after", &after.to_string());
    }
    query.finish()
}

fn print_json(value: &impl Serialize, out: &mut impl Write) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string(value)?)?)
}

/// The other end.
pub(super) struct Daemon(PathBuf);

impl Daemon {
    /// Its process id, as the kernel tells it.
    pub(super) async fn process_id(&self) -> Option<i32> {
        control::client::process_id(&self.0).await
    }

    pub(super) async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CallError> {
        control::client::call(&self.0, method, target, body).await
    }
}
