//! What comes back goes first (`src/router/order.rs`, `src/router/route.rs`).

use crate::{
    envelope::{Envelope, Letter},
    ids::{Epoch, InstanceId, Mid, User},
    instance::{By, Instance, Route, Until, Waiting},
    map::Set,
    rules::{Bug, Rules},
    world::World,
};

impl World {
    /// What a sender waits for behind a closed route: all that is on its lanes, or out.
    pub fn whatever_is_out(&self, rules: &Rules, at: InstanceId, user: User) -> Until {
        if rules.has(Bug::NobodyWaits) {
            return Until::DealtWith(0);
        }
        let epochs = self.peek(at).routes.get(user).map(|route| route.epochs.clone());
        let all = epochs.unwrap_or_default();
        let out = all.keys().flat_map(|epoch| {
            let mids = self.messages().map(|(mid, _)| mid);
            mids.filter(move |mid| self.is_out(at, epoch, *mid)).map(move |mid| (epoch, mid))
        });
        Until::Settled(out.collect())
    }

    /// `Lane::is_settled`, of one message.
    fn is_out(&self, at: InstanceId, peer: Epoch, mid: Mid) -> bool {
        let instance = self.peek(at);
        let is_it = |one: &Envelope| matches!(one, Envelope::Deliver(letter) if letter.mid == mid);
        let is_waiting = instance.lanes.get(peer).is_some_and(|lane| lane.iter().any(is_it));
        let was_told = |told: &Vec<Letter>| told.iter().any(|letter| letter.mid == mid);
        let is_told = instance.told.get(peer).is_some_and(was_told);
        is_waiting || is_told || !instance.is_deaf(peer) && self.is_unconfirmed(instance, peer, mid)
    }

    /// Published, and not confirmed. Where nothing is, as long as a confirmation would take: until what
    /// the peer answers has been read here.
    fn is_unconfirmed(&self, instance: &Instance, peer: Epoch, mid: Mid) -> bool {
        if let Some(payloads) = instance.unconfirmed.get(peer) {
            return payloads.iter().any(|one| one.letters.iter().any(|letter| letter.mid == mid));
        }
        let me = instance.epoch;
        let inboxes = &self.peek_redis().inboxes;
        let is_it = |letter: &Letter, from| letter.mid == mid && letter.from == from;
        let asks = |one: &Envelope| matches!(one, Envelope::Deliver(letter) if is_it(letter, me));
        let says = |one: &Envelope| match one {
            Envelope::NotMine(letter) | Envelope::AlsoOwned(letter) => is_it(letter, peer),
            _ => false,
        };
        let in_inbox = |of: Epoch, is: &dyn Fn(&Envelope) -> bool| {
            inboxes.get(of).is_some_and(|inbox| inbox.iter().any(is))
        };
        let mut lanes = self.instances().filter_map(|(_, one)| one.lanes.get(me));
        in_inbox(peer, &asks) || in_inbox(me, &says) || lanes.any(|lane| lane.iter().any(says))
    }

    /// `Router::fall_in`: a step further, if there is one.
    pub fn fall_in(&mut self, at: InstanceId) {
        let Some(Waiting { mid, until }) = self.peek(at).waiting.clone() else { return };
        let left = match until {
            Until::Settled(out) if out.keys().any(|(peer, mid)| self.is_out(at, peer, mid)) => {
                return;
            }
            Until::Settled(_) => self.peek(at).to_be_dealt_with(),
            Until::DealtWith(left) => left,
        };
        if left == 0 {
            return self.go_on(at, mid);
        }
        let until = Until::DealtWith(left);
        self.instance(at).waiting = Some(Waiting { mid, until });
    }

    /// Order is given up: a peer is silent.
    pub fn lose_patience(&mut self, at: InstanceId) {
        if let Some(Waiting { mid, .. }) = self.peek(at).waiting {
            self.go_on(at, mid);
        }
    }

    fn go_on(&mut self, at: InstanceId, mid: Mid) {
        let user = self.message(mid).user;
        let instance = self.instance(at);
        instance.waiting = None;
        if instance.is_closed(user) {
            instance.routes.take(user);
        }
        if !instance.deliver_here(user, mid) {
            instance.ask_for(user, mid);
        }
    }

    /// Whether a peer at the end of the route says nothing, for longer than a sender waits.
    pub fn is_held_up(&self, instance: &Instance, out: &Set<(Epoch, Mid)>) -> bool {
        out.keys().any(|(peer, _)| {
            let reads = |one: &Instance| one.is_reached() && one.listening == Some(peer);
            !self.instances().any(|(_, one)| reads(one)) || !instance.is_reached()
        })
    }
}

impl Instance {
    /// `Router::close_route`
    pub fn close_route(&mut self, user: User, back_from: Epoch) {
        if let Some(route) = self.routes.get_mut(user) {
            route.is_closed |= route.epochs.has(back_from);
        }
    }

    /// `Router::close`
    pub fn close(&mut self, user: User) {
        if let Some(route) = self.routes.get_mut(user) {
            route.is_closed = true;
        }
    }

    /// Notes for the properties that what was sent over it came back.
    pub fn hit_route(&mut self, user: User, back_from: Epoch) {
        if let Some(route) = self.routes.get_mut(user) {
            route.is_hit |= route.epochs.has(back_from);
        }
    }

    /// `Router::is_closed`
    pub fn is_closed(&self, user: User) -> bool {
        self.routes.get(user).is_some_and(|route| route.is_closed)
    }

    /// `Router::take_route`: but not before what was sent over the one before is back.
    pub fn take_route(&mut self, user: User, epochs: Set<Epoch>) {
        match self.routes.get_mut(user) {
            Some(known) if known.is_closed => {}
            Some(known) if known.epochs.keys().any(|epoch| !epochs.has(epoch)) => {
                known.is_closed = true;
            }
            _ => drop(self.routes.set(user, Route::new(epochs))),
        }
    }

    /// `Lane::is_deaf`: nobody hears it, as far as is known.
    pub fn is_deaf(&self, epoch: Epoch) -> bool {
        self.deaf.has(epoch) || !self.believes_alive(epoch)
    }

    fn to_be_dealt_with(&self) -> usize {
        self.returns.len() + usize::from(self.calls.has(By::Router))
    }

    /// `Relay::dealt_with`
    pub fn dealt_with(&mut self) {
        if let Some(Waiting { until: Until::DealtWith(left), .. }) = &mut self.waiting {
            *left = left.saturating_sub(1);
        }
    }
}
