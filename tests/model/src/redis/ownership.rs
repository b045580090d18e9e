//! connect, assert, disconnect, reap, prune: who owns what.

use super::{Mailbox, Redis, Tag};
use crate::{
    envelope::Envelope,
    ids::{Device, Epoch, Mid, Number, Partition, User},
    map::Set,
    rules::{Bug, Rules},
};

/// One connection that wants to be known to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Whose it is.
    pub user: User,
    /// What it is called.
    pub device: Device,
    /// For whom it is claimed.
    pub epoch: Epoch,
    /// Its number.
    pub number: Number,
    /// When it was first registered; `None` for a new one.
    pub since: Option<u64>,
}

/// The answer to a [`Claim`] that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registered {
    /// What to release it with.
    pub tag: Tag,
    /// The other epochs that own the user.
    pub siblings: Set<Epoch>,
    /// The connection whose place it took.
    pub old: Option<Tag>,
    /// What was held, oldest first (`connect`).
    pub page: Vec<Held>,
    /// Whether something is held (`assert`).
    pub more_held: bool,
}

/// A message out of the mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Which message.
    pub mid: Mid,
    /// Whether it is held under the name by which others may have had it.
    pub is_named: bool,
}

/// The answer to a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claimed {
    /// It is this epoch's.
    Registered(Registered),
    /// A younger connection has this device.
    Displaced,
    /// The epoch has been reaped.
    Fenced,
}

/// One connection that lets go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// Whose it is.
    pub user: User,
    /// What it was claimed for.
    pub device: Device,
    /// What the claim answered.
    pub tag: Tag,
    /// What could not be written, oldest first, and whether its mid was said before.
    pub unwritten: Vec<(Mid, bool)>,
}

impl Redis {
    /// `connect.lua`: registers, and reads what was held. `now` is the clock's `since`.
    pub fn connect(&mut self, rules: &Rules, claim: &Claim, now: u64) -> Claimed {
        let answer = self.claim(rules, claim, now);
        let Claimed::Registered(mut registered) = answer else { return answer };
        if !rules.has(Bug::HoldReadAfterRegister) {
            registered.page = self.read_held(claim.user);
        }
        Claimed::Registered(registered)
    }

    /// GETDEL of the marker, and what stands behind it.
    pub fn read_held(&mut self, user: User) -> Vec<Held> {
        let Some(marker) = self.markers.take(user) else { return Vec::new() };
        let Some(mailbox) = self.mailboxes.get(user) else { return Vec::new() };
        let held = mailbox.entries.iter().filter(|(seq, _)| *seq > marker);
        held.map(|(seq, mid)| Held { mid: *mid, is_named: !mailbox.renamed.has(*seq) }).collect()
    }

    /// `assert.lua` for one connection: registers again, and says whether something is held.
    pub fn assert(&mut self, rules: &Rules, claim: &Claim, now: u64) -> Claimed {
        let answer = self.claim(rules, claim, now);
        let Claimed::Registered(mut registered) = answer else { return answer };
        registered.more_held = self.markers.has(claim.user);
        Claimed::Registered(registered)
    }

    /// `claim.lua`, behind the look at the tombstone.
    fn claim(&mut self, rules: &Rules, claim: &Claim, now: u64) -> Claimed {
        let Claim { user, device, epoch, number, since } = *claim;
        let partition = rules.partition(user);
        let is_fenced = self.tombstones.has((epoch, partition));
        if is_fenced && !rules.has(Bug::NoTombstone) {
            return Claimed::Fenced;
        }
        let old = self.entries.get((user, device)).copied();
        let is_younger = |old: Tag| since.is_some_and(|since| old.since > since);
        if old.is_some_and(is_younger) {
            if !rules.has(Bug::ReassertDisplacesYounger) {
                return Claimed::Displaced;
            }
            self.broken.younger_displaced = true;
        }
        let tag = Tag { epoch, number, since: since.unwrap_or(now) };
        if old != Some(tag) {
            self.broken.late_write |= is_fenced;
            self.entries.set((user, device), tag);
            self.seen.add((partition, epoch));
            let displaced = old.filter(|old| old.epoch != epoch && old.since != tag.since);
            if let Some(old) = displaced.filter(|_| !rules.has(Bug::NoDisplacement)) {
                self.publish(old.epoch, [Envelope::Displaced(user, device, old)]);
            }
        }
        let is_first = self.index.add((epoch, user));
        let mut siblings = self.owners(user);
        siblings.remove(epoch);
        let may_be_forgotten = since.is_some();
        if (is_first || may_be_forgotten) && !rules.has(Bug::OwnerForgetsSiblings) {
            for sibling in siblings.keys() {
                self.publish(sibling, [Envelope::OwnerAdded(user, epoch)]);
            }
        }
        if rules.has(Bug::OwnerForgetsSiblings) {
            siblings.clear();
        }
        Claimed::Registered(Registered { tag, siblings, old, page: Vec::new(), more_held: false })
    }

    /// `disconnect.lua`: removes the entry if it still is this one, and keeps what was not
    /// written if nobody else has the user. Answers whether it was removed.
    pub fn disconnect(&mut self, rules: &Rules, epoch: Epoch, release: &Release) -> bool {
        let Release { user, device, tag, unwritten } = release;
        let (user, device) = (*user, *device);
        let old = self.entries.get((user, device)).copied();
        let is_mine = old == Some(*tag);
        let is_removed = is_mine || rules.has(Bug::ReleaseWithoutCompare) && old.is_some();
        if is_removed {
            self.entries.take((user, device));
            self.broken.wrong_release |= !is_mine;
        }
        let owners = self.owners(user);
        if !owners.has(epoch) && self.index.remove((epoch, user)) {
            for other in owners.keys() {
                self.publish(other, [Envelope::OwnerGone(user, epoch)]);
            }
        }
        if !owners.is_empty() {
            return is_removed;
        }
        if is_removed {
            self.mark(user);
        }
        if !rules.has(Bug::UnwrittenNotKept) {
            for (mid, is_named) in unwritten {
                self.append(user, *mid, *is_named);
            }
        }
        is_removed
    }

    /// `reap.lua`: fences an epoch in one partition, then removes what it left there.
    pub fn reap(&mut self, rules: &Rules, epoch: Epoch, partition: Partition) {
        self.fence(epoch, partition);
        self.remove_left(rules, epoch, partition);
    }

    /// The tombstone.
    pub fn fence(&mut self, epoch: Epoch, partition: Partition) {
        self.tombstones.add((epoch, partition));
    }

    /// What stands behind the tombstone in `reap.lua`.
    pub fn remove_left(&mut self, rules: &Rules, epoch: Epoch, partition: Partition) {
        let all = self.index.range((epoch, User(0)), (epoch, User(u32::MAX)));
        let users: Vec<_> = all
            .map(|((_, user), ())| user)
            .filter(|user| rules.partition(*user) == partition)
            .collect();
        for user in users {
            let tags: Vec<_> = self.entries_of(user).collect();
            for (device, _) in tags.iter().filter(|(_, tag)| tag.epoch == epoch) {
                self.entries.take((user, *device));
            }
            self.index.remove((epoch, user));
            let others = self.owners(user);
            if others.is_empty() {
                self.mark(user);
            }
            for other in others.keys() {
                self.publish(other, [Envelope::OwnerGone(user, epoch)]);
            }
        }
        self.seen.remove((partition, epoch));
    }

    /// `prune.lua`: removes entries, each only if it still is that one, and the user from the
    /// index of each of `epochs` that has no connection of it any more.
    pub fn prune(&mut self, rules: &Rules, user: User, epochs: &[Epoch], tags: &[Tag]) -> usize {
        let all: Vec<_> = self.entries_of(user).filter(|(_, tag)| tags.contains(tag)).collect();
        for (device, _) in &all {
            self.entries.take((user, *device));
        }
        let owners = self.owners(user);
        let is_left = |epoch: &&Epoch| !owners.has(**epoch) && !rules.has(Bug::PruneKeepsIndex);
        for epoch in epochs.iter().filter(is_left) {
            if self.index.remove((*epoch, user)) {
                for other in owners.keys() {
                    self.publish(other, [Envelope::OwnerGone(user, *epoch)]);
                }
            }
        }
        all.len()
    }

    /// `mark`: where replay starts; the first to say so counts.
    pub(super) fn mark(&mut self, user: User) {
        if !self.markers.has(user) {
            let last = self.mailboxes.get(user).and_then(Mailbox::last_seq);
            self.markers.set(user, last.unwrap_or(0));
        }
    }
}
