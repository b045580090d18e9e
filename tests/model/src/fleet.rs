//! The lease (`src/fleet/membership.rs`, `reaper.rs`): who lives, who is killed, who reaps.

use crate::{
    ids::{Epoch, InstanceId, Partition},
    instance::{Instance, Status},
    map::{Map, Set},
    rules::{Bug, Rules},
    world::World,
};

impl World {
    /// A heartbeat, and what its answer starts.
    pub fn beat(&mut self, rules: &Rules, at: InstanceId) {
        let epoch = self.peek(at).epoch;
        let counter = self.peek_redis().members.get(epoch).copied();
        let is_compared = self.instances().any(|(_, one)| one.kills.get(epoch).copied() == counter);
        let answer = self.redis().beat(epoch, counter.is_some() && is_compared);
        match answer {
            Some((members, dead)) if self.peek(at).fenced != Some(epoch) => {
                let instance = self.instance(at);
                instance.lease = true;
                instance.observe(&members, &dead);
                instance.bury(rules, &dead);
            }
            _ if rules.has(Bug::FencedGoesOn) => {}
            _ => self.rejoin(rules, at),
        }
    }

    /// `Membership::rejoin`, up to the join: under a new epoch.
    fn rejoin(&mut self, rules: &Rules, at: InstanceId) {
        let fresh = Epoch(self.next_epoch);
        let reuses = rules.has(Bug::JoinReusesEpoch);
        self.next_epoch += u32::from(!reuses);
        let instance = self.instance(at);
        let old = instance.epoch;
        instance.lease = false;
        instance.joined = false;
        instance.fenced = None;
        instance.is_new_view = true;
        instance.before = Some(old);
        if !reuses {
            instance.epoch = fresh;
            instance.listening = None;
            self.redis().inboxes.take(old);
        }
    }

    /// The reader listens to the present epoch's inbox.
    pub fn subscribe(&mut self, at: InstanceId) {
        let epoch = self.peek(at).epoch;
        self.redis().inboxes.or_default(epoch);
        let instance = self.instance(at);
        instance.listening = Some(epoch);
        instance.is_newly_listening = true;
        // A confirmation may have been missed: silence says nothing any more.
        instance.unconfirmed.clear();
    }

    /// `join`, and what follows it after a fence: the old epoch is reaped by itself, and all
    /// connections are registered again.
    pub fn join(&mut self, rules: &Rules, at: InstanceId) {
        let epoch = self.peek(at).epoch;
        self.redis().join(epoch);
        let instance = self.instance(at);
        instance.joined = true;
        if let Some(old) = instance.before.take() {
            for partition in rules.all_partitions() {
                instance.reaping.set((old, partition), false);
            }
            instance.unsettled = true;
        }
    }

    /// `Membership::miss`, long enough.
    pub fn miss(&mut self, at: InstanceId) {
        self.instance(at).lease = false;
    }

    /// `Membership::judge`: a peer's counter has stood still for long enough, and its kill starts.
    pub fn suspect(&mut self, at: InstanceId, peer: Epoch) {
        let counter = self.peek_redis().members.get(peer).copied();
        if let Some(counter) = counter {
            self.instance(at).kills.set(peer, counter);
        }
    }

    /// `kill` is executed.
    pub fn kill(&mut self, rules: &Rules, at: InstanceId, peer: Epoch) {
        if let Some(counter) = self.instance(at).kills.take(peer) {
            self.redis().kill(rules, peer, counter);
        }
    }

    /// `reap` is executed in one partition.
    pub fn reap(&mut self, rules: &Rules, at: InstanceId, epoch: Epoch, partition: Partition) {
        let key = (epoch, partition);
        if !rules.has(Bug::ReapBeforeFence) {
            self.instance(at).reaping.take(key);
            return self.redis().reap(rules, epoch, partition);
        }
        match self.peek(at).reaping.get(key) {
            Some(true) => {
                self.instance(at).reaping.take(key);
                self.redis().fence(epoch, partition);
            }
            Some(false) => {
                self.instance(at).reaping.set(key, true);
                self.redis().remove_left(rules, epoch, partition);
            }
            None => {}
        }
    }

    /// SIGTERM: every session is told to say goodbye.
    pub fn stop(&mut self, at: InstanceId) {
        let instance = self.instance(at);
        instance.status = Status::Stopping;
        for connection in instance.connections.values_mut() {
            connection.ordered = true;
        }
    }

    /// `leave`, and the end.
    pub fn leave_fleet(&mut self, at: InstanceId) {
        let epoch = self.peek(at).epoch;
        self.redis().leave(epoch);
        self.end(at);
    }
}

impl Instance {
    /// `Membership::observe`
    fn observe(&mut self, members: &Map<Epoch, u64>, dead: &Set<Epoch>) {
        let listed: Set<Epoch> = members.keys().collect();
        let has_changed = self.is_new_view || self.members != listed;
        let before = std::mem::replace(&mut self.members, listed);
        let gone = before.keys().chain(dead.keys()).chain(self.gone.keys());
        self.gone = gone.filter(|epoch| !self.members.has(*epoch)).collect();
        if has_changed {
            self.is_new_view = false;
            let members = self.members.clone();
            self.deaf.retain(|epoch| members.has(epoch));
            self.retain_siblings();
            self.buried.clear();
        }
    }

    /// `Membership::bury`: this instance's share of the dead.
    fn bury(&mut self, rules: &Rules, dead: &Set<Epoch>) {
        for epoch in dead.keys() {
            if epoch == self.epoch || self.buried.has(epoch) {
                continue;
            }
            for partition in rules.all_partitions() {
                if self.shares(epoch, partition) {
                    self.reaping.set((epoch, partition), false);
                }
            }
            self.buried.add(epoch);
        }
    }

    /// Everyone draws alike who reaps: here by counting, there by hashing.
    fn shares(&self, dead: Epoch, partition: Partition) -> bool {
        let count = self.members.len();
        let drawn = (dead.0 + partition.0) as usize % count.max(1);
        self.members.keys().nth(drawn).is_none_or(|first| first == self.epoch)
    }
}
