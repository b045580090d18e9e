//! A connection's place in the fleet: claimed before the 101, released on every path.
//!
//! The claim comes first so that *too many connections* can still be said in HTTP, and what
//! arrives meanwhile waits in the outbox. The release is asked for by a guard and done by a task,
//! so that neither a panic nor a client that vanishes between claim and 101 leaves anything; the
//! fleet's reaper is behind both. While Redis is away a connection is accepted unregistered, and
//! registered when it is back: an outage of Redis closes nobody.

mod dismissal;
mod lost;
mod recent;
mod release;
mod room;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore};

pub use self::dismissal::Dismissal;
use self::{dismissal::Verdicts, lost::Lost, recent::Recent, release::AT_ONCE};
use super::Mirror;
use crate::{
    hub::{Connection, Delivery, Registration},
    ids::{CurrentEpoch, Epoch, UserHash},
    lifecycle::Tasks,
    protocol::close::Close,
    router::Router,
    store::{Claim, Claimed as Answer, Held, Limit, SharedStore, Tag, View},
};

/// Suspected users looked at per round of the sweeper.
const SUSPECTS_AT_ONCE: usize = 4096;

/// Users whose entries are to be looked at after a claim nobody has heard the answer of. What does
/// not fit waits for the sweep.
const SUSPECTS: usize = 10_000;

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Longest message the mailbox takes.
    pub max_stored_message: usize,
    /// What may change later.
    pub bounds: Bounds,
}

/// What of it may change while connections are open.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most connections of one user in the fleet.
    pub connections_per_user: Limit,
    /// How long a revocation stands: longer than any instance believes what the directory said
    /// before it.
    pub revocation: Duration,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotClaimed {
    /// The user has as many connections as allowed.
    #[error("the user holds {limit} connections already")]
    Limit {
        /// `limits.connections_per_user`
        limit: u32,
    },
    /// The user is shut out.
    #[error("the user is shut out")]
    Revoked,
}

/// Claims and releases; cheap to clone.
#[derive(Clone)]
pub struct Registrar {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    bounds: ArcSwap<Bounds>,
    store: SharedStore,
    router: Router,
    view: View,
    epoch: CurrentEpoch,
    tasks: Tasks,
    /// Set when a connection may not be known to the fleet.
    unsettled: AtomicBool,
    /// Wakes whoever registers those.
    call: Notify,
    /// A place for each release on its way.
    releasing: Semaphore,
    lost: Lost,
    /// A std lock: held to push or take.
    suspects: Mutex<Vec<UserHash>>,
    recent: Recent,
    verdicts: Verdicts,
    mirror: Option<Mirror>,
}

/// A connection that is in the hub, and known to the fleet unless that is away.
pub struct Claimed {
    registrar: Registrar,
    connection: Arc<Connection>,
    held: Vec<Held>,
    is_released: bool,
}

impl Registrar {
    /// Over its parts; `mirror`, if any, is told who comes and goes.
    pub fn new(
        config: Config,
        store: SharedStore,
        router: Router,
        view: View,
        epoch: CurrentEpoch,
        tasks: Tasks,
        mirror: Option<Mirror>,
    ) -> Self {
        let shared = Shared {
            bounds: ArcSwap::from_pointee(config.bounds),
            config,
            store,
            router,
            view,
            epoch,
            tasks,
            unsettled: AtomicBool::new(false),
            call: Notify::new(),
            releasing: Semaphore::new(AT_ONCE),
            lost: Lost::default(),
            suspects: Mutex::default(),
            recent: Recent::default(),
            verdicts: Verdicts::default(),
            mirror,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Puts a connection into the hub and makes it known to the fleet.
    pub async fn claim(&self, connection: Arc<Connection>) -> Result<Claimed, NotClaimed> {
        self.shared.router.hub().insert(connection.clone());
        let mut claimed =
            Claimed { registrar: self.clone(), connection, held: Vec::new(), is_released: false };
        let registered = self.register(&claimed.connection).await;
        claimed.connection.end_claim();
        self.shared.router.pass_on(&claimed.connection);
        if claimed.connection.is_missed() {
            self.set_unsettled();
        }
        // A copy may have come by another way since the connection is in the hub, or be to come.
        let (hub, user) = (self.shared.router.hub(), claimed.connection.user());
        let held = registered?.into_iter().filter(|held| hub.note_seen(user, held.mid));
        claimed.held = held.collect();
        if let Some(mirror) = &self.shared.mirror {
            mirror.came(&claimed.connection);
        }
        Ok(claimed)
    }

    /// How many connections a user may have.
    pub fn limit(&self) -> Limit {
        self.shared.bounds.load().connections_per_user
    }

    /// Takes over other bounds, for whoever connects or is shut out from now on.
    pub fn follow(&self, bounds: Bounds) {
        self.shared.bounds.store(Arc::new(bounds));
    }

    /// With what a connection is closed that finds no place when it is registered again: one that
    /// had its place before has been displaced, if that is how room is made.
    pub fn close_of(&self, reason: NotClaimed) -> Close {
        match reason {
            NotClaimed::Limit { .. } if self.limit().displaces => Close::Displaced,
            NotClaimed::Limit { .. } | NotClaimed::Revoked => Close::Policy,
        }
    }

    /// What to say to the store about a connection.
    pub fn claim_of(connection: &Connection) -> Claim {
        let since = connection.registration().map(|registration| registration.since);
        let (user, number) = (connection.user(), connection.number());
        Claim { user, number, device: connection.device(), since }
    }

    /// Notes the store's answer for a connection.
    pub fn note(&self, connection: &Connection, tag: &Tag, siblings: &[Epoch]) {
        if let Some(epoch) = tag.epoch() {
            connection.register(Registration { epoch, since: tag.since() });
        }
        // Also those not in view: they may have joined since, and the dead are found deaf.
        for sibling in siblings {
            self.shared.router.hub().add_sibling(connection.user(), *sibling);
        }
    }

    /// Whether connections may be unknown to the fleet; asking clears it.
    pub fn take_unsettled(&self) -> bool {
        self.shared.unsettled.swap(false, Ordering::AcqRel)
    }

    /// Says that connections may be unknown to the fleet.
    pub fn set_unsettled(&self) {
        self.shared.unsettled.store(true, Ordering::Release);
        self.shared.call.notify_one();
    }

    /// Waits until connections may be unknown to the fleet.
    pub async fn unsettled(&self) {
        self.shared.call.notified().await;
    }

    /// Registers a connection that met the limit once more, after what dead instances left is
    /// gone; it is known to the fleet now, or may yet be.
    pub async fn claim_again(&self, connection: &Connection) -> Result<(), NotClaimed> {
        self.register(connection).await.map(drop)
    }

    /// Users of whom the store may list connections that nobody here is; at most a round's worth.
    pub fn take_suspects(&self) -> Vec<UserHash> {
        let mut suspects = self.suspects();
        let rest = suspects.len().saturating_sub(SUSPECTS_AT_ONCE);
        suspects.split_off(rest)
    }

    async fn register(&self, connection: &Connection) -> Result<Vec<Held>, NotClaimed> {
        let claim = Self::claim_of(connection);
        match self.connect(&claim).await {
            Some(Answer::Registered { tag, siblings, displaced, held, .. }) => {
                self.note(connection, &tag, &siblings);
                self.close_displaced(connection.user(), &displaced);
                Ok(held)
            }
            Some(Answer::Limit(_)) => Err(NotClaimed::Limit { limit: self.limit().most }),
            Some(Answer::Revoked) => Err(NotClaimed::Revoked),
            // A new connection's device is new: nothing can be younger.
            Some(Answer::Displaced | Answer::Fenced) | None => {
                self.set_unsettled();
                Ok(Vec::new())
            }
        }
    }

    fn suspect(&self, user: UserHash) {
        let mut suspects = self.suspects();
        if suspects.len() < SUSPECTS {
            suspects.push(user);
        }
        drop(suspects);
        self.set_unsettled();
    }

    fn suspects(&self) -> MutexGuard<'_, Vec<UserHash>> {
        self.shared.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claimed {
    /// The connection's handle.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// What was held while the user was away; to be written before anything else.
    pub fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// Lets go, and keeps for the user what was not written: first `unwritten`, then what is in
    /// the outbox.
    pub async fn release(&mut self, unwritten: Vec<Delivery>) {
        self.registrar.release(&self.connection, unwritten).await;
        self.is_released = true;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if self.is_released {
            return;
        }
        let (registrar, connection) = (self.registrar.clone(), self.connection.clone());
        let held =
            self.take_held().into_iter().map(|one| Delivery::held(one.mid, one.payload)).collect();
        self.registrar.shared.tasks.spawn("release", async move {
            registrar.release(&connection, held).await;
        });
    }
}
