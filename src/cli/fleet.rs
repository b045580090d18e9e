//! `wsfleetd fleet …`: who is in the fleet, and who must not be any more.

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    config::settings::Settings,
    daemon::open_redis,
    fleet::purge::{Member, list, purge},
    lifecycle::Tasks,
    redis::LinkState,
    store::{HoldPolicy, SharedStore, shared::SharedState},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the members: instance, epoch, whether it is alive, where it is
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Take an instance out of the fleet and free what it left; refuses one that is alive
    ///
    /// For what the others have not found out by themselves. One that is alive and taken out by
    /// --force joins again as a new member.
    Purge {
        /// The instance's label, or one of its epochs
        instance: String,
        /// Also if it is alive: it will find itself given up, and join again
        #[arg(long)]
        force: bool,
    },
}

/// Does what the command line says.
pub async fn run(command: Command, settings: &Settings) -> anyhow::Result<()> {
    let Some(redis) = open_redis(settings)? else {
        bail!("redis.url is not set: this instance is alone, and there is no fleet");
    };
    let (stop, tasks) = (CancellationToken::new(), Tasks::new());
    let _guard = stop.clone().drop_guard();
    let (hot, stopped) = (redis.clone(), stop.clone());
    tasks.spawn("redis", async move { hot.run(stopped).await });
    let patience = settings.redis.connect_timeout + settings.redis.command_timeout * 2;
    let mut link = redis.watch();
    let up = link.wait_for(|state| matches!(state, LinkState::Up(_)));
    let reached = tokio::time::timeout(patience, up).await;
    reached.ok().and_then(Result::ok).context("Redis cannot be reached; see redis.url")?;

    let policy = hold_policy(settings);
    let store: SharedStore = Arc::new(SharedState::new(redis, &policy));
    match command {
        Command::List { json } => print(&list(&store, settings.fleet.heartbeat).await?, json),
        Command::Purge { instance, force } => {
            for one in purge(&store, &instance, force, settings.fleet.heartbeat).await? {
                let name = one.instance.as_deref().unwrap_or("no member");
                let (epoch, count) = (one.epoch, one.connections);
                println!("removed epoch {epoch} ({name}), and {count} connections it had left");
            }
        }
    }
    Ok(())
}

/// What a purge leaves to be held must be held as the daemon would.
fn hold_policy(settings: &Settings) -> HoldPolicy {
    crate::daemon::hold_policy(settings)
}

fn print(members: &[Member], as_json: bool) {
    if !as_json {
        println!("{:<24} {:<11} {:<6} {:<16} VERSION", "INSTANCE", "EPOCH", "STATE", "ZONE");
    }
    for Member { epoch, info, is_alive } in members {
        let state = if *is_alive { "alive" } else { "silent" };
        let zone = info.zone.as_deref().unwrap_or("-");
        if as_json {
            let line = json!({
                "instance": info.instance, "epoch": epoch.as_str(), "state": state,
                "zone": info.zone, "address": info.address, "version": info.version,
            });
            println!("{line}");
        } else {
            println!("{:<24} {epoch:<11} {state:<6} {zone:<16} {}", info.instance, info.version);
        }
    }
}
