//! How to reach a user who is not here, and when that way has led nowhere.
//!
//! When a user has just left, what was sent over the route comes back message by message, and must
//! not be overtaken by what is sent meanwhile. So the first that comes back closes the route, and
//! whoever wants to send over it waits until nothing is on its way there any more.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::future::join_all;
use smallvec::SmallVec;
use tokio::task::yield_now;

use crate::{ids::Epoch, relay::Lane};

/// Set in [`Route::entering`] once nobody may enter any more.
const CLOSED: u64 = 1 << 63;

/// A route is renewed after so many seconds, however well it works (COORDINATION §4.4), and somewhat
/// earlier if its turn is: those that were learnt together must not all be asked for together again.
const LIFE: u64 = 30;
const SPREAD: u64 = 11;

/// The lanes to a user's owners; nearly always one.
pub type Lanes = SmallVec<[Arc<Lane>; 1]>;

/// A cached way to a user.
#[derive(Debug)]
pub struct Route {
    lanes: Lanes,
    /// Until when it is used, in the router's seconds.
    until: u64,
    /// Senders who are about to put a message on a lane, and [`CLOSED`].
    entering: AtomicU64,
}

impl Route {
    /// Over these lanes, in this second; `turn` spreads when it is to be renewed.
    pub fn new(lanes: Lanes, now: u64, turn: u64) -> Self {
        Self { lanes, until: now + LIFE - turn % SPREAD, entering: AtomicU64::new(0) }
    }

    /// Whether the store is to be asked again.
    pub fn is_old(&self, now: u64) -> bool {
        now >= self.until
    }

    /// Its lanes.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Whether some inbox at its end is heard by nobody, as far as is known.
    pub fn is_deaf(&self) -> bool {
        self.lanes.iter().any(|lane| lane.is_deaf())
    }

    /// Whether it leads to one of these owners.
    pub fn leads_to_any(&self, owners: &[Epoch]) -> bool {
        self.lanes.iter().any(|lane| owners.contains(&lane.epoch()))
    }

    /// Whether it leads to an owner to whom `other` does not.
    pub fn leads_beyond(&self, other: &Self) -> bool {
        self.lanes.iter().any(|lane| !other.leads_to_any(&[lane.epoch()]))
    }

    /// Before a message is put on the lanes; false once the route is closed. [`Route::leave`] follows
    /// either way.
    pub fn enter(&self) -> bool {
        self.entering.fetch_add(1, Ordering::AcqRel) & CLOSED == 0
    }

    /// The message is on the lanes, or will not be.
    pub fn leave(&self) {
        self.entering.fetch_sub(1, Ordering::AcqRel);
    }

    /// Lets nobody enter any more.
    pub fn close(&self) {
        self.entering.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether nobody may enter any more.
    pub fn is_closed(&self) -> bool {
        self.entering.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Waits until what was sent has been published, so that a script's word comes behind it.
    pub async fn published(&self) {
        self.nobody_enters().await;
        join_all(self.lanes.iter().map(|lane| lane.published(lane.mark()))).await;
    }

    /// Waits until nothing is on its way over the lanes of this route, which is closed.
    pub async fn settled(&self) {
        self.nobody_enters().await;
        join_all(self.lanes.iter().map(|lane| lane.settled(lane.mark()))).await;
    }

    /// A few instructions of somebody else's.
    async fn nobody_enters(&self) {
        while self.entering.load(Ordering::Acquire) & !CLOSED != 0 {
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[test]
    fn routes_that_were_learnt_together_are_renewed_apart() {
        let routes: Vec<_> = (0..110).map(|turn| Route::new(Lanes::new(), 5, turn)).collect();
        let old = |now| routes.iter().filter(|route| route.is_old(now)).count();
        assert_eq!([old(24), old(25), old(26), old(35)], [0, 10, 20, 110]);
    }

    #[tokio::test]
    async fn a_closed_route_is_settled_once_all_who_entered_have_left() {
        let route = Route::new(Lanes::new(), 0, 0);
        assert!(route.enter());
        route.close();
        assert!(!route.enter(), "what comes now goes behind");
        route.leave();
        let mut settled = pin!(route.settled());
        assert!(poll!(settled.as_mut()).is_pending(), "one is about to go still");
        route.leave();
        assert!(poll!(settled).is_ready() && route.is_closed());
    }
}
