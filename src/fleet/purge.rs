//! Takes an instance out of the fleet by hand: kills its epochs, and frees what they left.
//!
//! For the operator who knows that a host is gone and will not wait, or whose fleet has lost the
//! instance that would have noticed. A living instance is refused, unless that is wanted: it
//! would find itself fenced, and join again.

use std::{collections::HashMap, time::Duration};

use tokio::time::{Instant, sleep};

use super::roster::Info;
use crate::{
    ids::Epoch,
    store::{MemberRow, SharedStore, StoreError},
};

/// Beyond two heartbeats, what a counter may take to move: Redis, and a busy host.
const GRACE: Duration = Duration::from_secs(1);

/// Between two looks at the counters.
const LOOK: Duration = Duration::from_millis(100);

/// Steps per partition; each frees up to 64 users.
const MAX_STEPS: u32 = 100_000;

/// A member of the fleet, as an operator sees it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its present epoch.
    pub epoch: Epoch,
    /// What it says of itself.
    pub info: Info,
    /// Whether its counter has moved while it was watched.
    pub is_alive: bool,
}

/// What was removed.
#[derive(Clone, Debug)]
pub struct Purged {
    /// Of which epoch.
    pub epoch: Epoch,
    /// The instance's label, if it was a member.
    pub instance: Option<String>,
    /// Entries of connections.
    pub connections: u64,
}

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// Redis did not do its part; to purge again is safe.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Neither a member's label nor an epoch.
    #[error("no member is called {0}, and it is no epoch; `wsfleetd fleet list` shows both")]
    Unknown(String),
    /// Its counter moves.
    #[error(
        "instance {instance} is alive under epoch {epoch}; stop it, or purge it with --force: it \
         will find itself given up, and join again with its connections"
    )]
    Alive {
        /// Its label.
        instance: String,
        /// Its epoch.
        epoch: Epoch,
    },
}

/// Everybody in the table; watches for two `heartbeat`s and a second who is alive.
pub async fn list(store: &SharedStore, heartbeat: Duration) -> Result<Vec<Member>, StoreError> {
    let before = store.table().await?;
    let (start, patience) = (Instant::now(), heartbeat * 2 + GRACE);
    loop {
        let now = store.table().await?;
        let counters: HashMap<_, _> = before.iter().map(|row| (row.epoch, row.counter)).collect();
        // Who has joined meanwhile is alive as well.
        let is_alive = |row: &MemberRow| counters.get(&row.epoch) != Some(&row.counter);
        if now.iter().all(is_alive) || start.elapsed() > patience {
            let members = now.iter().map(|row| Member {
                epoch: row.epoch,
                info: Info::parse(&row.info),
                is_alive: is_alive(row),
            });
            return Ok(members.collect());
        }
        sleep(LOOK).await;
    }
}

/// Takes every epoch of the instance with this label out, or the one epoch named.
pub async fn purge(
    store: &SharedStore,
    name: &str,
    force: bool,
    heartbeat: Duration,
) -> Result<Vec<Purged>, PurgeError> {
    let named = Epoch::parse(name.as_bytes());
    let is_meant = |one: &Member| one.info.instance == name || Some(one.epoch) == named;
    let all = list(store, heartbeat).await?;
    let meant: Vec<_> = all.into_iter().filter(is_meant).collect();
    if let Some(alive) = meant.iter().find(|one| one.is_alive && !force) {
        let (instance, epoch) = (alive.info.instance.clone(), alive.epoch);
        return Err(PurgeError::Alive { instance, epoch });
    }
    let mut epochs: Vec<_> =
        meant.into_iter().map(|one| (one.epoch, Some(one.info.instance))).collect();
    if epochs.is_empty() {
        // One that is in no table may have left entries all the same.
        let epoch = named.ok_or_else(|| PurgeError::Unknown(name.to_owned()))?;
        epochs.push((epoch, None));
    }
    let mut purged = Vec::new();
    for (epoch, instance) in epochs {
        kill(store, epoch).await?;
        let connections = reap(store, epoch).await?;
        purged.push(Purged { epoch, instance, connections });
    }
    Ok(purged)
}

/// Whatever its counter is by now.
async fn kill(store: &SharedStore, epoch: Epoch) -> Result<(), StoreError> {
    loop {
        let table = store.table().await?;
        let Some(row) = table.iter().find(|row| row.epoch == epoch) else { return Ok(()) };
        if store.kill(epoch, row.counter).await? {
            return Ok(());
        }
    }
}

async fn reap(store: &SharedStore, epoch: Epoch) -> Result<u64, StoreError> {
    let mut removed = 0;
    for partition in 0..store.partitions() {
        let mut cursor = 0;
        for _ in 0..MAX_STEPS {
            let step = store.reap(epoch, partition, cursor).await?;
            (removed, cursor) = (removed + step.removed, step.cursor);
            if step.left == 0 {
                break;
            }
        }
    }
    Ok(removed)
}
