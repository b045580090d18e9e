//! What Redis holds, and what each script does to it, in one step each.
//!
//! The keys are those of `src/store.rs`; the functions are named as the scripts are. Time is not
//! modelled: `since` and `seq` are given or counted, and only their order means anything.

mod member;
mod messages;
mod ownership;

pub use self::{
    messages::{Fate, HoldAnswer, HoldRequest},
    ownership::{Claim, Claimed, Registered, Release},
};
use crate::{
    envelope::Envelope,
    ids::{Device, Epoch, Mid, Number, Partition, User},
    map::{Map, Set},
};

/// `@<epoch>.<number>.<since>`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// Whose it is.
    pub epoch: Epoch,
    /// Which of its connections.
    pub number: Number,
    /// When it was first registered.
    pub since: u64,
}

/// What is held for a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mailbox {
    /// Oldest first.
    pub entries: Vec<(u64, Mid)>,
    /// Those that were kept under a name nobody has seen, by their number.
    pub renamed: Set<u64>,
}

/// Promises that a script broke; none of these is ever true of the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken {
    /// An entry was written for an epoch behind its tombstone.
    pub late_write: bool,
    /// The release of one connection removed another.
    pub wrong_release: bool,
    /// A connection took the place of a younger one.
    pub younger_displaced: bool,
    /// An epoch was killed that had beaten since it was suspected.
    pub living_killed: bool,
}

/// The store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Redis {
    /// `{wK}:u:<uh>`
    pub entries: Map<(User, Device), Tag>,
    /// `{wK}:o:<epoch>`, without the tombstone.
    pub index: Set<(Epoch, User)>,
    /// The field `!` there.
    pub tombstones: Set<(Epoch, Partition)>,
    /// `{wK}:b`
    pub seen: Set<(Partition, Epoch)>,
    /// `{m}:hb`
    pub members: Map<Epoch, u64>,
    /// `{m}:dead`
    pub dead: Set<Epoch>,
    /// `{wK}:q:<uh>`
    pub mailboxes: Map<User, Mailbox>,
    /// `{wK}:r:<uh>`
    pub markers: Map<User, u64>,
    /// Channels that somebody listens to, and what is on its way to them.
    pub inboxes: Map<Epoch, Vec<Envelope>>,
    /// What must never be.
    pub broken: Broken,
}

impl Redis {
    /// PUBLISH; whether anybody listens.
    pub fn publish(&mut self, to: Epoch, envelopes: impl IntoIterator<Item = Envelope>) -> bool {
        let inbox = self.inboxes.get_mut(to);
        let is_heard = inbox.is_some();
        if let Some(inbox) = inbox {
            inbox.extend(envelopes);
        }
        is_heard
    }

    /// The entries of a user.
    pub fn entries_of(&self, user: User) -> impl Iterator<Item = (Device, Tag)> + '_ {
        let range = self.entries.range((user, Device(0)), (user, Device(u32::MAX)));
        range.map(|((_, device), tag)| (device, *tag))
    }

    /// The epochs that own a user.
    pub fn owners(&self, user: User) -> Set<Epoch> {
        self.entries_of(user).map(|(_, tag)| tag.epoch).collect()
    }

    /// FLUSHALL: what is left is what it held at first.
    pub fn flush(&mut self) {
        self.fall_back(Self::default());
    }

    /// Another server takes over, or the same comes back, and holds what this one held at some time
    /// before. Subscriptions are no keys.
    pub fn fall_back(&mut self, older: Self) {
        let inboxes = std::mem::take(&mut self.inboxes);
        let broken = std::mem::take(&mut self.broken);
        *self = Self { inboxes, broken, ..older };
    }
}
