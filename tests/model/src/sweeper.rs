//! Keeping the store and an instance in agreement (`src/fleet/sweeper.rs`).

use crate::{
    ids::{Epoch, InstanceId, Number, Partition, User},
    instance::Asserting,
    map::Set,
    redis::{Claim, Claimed, Release, Tag},
    rules::{Bug, Rules},
    world::World,
};

impl World {
    /// A round that registers again: all after a new subscription, else those that the present
    /// epoch has not registered.
    pub fn start_assert(&mut self, rules: &Rules, at: InstanceId) {
        let instance = self.instance(at);
        let (all, epoch) = (instance.is_newly_listening, instance.epoch);
        (instance.is_newly_listening, instance.unsettled) = (false, false);
        if all {
            // `Registrar::doubt_releases`
            instance.lost.append(&mut instance.recent);
        }
        let is_unknown = |registration: Option<(Epoch, u64)>| {
            registration.is_none_or(|(known, _)| known != epoch)
        };
        let left: Vec<Number> = instance
            .connections
            .iter()
            .filter(|(_, one)| one.may_be_asserted())
            .filter(|(_, one)| all || one.again || is_unknown(one.registration))
            .map(|(number, _)| number)
            .collect();
        for connection in instance.connections.values_mut() {
            let is_missed = connection.is_claiming() && !rules.has(Bug::ClaimingLeftOut);
            connection.again = is_missed && (all || connection.again);
        }
        if !left.is_empty() {
            instance.asserting = Some(Asserting { epoch, left, answer: None });
        }
    }

    /// `assert.lua` is executed for the next connection; nothing, if the epoch has changed.
    pub fn assert(&mut self, rules: &Rules, at: InstanceId) {
        let instance = self.instance(at);
        let Some(mut asserting) = instance.asserting.take() else { return };
        if instance.epoch != asserting.epoch || asserting.left.is_empty() {
            return;
        }
        let number = asserting.left.remove(0);
        if let Some(claim) = self.claim_of(at, number, asserting.epoch) {
            let now = self.now(claim.user, claim.device);
            let claimed = self.redis().assert(rules, &claim, now);
            asserting.answer = Some((claim, claimed));
        }
        let is_done = asserting.left.is_empty() && asserting.answer.is_none();
        self.instance(at).asserting = (!is_done).then_some(asserting);
    }

    /// Its answer comes.
    pub fn asserted(&mut self, rules: &Rules, at: InstanceId) {
        let instance = self.instance(at);
        let Some(asserting) = &mut instance.asserting else { return };
        let Some((claim, claimed)) = asserting.answer.take() else { return };
        if asserting.left.is_empty() {
            instance.asserting = None;
        }
        match claimed {
            Claimed::Registered(registered) => {
                let connection = self.peek(at).connections.get(claim.number);
                if connection.is_none_or(|one| one.is_leaving()) {
                    self.undo(at, &claim, registered.tag);
                } else {
                    self.note(at, claim.number, &registered);
                    if registered.more_held {
                        self.fetch_held(rules, at, &claim, registered.tag);
                    }
                }
            }
            Claimed::Displaced => {
                if let Some(connection) = self.instance(at).connections.get_mut(claim.number) {
                    connection.ordered = true;
                }
            }
            Claimed::Fenced => {
                let instance = self.instance(at);
                instance.fenced = Some(claim.epoch);
                instance.unsettled = true;
            }
        }
    }

    /// No answer comes: this and the rest again later.
    pub fn unasserted(&mut self, at: InstanceId) {
        let instance = self.instance(at);
        instance.asserting = None;
        instance.unsettled = true;
    }

    /// `Registrar::undo_if_leaving`
    fn undo(&mut self, at: InstanceId, claim: &Claim, tag: Tag) {
        let (user, device) = (claim.user, claim.device);
        let release = Release { user, device, tag, unwritten: Vec::new() };
        let instance = self.instance(at);
        if let Some(connection) = instance.connections.get_mut(claim.number) {
            connection.registration = Some((tag.epoch, tag.since));
        }
        instance.lost.push((tag.epoch, release));
    }

    /// `Work::fetch_held`: every connection of the user here gets what was held.
    fn fetch_held(&mut self, rules: &Rules, at: InstanceId, claim: &Claim, tag: Tag) {
        let (user, claim) = (claim.user, Claim { since: Some(tag.since), ..*claim });
        let claimed = self.redis().connect(rules, &claim, tag.since);
        if let Claimed::Registered(registered) = claimed {
            let instance = self.instance(at);
            let page = registered.page.into_iter();
            for held in page {
                if held.is_named && instance.has_seen(user, held.mid) {
                    continue;
                }
                if instance.deliver_to_open(user, held.mid, false, &Set::default()) > 0
                    && held.is_named
                {
                    instance.note_seen(user, held.mid);
                }
            }
        }
    }

    fn claim_of(&self, at: InstanceId, number: Number, epoch: Epoch) -> Option<Claim> {
        let connection = self.peek(at).connections.get(number)?;
        let (user, device) = (connection.user, connection.device);
        let since = connection.registration.map(|(_, since)| since);
        Some(Claim { user, device, epoch, number, since })
    }

    /// A release that was not answered is said again.
    pub fn settle_release(&mut self, rules: &Rules, at: InstanceId) {
        let (epoch, release) = self.instance(at).lost.remove(0);
        self.redis().disconnect(rules, epoch, &release);
    }

    /// `Work::remove_ghosts`: what the store lists of this epoch and nobody here is.
    pub fn remove_ghosts(&mut self, rules: &Rules, at: InstanceId, user: User) {
        let instance = self.instance(at);
        instance.suspects.remove(user);
        let (epoch, here) = (instance.epoch, instance.of_user(user).map(|(number, _)| number));
        let here: Vec<Number> = here.collect();
        let is_ghost = |tag: &Tag| tag.epoch == epoch && !here.contains(&tag.number);
        let redis = self.redis();
        let ghosts: Vec<Tag> =
            redis.entries_of(user).map(|(_, tag)| tag).filter(is_ghost).collect();
        redis.prune(rules, user, &[epoch], &ghosts);
    }

    /// `sweep.lua` in one partition, and the repair both ways.
    pub fn sweep(&mut self, rules: &Rules, at: InstanceId, partition: Partition) {
        let instance = self.peek(at);
        let epoch = instance.epoch;
        if self.peek_redis().tombstones.has((epoch, partition)) {
            return;
        }
        let listed = |user: User| self.peek_redis().index.has((epoch, user));
        let is_here = |one: &&crate::instance::Connection| {
            rules.partition(one.user) == partition
                && one.registration.is_some_and(|(known, _)| known == epoch)
        };
        let unlisted = instance
            .connections
            .iter()
            .filter(|(_, one)| is_here(one) && one.may_be_asserted() && !listed(one.user))
            .map(|(number, _)| number)
            .collect::<Vec<_>>();
        let range = self.peek_redis().index.range((epoch, User(0)), (epoch, User(u32::MAX)));
        let ghosts: Vec<User> = range
            .map(|((_, user), ())| user)
            .filter(|user| rules.partition(*user) == partition)
            .filter(|user| {
                !instance.connections.iter().any(|(_, c)| is_here(&c) && c.user == *user)
            })
            .collect();
        let strangers: Vec<Epoch> = self
            .peek_redis()
            .seen
            .range((partition, Epoch(0)), (partition, Epoch(u32::MAX)))
            .map(|((_, epoch), ())| epoch)
            .filter(|epoch| !instance.members.has(*epoch) && self.is_orphan(*epoch))
            .collect();
        if instance.asserting.is_none() && !unlisted.is_empty() {
            let asserting = Asserting { epoch, left: unlisted, answer: None };
            self.instance(at).asserting = Some(asserting);
        }
        for user in ghosts {
            self.remove_ghosts(rules, at, user);
        }
        for stranger in strangers {
            for partition in rules.all_partitions() {
                self.instance(at).reaping.set((stranger, partition), false);
            }
        }
    }

    /// An epoch that was seen and no member for `ORPHAN_AGE`: one that runs joins sooner.
    fn is_orphan(&self, epoch: Epoch) -> bool {
        !self.instances().any(|(_, one)| one.epoch == epoch && one.is_reached())
    }
}
