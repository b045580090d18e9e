//! Envelopes between instances, over the owner's Redis channel.
//!
//! One subscription per instance, never one per user: that is what makes a connect cheap. Out:
//! each peer has a lane, and one writer sends what all lanes have in one round trip, so that
//! messages that wait together travel together. In: one reader parses, hands to the hub, and
//! answers what it must; it never waits for anybody, and a relayed message is never relayed
//! again. What comes back (nobody listened, not mine, others own it too) goes to the router, which
//! decides.

pub mod envelope;
mod finish;
mod lane;
mod listening;
mod losses;
mod reader;
mod receipts;
mod unconfirmed;
mod writer;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::receipts::Receipts;
pub use self::{
    envelope::{Envelope, Letter},
    lane::{Lane, Laned},
    listening::Listening,
    losses::Losses,
};
use crate::{
    hub::Hub,
    ids::{CurrentEpoch, Epoch},
    redis::Redis,
};

/// Envelopes that came back and wait for the router. When a peer dies under load a whole lane may
/// come back at once; what does not fit is lost, and counted.
const RETURNS: usize = 4096;

/// A message that somebody could not deliver, or not to all.
#[derive(Debug)]
pub enum Returned {
    /// Nobody listened to this epoch's inbox.
    Unheard(Epoch, Letter),
    /// The owner says the user is not there.
    NotMine(Letter),
    /// It was delivered, and these epochs should have it too.
    AlsoOwned(Letter),
    /// This epoch should have read it, and does not say so.
    Unconfirmed(Epoch, Letter),
}

/// What the relay has done, for whoever asks.
#[derive(Debug, Default)]
pub struct Counters {
    /// Envelopes put on a lane.
    pub sent: AtomicU64,
    /// Envelopes read.
    pub received: AtomicU64,
    /// Envelopes of a kind this version does not know.
    pub unknown: AtomicU64,
}

/// The instance's mouth and ear; cheap to clone.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    redis: Redis,
    hub: Hub,
    epoch: CurrentEpoch,
    /// A std lock: held to find or make a lane.
    lanes: Mutex<HashMap<Epoch, Arc<Lane>>>,
    /// Lanes that hold something; a std lock, held to push or take.
    listed: Mutex<Vec<Arc<Lane>>>,
    wake: Notify,
    returns: mpsc::Sender<Returned>,
    /// Things given back to the router, and those of them that it has dealt with.
    given: AtomicU64,
    dealt: AtomicU64,
    /// Called for the latter.
    dealing: Notify,
    /// A round is being published.
    is_writing: AtomicBool,
    /// Ends the subscription.
    closing: CancellationToken,
    /// It has ended, and all was read.
    closed: CancellationToken,
    /// What is being heard.
    listening: watch::Sender<Listening>,
    receipts: Receipts,
    counters: Counters,
    losses: Losses,
}

impl Relay {
    /// A relay and the stream of what comes back. `window` is how long a held message waits.
    pub fn new(
        redis: Redis,
        hub: Hub,
        epoch: CurrentEpoch,
        window: Duration,
    ) -> (Self, mpsc::Receiver<Returned>) {
        let (returns, returned) = mpsc::channel(RETURNS);
        let shared = Shared {
            redis,
            hub,
            epoch,
            lanes: Mutex::default(),
            listed: Mutex::default(),
            wake: Notify::new(),
            returns,
            given: AtomicU64::new(0),
            dealt: AtomicU64::new(0),
            dealing: Notify::new(),
            is_writing: AtomicBool::new(false),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            listening: watch::Sender::default(),
            receipts: Receipts::default(),
            counters: Counters::default(),
            losses: Losses::new(window),
        };
        (Self { shared: Arc::new(shared) }, returned)
    }

    /// Whether Redis can be asked now.
    pub fn is_up(&self) -> bool {
        self.shared.redis.is_up()
    }

    /// The lane to an epoch.
    pub fn lane(&self, epoch: Epoch) -> Arc<Lane> {
        self.lanes().entry(epoch).or_insert_with(|| Arc::new(Lane::new(epoch))).clone()
    }

    /// Puts an envelope on a lane; false when it has no room.
    pub fn send(&self, lane: &Arc<Lane>, envelope: &Envelope) -> bool {
        let stripe = envelope.user().map_or(0, |user| self.shared.redis.stripe(user));
        self.send_in(lane, envelope, stripe)
    }

    /// The same, behind all that was sent in this stripe.
    fn send_in(&self, lane: &Arc<Lane>, envelope: &Envelope, stripe: u16) -> bool {
        let is_sent = self.list(lane, lane.put(envelope, stripe));
        self.shared.counters.sent.fetch_add(is_sent.into(), Ordering::Relaxed);
        is_sent
    }

    /// A script has published this letter to the peer at the end of the lane: it comes back if nobody
    /// confirms to have read it. Without room it is as good as confirmed.
    pub fn follow(&self, lane: &Arc<Lane>, letter: Letter) {
        let stripe = self.shared.redis.stripe(letter.user);
        self.list(lane, lane.follow(&Envelope::Deliver(letter), stripe));
    }

    /// Tells the writer of a lane; false if it had no room.
    fn list(&self, lane: &Arc<Lane>, laned: Laned) -> bool {
        if laned == Laned::List {
            self.listed().push(lane.clone());
            self.shared.wake.notify_one();
        }
        laned != Laned::Full
    }

    /// Those of `epochs` whose inbox nobody hears, as far as is known.
    pub fn deaf_among(&self, epochs: &[Epoch]) -> Vec<Epoch> {
        let lanes = self.lanes();
        let is_deaf = |epoch: &&Epoch| lanes.get(epoch).is_some_and(|lane| lane.is_deaf());
        epochs.iter().filter(is_deaf).copied().collect()
    }

    /// Notes that these inboxes are heard, as a script that published to them has found.
    pub fn set_heard(&self, epochs: &[Epoch]) {
        let lanes = self.lanes();
        epochs.iter().filter_map(|epoch| lanes.get(epoch)).for_each(|lane| lane.set_deaf(false));
    }

    /// Drops the lanes of epochs that are no members; routes over them end with them, and what they
    /// may not have read comes back.
    pub fn retain(&self, lives: impl Fn(Epoch) -> bool) {
        let gone: Vec<_> = self.lanes().extract_if(|epoch, _| !lives(*epoch)).collect();
        for (_, lane) in gone {
            lane.end();
            self.give_back_unread(lane.epoch(), lane.unconfirmed().close(self.ear()));
            lane.note_progress();
        }
    }

    /// What is being heard.
    pub fn listening(&self) -> watch::Receiver<Listening> {
        self.shared.listening.subscribe()
    }

    /// Changes whenever something may have been missed.
    fn ear(&self) -> u64 {
        self.shared.listening.borrow().latest()
    }

    /// What it has done so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// What may have been lost.
    pub fn losses(&self) -> &Losses {
        &self.shared.losses
    }

    /// Waits until the router has dealt with all that has come back by now.
    pub async fn returns_dealt_with(&self) {
        let given = self.shared.given.load(Ordering::Acquire);
        let are_dealt_with = || self.shared.dealt.load(Ordering::Acquire) >= given;
        lane::called_until(&self.shared.dealing, are_dealt_with).await;
    }

    /// One thing that came back is where it belongs.
    pub fn dealt_with(&self) {
        self.shared.dealt.fetch_add(1, Ordering::AcqRel);
        self.shared.dealing.notify_waiters();
    }

    /// Gives something back to the router; what does not fit is lost, and counted.
    fn give_back(&self, returned: Returned) {
        self.shared.given.fetch_add(1, Ordering::AcqRel);
        if self.shared.returns.try_send(returned).is_err() {
            self.shared.given.fetch_sub(1, Ordering::AcqRel);
            self.shared.losses.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the router has dealt with all that came back.
    fn has_dealt_with_all(&self) -> bool {
        let dealt = self.shared.dealt.load(Ordering::Acquire);
        dealt >= self.shared.given.load(Ordering::Acquire)
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Epoch, Arc<Lane>>> {
        self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listed(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.shared.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
