//! How to reach a user who is not here, and when that way has led nowhere.
//!
//! When a user has just left, what was sent over the route comes back message by message. What is
//! sent meanwhile must not overtake it, so the route stays in use, at the price of an extra hop,
//! until everything sent over it is back; then it closes, and the next message takes the slow path
//! behind all others.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use smallvec::SmallVec;

use crate::{ids::Epoch, relay::Lane};

/// Set in [`Route::traffic`] once nobody may enter any more.
const CLOSED: u64 = 1 << 63;

/// The lanes to a user's owners; nearly always one.
pub type Lanes = SmallVec<[Arc<Lane>; 1]>;

/// A cached way to a user.
#[derive(Debug)]
pub struct Route {
    lanes: Lanes,
    /// Messages that have gone this way, and [`CLOSED`].
    traffic: AtomicU64,
    /// Those of them that have come back and are dealt with.
    returned: AtomicU64,
}

impl Route {
    /// Over these lanes.
    pub fn new(lanes: Lanes) -> Self {
        Self { lanes, traffic: AtomicU64::new(0), returned: AtomicU64::new(0) }
    }

    /// Its lanes.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Whether some inbox at its end is heard by nobody, as far as is known.
    pub fn is_deaf(&self) -> bool {
        self.lanes.iter().any(|lane| lane.is_deaf())
    }

    /// Whether it leads to this owner and no other.
    pub fn leads_only_to(&self, owner: Epoch) -> bool {
        matches!(self.lanes.as_slice(), [lane] if lane.epoch() == owner)
    }

    /// Counts a message in; false once the route is closed.
    pub fn enter(&self) -> bool {
        self.traffic.fetch_add(1, Ordering::AcqRel) & CLOSED == 0
    }

    /// Counts a message out that was not sent after all.
    pub fn turn_back(&self) {
        self.traffic.fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts a message that came back and is dealt with; true when that was the last and nobody
    /// may enter any more.
    pub fn came_back(&self) -> bool {
        let returned = self.returned.fetch_add(1, Ordering::AcqRel) + 1;
        let sent = self.traffic.load(Ordering::Acquire);
        let is_last = returned >= sent & !CLOSED;
        let close = || {
            self.traffic.compare_exchange(sent, sent | CLOSED, Ordering::AcqRel, Ordering::Acquire)
        };
        is_last && close().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_closes_behind_the_last_that_came_back() {
        let route = Route::new(Lanes::new());
        assert!(route.enter() && route.enter());
        assert!(!route.came_back(), "one is still on its way");
        assert!(route.enter(), "and another follows it");
        assert!(!route.came_back());
        assert!(route.came_back());
        assert!(!route.enter(), "what comes now goes behind all three");
    }

    #[test]
    fn what_was_not_sent_is_not_waited_for() {
        let route = Route::new(Lanes::new());
        assert!(route.enter() && route.enter());
        route.turn_back();
        assert!(route.came_back());
    }
}
