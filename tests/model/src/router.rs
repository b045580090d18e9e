//! How a message travels: here, to peers, or over the slow path (`src/router.rs`).

use crate::{
    envelope::{Envelope, Letter},
    ids::{Epoch, InstanceId, Mid, User},
    instance::{Again, By, Call, Instance, Returned, Waiting},
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
        if !instance.is_closed(user) {
            if instance.deliver_here(user, mid) || instance.deliver_over_route(user, mid) {
                return;
            }
            if !instance.is_closed(user) {
                return instance.ask_for(user, mid);
            }
        }
        self.note_behind(mid);
        let until = self.whatever_is_out(rules, at, user);
        self.instance(at).waiting = Some(Waiting { mid, until });
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
    pub fn held(&mut self, rules: &Rules, at: InstanceId, by: By) {
        let instance = self.instance(at);
        let Some(Call { request, answer: Some(answer) }) = instance.calls.take(by) else {
            return;
        };
        let HoldRequest { user, mid, from: me, ref tried, .. } = request;
        if !rules.has(Bug::SiblingForgottenLate) {
            instance.learn_siblings(user, me, &answer.owners);
        }
        if answer.fate != Fate::Kept {
            if !answer.heard.is_empty() {
                if answer.heard.len() == answer.owners.len() {
                    instance.deaf.retain(|epoch| !answer.owners.has(epoch));
                } else if answer.owners.has(me) && !tried.has(me) {
                    instance.deliver_to_open(user, mid, true, tried);
                }
                if rules.confirms {
                    instance.follow(&request, &answer.owners);
                }
                instance.learn(user, answer.owners);
            } else if answer.owners.has(me) && !tried.has(me) {
                instance.deliver_to_open(user, mid, true, tried);
            }
        }
        self.after_hold(at, by);
    }

    /// No answer comes: the message is dropped.
    pub fn not_held(&mut self, at: InstanceId, by: By) {
        let Some(call) = self.instance(at).calls.take(by) else { return };
        self.lose(&[call.request.mid]);
        self.after_hold(at, by);
    }

    fn after_hold(&mut self, at: InstanceId, by: By) {
        match by {
            By::Sender => {}
            By::Router => self.instance(at).dealt_with(),
            By::Connection(number) => self.hand_on(at, number),
        }
    }

    /// `Router::take_back`: the next of what came back.
    pub fn take_back(&mut self, rules: &Rules, at: InstanceId) {
        let instance = self.instance(at);
        match instance.returns.remove(0) {
            Returned::Unheard(deaf, letter) => {
                instance.close_route(letter.user, deaf);
                let mid = letter.mid;
                let letter = instance.but_who_said_no(rules, letter);
                instance.redirect(rules, letter, Some(deaf));
                self.message(mid).returns += 1;
            }
            Returned::NotMine(letter) => {
                let (user, from, mid) = (letter.user, letter.from, letter.mid);
                instance.hit_route(user, from);
                if !rules.has(Bug::RouteSurvivesNotMine) {
                    instance.close_route(user, from);
                }
                instance.redirect_from(rules, letter);
                self.message(mid).returns += 1;
            }
            Returned::AlsoOwned(letter) => {
                let mid = letter.mid;
                instance.send_to_missing(letter);
                instance.dealt_with();
                self.message(mid).widened += 1;
            }
            Returned::Unconfirmed(peer, letter) => {
                instance.close_route(letter.user, peer);
                let letter = instance.but_who_said_no(rules, letter);
                instance.tell_again(rules, peer, letter);
            }
        }
    }
}

impl Instance {
    /// `Router::deliver_here`: the user is here; the siblings get a copy.
    pub fn deliver_here(&mut self, user: User, mid: Mid) -> bool {
        let local = self.deliver_from_here(user, mid);
        if local.known && !local.siblings.is_empty() {
            // Only who really has it may be named: what nobody has had may be held.
            let me = local.open.then_some(self.epoch);
            let named = me.into_iter().chain(local.siblings.keys()).collect();
            self.mail(user, mid, &local.siblings, named);
        }
        local.known
    }

    /// The slow path of a message that nobody has had.
    pub fn ask_for(&mut self, user: User, mid: Mid) {
        let request = HoldRequest::new(user, self.epoch, mid);
        self.calls.set(By::Sender, Call { request, answer: None });
    }

    fn deliver_over_route(&mut self, user: User, mid: Mid) -> bool {
        let Some(route) = self.routes.get(user) else { return false };
        let epochs = route.epochs.clone();
        if epochs.keys().any(|epoch| self.is_deaf(epoch)) {
            self.close(user);
            return false;
        }
        self.mail(user, mid, &epochs, epochs.clone());
        true
    }

    /// Puts a letter on each lane.
    pub fn mail(&mut self, user: User, mid: Mid, to: &Set<Epoch>, named: Set<Epoch>) {
        let letter = Letter { user, mid, from: self.epoch, epochs: named };
        for epoch in to.keys() {
            self.lane(epoch, Envelope::Deliver(letter.clone()));
        }
    }

    /// `Router::redirect_from`: an owner does not have the user; who came there since may have read
    /// the mailbox already, so it is told again, once.
    fn redirect_from(&mut self, rules: &Rules, letter: Letter) {
        let owner = letter.from;
        let letter = self.but_who_said_no(rules, letter);
        let is_here =
            self.had_here(rules, &letter, Some(owner)) || self.give_here(letter.user, letter.mid);
        if is_here || self.again.has(letter.mid) {
            return self.redirect(rules, letter, Some(owner));
        }
        self.again.set(letter.mid, Again::Told(owner));
        self.redirect(rules, letter.but(owner), None);
    }

    /// `Router::but_who_said_no`
    fn but_who_said_no(&self, rules: &Rules, letter: Letter) -> Letter {
        match self.again.get(letter.mid) {
            Some(Again::Told(first)) if !rules.has(Bug::NoIsForgotten) => letter.but(*first),
            _ => letter,
        }
    }

    /// `Router::redirect`: `deaf` does not have the user.
    fn redirect(&mut self, rules: &Rules, letter: Letter, deaf: Option<Epoch>) {
        if rules.has(Bug::SiblingForgottenLate) {
            deaf.iter().for_each(|deaf| self.remove_sibling(letter.user, *deaf));
        }
        // What connections here have had goes to other owners, but is never kept.
        let was_here = self.had_here(rules, &letter, deaf);
        let Letter { user, mid, epochs: tried, .. } = letter;
        let is_silent = |epoch: &Epoch| self.is_deaf(*epoch);
        let silent = tried.keys().filter(is_silent).chain(deaf).collect();
        let request = HoldRequest::new(user, self.epoch, mid);
        self.send_on(HoldRequest { tried, deaf: silent, keep: !was_here, ..request });
    }

    /// `Router::had_here`: what comes back from one's own inbox was not here, nor was what has been let go.
    fn had_here(&self, rules: &Rules, letter: &Letter, back_from: Option<Epoch>) -> bool {
        let was_own_inbox = back_from == Some(self.epoch) && !rules.has(Bug::OwnInboxCountsAsHere);
        let was_given = self.again.get(letter.mid) == Some(&Again::Here);
        let was_sent = !was_own_inbox && letter.epochs.has(self.epoch);
        (was_given || was_sent) && !self.let_go.has(letter.mid)
    }

    /// `Router::tell_again`: whoever owns the user by now; `silent` is not taken for deaf.
    fn tell_again(&mut self, rules: &Rules, silent: Epoch, letter: Letter) {
        if self.again.get(letter.mid) != Some(&Again::Here) {
            self.again.set(letter.mid, Again::Unconfirmed);
        }
        let keep = !self.had_here(rules, &letter, Some(silent));
        let Letter { user, mid, epochs: tried, .. } = letter.but(silent);
        let request = HoldRequest { tried, keep, ..HoldRequest::new(user, self.epoch, mid) };
        self.send_on(request);
    }

    /// `Router::send_on`: to all who have the user by now, here at once.
    fn send_on(&mut self, mut request: HoldRequest) {
        let was_here = request.tried.has(self.epoch) && !request.deaf.has(self.epoch);
        if !was_here && self.give_here(request.user, request.mid) {
            request.tried.add(self.epoch);
            request.keep = false;
        }
        self.calls.set(By::Router, Call { request, answer: None });
    }

    /// `Router::give_here`: whether connections here have it now.
    fn give_here(&mut self, user: User, mid: Mid) -> bool {
        let is_here = self.deliver_to_claimed(user, mid) > 0;
        if is_here {
            self.again.set(mid, Again::Here);
        }
        is_here
    }

    /// `Router::follow`: what a script has published is to be confirmed, too.
    fn follow(&mut self, request: &HoldRequest, owners: &Set<Epoch>) {
        let HoldRequest { user, mid, from, tried, deaf, .. } = request;
        if matches!(self.again.get(*mid), Some(Again::Here | Again::Unconfirmed)) {
            return;
        }
        let letter = Letter { user: *user, mid: *mid, from: *from, epochs: owners.clone() };
        let told = |owner: &Epoch| owner != from && !tried.has(*owner) && !deaf.has(*owner);
        for owner in owners.keys().filter(told) {
            self.told.or_default(owner).push(letter.clone());
        }
    }

    /// `Router::send_to_missing`: `owner` has it, and says who has not.
    fn send_to_missing(&mut self, letter: Letter) {
        let Letter { user, mid, epochs: missing, from: owner } = letter;
        let me = self.epoch;
        let others: Set<Epoch> = missing.keys().filter(|epoch| *epoch != me).collect();
        let named: Set<Epoch> = others.keys().chain([owner]).collect();
        if missing.has(me) {
            self.deliver(user, mid, true, &named);
        }
        self.mail(user, mid, &others, named.clone());
        let known = self.routes.get(user).map(|route| route.epochs.clone()).unwrap_or_default();
        self.learn(user, known.keys().chain(named.keys()).collect());
    }

    /// `Router::learn_siblings`: an answer of theirs may come behind their word that they have the user
    /// again.
    fn learn_siblings(&mut self, user: User, me: Epoch, owners: &Set<Epoch>) {
        if !owners.has(me) {
            return;
        }
        for owner in owners.keys().filter(|owner| *owner != me) {
            if !self.is_deaf(owner) {
                self.add_sibling(user, owner);
            }
        }
    }

    /// `Router::learn`
    fn learn(&mut self, user: User, owners: Set<Epoch>) {
        let epochs: Set<Epoch> = owners.keys().filter(|epoch| *epoch != self.epoch).collect();
        if !epochs.is_empty() && !epochs.keys().any(|epoch| self.is_deaf(epoch)) {
            self.take_route(user, epochs);
        }
    }
}
