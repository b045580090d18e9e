//! A connection's identity and the ways to reach its session.

use std::{
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::Outbox;
use crate::ids::{ConnectionId, Epoch, UserHash, UserId};

/// Under which epoch a connection is known to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The epoch it was claimed for.
    pub epoch: Epoch,
    /// Microseconds of the store's clock at the first registration.
    pub since: u64,
}

/// What an operator wants to know of a connection; nothing is decided by it.
#[derive(Clone, Debug)]
pub struct About {
    /// Its user's name, which the fleet only knows as a hash.
    pub user: UserId,
    /// The client as far as it can be believed.
    pub client: IpAddr,
    /// When the handshake was let in.
    pub connected: SystemTime,
}

/// What the hub knows of one connection.
pub struct Connection {
    id: ConnectionId,
    number: u64,
    user: UserHash,
    about: About,
    outbox: Outbox,
    /// `None` until the store has answered; a std lock, never held across an await.
    registration: Mutex<Option<Registration>>,
    /// Set while its first claim is on its way: nobody else may claim it meanwhile.
    is_claiming: AtomicBool,
    /// Set when all others were registered again while its first claim was on its way.
    is_missed: AtomicBool,
    /// What the user's connections were given up to this place, it was not.
    first_place: AtomicU64,
    /// Set when it answers for nothing any more that it was given.
    has_let_go: AtomicBool,
}

impl Connection {
    /// One that is not known to the fleet yet, with room for `outbox_bytes` of unread messages.
    pub fn new(
        id: ConnectionId,
        number: u64,
        user: UserHash,
        about: About,
        outbox_bytes: usize,
    ) -> Self {
        let (registration, is_claiming) = (Mutex::new(None), AtomicBool::new(true));
        let outbox = Outbox::new(outbox_bytes);
        Self {
            id,
            number,
            user,
            about,
            outbox,
            registration,
            is_claiming,
            is_missed: AtomicBool::new(false),
            first_place: AtomicU64::new(0),
            has_let_go: AtomicBool::new(false),
        }
    }

    /// Its public id.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Its user.
    pub fn user(&self) -> UserHash {
        self.user
    }

    /// What an operator wants to know of it.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Its outbox.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// A classic connection names no device: its id stands for one, behind a character that no
    /// client may use in its own.
    pub fn device(&self) -> String {
        format!("~{}", self.id)
    }

    /// What it is registered as.
    pub fn registration(&self) -> Option<Registration> {
        *self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number in this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Notes the store's answer.
    pub fn register(&self, registration: Registration) {
        *self.registration.lock().unwrap_or_else(PoisonError::into_inner) = Some(registration);
    }

    /// Its first claim has been answered, or given up.
    pub fn end_claim(&self) {
        self.is_claiming.store(false, Ordering::SeqCst);
    }

    /// Whether its first claim is still on its way.
    pub fn is_claiming(&self) -> bool {
        self.is_claiming.load(Ordering::SeqCst)
    }

    /// Notes that all others are being registered again; whether it may be, too. While its first
    /// claim is on its way it may not, and must be afterwards: what was said of it, or to it,
    /// meanwhile may not have been heard.
    pub fn may_be_asserted_or_is_missed(&self) -> bool {
        if self.is_claiming() {
            self.is_missed.store(true, Ordering::SeqCst);
        }
        // The claim may have ended meanwhile, without a look at the mark.
        self.may_be_asserted()
    }

    /// It must be registered again: something may be held that is meant for it.
    pub fn miss(&self) {
        self.is_missed.store(true, Ordering::SeqCst);
    }

    /// It is in the hub from this place on.
    pub(super) fn enter(&self, place: u64) {
        self.first_place.store(place, Ordering::Relaxed);
    }

    /// From now on it answers for nothing that it was given.
    pub(super) fn let_go(&self) {
        self.has_let_go.store(true, Ordering::Relaxed);
    }

    /// Whether it was given what stands at this place, and will write it or hand it on.
    pub(super) fn answers_for(&self, place: u64) -> bool {
        place > self.first_place.load(Ordering::Relaxed)
            && self.outbox.has_taken(place)
            && !self.has_let_go.load(Ordering::Relaxed)
    }

    /// Whether it was missed when all others were registered again.
    pub fn is_missed(&self) -> bool {
        self.is_missed.load(Ordering::SeqCst)
    }

    /// The same; asking clears it.
    pub fn take_missed(&self) -> bool {
        self.is_missed.swap(false, Ordering::SeqCst)
    }

    /// Whether it may be registered again by others than its own session.
    pub fn may_be_asserted(&self) -> bool {
        !self.is_claiming() && !self.outbox.is_leaving()
    }
}
