//! A connection's place in the fleet (`src/session/claim.rs`): claimed before the 101, released
//! on every path.

use crate::{
    hub::had,
    ids::{Device, Epoch, InstanceId, Mid, Number, User},
    instance::{Answer, By, Call, Connection, Delivery, Instance, Phase},
    map::Set,
    redis::{Claim, Claimed, HoldRequest, Registered, Release, Tag},
    rules::{Bug, Rules},
    world::World,
};

impl World {
    /// A client connects: the hub has it, and its claim is sent.
    pub fn open(&mut self, at: InstanceId, user: User, device: Device) {
        let number = Number(self.next_number);
        self.next_number += 1;
        let instance = self.instance(at);
        let connection = Connection::new(user, device, Phase::Claiming(instance.epoch));
        instance.connections.set(number, connection);
    }

    /// `connect.lua` is executed.
    pub fn connect(&mut self, rules: &Rules, at: InstanceId, number: Number) {
        let connection = self.peek(at).connections.get(number).expect("it is claimed").clone();
        let Phase::Claiming(epoch) = connection.phase else { return };
        let (user, device) = (connection.user, connection.device);
        let claim = Claim { user, device, epoch, number, since: None };
        let now = self.now(user, device);
        let claimed = self.redis().connect(rules, &claim, now);
        self.instance(at).connection(number).answer = Some(Answer::Connect(claimed));
    }

    /// Its answer comes.
    pub fn claimed(&mut self, rules: &Rules, at: InstanceId, number: Number) {
        let instance = self.instance(at);
        let connection = instance.connection(number);
        let Some(Answer::Connect(claimed)) = connection.answer.take() else { return };
        let Phase::Claiming(epoch) = connection.phase else { return };
        connection.phase = Phase::Open;
        match claimed {
            Claimed::Registered(registered) => {
                let user = connection.user;
                let page = registered.page.iter();
                let new = page.filter(|held| !held.is_named || instance.note_seen(user, held.mid));
                let held: Vec<Mid> = new.map(|held| held.mid).collect();
                let page = held.iter().map(|mid| self::held(*mid)).collect();
                let connection = instance.connection(number);
                connection.page = held;
                let arrived = std::mem::replace(&mut connection.queue, page);
                connection.queue.extend(arrived);
                self.note(at, number, &registered);
                for mid in self.instance(at).pass_on(rules, number) {
                    self.message(mid).passed_on += 1;
                }
                if !rules.has(Bug::NoDisplacement) {
                    self.displace_here(at, &registered);
                }
            }
            Claimed::Fenced => {
                instance.fenced = Some(epoch);
                instance.unsettled = true;
            }
            Claimed::Displaced => instance.unsettled = true,
        }
        if rules.has(Bug::HoldReadAfterRegister) {
            self.read_held_late(at, number);
        }
    }

    /// What was replaced on the same instance needs no envelope.
    fn displace_here(&mut self, at: InstanceId, registered: &Registered) {
        let Some(old) = registered.old else { return };
        let instance = self.instance(at);
        let is_here = old.epoch == registered.tag.epoch && old.number != registered.tag.number;
        if let Some(one) = instance.connections.get_mut(old.number).filter(|_| is_here) {
            one.ordered = true;
        }
    }

    /// What the planted bug does instead of reading in `connect.lua`.
    fn read_held_late(&mut self, at: InstanceId, number: Number) {
        let user = self.peek(at).connections.get(number).expect("it is here").user;
        let held = self.redis().read_held(user);
        let connection = self.instance(at).connection(number);
        connection.queue.extend(held.iter().map(|held| self::held(held.mid)));
        connection.page = held.into_iter().map(|held| held.mid).collect();
    }

    /// Redis does not answer: the client is let in, and registered later.
    pub fn unanswered(&mut self, at: InstanceId, number: Number) {
        let instance = self.instance(at);
        let connection = instance.connection(number);
        connection.phase = Phase::Open;
        connection.answer = None;
        instance.unsettled = true;
    }

    /// `Registrar::note`
    pub fn note(&mut self, at: InstanceId, number: Number, registered: &Registered) {
        let instance = self.instance(at);
        let connection = instance.connection(number);
        let (user, tag) = (connection.user, registered.tag);
        connection.registration = Some((tag.epoch, tag.since));
        connection.ordered |= connection.displaced.take() == Some(tag);
        instance.unsettled |= connection.again;
        for sibling in registered.siblings.keys() {
            instance.add_sibling(user, sibling);
        }
    }

    /// The session writes what waits.
    pub fn write(&mut self, at: InstanceId, number: Number) {
        let connection = self.instance(at).connection(number);
        let queue = std::mem::take(&mut connection.queue);
        connection.written.extend(queue.iter().map(|one| one.mid));
        for one in queue {
            self.message(one.mid).reached = true;
        }
    }

    /// The session says goodbye; from now on what comes is held, not written.
    pub fn leave(&mut self, at: InstanceId, number: Number) {
        self.instance(at).connection(number).phase = Phase::Leaving;
    }

    /// `disconnect.lua` is executed, with what could not be written and no connection here has
    /// had; or, if nobody knows whether the connection was registered, its user is suspected.
    pub fn disconnect(&mut self, rules: &Rules, at: InstanceId, number: Number) {
        let instance = self.instance(at);
        let unwritten = instance.take_unwritten(rules, number);
        let connection = instance.connection(number);
        let Some((epoch, since)) = connection.registration else {
            connection.phase = Phase::HandingOn(Vec::new());
            let user = connection.user;
            instance.suspects.add(user);
            instance.unsettled = true;
            self.lose(&unwritten.iter().map(|one| one.mid).collect::<Vec<_>>());
            return self.hand_on(at, number);
        };
        let (user, device) = (connection.user, connection.device);
        let mids = unwritten.iter().map(|one| (one.mid, one.is_named)).collect();
        let tag = Tag { epoch, number, since };
        let release = Release { user, device, tag, unwritten: mids };
        self.redis().disconnect(rules, epoch, &release);
        if self.replica.is_some() && !rules.has(Bug::ReleaseRememberedLate) {
            self.remember(at, epoch, &release);
        }
        let left = !self.peek_redis().owners(user).is_empty();
        let left = left && !rules.has(Bug::UnwrittenDroppedIfOthers);
        let answer = Answer::Disconnect(if left { unwritten } else { Vec::new() });
        self.instance(at).connection(number).answer = Some(answer);
    }

    /// Its answer comes: what was not kept is handed on.
    pub fn released(&mut self, rules: &Rules, at: InstanceId, number: Number) {
        let connection = self.instance(at).connection(number);
        let Some(Answer::Disconnect(unkept)) = connection.answer.take() else { return };
        connection.phase = Phase::HandingOn(unkept);
        let (user, device) = (connection.user, connection.device);
        let registration = connection.registration.filter(|_| self.used.failovers > 0);
        if let Some((epoch, since)) = registration.filter(|_| rules.has(Bug::ReleaseRememberedLate))
        {
            let tag = Tag { epoch, number, since };
            self.remember(at, epoch, &Release { user, device, tag, unwritten: Vec::new() });
        }
        self.hand_on(at, number);
    }

    /// `Recent::note`: what was kept is not said again.
    fn remember(&mut self, at: InstanceId, epoch: Epoch, release: &Release) {
        let release = Release { unwritten: Vec::new(), ..release.clone() };
        self.instance(at).recent.push((epoch, release));
    }

    /// No answer comes: it is said again later.
    pub fn unreleased(&mut self, rules: &Rules, at: InstanceId, number: Number) {
        let instance = self.instance(at);
        let unwritten = instance.take_unwritten(rules, number);
        let connection = instance.connection(number);
        connection.answer = None;
        connection.phase = Phase::HandingOn(Vec::new());
        let (user, device) = (connection.user, connection.device);
        if let Some((epoch, since)) = connection.registration {
            let unwritten = unwritten.iter().map(|one| (one.mid, one.is_named)).collect();
            let tag = Tag { epoch, number, since };
            instance.lost.push((epoch, Release { user, device, tag, unwritten }));
        }
        self.hand_on(at, number);
    }

    /// `remove_if_drained`, and `Router::hand_on` for what came during the release.
    pub fn hand_on(&mut self, at: InstanceId, number: Number) {
        let instance = self.instance(at);
        let connection = instance.connection(number);
        let Phase::HandingOn(late) = &mut connection.phase else { return };
        late.append(&mut connection.queue);
        let user = connection.user;
        if late.is_empty() {
            return instance.remove(number);
        }
        let delivery = late.remove(0);
        let me = instance.epoch;
        let is_here = instance.hand_on_here(user, &delivery) > 0;
        if !is_here {
            instance.let_go.add(delivery.mid);
        }
        let keep = !is_here;
        let mut tried = delivery.also.clone();
        let mut deaf = Set::default();
        if is_here { &mut tried } else { &mut deaf }.add(me);
        let Delivery { mid, is_named, .. } = delivery;
        let request = HoldRequest { user, from: me, mid, is_named, tried, deaf, keep };
        instance.calls.set(By::Connection(number), Call { request, answer: None });
    }
}

impl Instance {
    /// `Router::pass_on`: the siblings get what came from peers before they were known here. Answers what
    /// each was sent.
    fn pass_on(&mut self, rules: &Rules, number: Number) -> Vec<Mid> {
        let connection = self.connection(number);
        let (user, arrived) = (connection.user, connection.queue.clone());
        let siblings = self.siblings.get(user).cloned().unwrap_or_default();
        if siblings.is_empty() || rules.has(Bug::ArrivedNotPassedOn) {
            return Vec::new();
        }
        let mut passed_on = Vec::new();
        let has: Set<Epoch> = siblings.keys().chain([self.epoch]).collect();
        for Delivery { mid, also, .. } in arrived.into_iter().filter(|one| one.is_named) {
            let lack: Set<Epoch> = siblings.keys().filter(|one| !also.has(*one)).collect();
            passed_on.extend(lack.keys().map(|_| mid));
            self.mail(user, mid, &lack, has.clone());
        }
        passed_on
    }

    /// What a leaving connection has not written and no connection that stays has had.
    fn take_unwritten(&mut self, rules: &Rules, number: Number) -> Vec<Delivery> {
        let connection = self.connection(number);
        let (user, queue) = (connection.user, std::mem::take(&mut connection.queue));
        let stays = |one: &Delivery| {
            let mut others = self.of_user(user).filter(|(other, _)| *other != number);
            others.any(|(other, connection)| had(one, other, connection))
        };
        let left: Vec<_> = queue.into_iter().filter(|one| !stays(one)).collect();
        // What only this one was given, as it left, was not noted: who was given a copy since has that.
        let is_forgotten =
            |one: &&Delivery| one.is_noted || one.is_named && rules.has(Bug::ForgottenThoughHad);
        let forgotten: Vec<_> =
            left.iter().filter(is_forgotten).map(|one| (user, one.mid)).collect();
        self.seen.iter_mut().for_each(|seen| seen.retain(|one| !forgotten.contains(&one)));
        left
    }
}

/// What was held is given to this connection alone.
fn held(mid: Mid) -> Delivery {
    Delivery { mid, is_named: false, also: Set::default(), newest: None, is_noted: false }
}
