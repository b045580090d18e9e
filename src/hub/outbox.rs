//! What one client has still to read, bounded in bytes.
//!
//! A queue of its own instead of a channel: an idle connection's costs no heap at all, its bound
//! is in bytes as the operator sets it, and the step from *open* to *leaving* is taken under the
//! same lock as a push, so that each message is either written by the session or handed on by it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use super::Delivery;
use crate::protocol::close::Close;

/// While a connection leaves, its outbox takes up to this many times its bound, so that what
/// arrives during the last round trip to the store is not lost either.
const LEAVING_FACTOR: usize = 2;

/// Whether an outbox took a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It will be written.
    Queued,
    /// It did not fit: this client reads too slowly and will be cut.
    Full,
    /// The connection is closing.
    Leaving,
}

/// The bounded queue to one client.
#[derive(Debug)]
pub struct Outbox {
    bound: usize,
    /// A std lock: held for a few operations, never across an await.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Delivery>,
    bytes: usize,
    /// The highest [`Delivery::place`] that was taken: it takes all of them until it takes none.
    last_place: u64,
    leaving: bool,
    order: Option<Close>,
    session: Option<Waker>,
}

impl Outbox {
    /// Room for `bound` bytes.
    pub fn new(bound: usize) -> Self {
        Self { bound, inner: Mutex::default() }
    }

    /// Adds a message, or orders the connection closed when it does not fit.
    pub fn push(&self, delivery: Delivery) -> Pushed {
        let mut inner = self.lock();
        if inner.leaving || inner.order.is_some() {
            return Pushed::Leaving;
        }
        if inner.bytes + delivery.text.len() > self.bound && !inner.queue.is_empty() {
            inner.add(delivery);
            inner.order_once(Close::TryAgainLater);
            return Pushed::Full;
        }
        inner.add(delivery);
        inner.wake();
        Pushed::Queued
    }

    /// Adds a message to a connection that is closing, for it to hand on; whether it fitted.
    pub fn push_leaving(&self, delivery: Delivery) -> bool {
        let mut inner = self.lock();
        let fits = inner.bytes + delivery.text.len() <= self.bound * LEAVING_FACTOR;
        if fits {
            inner.add(delivery);
        }
        fits
    }

    /// Whether it took what was given to the user's connections at this place.
    pub fn has_taken(&self, place: u64) -> bool {
        place <= self.lock().last_place
    }

    /// Asks the session to close the connection; the first order counts.
    pub fn order(&self, close: Close) {
        self.lock().order_once(close);
    }

    /// The order to close, if one was given.
    pub fn ordered(&self) -> Option<Close> {
        self.lock().order
    }

    /// Whether its session lets the connection go.
    pub fn is_leaving(&self) -> bool {
        self.lock().leaving
    }

    /// What waits here and has crossed instances.
    pub fn named(&self) -> Vec<Delivery> {
        let inner = self.lock();
        inner.queue.iter().filter(|delivery| delivery.mid.is_some()).cloned().collect()
    }

    /// Bytes that wait here; what a session has taken is not among them.
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// What a session looks at in each of its turns, under one lock: arranges that it is woken by
    /// the next message and by an order to close, moves what is waiting into `into` if that is
    /// empty, and answers the order, if one was given.
    ///
    /// Only what is taken leaves the bound: `into` must be empty only once the last is written.
    pub fn attend(&self, session: &Waker, into: &mut VecDeque<Delivery>) -> Option<Close> {
        let mut inner = self.lock();
        if !inner.session.as_ref().is_some_and(|known| known.will_wake(session)) {
            inner.session = Some(session.clone());
        }
        if into.is_empty() && !inner.queue.is_empty() {
            // The queue's room goes with it: an idle connection keeps none.
            std::mem::swap(into, &mut inner.queue);
            inner.bytes = 0;
        }
        inner.order
    }

    /// From now on the connection is leaving; answers what nobody will write any more.
    pub fn close(&self) -> Vec<Delivery> {
        let mut inner = self.lock();
        inner.leaving = true;
        inner.session = None;
        inner.bytes = 0;
        std::mem::take(&mut inner.queue).into()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, delivery: Delivery) {
        self.bytes += delivery.text.len();
        self.last_place = self.last_place.max(delivery.place());
        self.queue.push_back(delivery);
    }

    fn order_once(&mut self, close: Close) {
        self.order.get_or_insert(close);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(session) = self.session.take() {
            session.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn text(text: &'static str) -> Delivery {
        Delivery::unnamed(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_session_takes_all_that_waits_and_no_more_before_that_is_written() {
        let (outbox, mut taken) = (Outbox::new(4), VecDeque::new());
        outbox.push(text("1"));
        outbox.push(text("2"));
        assert_eq!(outbox.attend(Waker::noop(), &mut taken), None);
        assert_eq!(outbox.push(text("3456")), Pushed::Queued, "what is taken has left the bound");
        assert_eq!(outbox.push(text("7")), Pushed::Full);
        taken.pop_front();
        outbox.attend(Waker::noop(), &mut taken);
        assert_eq!(taken.iter().map(|d| d.text.clone()).collect::<Vec<_>>(), ["2"]);
        taken.clear();
        let order = outbox.attend(Waker::noop(), &mut taken);
        assert_eq!(order, Some(Close::TryAgainLater));
        assert_eq!(taken.iter().map(|d| d.text.clone()).collect::<Vec<_>>(), ["3456", "7"]);
    }

    #[test]
    fn the_first_message_fits_whatever_its_size() {
        let outbox = Outbox::new(3);
        assert_eq!(outbox.push(text("four")), Pushed::Queued);
        assert_eq!(outbox.push(text("x")), Pushed::Full);
        assert_eq!(outbox.ordered(), Some(Close::TryAgainLater));
        assert_eq!(outbox.push(text("y")), Pushed::Leaving);
    }

    #[test]
    fn what_did_not_fit_is_still_handed_on() {
        let outbox = Outbox::new(4);
        outbox.push(text("1234"));
        outbox.push(text("5"));
        assert!(outbox.push_leaving(text("6")));
        assert!(!outbox.push_leaving(text("7890")), "twice the bound and no more");
        let rest: Vec<_> = outbox.close().iter().map(|d| d.text.clone()).collect();
        assert_eq!(rest, ["1234", "5", "6"]);
    }

    #[test]
    fn the_first_order_counts() {
        let outbox = Outbox::new(4);
        outbox.order(Close::Displaced);
        outbox.order(Close::GoingAway);
        assert_eq!(outbox.ordered(), Some(Close::Displaced));
    }
}
