//! Every step that may happen next, and what it does.
//!
//! One action is one atomic step of the code: a script, an answer taken, a message taken, or
//! something that the world does to the fleet.

use crate::{
    ids::{Device, Epoch, InstanceId, Mid, Number, Partition, User},
    instance::{Answer, By, Instance, Phase, Status, Until},
    redis::Redis,
    rules::{Bounds, Bug, Rules},
    world::World,
};

/// A step. `at` is the instance that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is named as the function that does it, which says more")]
pub enum Action {
    // What clients and the world do.
    Open { at: InstanceId, user: User, device: Device },
    Close { at: InstanceId, number: Number },
    Send { mid: Mid },
    Crash { at: InstanceId },
    Pause { at: InstanceId },
    Resume { at: InstanceId },
    Cut { at: InstanceId },
    Heal { at: InstanceId },
    Flush,
    FallBehind,
    FailOver,
    Stop { at: InstanceId },
    SuspectTheSlow { at: InstanceId, peer: Epoch },
    // A connection.
    Connect { at: InstanceId, number: Number },
    Claimed { at: InstanceId, number: Number },
    Unanswered { at: InstanceId, number: Number },
    Write { at: InstanceId, number: Number },
    Leave { at: InstanceId, number: Number },
    Disconnect { at: InstanceId, number: Number },
    Released { at: InstanceId, number: Number },
    Unreleased { at: InstanceId, number: Number },
    // A message.
    Hold { at: InstanceId, by: By },
    Held { at: InstanceId, by: By },
    NotHeld { at: InstanceId, by: By },
    FallIn { at: InstanceId },
    LosePatience { at: InstanceId },
    Publish { at: InstanceId, to: Epoch },
    LoseLane { at: InstanceId, to: Epoch },
    GiveBackUnread { at: InstanceId, to: Epoch },
    Take { at: InstanceId },
    TakeBack { at: InstanceId },
    // The fleet.
    Beat { at: InstanceId },
    Miss { at: InstanceId },
    Suspect { at: InstanceId, peer: Epoch },
    Kill { at: InstanceId, peer: Epoch },
    Subscribe { at: InstanceId },
    Join { at: InstanceId },
    Reap { at: InstanceId, epoch: Epoch, partition: Partition },
    LeaveFleet { at: InstanceId },
    // The sweeper.
    StartAssert { at: InstanceId },
    Assert { at: InstanceId },
    Asserted { at: InstanceId },
    Unasserted { at: InstanceId },
    SettleRelease { at: InstanceId },
    RemoveGhosts { at: InstanceId, user: User },
    Sweep { at: InstanceId, partition: Partition },
}

impl World {
    /// Takes a step.
    pub fn apply(&mut self, rules: &Rules, bounds: &Bounds, action: Action) {
        match action {
            Action::Open { at, user, device } => {
                let made = self.opened.or_default((user, device));
                *made += 1;
                let unique = Device(self.next_number);
                self.open(at, user, if bounds.stable_devices { device } else { unique });
            }
            Action::Close { at, number } => {
                self.used.closes += 1;
                self.leave(at, number);
            }
            Action::Send { mid } => self.send(rules, mid),
            Action::Crash { at } => {
                self.used.crashes += 1;
                self.end(at);
            }
            Action::Pause { at } => {
                self.used.pauses += 1;
                self.instance(at).status = Status::Paused;
            }
            Action::Resume { at } => self.instance(at).status = Status::Running,
            Action::Cut { at } => {
                self.used.cuts += 1;
                self.instance(at).is_cut = true;
            }
            Action::Heal { at } => self.heal(at),
            Action::Flush => {
                self.used.flushes += 1;
                self.redis().flush();
            }
            Action::FallBehind => {
                self.used.failovers += 1;
                self.fall_behind();
            }
            Action::FailOver => self.fail_over(),
            Action::Stop { at } => {
                self.used.stops += 1;
                self.stop(at);
            }
            Action::SuspectTheSlow { at, peer } => {
                self.used.suspicions += 1;
                self.suspect(at, peer);
            }
            Action::Connect { at, number } => self.connect(rules, at, number),
            Action::Claimed { at, number } => self.claimed(rules, at, number),
            Action::Unanswered { at, number } => self.unanswered(at, number),
            Action::Write { at, number } => self.write(at, number),
            Action::Leave { at, number } => self.leave(at, number),
            Action::Disconnect { at, number } => self.disconnect(rules, at, number),
            Action::Released { at, number } => self.released(rules, at, number),
            Action::Unreleased { at, number } => self.unreleased(rules, at, number),
            Action::Hold { at, by } => self.hold(at, by),
            Action::Held { at, by } => self.held(rules, at, by),
            Action::NotHeld { at, by } => self.not_held(at, by),
            Action::FallIn { at } => self.fall_in(at),
            Action::LosePatience { at } => self.lose_patience(at),
            Action::Publish { at, to } => self.publish(rules, at, to),
            Action::LoseLane { at, to } => self.lose_lane(at, to),
            Action::GiveBackUnread { at, to } => self.give_back_unread(rules, at, to),
            Action::Take { at } => self.take(rules, at),
            Action::TakeBack { at } => self.take_back(rules, at),
            Action::Beat { at } => self.beat(rules, at),
            Action::Miss { at } => self.miss(at),
            Action::Suspect { at, peer } => self.suspect(at, peer),
            Action::Kill { at, peer } => self.kill(rules, at, peer),
            Action::Subscribe { at } => self.subscribe(at),
            Action::Join { at } => self.join(rules, at),
            Action::Reap { at, epoch, partition } => self.reap(rules, at, epoch, partition),
            Action::LeaveFleet { at } => self.leave_fleet(at),
            Action::StartAssert { at } => self.start_assert(rules, at),
            Action::Assert { at } => self.assert(rules, at),
            Action::Asserted { at } => self.asserted(rules, at),
            Action::Unasserted { at } => self.unasserted(at),
            Action::SettleRelease { at } => self.settle_release(rules, at),
            Action::RemoveGhosts { at, user } => self.remove_ghosts(rules, at, user),
            Action::Sweep { at, partition } => self.sweep(rules, at, partition),
        }
    }

    /// What clients and the world may do next.
    pub fn from_outside(&self, bounds: &Bounds, next: &mut Vec<Action>) {
        let running = || self.instances().filter(|(_, one)| one.status == Status::Running);
        let is_for_clients =
            |at: InstanceId| !bounds.apart || bounds.messages.iter().all(|(from, _)| *from != at);
        for user in (0..bounds.users).map(User) {
            for device in (0..bounds.devices).map(Device) {
                if self.opened.get((user, device)).is_none_or(|made| *made < bounds.connects) {
                    let all = running().filter(|(at, _)| is_for_clients(*at));
                    next.extend(all.map(|(at, _)| Action::Open { at, user, device }));
                }
            }
        }
        if self.used.closes < bounds.closes {
            for (at, instance) in running() {
                let open = instance.connections.iter().filter(|(_, one)| one.phase == Phase::Open);
                next.extend(open.map(|(number, _)| Action::Close { at, number }));
            }
        }
        self.sends(next);
        self.faults(bounds, next);
    }

    /// The next message of each instance: one sender there, who waits for the one before.
    fn sends(&self, next: &mut Vec<Action>) {
        for (at, instance) in self.instances() {
            let unsent = self.messages().find(|(_, one)| one.from == at && !one.sent);
            let is_ready = instance.status == Status::Running
                && !instance.calls.has(By::Sender)
                && instance.waiting.is_none();
            if let Some((mid, _)) = unsent.filter(|_| is_ready) {
                next.push(Action::Send { mid });
            }
        }
    }

    fn faults(&self, bounds: &Bounds, next: &mut Vec<Action>) {
        let used = &self.used;
        let may = |used: u32, bound: u32| used < bound && self.used.faults() < bounds.faults;
        for (at, instance) in self.instances() {
            if instance.status == Status::Paused {
                next.push(Action::Resume { at });
            }
            if instance.is_cut && instance.runs() {
                next.push(Action::Heal { at });
            }
            if instance.status != Status::Running {
                continue;
            }
            if may(used.crashes, bounds.crashes) {
                next.push(Action::Crash { at });
            }
            if may(used.pauses, bounds.pauses) {
                next.push(Action::Pause { at });
            }
            if !instance.is_cut && may(used.cuts, bounds.cuts) {
                next.push(Action::Cut { at });
            }
            if used.stops < bounds.stops {
                next.push(Action::Stop { at });
            }
            if may(used.suspicions, u32::from(bounds.false_suspicion)) && instance.is_reached() {
                let peers = instance.members.keys().filter(|peer| *peer != instance.epoch);
                next.extend(peers.map(|peer| Action::SuspectTheSlow { at, peer }));
            }
        }
        if may(used.flushes, bounds.flushes) {
            next.push(Action::Flush);
        }
        if self.replica.is_some() {
            next.push(Action::FailOver);
        } else if may(used.failovers, bounds.failovers) {
            next.push(Action::FallBehind);
        }
    }

    /// What the fleet does by itself. When none of these changes anything, all is quiet.
    pub fn from_within(&self, rules: &Rules, next: &mut Vec<Action>) {
        for (at, instance) in self.instances().filter(|(_, one)| one.runs()) {
            for (number, _) in instance.connections.iter() {
                instance.steps_of(at, number, next);
            }
            instance.steps_of_messages(at, next);
            self.steps_of_waiting(at, instance, next);
            if instance.is_cut {
                instance.steps_when_cut(at, next);
            } else {
                self.steps_of_fleet(rules, at, instance, next);
            }
        }
    }

    fn steps_of_waiting(&self, at: InstanceId, instance: &Instance, next: &mut Vec<Action>) {
        let Some(waiting) = &instance.waiting else { return };
        next.push(Action::FallIn { at });
        if let Until::Settled(out) = &waiting.until
            && self.is_held_up(instance, out)
        {
            next.push(Action::LosePatience { at });
        }
    }

    fn steps_of_fleet(
        &self,
        rules: &Rules,
        at: InstanceId,
        instance: &Instance,
        next: &mut Vec<Action>,
    ) {
        let inbox = instance.listening.and_then(|epoch| self.peek_redis().inboxes.get(epoch));
        let is_unread = inbox.is_some_and(|inbox| !inbox.is_empty());
        if is_unread {
            next.push(Action::Take { at });
        }
        if instance.listening != Some(instance.epoch) {
            next.push(Action::Subscribe { at });
        } else if !instance.joined {
            next.push(Action::Join { at });
        }
        next.extend(self.unread_by(instance).map(|to| Action::GiveBackUnread { at, to }));
        next.extend(instance.kills.keys().map(|peer| Action::Kill { at, peer }));
        let reaping = instance.reaping.keys();
        next.extend(reaping.map(|(epoch, partition)| Action::Reap { at, epoch, partition }));
        if instance.joined {
            next.push(Action::Beat { at });
            next.extend(self.silent(instance).map(|peer| Action::Suspect { at, peer }));
            let is_empty = instance.connections.is_empty()
                && instance.calls.is_empty()
                && instance.waiting.is_none();
            let is_said = instance.lanes.is_empty()
                && instance.told.is_empty()
                && instance.returns.is_empty();
            let is_read = !is_unread || rules.has(Bug::InboxLeftUnread);
            if instance.status == Status::Stopping && is_empty && is_said && is_read {
                next.push(Action::LeaveFleet { at });
            }
        }
        if instance.lease {
            self.steps_of_sweeper(rules, at, instance, next);
        }
        match &instance.asserting {
            Some(asserting) if asserting.answer.is_some() => next.push(Action::Asserted { at }),
            Some(_) => next.push(Action::Assert { at }),
            None => {}
        }
    }

    fn steps_of_sweeper(
        &self,
        rules: &Rules,
        at: InstanceId,
        instance: &Instance,
        next: &mut Vec<Action>,
    ) {
        let is_asked = instance.unsettled || instance.is_newly_listening;
        if is_asked && instance.asserting.is_none() {
            next.push(Action::StartAssert { at });
        }
        if !instance.lost.is_empty() {
            next.push(Action::SettleRelease { at });
        }
        next.extend(instance.suspects.keys().map(|user| Action::RemoveGhosts { at, user }));
        next.extend(rules.all_partitions().map(|partition| Action::Sweep { at, partition }));
    }

    /// Members whose counter stands still, and whom nobody is about to kill.
    fn silent(&self, instance: &Instance) -> impl Iterator<Item = Epoch> {
        let speaks = |epoch: Epoch| {
            self.instances().any(|(_, one)| one.epoch == epoch && one.is_reached() && one.joined)
        };
        let is_suspected = |epoch| self.instances().any(|(_, one)| one.kills.has(epoch));
        instance
            .members
            .keys()
            .filter(move |epoch| !speaks(*epoch) && !is_suspected(*epoch))
            .filter(|epoch| self.peek_redis().members.has(*epoch))
    }

    /// The replica takes over: it holds what it held when it fell behind, and all connections to it
    /// are new.
    fn fail_over(&mut self) {
        let Some(replica) = self.replica.take() else { return };
        self.redis().fall_back(Redis::clone(&replica));
        let all: Vec<_> =
            self.instances().filter(|(_, one)| !one.is_cut).map(|(at, _)| at).collect();
        all.into_iter().for_each(|at| self.heal(at));
    }

    /// Redis is reached again: all connections to it are new.
    fn heal(&mut self, at: InstanceId) {
        let instance = self.instance(at);
        instance.is_cut = false;
        let listening = instance.listening.take();
        if let Some(mids) = listening.and_then(|epoch| self.redis().inboxes.take(epoch)) {
            let lost = mids.iter().filter_map(crate::envelope::Envelope::mid).collect::<Vec<_>>();
            self.lose(&lost);
        }
    }
}

impl Instance {
    fn steps_of(&self, at: InstanceId, number: Number, next: &mut Vec<Action>) {
        let Some(one) = self.connections.get(number) else { return };
        match (&one.phase, &one.answer) {
            (Phase::Claiming(_), None) if self.is_cut => {
                next.push(Action::Unanswered { at, number })
            }
            (Phase::Claiming(_), None) => next.push(Action::Connect { at, number }),
            (Phase::Claiming(_), Some(Answer::Connect(_))) => {
                next.push(if self.is_cut {
                    Action::Unanswered { at, number }
                } else {
                    Action::Claimed { at, number }
                });
            }
            (Phase::Open, _) => {
                if !one.queue.is_empty() {
                    next.push(Action::Write { at, number });
                }
                if one.ordered {
                    next.push(Action::Leave { at, number });
                }
            }
            (Phase::Leaving, None) if !self.is_cut || one.registration.is_none() => {
                next.push(Action::Disconnect { at, number });
            }
            (Phase::Leaving, _) if self.is_cut => next.push(Action::Unreleased { at, number }),
            (Phase::Leaving, _) => next.push(Action::Released { at, number }),
            (Phase::HandingOn(_) | Phase::Claiming(_), _) => {}
        }
    }

    fn steps_of_messages(&self, at: InstanceId, next: &mut Vec<Action>) {
        for (by, call) in self.calls.iter() {
            next.push(match (&call.answer, self.is_cut) {
                (_, true) => Action::NotHeld { at, by },
                (None, false) => Action::Hold { at, by },
                (Some(_), false) => Action::Held { at, by },
            });
        }
        let only_told = self.told.keys().filter(|to| !self.lanes.has(*to));
        next.extend(self.lanes.keys().chain(only_told).map(|to| match self.is_cut {
            true => Action::LoseLane { at, to },
            false => Action::Publish { at, to },
        }));
        if !self.returns.is_empty() && !self.calls.has(By::Router) {
            next.push(Action::TakeBack { at });
        }
    }

    fn steps_when_cut(&self, at: InstanceId, next: &mut Vec<Action>) {
        if self.lease {
            next.push(Action::Miss { at });
        }
        if self.asserting.is_some() {
            next.push(Action::Unasserted { at });
        }
    }
}
