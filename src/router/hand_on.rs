//! What a connection has not written follows its user.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::task::unconstrained;
use tracing::trace;

use super::{Router, Undelivered, route::Lanes};
use crate::{
    hub::{Connection, Delivery},
    ids::UserHash,
    store::{Fate, Keep},
    telemetry::events::TRACE,
};

/// Messages of one connection on their way through the store at the same time, in their order: one
/// that leaves with a thousand must not take a thousand round trips, nor fill the line for others.
const AT_ONCE: usize = 32;

impl Router {
    /// Delivers what a closing connection was given and did not write, oldest first: to
    /// connections here and owners elsewhere that were not given it, or into the mailbox. True if
    /// something went there although somebody here has the user, who must be told to look.
    pub async fn hand_on(&self, user: UserHash, unwritten: Vec<Delivery>) -> bool {
        // In the order in which they are asked for they go out, on one connection, to one user. Not
        // in turns with other tasks: tokio wakes those whose turn was over last first.
        let handing = unwritten.into_iter().map(|delivery| self.hand_on_one(user, delivery));
        let was_kept = stream::iter(handing).buffered(AT_ONCE);
        let kept = unconstrained(was_kept.fold(false, async |any, kept| any | kept)).await;
        if !kept {
            return false;
        }
        let mut open = self.shared.hub.of_user(user);
        open.retain(|connection: &Arc<Connection>| !connection.outbox().is_leaving());
        open.iter().for_each(|connection| connection.miss());
        !open.is_empty()
    }

    /// Gives the siblings what came from peers while a connection was being claimed: the way here was
    /// an old one, and until the store had answered nobody here knew whom else to name.
    pub fn pass_on(&self, connection: &Connection) {
        let Some(relay) = &self.shared.relay else { return };
        let user = connection.user();
        let siblings = self.shared.hub.siblings(user);
        if siblings.is_empty() {
            return;
        }
        // Whoever of them proves to be gone must not count as one who has it.
        for delivery in connection.outbox().named() {
            let Some(mid) = delivery.mid else { continue };
            let lack = siblings.iter().filter(|sibling| !delivery.also().contains(sibling));
            let lanes: Lanes = lack.map(|sibling| relay.lane(*sibling)).collect();
            let has = [self.shared.epoch.get()].into_iter().chain(siblings.iter().copied());
            self.send_copies(relay, &lanes, self.letter(user, mid, delivery.text, has.collect()));
        }
    }

    /// Whether it was kept.
    async fn hand_on_one(&self, user: UserHash, delivery: Delivery) -> bool {
        // By one name here and elsewhere: whoever is told may tell us.
        let (me, name) = (self.shared.epoch.get(), delivery.name_to_keep());
        let delivery = delivery.renamed(name);
        let is_here = self.shared.hub.hand_on(user, &delivery) > 0;
        if !is_here {
            // Whoever else has it may send it back.
            self.shared.let_go.insert(name, ());
        }
        trace!(target: TRACE, "hand-on epoch={me} mid={name}");
        let mut tried = delivery.also().to_vec();
        let mut deaf = self.silent_among(&tried);
        // Who else has it and is still there answers for it. What is said to one's own inbox would
        // come back.
        let keep = if is_here { Keep::No } else { self.keep_of_known() };
        if is_here { &mut tried } else { &mut deaf }.push(me);
        let message = Undelivered { user, mid: name, text: delivery.text, tried, deaf, keep };
        let Some((request, answer)) = self.ask(message).await else { return false };
        let was_kept = matches!(answer.fate, Fate::Kept(_));
        self.settle(request, &answer);
        was_kept
    }
}
