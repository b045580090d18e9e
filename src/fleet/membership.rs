//! The lease: this instance says that it lives, watches who else does, and comes back when it
//! was thought dead.
//!
//! No wall clock is in it. Each member bumps a counter; the others look at it with their own
//! monotonic clock and suspect whoever's stands still over several of *their own successful*
//! rounds, so that an outage of Redis, in which nobody succeeds, kills nobody. Whoever is killed
//! finds out by its next heartbeat and joins again under a new epoch, with all its connections;
//! until then nothing it writes counts, because its tombstones stand where it would write.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::RngExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, trace, warn};

use super::{predecessor::EpochFile, reaper::Reaper, sweeper::Sweeper};
use crate::{
    hub::Hub,
    ids::{CurrentEpoch, Epoch, InstanceId, Origin},
    lifecycle::{Heart, Tasks},
    redis::LinkState,
    relay::Relay,
    session::Registrar,
    store::{Beat, Joined, Member, SharedStore, View},
    telemetry::events,
};

/// Heartbeats come up to this much early or late, so that the fleet's do not fall together.
const JITTER: f64 = 0.1;

/// With at least this many members, more than a third suspect at once is Redis's trouble or a
/// zone's: wait before believing it.
const MANY: usize = 3;

/// That wait (COORDINATION, change 10).
const MASS_WAIT: Duration = Duration::from_secs(30);

/// How long to wait for one's own inbox before joining without it: then senders find it deaf.
const INBOX_WAIT: Duration = Duration::from_secs(2);

/// Between tries to join.
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Own successful rounds without a change of a peer's counter.
    pub suspect_rounds: u32,
    /// Without an acknowledged heartbeat for this long, this instance has no lease.
    pub lease: Duration,
    /// Connections asserted per second.
    pub assert_rate: u32,
    /// The label.
    pub instance: InstanceId,
    /// The availability zone, if any.
    pub zone: Option<String>,
    /// Where peers reach the `api` listener.
    pub address: String,
    /// Check value of the fleet's secret.
    pub secret_check: String,
    /// Where the epoch is kept for the process that comes after a crash.
    pub runtime_dir: PathBuf,
}

/// The fleet was set up differently: this instance must not join it.
#[derive(Debug, thiserror::Error)]
#[error(
    "this fleet has {key} = {theirs}, and this instance is configured otherwise; give all \
     instances the same redis.prefix, fleet.partitions and fleet.secret_file, or another prefix"
)]
pub struct Mismatch {
    key: String,
    theirs: String,
}

/// Everything membership acts on.
pub struct Parts {
    /// Where the lease stands.
    pub store: SharedStore,
    /// Whom to forget.
    pub relay: Relay,
    /// Whom to assert.
    pub hub: Hub,
    /// Who asserts.
    pub registrar: Registrar,
    /// What others read.
    pub view: View,
    /// What a fence renews.
    pub epoch: CurrentEpoch,
    /// This process's name in connection ids.
    pub origin: Origin,
    /// The hot connection's state.
    pub link: watch::Receiver<LinkState>,
    /// Where reaping runs.
    pub tasks: Tasks,
}

/// Whether this instance has a lease, for whoever asks; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lease(Arc<AtomicBool>);

impl Lease {
    /// Whether it is held.
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, held: bool) -> bool {
        self.0.swap(held, Ordering::Relaxed)
    }
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug)]
struct Peer {
    counter: u64,
    unchanged: u32,
    /// When this instance first saw the counter as it stands.
    seen: Instant,
}

/// The actor.
pub struct Membership {
    config: Config,
    parts: Parts,
    lease: Lease,
    reaper: Reaper,
    heart: Heart,
    peers: HashMap<Epoch, Peer>,
    dead: HashSet<Epoch>,
    mass_since: Option<Instant>,
    acknowledged: Instant,
    epoch_file: EpochFile,
    predecessor: Option<Epoch>,
}

impl Membership {
    /// Ready to [`Membership::run`].
    pub fn new(config: Config, parts: Parts, heart: Heart) -> Self {
        let reaper = Reaper::new(parts.store.clone(), parts.tasks.clone());
        let (epoch_file, predecessor) = EpochFile::take(&config.runtime_dir);
        Self {
            config,
            parts,
            lease: Lease::default(),
            reaper,
            heart,
            peers: HashMap::new(),
            dead: HashSet::new(),
            mass_since: None,
            acknowledged: Instant::now(),
            epoch_file,
            predecessor,
        }
    }

    /// A handle to ask whether the lease is held.
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// Joins, and holds the lease until `stop`; then leaves.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Mismatch> {
        let sweep = Sweeper::new(&self.config, &self.parts, self.lease(), self.reaper.clone());
        self.parts.tasks.spawn("sweeper", sweep.run(stop.clone()));
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            outcome = self.live() => outcome,
        };
        let (epoch, origin) = (self.parts.epoch.get(), self.parts.origin);
        if let Err(error) = self.parts.store.leave(epoch, origin).await {
            debug!("could not leave in good order: {error}");
        }
        outcome
    }

    async fn live(&mut self) -> Result<(), Mismatch> {
        self.join(None).await?;
        loop {
            self.round().await?;
            let early = 1.0 - JITTER + 2.0 * JITTER * rand::rng().random::<f64>();
            tokio::select! {
                () = sleep(self.config.heartbeat.mul_f64(early)) => {}
                // Redis is back: say so at once, it may have forgotten everyone.
                _ = self.parts.link.changed() => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), Mismatch> {
        self.heart.beat();
        let (sent, epoch) = (Instant::now(), self.parts.epoch.get());
        match self.parts.store.heartbeat(epoch).await {
            // A tombstone stands: nothing will be written for this epoch any more.
            Ok(_) if self.parts.view.is_fenced(epoch) => self.rejoin(epoch).await?,
            Ok(Beat::Alive { counters, dead }) => {
                self.acknowledged = sent;
                self.lease.set(true);
                self.bury_predecessor(&counters);
                self.observe(epoch, &counters, &dead);
                self.bury(epoch, dead);
            }
            Ok(Beat::Fenced) => self.rejoin(epoch).await?,
            Err(error) => self.miss(&error.to_string()),
        }
        Ok(())
    }

    fn miss(&mut self, reason: &str) {
        let silent = self.acknowledged.elapsed();
        if silent > self.config.lease && self.lease.set(false) {
            warn!(
                message_id = events::LEASE_LOST,
                "lost the lease: no heartbeat acknowledged for {:.1} s ({reason})",
                silent.as_secs_f64()
            );
        }
    }

    /// Under a new epoch, with all connections; the old one is reaped like any dead peer's.
    async fn rejoin(&mut self, old: Epoch) -> Result<(), Mismatch> {
        self.lease.set(false);
        let epoch = self.parts.epoch.renew();
        trace!(target: events::TRACE, "fence old={old} new={epoch}");
        warn!(
            message_id = events::LEASE_LOST,
            fleet.epoch = %epoch,
            "the fleet does not know this instance any more; joining again under a new epoch"
        );
        self.peers.clear();
        self.join(Some(old)).await?;
        self.reaper.reap(old, all(self.parts.store.partitions()));
        self.parts.registrar.set_unsettled();
        info!(
            message_id = events::REJOINED,
            fleet.epoch = %epoch,
            "in the fleet again; registering {} connections",
            self.parts.hub.len()
        );
        Ok(())
    }

    async fn join(&mut self, before: Option<Epoch>) -> Result<(), Mismatch> {
        let epoch = self.parts.epoch.get();
        self.wait_for_inbox(epoch).await;
        loop {
            self.heart.beat();
            let member = self.member(epoch, before);
            match self.parts.store.join(&member).await {
                Ok(Joined::Member) => {
                    self.epoch_file.note(epoch);
                    return Ok(());
                }
                Ok(Joined::OriginTaken) => {
                    // 48 random bits met: wait for whoever has them to go.
                    error!("another instance has this one's origin; trying again");
                }
                Ok(Joined::Mismatch { key, theirs }) => return Err(Mismatch { key, theirs }),
                Err(error) => {
                    debug!("cannot join the fleet yet: {error}");
                    self.miss(&error.to_string());
                }
            }
            sleep(JOIN_PAUSE).await;
        }
    }

    /// Whoever reads of this epoch must find somebody listening.
    async fn wait_for_inbox(&self, epoch: Epoch) {
        let mut listening = self.parts.relay.listening();
        let ready = listening.wait_for(|listening| listening.hears_all(epoch));
        if timeout(INBOX_WAIT, ready).await.is_err() {
            debug!("joining before the inbox is heard");
        }
    }

    fn member(&self, epoch: Epoch, before: Option<Epoch>) -> Member {
        let info = serde_json::json!({
            "instance": self.config.instance.as_str(),
            "zone": self.config.zone,
            "address": self.config.address,
            "version": env!("CARGO_PKG_VERSION"),
            "origin": self.parts.origin.to_string(),
        });
        Member {
            epoch,
            origin: self.parts.origin,
            before,
            info: info.to_string(),
            secret_check: self.config.secret_check.clone(),
        }
    }

    /// Counts rounds without change, and kills who stood still for too many.
    fn observe(&mut self, me: Epoch, counters: &[(Epoch, u64)], dead: &[Epoch]) {
        let members: HashSet<Epoch> = counters.iter().map(|(epoch, _)| *epoch).collect();
        let changed = self.peers.len() != members.len()
            || !self.peers.keys().all(|epoch| members.contains(epoch));
        self.peers.retain(|epoch, _| members.contains(epoch));
        let now = Instant::now();
        for (epoch, counter) in counters {
            match self.peers.get_mut(epoch) {
                Some(peer) if peer.counter == *counter => peer.unchanged += 1,
                // The first sight of a counter is no round without a change.
                _ => drop(
                    self.peers.insert(*epoch, Peer { counter: *counter, unchanged: 0, seen: now }),
                ),
            }
        }
        self.peers.entry(me).and_modify(|own| own.unchanged = 0);
        let view = &self.parts.view;
        view.set(members, dead);
        if changed {
            self.parts.relay.retain(|epoch| view.is_member(epoch));
            // A newcomer's first word may have come before the heartbeat that lists it.
            self.parts.hub.retain_siblings(|epoch| view.lives(epoch));
            self.dead.clear();
        }
        self.judge();
    }

    /// The process that ran here before is dead for sure: nobody need wait to be.
    fn bury_predecessor(&mut self, counters: &[(Epoch, u64)]) {
        let Some(old) = self.predecessor.take() else { return };
        if let Some((_, counter)) = counters.iter().find(|(epoch, _)| *epoch == old) {
            self.reaper.kill(old, *counter);
        }
    }

    fn judge(&mut self) {
        let limit = self.config.suspect_rounds;
        // Each new connection to Redis is a round of its own: rounds alone prove no silence.
        let silence = self.config.heartbeat.mul_f64(1.0 - JITTER) * limit;
        let suspects: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.unchanged >= limit && peer.seen.elapsed() >= silence)
            .map(|(e, p)| (*e, p.counter))
            .collect();
        if suspects.is_empty() {
            self.mass_since = None;
            return;
        }
        if self.peers.len() >= MANY && suspects.len() * 3 > self.peers.len() {
            let since = *self.mass_since.get_or_insert_with(Instant::now);
            if since.elapsed() < MASS_WAIT {
                return;
            }
        }
        for (epoch, counter) in suspects {
            self.reaper.kill(epoch, counter);
        }
    }

    /// Reaps this instance's share of the recently killed, again after each change of view.
    fn bury(&mut self, me: Epoch, dead: Vec<Epoch>) {
        let members: Vec<Epoch> = self.peers.keys().copied().collect();
        for epoch in dead {
            if epoch == me || self.dead.contains(&epoch) {
                continue;
            }
            let mine = share(me, epoch, &members, self.parts.store.partitions());
            if self.reaper.reap(epoch, mine) {
                self.dead.insert(epoch);
            }
        }
    }
}

/// Every partition.
pub(super) fn all(partitions: u16) -> Vec<u16> {
    (0..partitions).collect()
}

/// The partitions in which `me` is the first, among `members`, in an order that everyone draws
/// alike for this dead epoch.
fn share(me: Epoch, dead: Epoch, members: &[Epoch], partitions: u16) -> Vec<u16> {
    let weight = |member: Epoch, partition: u16| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(member.as_str().as_bytes());
        hasher.update(dead.as_str().as_bytes());
        hasher.update(&partition.to_be_bytes());
        *hasher.finalize().as_bytes()
    };
    let is_mine = |partition: &u16| {
        let first = members.iter().max_by_key(|member| weight(**member, *partition));
        first.is_none_or(|first| *first == me)
    };
    (0..partitions).filter(is_mine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_share_the_dead_without_gap_or_overlap() {
        let members: Vec<_> = (0..5).map(|_| Epoch::random()).collect();
        let dead = Epoch::random();
        let shares: Vec<_> = members.iter().map(|me| share(*me, dead, &members, 256)).collect();
        let mut all: Vec<_> = shares.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..256).collect::<Vec<_>>());
        assert!(shares.iter().all(|share| share.len() > 20), "spread evenly enough");
    }

    #[test]
    fn alone_one_takes_all() {
        let me = Epoch::random();
        assert_eq!(share(me, Epoch::random(), &[me], 16).len(), 16);
    }
}
