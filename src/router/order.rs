//! What comes back goes first: a sender's messages to a user stay in order when the user moves.
//!
//! The first message that comes back closes the route that it was sent over. Until the rest is back
//! and on its new way, whoever sends to that user waits, and then asks the store behind it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use moka::ops::compute::Op;
use tokio::time::timeout;

use super::{Router, route::Route};
use crate::ids::{Epoch, UserHash};

/// A sender waits for so long at most, then order is given up. A peer says within 100 ms what it has
/// read, and what it did not want has come back before; one that is silent must not hold up what
/// the sender has to say to others.
const PATIENCE: Duration = Duration::from_millis(250);

/// Seconds after which what was closed last is not looked for any more by who speaks to somebody here:
/// nothing is coming back.
const QUIET: u64 = 4;

impl Router {
    /// A message that was sent to these has come back: what is sent from now on over a route that
    /// leads there waits for all others.
    pub(super) fn close_route(&self, user: UserHash, back_from: &[Epoch]) {
        if let Some(route) = self.shared.routes.get(&user)
            && route.leads_to_any(back_from)
        {
            self.close(&route);
        }
    }

    pub(super) fn close(&self, route: &Route) {
        route.close();
        self.shared.closed_until.fetch_max(self.now() + QUIET, Ordering::AcqRel);
    }

    /// Whether messages for `user` may be coming back. Costs two loads while nobody has moved.
    pub(super) fn is_closed(&self, user: UserHash) -> bool {
        let may_be = self.now() < self.shared.closed_until.load(Ordering::Acquire);
        may_be && self.closed_route(user).is_some()
    }

    /// Waits for what is coming back for `user`, if anything is; and for what has not gone out yet over
    /// a route that is due to be renewed.
    pub(super) async fn fall_in(&self, user: UserHash) {
        let (Some(relay), Some(route)) = (&self.shared.relay, self.shared.routes.get(&user)) else {
            return;
        };
        let all_is_back = async {
            route.settled().await;
            relay.returns_dealt_with().await;
        };
        let _ = if route.is_closed() {
            timeout(PATIENCE, all_is_back).await
        } else if route.is_old(self.now()) {
            timeout(PATIENCE, route.published()).await
        } else {
            return;
        };
        // Another may have been behind it already, and have learnt a new one.
        self.shared.routes.entry(user).and_compute_with(|now| match now {
            Some(now) if Arc::ptr_eq(now.value(), &route) => Op::Remove,
            _ => Op::Nop,
        });
    }

    /// Takes a new route into use, but not before what was sent over the one before is back: one that
    /// leads elsewhere is closed for that.
    pub(super) fn take_route(&self, user: UserHash, learnt: Route) {
        self.shared.routes.entry(user).and_compute_with(|known| match known {
            Some(known) if known.value().is_closed() => Op::Nop,
            Some(known) if known.value().leads_beyond(&learnt) => {
                self.close(known.value());
                Op::Nop
            }
            _ => Op::Put(Arc::new(learnt)),
        });
    }

    fn closed_route(&self, user: UserHash) -> Option<Arc<Route>> {
        self.shared.routes.get(&user).filter(|route| route.is_closed())
    }
}
