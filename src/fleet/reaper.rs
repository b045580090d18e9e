//! Frees what the dead left: bounded steps, in the background, safe to repeat.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::roster::Roster;
use crate::{
    ids::Epoch,
    lifecycle::Tasks,
    store::{SharedStore, StoreError},
    telemetry::events,
};

/// Partitions reaped at a time: most of the pool's connections, leaving one for others.
const AT_ONCE: usize = 3;

/// Steps per partition; each frees up to 64 users, so this is more than one instance holds.
const MAX_STEPS: u32 = 100_000;

/// Tries when Redis does not answer, and the pause between them. What is left then, the next
/// change of view or the sweep takes up.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Kills and reaps; cheap to clone.
#[derive(Clone)]
pub struct Reaper {
    store: SharedStore,
    tasks: Tasks,
    roster: Roster,
    /// Epochs being reaped; a std lock, held to add or remove.
    busy: Arc<Mutex<HashSet<Epoch>>>,
}

impl Reaper {
    /// Over its parts.
    pub fn new(store: SharedStore, tasks: Tasks, roster: Roster) -> Self {
        Self { store, tasks, roster, busy: Arc::default() }
    }

    /// Takes a silent epoch off the table, unless it has moved since. Everyone who is left sees
    /// it among the dead by its next heartbeat and reaps its share.
    pub fn kill(&self, epoch: Epoch, counter: u64) {
        let (store, name) = (self.store.clone(), self.roster.name_of(epoch));
        self.tasks.spawn("kill", async move {
            match store.kill(epoch, counter).await {
                Ok(true) => warn!(
                    message_id = events::PEER_REAPED,
                    peer.epoch = %epoch,
                    peer.id = %name,
                    "the instance {name} of epoch {epoch} is silent and counts as dead"
                ),
                Ok(false) => debug!("epoch {epoch} has moved after all, or is gone"),
                Err(error) => debug!("cannot take epoch {epoch} off the table: {error}"),
            }
        });
    }

    /// Frees what `epoch` left in `partitions`; does nothing if that is being done.
    /// Answers false then: whoever inherits a further share must ask again.
    pub fn reap(&self, epoch: Epoch, partitions: Vec<u16>) -> bool {
        if partitions.is_empty() {
            return true;
        }
        if !self.busy().insert(epoch) {
            return false;
        }
        let reaper = self.clone();
        self.tasks.spawn("reap", async move {
            let removed = reaper.reap_all(epoch, partitions).await;
            reaper.busy().remove(&epoch);
            info!(
                peer.epoch = %epoch,
                count = removed,
                "freed {removed} connections that epoch {epoch} had left"
            );
        });
        true
    }

    async fn reap_all(&self, epoch: Epoch, partitions: Vec<u16>) -> u64 {
        let work = partitions.into_iter().map(|partition| self.reap_partition(epoch, partition));
        stream::iter(work).buffer_unordered(AT_ONCE).fold(0, async |sum, one| sum + one).await
    }

    async fn reap_partition(&self, epoch: Epoch, partition: u16) -> u64 {
        let mut removed = 0;
        for attempt in 1..=TRIES {
            match self.try_reap(epoch, partition, &mut removed).await {
                Ok(()) => return removed,
                Err(error) if attempt == TRIES => {
                    debug!("partition {partition} of epoch {epoch} is not reaped: {error}");
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
        removed
    }

    async fn try_reap(
        &self,
        epoch: Epoch,
        partition: u16,
        removed: &mut u64,
    ) -> Result<(), StoreError> {
        let mut cursor = 0;
        for _ in 0..MAX_STEPS {
            let step = self.store.reap(epoch, partition, cursor).await?;
            *removed += step.removed;
            cursor = step.cursor;
            if step.left == 0 {
                break;
            }
        }
        Ok(())
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<Epoch>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
