//! Whether there is room for one more connection of a user, and who makes it.
//!
//! The limit counts what the store lists, and that may be more than there is: what a dead instance
//! left, or what is still to be taken back. Those go first; only then may the oldest have to.

use std::collections::HashSet;

use tracing::debug;

use super::{Answer, Claim, Limit, Registrar, Tag};
use crate::{
    ids::{Epoch, UserHash},
    protocol::close::Close,
};

impl Registrar {
    /// Asks once more after removing what dead instances left, if that is what fills the limit;
    /// only then may the oldest have to make room, for it lives.
    pub(super) async fn connect(&self, claim: &Claim) -> Option<Answer> {
        let limit = self.limit();
        let answer = self.connect_once(claim, limit.refusing()).await?;
        let Answer::Limit(tags) = &answer else { return Some(answer) };
        let dead = self.dead_among(claim.user, tags).await;
        let epochs: HashSet<Epoch> = dead.iter().filter_map(Tag::epoch).collect();
        let epochs: Vec<_> = epochs.into_iter().collect();
        let prune = self.shared.store.prune(claim.user, &epochs, &dead);
        let pruned = !dead.is_empty() && prune.await.is_ok();
        if pruned || limit.displaces { self.connect_once(claim, limit).await } else { Some(answer) }
    }

    /// Those of this instance need no word from a peer.
    pub(super) fn close_displaced(&self, user: UserHash, tags: &[Tag]) {
        let me = self.shared.epoch.get();
        let mine = tags.iter().filter(|tag| tag.epoch() == Some(me));
        let numbers: Vec<u64> = mine.filter_map(Tag::number).collect();
        if numbers.is_empty() {
            return;
        }
        for connection in self.shared.router.hub().of_user(user) {
            if numbers.contains(&connection.number()) {
                connection.outbox().order(Close::Displaced);
            }
        }
    }

    /// Those of `tags` whose instance is no member, or that are this one's and nobody's here: a
    /// connection that was registered while it left, and is yet to be taken back. An instance that
    /// is not in view may have joined since the last heartbeat, so the store is asked before its
    /// connections are taken away.
    async fn dead_among(&self, user: UserHash, tags: &[Tag]) -> Vec<Tag> {
        let me = self.shared.epoch.get();
        let open = self.shared.router.hub().of_user(user);
        let is_open = |number: Option<u64>| open.iter().any(|one| Some(one.number()) == number);
        let (mine, others): (Vec<_>, Vec<_>) =
            tags.iter().cloned().partition(|tag| tag.epoch() == Some(me));
        let mut dead: Vec<_> = mine.into_iter().filter(|tag| !is_open(tag.number())).collect();
        let is_unknown =
            |tag: &Tag| tag.epoch().is_none_or(|epoch| !self.shared.view.is_member(epoch));
        if others.iter().any(is_unknown)
            && let Ok(members) = self.shared.store.members().await
        {
            let lives = |tag: &Tag| tag.epoch().is_some_and(|epoch| members.contains(&epoch));
            dead.extend(others.into_iter().filter(|tag| !lives(tag)));
        }
        dead
    }

    async fn connect_once(&self, claim: &Claim, limit: Limit) -> Option<Answer> {
        let epoch = self.shared.epoch.get();
        match self.shared.store.connect(epoch, claim, limit).await {
            Ok(answer) => {
                if answer == Answer::Fenced {
                    self.shared.view.fence(epoch);
                }
                Some(answer)
            }
            Err(error) => {
                debug!("a connection is not registered yet: {error}");
                None
            }
        }
    }
}
