//! How a message travels: here, to peers, or over the slow path (`src/router.rs`).

use crate::{
    envelope::{Envelope, Letter},
    ids::{Epoch, InstanceId, Mid, User},
    instance::{By, Call, Instance, Returned, Route},
    map::Set,
    redis::{Fate, HoldRequest},
    rules::{Bug, Rules},
    world::World,
};

impl World {
    /// `Router::deliver`: a client of this instance says something.
    pub fn send(&mut self, rules: &Rules, mid: Mid) {
        self.note_sent(rules, mid);
        let (at, user) = (self.message(mid).from, self.message(mid).user);
        let instance = self.instance(at);
        let local = instance.deliver_from_here(user, mid);
        if local.known {
            if !local.siblings.is_empty() {
                // Only who really has it may be named: what nobody has had may be held.
                let me = local.open.then_some(instance.epoch);
                if me.is_some() {
                    // What is told to the others may find its way back here.
                    instance.note_seen(user, mid);
                }
                let named = me.into_iter().chain(local.siblings.keys()).collect();
                instance.mail(user, mid, &local.siblings, named);
            }
        } else if !instance.deliver_over_route(user, mid) {
            let request = HoldRequest::new(user, instance.epoch, mid);
            instance.calls.set(By::Sender, Call { request, way: None, answer: None });
        }
    }

    /// `hold.lua` is executed.
    pub fn hold(&mut self, at: InstanceId, by: By) {
        let Some(call) = self.peek(at).calls.get(by) else { return };
        let request = call.request.clone();
        let answer = self.redis().hold(&request);
        if let Some(call) = self.instance(at).calls.get_mut(by) {
            call.answer = Some(answer);
        }
    }

    /// Its answer comes: `Router::settle`, and whoever waited goes on.
    pub fn held(&mut self, at: InstanceId, by: By) {
        let instance = self.instance(at);
        let Some(Call { request, way, answer: Some(answer) }) = instance.calls.take(by) else {
            return;
        };
        let HoldRequest { user, mid, from: me, tried, .. } = request;
        if answer.fate != Fate::Kept {
            if !answer.heard.is_empty() {
                if answer.heard.len() == answer.owners.len() {
                    instance.deaf.retain(|epoch| !answer.owners.has(epoch));
                }
                instance.learn(user, answer.owners);
            } else if answer.owners.has(me) && !tried.has(me) {
                instance.deliver_to_open(user, mid, true, &tried);
            }
        }
        self.after_hold(at, by, user, way);
    }

    /// No answer comes: the message is dropped.
    pub fn not_held(&mut self, at: InstanceId, by: By) {
        let Some(call) = self.instance(at).calls.take(by) else { return };
        self.lose(&[call.request.mid]);
        self.after_hold(at, by, call.request.user, call.way);
    }

    fn after_hold(&mut self, at: InstanceId, by: By, user: User, way: Option<u8>) {
        if let Some(generation) = way {
            self.instance(at).leave_route(user, generation);
        }
        if let By::Connection(number) = by {
            self.hand_on(at, number);
        }
    }

    /// `Router::take_back`: the next of what came back.
    pub fn take_back(&mut self, rules: &Rules, at: InstanceId) {
        let instance = self.instance(at);
        match instance.returns.remove(0) {
            Returned::Unheard(deaf, letter) => {
                instance.routes.take(letter.user);
                let mid = letter.mid;
                instance.redirect(rules, letter, deaf, None);
                self.message(mid).returns += 1;
            }
            Returned::NotMine(letter) => {
                let (user, from, mid) = (letter.user, letter.from, letter.mid);
                let leads_there = |way: &&Route| way.epochs.len() == 1 && way.epochs.has(from);
                if let Some(way) = instance.routes.get_mut(user) {
                    way.is_hit |= way.epochs.has(from);
                }
                let way = instance.routes.get(user).filter(leads_there).map(|way| way.generation);
                let stays = rules.has(Bug::RouteSurvivesNotMine);
                if way.is_none() && !stays {
                    instance.routes.take(user);
                }
                instance.redirect(rules, letter, from, way.filter(|_| !stays));
                self.message(mid).returns += 1;
            }
            Returned::AlsoOwned(letter) => instance.send_to_missing(letter),
            Returned::Unconfirmed(letter) => {
                instance.routes.take(letter.user);
                instance.tell_again(&letter);
            }
        }
    }
}

impl Instance {
    fn deliver_over_route(&mut self, user: User, mid: Mid) -> bool {
        let Some(route) = self.routes.get_mut(user) else { return false };
        if route.epochs.keys().any(|epoch| self.deaf.has(epoch)) {
            self.routes.take(user);
            return false;
        }
        route.sent += 1;
        let named = route.epochs.clone();
        self.mail(user, mid, &named, named.clone());
        true
    }

    /// Puts a letter on each lane.
    fn mail(&mut self, user: User, mid: Mid, to: &Set<Epoch>, named: Set<Epoch>) {
        let letter = Letter { user, mid, from: self.epoch, epochs: named };
        for epoch in to.keys() {
            self.lane(epoch, Envelope::Deliver(letter.clone()));
        }
    }

    /// `Router::redirect`: `deaf` does not have the user.
    fn redirect(&mut self, rules: &Rules, letter: Letter, deaf: Epoch, way: Option<u8>) {
        let Letter { user, mid, epochs: tried, .. } = letter;
        self.remove_sibling(user, deaf);
        // What connections here have had goes to other owners, but is never kept.
        let was_own_inbox = deaf == self.epoch && !rules.has(Bug::OwnInboxCountsAsHere);
        let keep = was_own_inbox || !tried.has(self.epoch);
        let is_silent = |epoch: &Epoch| !self.believes_alive(*epoch) || self.deaf.has(*epoch);
        let silent = tried.keys().filter(is_silent).chain([deaf]).collect();
        let request =
            HoldRequest { user, from: self.epoch, mid, is_named: true, tried, deaf: silent, keep };
        self.calls.set(By::Router, Call { request, way, answer: None });
    }

    /// `Router::tell_again`: whoever owns the user by now; nobody is taken for deaf.
    fn tell_again(&mut self, letter: &Letter) {
        let keep = !letter.epochs.has(self.epoch);
        let request = HoldRequest { keep, ..HoldRequest::new(letter.user, self.epoch, letter.mid) };
        self.calls.set(By::Router, Call { request, way: None, answer: None });
    }

    /// `Router::leave_route`: forgets it behind the last that is still to come.
    fn leave_route(&mut self, user: User, generation: u8) {
        let Some(route) = self.routes.get_mut(user) else { return };
        if route.generation != generation {
            return;
        }
        route.returned += 1;
        if route.returned >= route.sent {
            self.routes.take(user);
        }
    }

    fn send_to_missing(&mut self, letter: Letter) {
        let Letter { user, mid, epochs: missing, from: owner } = letter;
        let me = self.epoch;
        let others: Set<Epoch> = missing.keys().filter(|epoch| *epoch != me).collect();
        let named: Set<Epoch> = others.keys().chain([owner]).collect();
        self.learn(user, named.clone());
        if missing.has(me) {
            self.deliver(user, mid, true, &named);
        }
        self.mail(user, mid, &others, named);
    }

    /// `Router::learn`
    fn learn(&mut self, user: User, owners: Set<Epoch>) {
        let epochs: Set<Epoch> = owners.keys().filter(|epoch| *epoch != self.epoch).collect();
        if !epochs.is_empty() {
            let generation = self.routes.get(user).map_or(0, |route| route.generation + 1);
            let route = Route { generation, epochs, sent: 0, returned: 0, is_hit: false };
            self.routes.set(user, route);
        }
    }
}
