//! What was published to a peer, and may not have been read (`src/relay/unconfirmed.rs`).

use crate::{
    envelope::Envelope,
    ids::{Device, Epoch, InstanceId, Mid, Number, User},
    instance::{Connection, Instance, Phase, Returned, Route},
    map::Set,
    redis::Tag,
    rules::{Bug, Rules},
    world::World,
};

impl World {
    /// A user is at all instances but the first one, which knows a way to them. Where that is more than
    /// one, the last is new: the others have not read that yet, and no way leads there.
    pub fn settle(&mut self, rules: &Rules) {
        let user = User(0);
        let all: Vec<_> = self.instances().map(|(at, _)| at).collect();
        if rules.has(Bug::ToldAgainUnknown) {
            all.iter().for_each(|at| self.instance(*at).seen = None);
        }
        let mut owners = all[1..].to_vec();
        owners.iter().for_each(|at| self.settle_at(rules, *at, user));
        let new = owners.pop_if(|_| all.len() > 2).map(|at| (at, self.peek(at).epoch));
        let known: Set<Epoch> = owners.iter().map(|at| self.peek(*at).epoch).collect();
        for at in owners {
            let epoch = self.peek(at).epoch;
            let others = known.keys().filter(|other| *other != epoch);
            others.for_each(|other| self.instance(at).add_sibling(user, other));
            if let Some((newcomer, new)) = new {
                self.redis().publish(epoch, [Envelope::OwnerAdded(user, new)]);
                self.instance(newcomer).add_sibling(user, epoch);
            }
        }
        self.instance(InstanceId(0)).routes.set(user, Route::new(known));
    }

    fn settle_at(&mut self, rules: &Rules, at: InstanceId, user: User) {
        let (number, device) = (Number(self.next_number), Device(self.next_number));
        let (epoch, since) = (self.peek(at).epoch, 1);
        let redis = self.redis();
        redis.entries.set((user, device), Tag { epoch, number, since });
        redis.index.add((epoch, user));
        redis.seen.add((rules.partition(user), epoch));
        let registration = Some((epoch, since));
        let open = Connection { registration, ..Connection::new(user, device, Phase::Open) };
        self.instance(at).connections.set(number, open);
        self.next_number += 1;
        *self.opened.or_default((user, Device(0))) += 1;
    }

    /// Connections that are open, registered, and on instances where all is well.
    pub fn well_connected(&self, user: User) -> Set<(Number, Epoch)> {
        let is_well = |one: &Instance| one.is_reached() && one.listening == Some(one.epoch);
        let well = self.instances().map(|(_, one)| one).filter(|one| is_well(one));
        let connections = well.flat_map(|instance| {
            let of_user = instance.of_user(user).filter(|(_, one)| one.is_open());
            let is_registered = |one: &Connection| {
                one.registration.is_some_and(|(epoch, _)| epoch == instance.epoch)
            };
            of_user.filter(move |(_, one)| is_registered(one)).map(|(n, _)| (n, instance.epoch))
        });
        connections.collect()
    }

    /// `Unconfirmed::probed`, or `close`: the peer should have confirmed it by now.
    pub fn give_back_unread(&mut self, rules: &Rules, at: InstanceId, to: Epoch) {
        let instance = self.instance(at);
        let unread = instance.unconfirmed.take(to).unwrap_or_default();
        if rules.has(Bug::UnconfirmedForgotten) {
            return;
        }
        let letters = unread.into_iter().flat_map(|payload| payload.letters);
        instance.returns.extend(letters.map(|letter| Returned::Unconfirmed(to, letter)));
    }

    /// Peers that are silent: whoever reads confirms before anybody doubts it.
    pub fn unread_by<'a>(&'a self, instance: &'a Instance) -> impl Iterator<Item = Epoch> + 'a {
        instance.unconfirmed.keys().filter(|to| {
            let reads = |one: &Instance| one.is_reached() && one.listening == Some(*to);
            !self.instances().any(|(_, one)| reads(one)) || !self.is_on_its_way(instance, *to)
        })
    }

    /// Whether something is still to be read, or a confirmation to come.
    fn is_on_its_way(&self, sender: &Instance, peer: Epoch) -> bool {
        let inboxes = &self.peek_redis().inboxes;
        let asks =
            |one: &Envelope| matches!(one, Envelope::Confirm(from, _) if *from == sender.epoch);
        let says = |one: &Envelope| matches!(one, Envelope::Confirmed(by, _) if *by == peer);
        let in_inbox = |of: Epoch, is: &dyn Fn(&Envelope) -> bool| {
            inboxes.get(of).is_some_and(|inbox| inbox.iter().any(is))
        };
        let mut lanes = self.instances().filter_map(|(_, one)| one.lanes.get(sender.epoch));
        in_inbox(peer, &asks)
            || in_inbox(sender.epoch, &says)
            || lanes.any(|lane| lane.iter().any(says))
    }
}

impl Instance {
    /// What it was about to publish, and what has come back to it.
    pub fn mids_on_their_way(&self) -> impl Iterator<Item = Mid> {
        let lanes = self.lanes.iter().flat_map(|(_, lane)| lane.iter().filter_map(Envelope::mid));
        let returns = self.returns.iter().map(|returned| match returned {
            Returned::Unheard(_, letter)
            | Returned::NotMine(letter)
            | Returned::AlsoOwned(letter)
            | Returned::Unconfirmed(_, letter) => letter.mid,
        });
        let waiting = self.waiting.iter().map(|waiting| waiting.mid);
        lanes.chain(returns).chain(waiting)
    }

    /// `Relay::seal`: asks for the confirmation of a payload.
    pub fn seal(&mut self, payload: &mut Vec<Envelope>) -> u8 {
        self.payloads += 1;
        payload.push(Envelope::Confirm(self.epoch, self.payloads));
        self.payloads
    }

    /// `Relay::confirm`
    pub fn confirm(&mut self, peer: Epoch, number: u8) {
        let Some(kept) = self.unconfirmed.get_mut(peer) else { return };
        kept.retain(|payload| payload.number != number);
        if kept.is_empty() {
            self.unconfirmed.take(peer);
        }
    }
}
