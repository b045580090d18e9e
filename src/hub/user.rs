//! What the hub knows of one user: the connections here, who else has some, what they were given.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Connection, Delivery, Pushed, Siblings, seen::Seen};

#[derive(Default)]
pub(super) struct User {
    pub connections: SmallVec<[Arc<Connection>; 1]>,
    pub siblings: Siblings,
    pub seen: Seen,
    /// How many messages the connections were given together: the last one's place.
    given: u64,
}

impl User {
    pub fn enter(&mut self, connection: Arc<Connection>) {
        connection.enter(self.given);
        self.connections.push(connection);
    }

    /// Whether the store knows of a connection, or does not answer.
    pub fn is_claimed(&self) -> bool {
        self.connections.iter().any(|connection| !connection.is_claiming())
    }

    /// To every open connection: how many took it, and how many had no room.
    pub fn give(&mut self, delivery: &Delivery) -> (usize, usize) {
        self.given += 1;
        let mut delivery = delivery.clone().at(self.given);
        delivery.add_also(self.siblings.iter().copied());
        self.push(&delivery, |_| true)
    }

    /// To open connections that were not given it when it came; how many answer for it now.
    pub fn hand_on(&mut self, delivery: &Delivery) -> usize {
        if self.has_seen(delivery) {
            return self.connections.len();
        }
        let place = delivery.place();
        let had = self.connections.iter().filter(|one| one.answers_for(place)).count();
        // Those that get it now answer for each other, and so does who has had it.
        self.given += 1;
        let copy = delivery.clone().at(self.given);
        let (taken, full) = self.push(&copy, |one| !one.answers_for(place));
        had + taken + full
    }

    /// With nobody open, one that is closing takes the message and will see that it is held.
    pub fn give_to_leaving(&self, delivery: &Delivery) -> bool {
        let mut delivery = delivery.clone();
        delivery.add_also(self.siblings.iter().copied());
        self.connections.iter().any(|connection| connection.outbox().push_leaving(delivery.clone()))
    }

    /// See [`super::Hub::let_go`].
    pub fn let_go(&mut self, leaving: &Connection, unwritten: Vec<Delivery>) -> Vec<Delivery> {
        leaving.let_go();
        let is_left = |one: &Delivery| !self.connections.iter().any(|c| c.answers_for(one.place()));
        let left: Vec<_> = unwritten.into_iter().filter(is_left).collect();
        left.iter().filter_map(Delivery::name_to_forget).for_each(|mid| self.seen.forget(mid));
        left
    }

    pub fn has_seen(&self, delivery: &Delivery) -> bool {
        delivery.mid.is_some_and(|mid| self.seen.has(mid))
    }

    fn push(
        &mut self,
        delivery: &Delivery,
        wanted: impl Fn(&Connection) -> bool,
    ) -> (usize, usize) {
        let wanted = self.connections.iter().filter(|connection| wanted(connection));
        let pushed = wanted.map(|connection| connection.outbox().push(delivery.clone()));
        let (taken, full) = pushed.fold((0, 0), |(taken, full), pushed| match pushed {
            Pushed::Queued => (taken + 1, full),
            Pushed::Full => (taken, full + 1),
            Pushed::Leaving => (taken, full),
        });
        // Also of who has no room: what is too much may still be written, or is kept.
        if let Some(mid) = delivery.mid.filter(|_| taken + full > 0) {
            self.seen.note(mid);
        }
        (taken, full)
    }
}
