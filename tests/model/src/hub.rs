//! The connections of one instance by user: who takes a message (`src/hub.rs`).

use crate::{
    ids::{Epoch, Mid, Number, User},
    instance::{Connection, Delivery, Instance},
    map::Set,
};

/// What became of a message for a user of this instance.
#[derive(Default)]
pub struct LocalDelivery {
    /// The user has a connection here.
    pub known: bool,
    /// One of them took it.
    pub open: bool,
    /// They have had it before.
    pub had: bool,
    /// Who else owns the user.
    pub siblings: Set<Epoch>,
}

impl Instance {
    /// `Hub::deliver`; `also` are the other epochs it was sent to.
    pub fn deliver(
        &mut self,
        user: User,
        mid: Mid,
        is_named: bool,
        also: &Set<Epoch>,
    ) -> LocalDelivery {
        if self.of_user(user).next().is_none() {
            return LocalDelivery::default();
        }
        let siblings = self.siblings.get(user).cloned().unwrap_or_default();
        if is_named && self.has_seen(user, mid) {
            return LocalDelivery { known: true, open: false, had: true, siblings };
        }
        // Those it should also go to are told of by this instance, or by its answer.
        let also = also.keys().chain(siblings.keys()).filter(|epoch| *epoch != self.epoch);
        let delivery = self.delivery(user, mid, is_named, also.collect());
        let open = self.push_to_open(user, &delivery) > 0;
        if open && is_named {
            self.note_seen(user, mid);
        }
        if !open {
            self.give_to_leaving(user, &delivery);
        }
        LocalDelivery { known: true, open, had: false, siblings }
    }

    fn give_to_leaving(&mut self, user: User, delivery: &Delivery) {
        let Some(leaving) = self.of_user(user).map(|(number, _)| number).next() else { return };
        let delivery = Delivery { newest: None, is_noted: false, ..delivery.clone() };
        self.connection(leaving).queue.push(delivery);
    }

    /// `Hub::deliver_from_here`
    pub fn deliver_from_here(&mut self, user: User, mid: Mid) -> LocalDelivery {
        if self.of_user(user).all(|(_, one)| one.is_claiming()) {
            return LocalDelivery::default();
        }
        let siblings = self.siblings.get(user).cloned().unwrap_or_default();
        // What siblings are told of has one name everywhere.
        self.deliver(user, mid, !siblings.is_empty(), &siblings)
    }

    /// `Hub::deliver_to_open`
    pub fn deliver_to_open(
        &mut self,
        user: User,
        mid: Mid,
        is_named: bool,
        also: &Set<Epoch>,
    ) -> usize {
        if is_named && self.has_seen(user, mid) {
            return self.of_user(user).count();
        }
        let delivery = self.delivery(user, mid, is_named, also.clone());
        let open = self.push_to_open(user, &delivery);
        if is_named && open > 0 {
            self.note_seen(user, mid);
        }
        open
    }

    /// `Hub::deliver_to_claimed`
    pub fn deliver_to_claimed(&mut self, user: User, mid: Mid) -> usize {
        if self.of_user(user).all(|(_, one)| one.is_claiming()) {
            return 0;
        }
        self.deliver_to_open(user, mid, true, &Set::default())
    }

    /// `Hub::hand_on`: gives it to open connections that were not given it when it came; how many
    /// answer for it now, those that were given it before included.
    pub fn hand_on_here(&mut self, user: User, delivery: &Delivery) -> usize {
        if delivery.is_named && self.has_seen(user, delivery.mid) {
            return self.of_user(user).count();
        }
        let had = self.of_user(user).filter(|(number, one)| had(delivery, *number, one)).count();
        let lacks = |number: &Number| delivery.newest.is_none_or(|newest| *number > newest);
        let open = self.open(user).into_iter().filter(lacks).collect::<Vec<_>>();
        // By the name by which others are told of it, which may be new; and those that get it now answer
        // for each other.
        let is_noted = self.seen.is_some();
        let newest = self.of_user(user).map(|(number, _)| number).max();
        for number in &open {
            let delivery = Delivery { is_named: true, is_noted, newest, ..delivery.clone() };
            self.connection(*number).queue.push(delivery);
        }
        if !open.is_empty() {
            self.note_seen(user, delivery.mid);
        }
        had + open.len()
    }

    fn push_to_open(&mut self, user: User, delivery: &Delivery) -> usize {
        let open = self.open(user);
        for number in &open {
            self.connection(*number).queue.push(delivery.clone());
        }
        open.len()
    }

    /// `Hub::note_seen`; false if one has come before.
    pub fn note_seen(&mut self, user: User, mid: Mid) -> bool {
        self.seen.as_mut().is_none_or(|seen| seen.add((user, mid)))
    }

    /// `User::has_seen`
    pub fn has_seen(&self, user: User, mid: Mid) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.has((user, mid)))
    }

    fn open(&self, user: User) -> Vec<Number> {
        let open = self.of_user(user).filter(|(_, one)| one.is_open());
        open.map(|(number, _)| number).collect()
    }

    fn delivery(&self, user: User, mid: Mid, is_named: bool, also: Set<Epoch>) -> Delivery {
        let newest = self.of_user(user).map(|(number, _)| number).max();
        let is_noted = is_named && self.seen.is_some();
        Delivery { mid, is_named, also, newest, is_noted }
    }

    /// `Hub::add_sibling`
    pub fn add_sibling(&mut self, user: User, epoch: Epoch) {
        if self.of_user(user).next().is_some() {
            self.siblings.or_default(user).add(epoch);
        }
    }

    /// `Hub::remove_sibling`
    pub fn remove_sibling(&mut self, user: User, epoch: Epoch) {
        if let Some(siblings) = self.siblings.get_mut(user) {
            siblings.remove(epoch);
        }
        self.forget_no_siblings();
    }

    /// `Hub::retain_siblings`
    pub fn retain_siblings(&mut self) {
        let gone = self.gone.clone();
        for siblings in self.siblings.values_mut() {
            siblings.retain(|epoch| !gone.has(epoch));
        }
        self.forget_no_siblings();
    }

    /// `Hub::remove`
    pub fn remove(&mut self, number: Number) {
        let Some(connection) = self.connections.take(number) else { return };
        if self.of_user(connection.user).next().is_none() {
            self.siblings.take(connection.user);
            self.seen.iter_mut().for_each(|seen| seen.retain(|(user, _)| user != connection.user));
        }
    }

    /// One spelling for *none*.
    fn forget_no_siblings(&mut self) {
        let none: Vec<_> =
            self.siblings.iter().filter(|(_, all)| all.is_empty()).map(|(user, _)| user).collect();
        for user in none {
            self.siblings.take(user);
        }
    }
}

/// Whether a connection was given a message when it came, and still answers for it.
pub fn had(delivery: &Delivery, number: Number, one: &Connection) -> bool {
    let has_taken = one.written.contains(&delivery.mid)
        || one.queue.iter().any(|waiting| waiting.mid == delivery.mid);
    delivery.newest.is_some_and(|newest| number <= newest)
        && has_taken
        && one.answers_for_its_queue()
}
