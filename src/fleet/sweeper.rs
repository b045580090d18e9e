//! Keeps the store and this instance in agreement: registers again what the store may not know,
//! and looks, partition by partition, for whatever was lost without anyone noticing.

use std::{collections::HashMap, collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    lease::Lease,
    membership::{Config, Parts, all},
    reaper::Reaper,
};
use crate::{
    hub::{Connection, Delivery, Hub},
    ids::{CurrentEpoch, Epoch, UserHash},
    lifecycle::Tasks,
    protocol::close::Close,
    relay::Listening,
    session::Registrar,
    store::{Claimed, SharedStore, Swept, View},
};

/// Connections per call of `assert`.
const BATCH: usize = 64;

/// Such calls on their way at the same time.
const AT_ONCE: usize = 16;

/// Every partition is swept once in this time (COORDINATION §4.4).
const FULL_SWEEP: Duration = Duration::from_secs(60);

/// How long an epoch must be known from what it wrote, and be no member, before it is reaped: one
/// that joins writes before it is listed.
const ORPHAN_AGE: Duration = Duration::from_secs(12);

/// Unknown epochs remembered; beyond this all are forgotten, and seen again.
const MAX_STRANGERS: usize = u16::MAX as usize;

/// Between two looks at what needs repair, however often it is asked for: while Redis is away
/// every try asks for the next.
const PAUSE: Duration = Duration::from_millis(250);

/// Keeps agreement; runs beside the lease, which must never wait for it.
pub struct Sweeper {
    work: Work,
    reaper: Reaper,
    lease: Lease,
    listening: watch::Receiver<Listening>,
    /// The epoch, and up to which number everything that was heard anew has been asserted.
    asserted: (Option<Epoch>, u64),
    period: Duration,
    next: u16,
    strangers: HashMap<Epoch, Instant>,
    /// One assertion at a time; the next waits its turn.
    turn: Arc<Semaphore>,
}

#[derive(Clone)]
struct Work {
    store: SharedStore,
    hub: Hub,
    registrar: Registrar,
    view: View,
    epoch: CurrentEpoch,
    tasks: Tasks,
    assert_rate: u32,
}

impl Sweeper {
    /// Over the fleet actor's parts.
    pub fn new(config: &Config, parts: &Parts, reaper: Reaper) -> Self {
        let work = Work {
            store: parts.store.clone(),
            hub: parts.hub.clone(),
            registrar: parts.registrar.clone(),
            view: parts.view.clone(),
            epoch: parts.epoch.clone(),
            tasks: parts.tasks.clone(),
            assert_rate: config.assert_rate,
        };
        Self {
            work,
            reaper,
            lease: parts.lease.clone(),
            listening: parts.relay.listening(),
            asserted: (None, 0),
            period: config.heartbeat,
            next: 0,
            strangers: HashMap::new(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Repairs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(self.period) => {}
                () = self.work.registrar.unsettled() => sleep(PAUSE).await,
                Ok(()) = self.listening.changed() => sleep(PAUSE).await,
            }
        }
    }

    /// Nothing is said for an epoch that is no member: it would only have to be reaped.
    async fn round(&mut self) {
        if !self.lease.is_held() {
            return;
        }
        let epoch = self.work.epoch.get();
        let unsettled = self.work.registrar.take_unsettled();
        if !self.assert_heard_anew(epoch) && unsettled {
            self.assert_unknown(epoch);
        }
        self.work.registrar.settle_releases().await;
        self.work.registrar.settle_verdicts().await;
        let suspects = stream::iter(self.work.registrar.take_suspects());
        suspects.for_each_concurrent(AT_ONCE, |user| self.work.remove_ghosts(epoch, user)).await;
        for orphan in self.sweep_next(epoch).await {
            self.reaper.reap(orphan, all(self.work.store.partitions()));
        }
    }

    /// Registers connections again where what was said of them may not have been heard; whether
    /// that is everywhere.
    fn assert_heard_anew(&mut self, epoch: Epoch) -> bool {
        let listening = self.listening.borrow_and_update().clone();
        let asserted = match self.asserted {
            (Some(before), number) if before == epoch => number,
            _ => 0,
        };
        self.asserted = (Some(epoch), listening.latest());
        let partitions = self.work.store.partitions();
        let anew: Vec<bool> =
            (0..partitions).map(|one| listening.hears_anew(epoch, one, asserted)).collect();
        if !anew.contains(&true) {
            return false;
        }
        let missed = |connection: &Connection| {
            let partition = connection.user().partition(partitions);
            anew[usize::from(partition)] && connection.may_be_asserted_or_is_missed()
        };
        self.assert(epoch, self.work.hub.select(missed));
        self.work.registrar.doubt_releases();
        !anew.contains(&false)
    }

    /// Registers those that this epoch has not registered yet.
    fn assert_unknown(&self, epoch: Epoch) {
        let unknown = |connection: &Connection| {
            let is_known = connection.registration().is_some_and(|known| known.epoch == epoch);
            connection.may_be_asserted() && (connection.take_missed() || !is_known)
        };
        self.assert(epoch, self.work.hub.select(unknown));
    }

    /// Sweeps as many partitions as are due in a round; answers epochs that nobody knows.
    async fn sweep_next(&mut self, epoch: Epoch) -> Vec<Epoch> {
        let partitions = self.work.store.partitions();
        let due = f64::from(partitions) * self.period.as_secs_f64() / FULL_SWEEP.as_secs_f64();
        let mut orphans = Vec::new();
        for _ in 0..due.ceil() as u16 {
            let partition = self.next;
            self.next = (self.next + 1) % partitions;
            if let Ok(Swept::Alive { users, epochs, .. }) =
                self.work.store.sweep(epoch, partition).await
            {
                self.work.compare(epoch, partition, &users).await;
                orphans.extend(self.note_strangers(&epochs));
            }
        }
        orphans
    }

    fn note_strangers(&mut self, epochs: &[Epoch]) -> Vec<Epoch> {
        self.strangers.retain(|epoch, _| !self.work.view.is_member(*epoch));
        let mut orphans = Vec::new();
        for epoch in epochs.iter().filter(|epoch| !self.work.view.is_member(**epoch)) {
            let first_seen = self.strangers.entry(*epoch).or_insert_with(Instant::now);
            if first_seen.elapsed() >= ORPHAN_AGE {
                self.strangers.remove(epoch);
                orphans.push(*epoch);
            }
        }
        if self.strangers.len() > MAX_STRANGERS {
            self.strangers.clear();
        }
        orphans
    }

    fn assert(&self, epoch: Epoch, connections: Vec<Arc<Connection>>) {
        if connections.is_empty() {
            return;
        }
        let (work, turn) = (self.work.clone(), self.turn.clone());
        self.work.tasks.spawn("assert", async move {
            let Ok(_turn) = turn.acquire().await else { return };
            work.assert(epoch, connections).await;
        });
    }
}

impl Work {
    /// At a bounded rate, stopping when the epoch has changed: then all begins anew.
    async fn assert(&self, epoch: Epoch, connections: Vec<Arc<Connection>>) {
        let total = connections.len();
        let mut by_partition: HashMap<u16, Vec<Arc<Connection>>> = HashMap::new();
        for connection in connections {
            let partition = connection.user().partition(self.store.partitions());
            by_partition.entry(partition).or_default().push(connection);
        }
        let mut slot = Instant::now();
        let mut paced = Vec::new();
        for (partition, connections) in by_partition {
            for batch in connections.chunks(BATCH) {
                paced.push((slot, partition, batch.to_vec()));
                slot += Duration::from_secs_f64(batch.len() as f64 / f64::from(self.assert_rate));
            }
        }
        // Several at a time, or a slow Redis would set the pace: each waits for its answer.
        let work = paced.into_iter().map(|(at, partition, batch)| async move {
            sleep_until(at).await;
            if self.epoch.get() == epoch {
                self.assert_batch(epoch, partition, &batch).await;
            }
        });
        stream::iter(work).buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
        info!(count = total, "registered {total} connections");
    }

    async fn assert_batch(&self, epoch: Epoch, partition: u16, batch: &[Arc<Connection>]) {
        let claims: Vec<_> = batch.iter().map(|one| Registrar::claim_of(one)).collect();
        match self.store.assert(epoch, partition, &claims, self.registrar.limit().most).await {
            Ok(answers) => {
                for (connection, answer) in batch.iter().zip(answers) {
                    self.settle(epoch, connection, answer).await;
                }
            }
            Err(error) => {
                debug!("connections are not registered yet: {error}");
                // Also those that the store knows: what it had to say was not heard.
                batch.iter().for_each(|connection| connection.miss());
                self.registrar.set_unsettled();
            }
        }
    }

    async fn settle(&self, epoch: Epoch, connection: &Arc<Connection>, answer: Claimed) {
        match answer {
            Claimed::Registered { tag, siblings, more_held, .. } => {
                self.registrar.note(connection, &tag, &siblings);
                if !self.registrar.undo_if_leaving(connection).await && more_held {
                    self.fetch_held(epoch, connection).await;
                }
            }
            Claimed::Revoked => connection.outbox().order(Close::Policy),
            Claimed::Displaced => connection.outbox().order(Close::Displaced),
            Claimed::Limit(_) => {
                // Not enforced while Redis was away; dead instances' entries do not count.
                if let Err(reason) = self.registrar.claim_again(connection).await {
                    connection.outbox().order(self.registrar.close_of(reason));
                }
                self.registrar.undo_if_leaving(connection).await;
            }
            Claimed::Fenced => {
                self.view.fence(epoch);
                self.registrar.set_unsettled();
            }
        }
    }

    /// What was held while this instance could not be heard.
    async fn fetch_held(&self, epoch: Epoch, connection: &Connection) {
        let claim = Registrar::claim_of(connection);
        let answer = self.store.connect(epoch, &claim, self.registrar.limit().refusing()).await;
        let Ok(Claimed::Registered { held, .. }) = answer else { return };
        // This has registered it once more, and it may have let go before.
        let has_left = self.registrar.undo_if_leaving(connection).await;
        let mut nobodys = Vec::new();
        // Reading has taken the marker away: every connection of the user must have its copy.
        for held in held {
            let delivery = Delivery::held(held.mid, held.payload);
            if self.hub.deliver_to_open(connection.user(), &delivery) == 0 && has_left {
                nobodys.push(delivery);
            }
        }
        self.registrar.hand_on(connection.user(), nobodys).await;
    }

    /// Repairs both ways: who is here and not listed, who is listed and not here.
    async fn compare(&self, epoch: Epoch, partition: u16, listed: &[UserHash]) {
        let listed: HashSet<UserHash> = listed.iter().copied().collect();
        let here = self.hub.select(|connection| {
            connection.user().partition(self.store.partitions()) == partition
                && connection.registration().is_some_and(|known| known.epoch == epoch)
        });
        let is_unlisted =
            |one: &&Arc<Connection>| one.may_be_asserted() && !listed.contains(&one.user());
        let unlisted: Vec<_> = here.iter().filter(is_unlisted).cloned().collect();
        for batch in unlisted.chunks(BATCH) {
            self.assert_batch(epoch, partition, batch).await;
        }
        let present: HashSet<UserHash> = here.iter().map(|one| one.user()).collect();
        for user in listed.into_iter().filter(|user| !present.contains(user)) {
            self.remove_ghosts(epoch, user).await;
        }
    }

    /// Removes what the store lists of this epoch and nobody here is, and the user from its index
    /// if that is all: also where an entry is gone already and the index was left.
    async fn remove_ghosts(&self, epoch: Epoch, user: UserHash) {
        let Ok(tags) = self.store.locate(user).await else { return };
        let here: HashSet<u64> = self.hub.of_user(user).iter().map(|one| one.number()).collect();
        let ghosts: Vec<_> = tags
            .into_iter()
            .filter(|tag| tag.epoch() == Some(epoch))
            .filter(|tag| tag.number().is_some_and(|number| !here.contains(&number)))
            .collect();
        let pruned = self.store.prune(user, &[epoch], &ghosts).await;
        if pruned.is_ok_and(|gone| gone > 0) {
            debug!("removed {} entries that no connection stands behind", ghosts.len());
        }
    }
}
