//! hold, and how a message enters a mailbox.

use super::{Mailbox, Redis};
use crate::{
    envelope::{Envelope, Letter},
    ids::{Epoch, Mid, User},
    map::Set,
};

/// A message on the slow path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HoldRequest {
    /// The recipient.
    pub user: User,
    /// Who asks.
    pub from: Epoch,
    /// Which message.
    pub mid: Mid,
    /// Whether this mid was ever said to Redis before, or is drawn for this.
    pub is_named: bool,
    /// Epochs that have it and will answer for themselves.
    pub tried: Set<Epoch>,
    /// Epochs that said no, or whose inbox nobody hears.
    pub deaf: Set<Epoch>,
    /// Whether it may be kept at all.
    pub keep: bool,
}

impl HoldRequest {
    /// For a message that nobody has had.
    pub fn new(user: User, from: Epoch, mid: Mid) -> Self {
        let (tried, deaf) = (Set::default(), Set::default());
        Self { user, from, mid, is_named: true, tried, deaf, keep: true }
    }
}

/// What became of the message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Owners were told, or will answer, or nobody has the user and nothing is held.
    NotKept,
    /// It waits for the user's next connect.
    Kept,
    /// It was there already.
    Duplicate,
}

/// The answer to a [`HoldRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HoldAnswer {
    /// Inboxes that heard it.
    pub heard: Set<Epoch>,
    /// Every epoch that owns a connection of the user.
    pub owners: Set<Epoch>,
    /// What became of it.
    pub fate: Fate,
}

impl Mailbox {
    /// The number of the newest entry.
    pub fn last_seq(&self) -> Option<u64> {
        self.entries.last().map(|(seq, _)| *seq)
    }

    fn has(&self, mid: Mid) -> bool {
        self.entries.iter().any(|(seq, other)| *other == mid && !self.renamed.has(*seq))
    }
}

impl Redis {
    /// `hold.lua`: tells the owners that have not been tried, and keeps the message if nobody is
    /// left who may still answer for the user.
    pub fn hold(&mut self, request: &HoldRequest) -> HoldAnswer {
        let HoldRequest { user, from, mid, is_named, tried, deaf, keep } = request;
        let owners = self.owners(*user);
        let letter = Letter { user: *user, mid: *mid, from: *from, epochs: owners.clone() };
        let is_asked = |owner: &Epoch| !deaf.has(*owner) && !tried.has(*owner);
        let mut heard = Set::default();
        for owner in owners.keys().filter(is_asked) {
            if self.publish(owner, [Envelope::Deliver(letter.clone())]) {
                heard.add(owner);
            }
        }
        let is_awaited = owners.keys().any(|owner| !deaf.has(owner) && tried.has(owner));
        let is_known = !owners.is_empty() || self.markers.has(*user);
        let fate = if !heard.is_empty() || is_awaited || !keep || !is_known {
            Fate::NotKept
        } else {
            self.append(*user, *mid, *is_named)
        };
        HoldAnswer { heard, owners, fate }
    }

    /// `append`
    pub(super) fn append(&mut self, user: User, mid: Mid, is_named: bool) -> Fate {
        if is_named && self.mailboxes.get(user).is_some_and(|mailbox| mailbox.has(mid)) {
            return Fate::Duplicate;
        }
        self.mark(user);
        let marker = self.markers.get(user).copied().unwrap_or(0);
        let mailbox = self.mailboxes.or_default(user);
        mailbox.drop_read(marker);
        let seq = mailbox.last_seq().unwrap_or(0) + 1;
        mailbox.entries.push((seq, mid));
        if !is_named {
            mailbox.renamed.add(seq);
        }
        Fate::Kept
    }
}

impl Mailbox {
    /// `drop_read`: what is at or below the marker, except the last.
    fn drop_read(&mut self, marker: u64) {
        let read = self.entries.iter().take_while(|(seq, _)| *seq <= marker).count();
        let dropped = read.min(self.entries.len().saturating_sub(1));
        self.entries.drain(..dropped);
        let first = self.entries.first().map_or(0, |(seq, _)| *seq);
        self.renamed.retain(|seq| seq >= first);
    }
}
