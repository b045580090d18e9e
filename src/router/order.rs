//! What comes back goes first: a sender's messages to a user stay in order when the user moves.
//!
//! The first message that comes back closes the route that it was sent over. Until the rest is back
//! and on its new way, whoever sends to that user waits, and then finds a new route behind it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::timeout;

use super::{Router, route::Route};
use crate::ids::UserHash;

/// A sender waits for so long at most, then order is given up. A peer says within 100 ms what it has
/// read, and what it did not want has come back before; one that is silent must not hold up what
/// the sender has to say to others.
const PATIENCE: Duration = Duration::from_millis(250);

impl Router {
    /// A message of this route has come back: what is sent from now on waits for all others.
    pub(super) fn close_route(&self, user: UserHash) {
        if let Some(route) = self.shared.routes.get(&user) {
            route.close();
            self.shared.has_closed.store(true, Ordering::Release);
        }
    }

    /// Whether messages for `user` may be coming back. Costs a load while nobody has moved.
    pub(super) fn is_closed(&self, user: UserHash) -> bool {
        self.shared.has_closed.load(Ordering::Acquire) && self.closed_route(user).is_some()
    }

    /// Waits for what is coming back for `user`; true if there was anything to wait for.
    pub(super) async fn fall_in(&self, user: UserHash) -> bool {
        let (Some(relay), Some(route)) = (&self.shared.relay, self.closed_route(user)) else {
            return false;
        };
        let all_is_back = async {
            route.settled().await;
            relay.returns_dealt_with().await;
        };
        let _ = timeout(PATIENCE, all_is_back).await;
        // Another may have been behind it already, and have learnt a new one.
        if self.shared.routes.get(&user).is_some_and(|now| Arc::ptr_eq(&now, &route)) {
            self.shared.routes.invalidate(&user);
        }
        true
    }

    fn closed_route(&self, user: UserHash) -> Option<Arc<Route>> {
        self.shared.routes.get(&user).filter(|route| route.is_closed())
    }
}
