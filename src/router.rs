//! The one place that decides how a message travels: here, to peers, or over the slow path.
//!
//! Here costs a look-up. To peers costs an envelope on a lane, when the route is known and its
//! owners listen. Everything else is the slow path: one script that finds the owners, tells
//! them, and holds the message for a user who has just left. A route that turns out stale costs
//! one extra hop, never a message: whoever does not have the user says so, and the message comes
//! back here. What is sent to that user meanwhile waits behind it.

mod hand_on;
mod message;
mod order;
mod route;
mod take_back;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use moka::sync::Cache;
use tracing::debug;

pub use self::message::SlowMessage;
use self::{
    message::Undelivered,
    route::{Lanes, Route},
    take_back::Again,
};
use crate::{
    hub::{Delivery, Hub, LocalDelivery},
    ids::{CurrentEpoch, Epoch, MessageId, UserHash, UserHasher, UserId},
    relay::{Envelope, Lane, Letter, Relay},
    store::{Fate, HoldAnswer, HoldRequest, Keep, SharedStore, View},
    users::Directory,
};

/// Routes remembered; some 150 bytes each.
const ROUTES: u64 = 1_000_000;

/// A route that is not used is forgotten after this; one that is is renewed before
/// ([`Route::is_old`]).
const ROUTE_TTL: Duration = Duration::from_secs(60);

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether a message may be held for a user who has just left.
    pub hold: bool,
    /// A longer one is never held.
    pub max_stored_message: usize,
    /// Who exists, if every message for them is kept that no connection takes; `None`: it is kept
    /// for who has just left only.
    pub directory: Option<Arc<dyn Directory>>,
}

/// What the router has done, for whoever asks.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that a connection here took.
    pub local: AtomicU64,
    /// Messages put on a lane to a peer.
    pub remote: AtomicU64,
    /// Messages that took the slow path.
    pub slow: AtomicU64,
    /// Messages held for a user who had just left.
    pub held: AtomicU64,
    /// Messages nobody could take: the store or the directory did not answer.
    pub dropped: AtomicU64,
    /// Messages a full mailbox had no room for.
    pub full: AtomicU64,
}

/// Decides; cheap to clone.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    hub: Hub,
    store: SharedStore,
    view: View,
    /// `None`: this instance is alone.
    relay: Option<Relay>,
    hasher: UserHasher,
    epoch: CurrentEpoch,
    routes: Cache<UserHash, Arc<Route>>,
    /// How many have been learnt.
    learnt: AtomicU64,
    /// Some of them may be closed until then.
    closed_until: AtomicU64,
    /// Seconds since the start: what a message may look at without asking the system.
    now: AtomicU64,
    /// Messages that came back, and what has become of them.
    again: Cache<MessageId, Again>,
    /// Messages that a connection here had and has let go unread.
    let_go: Cache<MessageId, ()>,
    counters: Counters,
}

impl Router {
    /// Over its parts.
    pub fn new(
        config: Config,
        hub: Hub,
        store: SharedStore,
        view: View,
        relay: Option<Relay>,
        hasher: UserHasher,
        epoch: CurrentEpoch,
    ) -> Self {
        let routes = Cache::builder().max_capacity(ROUTES).time_to_live(ROUTE_TTL).build();
        let shared = Shared {
            config,
            hub,
            store,
            view,
            relay,
            hasher,
            epoch,
            routes,
            learnt: AtomicU64::new(0),
            closed_until: AtomicU64::new(0),
            now: AtomicU64::new(0),
            again: take_back::remembered(),
            let_go: take_back::remembered(),
            counters: Counters::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Delivers `text` to every connection of `to`, if that needs no waiting.
    ///
    /// Otherwise the caller gets the message back, and must not deliver another before
    /// [`Router::deliver_slowly`] is done with it: that keeps a sender's messages in order.
    #[must_use = "a message that is handed back is not delivered yet"]
    pub fn deliver(&self, to: &str, text: Bytes) -> Option<SlowMessage> {
        let user = self.shared.hasher.hash(to);
        let delivery = Delivery::unnamed(text);
        if !self.is_closed(user) {
            let local = self.shared.hub.deliver_from_here(user, &delivery);
            if local.known {
                return self.deliver_here(user, delivery, &local);
            }
            if self.deliver_over_route(user, &delivery.text) {
                return None;
            }
        }
        let Delivery { text, .. } = delivery;
        let name = self.shared.config.directory.as_ref().and_then(|_| UserId::parse(to));
        Some(SlowMessage::new(user, name, text))
    }

    /// Delivers a message that has to wait for what came back, or needs the store.
    pub async fn deliver_slowly(&self, message: SlowMessage) {
        self.count(&self.shared.counters.slow, 1);
        let SlowMessage { name, message } = message;
        self.fall_in(message.user).await;
        let Some(message) = self.deliver_if_here(message) else { return };
        let Some(stranger) = self.hold(message).await else { return };
        if self.exists(name).await {
            self.hold(Undelivered { keep: Keep::Always, ..stranger }).await;
        }
    }

    /// What it has done so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The hub this router delivers to.
    pub fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// How names become hashes.
    pub fn hasher(&self) -> &UserHasher {
        &self.shared.hasher
    }

    /// The user is here; the siblings get a copy, and whoever else has the user if this instance
    /// may have been asleep and not know of them.
    fn deliver_here(
        &self,
        user: UserHash,
        delivery: Delivery,
        local: &LocalDelivery,
    ) -> Option<SlowMessage> {
        self.count(&self.shared.counters.local, local.delivered as u64);
        if local.delivered + local.full == 0 {
            self.count(&self.shared.counters.dropped, 1);
        }
        let relay = self.shared.relay.as_ref()?;
        let is_unsure = local.is_open() && !self.shared.view.is_current() && relay.is_up();
        if local.siblings.is_empty() && !is_unsure {
            return None;
        }
        // Only who really has it may be named: what nobody has had may be held.
        let me = local.is_open().then(|| self.shared.epoch.get());
        let named: Vec<_> = me.into_iter().chain(local.siblings.iter().copied()).collect();
        let mid = local.mid.unwrap_or_else(MessageId::random);
        if me.is_some() && local.mid.is_none() {
            // What is told to the others may find its way back here.
            self.shared.hub.note_seen(user, mid);
        }
        let lanes: Lanes = local.siblings.iter().map(|epoch| relay.lane(*epoch)).collect();
        let letter = self.letter(user, mid, delivery.text.clone(), named.clone());
        self.send_copies(relay, &lanes, letter);
        is_unsure.then(|| SlowMessage::also(user, mid, delivery.text, named))
    }

    /// The user may have come here meanwhile.
    fn deliver_if_here(&self, message: Undelivered) -> Option<Undelivered> {
        if !message.tried.is_empty() {
            return Some(message); // it was delivered here
        }
        let delivery = Delivery::unnamed(message.text.clone());
        let local = self.shared.hub.deliver_from_here(message.user, &delivery);
        if !local.known {
            return Some(message);
        }
        self.deliver_here(message.user, delivery, &local).map(|slow| slow.message)
    }

    fn deliver_over_route(&self, user: UserHash, text: &Bytes) -> bool {
        let Some(relay) = &self.shared.relay else { return false };
        let Some(route) = self.shared.routes.get(&user) else { return false };
        if route.is_old(self.now()) {
            return false;
        }
        if route.is_deaf() {
            // What was sent to the deaf is on its way back.
            self.close(&route);
            return false;
        }
        let send = || {
            let named = route.lanes().iter().map(|lane| lane.epoch()).collect();
            let letter = self.letter(user, MessageId::random(), text.clone(), named);
            self.send(relay, route.lanes(), letter)
        };
        let is_sent = route.enter() && send();
        route.leave();
        if !is_sent {
            // Closed already, or no room: what is said next must not overtake all that waits there.
            self.close(&route);
        }
        is_sent
    }

    /// Puts a letter on each lane; false if the first has no room, so that nothing was sent.
    fn send(&self, relay: &Relay, lanes: &[Arc<Lane>], letter: Letter) -> bool {
        let Some((first, others)) = lanes.split_first() else { return true };
        let envelope = Envelope::Deliver(letter);
        if !relay.send(first, &envelope) {
            return false;
        }
        self.count(&self.shared.counters.remote, 1);
        others.iter().for_each(|lane| self.send_copy(relay, lane, &envelope));
        true
    }

    /// Puts a letter that somebody has already on each lane.
    fn send_copies(&self, relay: &Relay, lanes: &[Arc<Lane>], letter: Letter) {
        let envelope = Envelope::Deliver(letter);
        lanes.iter().for_each(|lane| self.send_copy(relay, lane, &envelope));
    }

    fn send_copy(&self, relay: &Relay, lane: &Arc<Lane>, envelope: &Envelope) {
        if relay.send(lane, envelope) {
            return self.count(&self.shared.counters.remote, 1);
        }
        self.count(&self.shared.counters.dropped, 1);
        self.count(&relay.losses().overflow, 1);
    }

    fn letter(&self, user: UserHash, mid: MessageId, payload: Bytes, epochs: Vec<Epoch>) -> Letter {
        Letter { user, mid, from: self.shared.epoch.get(), epochs, payload }
    }

    /// For a user who is known to have had a connection: they exist.
    fn keep_of_known(&self) -> Keep {
        if self.shared.config.directory.is_some() { Keep::Always } else { Keep::Awaited }
    }

    /// Whether the directory knows somebody of this name. While it cannot say, nobody is made up:
    /// whoever may send could fill Redis with mailboxes of strangers.
    async fn exists(&self, name: Option<UserId>) -> bool {
        let (Some(directory), Some(name)) = (&self.shared.config.directory, name) else {
            return false;
        };
        match directory.find(&name).await {
            Ok(found) => found.is_some(),
            Err(error) => {
                self.count(&self.shared.counters.dropped, 1);
                debug!("a message is dropped, its recipient may exist or not: {error}");
                false
            }
        }
    }

    /// The slow path. Hands a message back of whose recipient nothing is known, if the directory
    /// may know more.
    async fn hold(&self, message: Undelivered) -> Option<Undelivered> {
        let (request, answer) = self.ask(message).await?;
        if self.is_stranger(request.keep, &answer) {
            let HoldRequest { user, mid, payload: text, tried, deaf, keep, .. } = request;
            return Some(Undelivered { user, mid, text, tried, deaf, keep });
        }
        self.settle(request, &answer);
        None
    }

    /// Asks the store; `None` if it does not answer, and the message is dropped.
    async fn ask(&self, message: Undelivered) -> Option<(HoldRequest, HoldAnswer)> {
        let Undelivered { user, mid, text, tried, deaf, keep } = message;
        let fits = text.len() <= self.shared.config.max_stored_message;
        let keep = if fits && self.shared.config.hold { keep } else { Keep::No };
        let from = self.shared.epoch.get();
        let request = HoldRequest { user, from, mid, payload: text, tried, deaf, keep };
        match self.shared.store.hold(&request).await {
            Ok(answer) => return Some((request, answer)),
            Err(error) => {
                self.count(&self.shared.counters.dropped, 1);
                if let Some(relay) = &self.shared.relay {
                    self.count(&relay.losses().dropped, 1);
                }
                debug!("a message is dropped: {error}");
            }
        }
        None
    }

    fn is_stranger(&self, keep: Keep, answer: &HoldAnswer) -> bool {
        self.shared.config.directory.is_some()
            && keep == Keep::Awaited
            && answer.fate == Fate::NotKept
            && answer.owners.is_empty()
    }

    fn settle(&self, request: HoldRequest, answer: &HoldAnswer) {
        let HoldRequest { user, mid, payload: text, from: me, tried, deaf, .. } = request;
        self.learn_siblings(user, me, &answer.owners);
        let is_owed_here = answer.owners.contains(&me) && !tried.contains(&me);
        match answer.fate {
            Fate::Kept(_) => {
                self.count(&self.shared.counters.held, 1);
                self.shared.relay.iter().for_each(|relay| relay.losses().hold());
            }
            Fate::Full => self.count(&self.shared.counters.full, 1),
            Fate::NotKept | Fate::Duplicate if answer.heard > 0 => {
                // Only if all of them heard it is it known who did.
                if answer.heard == answer.owners.len() as u64 {
                    self.shared.relay.iter().for_each(|relay| relay.set_heard(&answer.owners));
                } else if is_owed_here {
                    // Perhaps not by the inbox here.
                    let delivery = Delivery::named(mid, text.clone());
                    self.shared.hub.deliver_to_open(user, &delivery);
                }
                let letter = self.letter(user, mid, text, answer.owners.clone());
                self.follow(&letter, |owner| !tried.contains(&owner) && !deaf.contains(&owner));
                self.learn(user, &answer.owners);
            }
            Fate::NotKept | Fate::Duplicate => {
                // The user has come here while the store was asked, and no inbox carried it.
                if is_owed_here {
                    self.shared.hub.deliver_to_open(user, &Delivery::named(mid, text));
                }
            }
        }
    }

    /// The script has published a letter to those of its owners who were `told`: it comes back from who
    /// does not confirm to have read it. Once: who is silent for longer reads all of it when they
    /// wake up, and may have forgotten by then which ids were the first's.
    fn follow(&self, letter: &Letter, told: impl Fn(Epoch) -> bool) {
        let Some(relay) = &self.shared.relay else { return };
        if matches!(self.shared.again.get(&letter.mid), Some(Again::Here | Again::Unconfirmed)) {
            return;
        }
        let others = letter.epochs.iter().copied().filter(|owner| *owner != letter.from);
        for owner in others.filter(|owner| told(*owner)) {
            relay.follow(&relay.lane(owner), letter.clone());
        }
    }

    /// Who owns a user of this instance, too. An answer of theirs may be older than their word that they
    /// have the user again, and come behind it.
    fn learn_siblings(&self, user: UserHash, me: Epoch, owners: &[Epoch]) {
        if !owners.contains(&me) {
            return;
        }
        let silent = self.silent_among(owners);
        for owner in owners.iter().filter(|owner| **owner != me && !silent.contains(owner)) {
            self.shared.hub.add_sibling(user, *owner);
        }
    }

    fn learn(&self, user: UserHash, owners: &[Epoch]) {
        let Some(relay) = &self.shared.relay else { return };
        let me = self.shared.epoch.get();
        let others = owners.iter().filter(|epoch| **epoch != me);
        let lanes: Lanes = others.map(|epoch| relay.lane(*epoch)).collect();
        let turn = self.shared.learnt.fetch_add(1, Ordering::Relaxed);
        let learnt = Route::new(lanes, self.now(), turn);
        // One that leads to somebody who is not heard would be closed by its first use.
        if !learnt.lanes().is_empty() && !learnt.is_deaf() {
            self.take_route(user, learnt);
        }
    }

    fn now(&self) -> u64 {
        self.shared.now.load(Ordering::Relaxed)
    }

    fn count(&self, counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
