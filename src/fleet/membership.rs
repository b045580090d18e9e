//! The lease: this instance says that it lives, watches who else does, and comes back when it
//! was thought dead.
//!
//! No wall clock is in it. Each member bumps a counter; the others look at it with their own
//! monotonic clock and suspect whoever's stands still over several of *their own successful*
//! rounds, so that an outage of Redis, in which nobody succeeds, kills nobody. Whoever is killed
//! finds out by its next heartbeat and joins again under a new epoch, with all its connections;
//! until then nothing it writes counts, because its tombstones stand where it would write.

mod peers;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rand::RngExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, trace, warn};

use self::peers::Peer;
pub use super::lease::Lease;
use super::{
    isolation::Standing,
    obituary::Obituary,
    predecessor::EpochFile,
    reaper::Reaper,
    roster::{Info, Roster},
    sweeper::Sweeper,
};
use crate::{
    clock,
    hub::Hub,
    ids::{CurrentEpoch, Epoch, InstanceId, Origin},
    lifecycle::{Heart, Tasks},
    protocol::close::Close,
    redis::LinkState,
    relay::Relay,
    session::Registrar,
    store::{Beat, Joined, Member, Schemas, SharedStore, View},
    telemetry::events,
};

/// Heartbeats come up to this much early or late, so that the fleet's do not fall together.
const JITTER: f64 = 0.1;

/// How long to wait for one's own inbox before joining without it: then senders find it deaf.
const INBOX_WAIT: Duration = Duration::from_secs(2);

/// Between tries to join.
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// How long an instance that was cut off waits for its last connections to close, and how often it
/// looks.
const REST_BOUND: Duration = Duration::from_secs(10);
const REST_LOOK: Duration = Duration::from_millis(100);

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
    /// What EC2 calls this machine, if it is one of EC2's.
    pub ec2_id: Option<String>,
    /// Where peers reach the `api` listener.
    pub address: String,
    /// Check value of the fleet's secret.
    pub secret_check: String,
    /// Where the epoch is kept for the process that comes after a crash.
    pub runtime_dir: PathBuf,
}

/// The fleet was set up differently: this instance must not join it.
#[derive(Debug, thiserror::Error)]
#[error("this fleet has {key} = {theirs}, and this instance {}", self.own())]
pub struct Mismatch {
    key: String,
    theirs: String,
}

impl Mismatch {
    /// What differs here, and what to do about it.
    fn own(&self) -> String {
        let Schemas { oldest, newest } = Schemas::KNOWN;
        match self.key.as_str() {
            "schema" => format!(
                "is of a version that knows {oldest} to {newest}; run the fleet's own version \
                 here, or the one before or after it"
            ),
            _ => "is configured otherwise; give all instances the same redis.prefix, \
                  fleet.partitions and fleet.secret_file, or another prefix"
                .to_owned(),
        }
    }
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
    /// Renewed here.
    pub lease: Lease,
    /// What the health checks say.
    pub standing: Standing,
    /// Who the members are.
    pub roster: Roster,
    /// Who may know of a peer's end; `None` outside EC2.
    pub obituary: Option<Arc<dyn Obituary>>,
    /// Cancelled when this instance is leaving for good.
    pub leaving: CancellationToken,
}

/// The actor.
pub struct Membership {
    config: Config,
    parts: Parts,
    reaper: Reaper,
    heart: Heart,
    peers: HashMap<Epoch, Peer>,
    dead: HashSet<Epoch>,
    mass_since: Option<Instant>,
    /// Whether the end of the lease has been told.
    is_lapsed: bool,
    /// Whether the roster is to be read again.
    is_roster_old: bool,
    /// When others were last asked about silent peers.
    asked: Option<Instant>,
    epoch_file: EpochFile,
    predecessors: Vec<Epoch>,
}

impl Membership {
    /// Ready to [`Membership::run`].
    pub fn new(config: Config, parts: Parts, heart: Heart) -> Self {
        let roster = parts.roster.clone();
        let reaper = Reaper::new(parts.store.clone(), parts.tasks.clone(), roster);
        let (epoch_file, predecessors) = EpochFile::take(&config.runtime_dir);
        Self {
            config,
            parts,
            reaper,
            heart,
            peers: HashMap::new(),
            dead: HashSet::new(),
            mass_since: None,
            is_lapsed: true,
            is_roster_old: true,
            asked: None,
            epoch_file,
            predecessors,
        }
    }

    /// Joins, and holds the lease until `stop`; then leaves.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Mismatch> {
        let sweep = Sweeper::new(&self.config, &self.parts, self.reaper.clone());
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
        let (sent, epoch) = (clock::since_boot(), self.parts.epoch.get());
        match self.parts.store.heartbeat(epoch).await {
            // A tombstone stands: nothing will be written for this epoch any more.
            Ok(_) if self.parts.view.is_fenced(epoch) => self.rejoin(epoch, sent).await?,
            Ok(Beat::Alive { counters, dead }) => {
                self.parts.lease.renew(sent);
                self.parts.view.renew(sent + self.config.lease);
                self.is_lapsed = false;
                self.bury_predecessors(&counters);
                self.observe(epoch, &counters, &dead);
                self.bury(epoch, dead);
                self.read_roster();
            }
            Ok(Beat::Fenced) => self.rejoin(epoch, sent).await?,
            Err(error) => self.miss(&error.to_string()),
        }
        Ok(())
    }

    fn miss(&mut self, reason: &str) {
        if self.parts.lease.is_held() || std::mem::replace(&mut self.is_lapsed, true) {
            return;
        }
        let silent = self.parts.lease.silence().unwrap_or_default();
        warn!(
            message_id = events::LEASE_LOST,
            "lost the lease: no heartbeat acknowledged for {:.1} s ({reason})",
            silent.as_secs_f64()
        );
    }

    /// Under a new epoch, with all connections; the old one is reaped like any dead peer's.
    async fn rejoin(&mut self, old: Epoch, sent: Duration) -> Result<(), Mismatch> {
        self.parts.lease.end(sent);
        self.is_lapsed = true;
        self.note_loss(old).await;
        self.send_the_rest_away().await;
        let epoch = self.parts.epoch.renew();
        trace!(target: events::TRACE, "fence old={old} new={epoch}");
        warn!(
            message_id = events::LEASE_LOST,
            fleet.epoch = %epoch,
            "the fleet does not know this instance any more; joining again under a new epoch, {epoch}"
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

    /// A member that was not killed, and is none, says that the table was lost, and with it what
    /// was held for users who are away.
    async fn note_loss(&self, old: Epoch) {
        if matches!(self.parts.store.was_killed(old).await, Ok(false)) {
            self.parts.relay.losses().forget();
        }
    }

    /// An instance that drains does not come back with its connections (COORDINATION, change 18):
    /// one that was cut off joins again when the last is closed, one that is leaving never.
    async fn send_the_rest_away(&mut self) {
        let start = Instant::now();
        while self.parts.leaving.is_cancelled()
            || self.parts.standing.is_cut_off()
                && !self.parts.hub.is_empty()
                && start.elapsed() < REST_BOUND
        {
            self.heart.beat();
            self.parts.hub.close_all(Close::GoingAway);
            sleep(REST_LOOK).await;
        }
        if self.parts.standing.lift() {
            info!("no longer cut off from Redis; joining again without the old connections");
        }
    }

    async fn join(&mut self, before: Option<Epoch>) -> Result<(), Mismatch> {
        let epoch = self.parts.epoch.get();
        // Before anything is written under it.
        self.epoch_file.note(epoch, &self.predecessors);
        self.wait_for_inbox(epoch).await;
        loop {
            self.heart.beat();
            let member = self.member(epoch, before);
            match self.parts.store.join(&member).await {
                Ok(Joined::Member) => return Ok(()),
                Ok(Joined::OriginTaken) => {
                    // 48 random bits met: wait for whoever has them to go.
                    error!(
                        "another instance has this one's origin, {}; trying again",
                        member.origin
                    );
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
        let info = Info {
            instance: self.config.instance.to_string(),
            zone: self.config.zone.clone(),
            address: self.config.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            origin: self.parts.origin.to_string(),
            ec2_id: self.config.ec2_id.clone(),
        };
        Member {
            epoch,
            origin: self.parts.origin,
            before,
            info: serde_json::to_string(&info).unwrap_or_default(),
            secret_check: self.config.secret_check.clone(),
            schemas: Schemas::KNOWN,
        }
    }
}

/// Every partition.
pub(super) fn all(partitions: u16) -> Vec<u16> {
    (0..partitions).collect()
}
