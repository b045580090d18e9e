//! How a connection lets go: its entry is removed, and what it has not written follows the user.
//!
//! The script that removes the entry keeps the messages if nobody else has the user: one step, so
//! that a next connect finds either the entry or the messages. If the user is connected elsewhere,
//! the messages are handed on to there, those aside that were sent there anyway.

use std::sync::{Arc, atomic::Ordering};

use futures_util::{StreamExt, stream};
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tracing::debug;

use super::{Registrar, lost::Leaving};
use crate::{
    hub::{Connection, Delivery},
    ids::UserHash,
    store::Tag,
};

/// Releases on their way to Redis at the same time. More would wait in line for longer than a
/// command may take when tens of thousands leave together, and be thought lost, all of them; at
/// 100 ms for each answer these are still 10,000 a second.
pub(super) const AT_ONCE: usize = 1024;

/// Lost releases are said again at 10,000 a second, a tenth of one core of Redis: what 32,000
/// connections left is gone in 4 s.
const STEP: usize = 1000;
const STEP_TIME: Duration = Duration::from_millis(100);

/// Lost releases on their way at the same time.
const SETTLED_AT_ONCE: usize = 128;

/// How long an instance that stops says again what was not answered; peers find the rest.
const LAST_TRY: Duration = Duration::from_secs(1);

/// How often what arrived during a release is handed on before the connection is let go.
const LEAVING_ROUNDS: usize = 8;

impl Registrar {
    /// Takes back what was registered for a connection that was leaving meanwhile; whether it was.
    pub async fn undo_if_leaving(&self, connection: &Connection) -> bool {
        let is_leaving = connection.outbox().is_leaving();
        if is_leaving {
            self.disconnect(connection, Vec::new()).await;
        }
        is_leaving
    }

    /// Hands on what was meant for a connection that has left, oldest first.
    pub async fn hand_on(&self, user: UserHash, unwritten: Vec<Delivery>) {
        if self.shared.router.hand_on(user, unwritten).await {
            self.set_unsettled();
        }
    }

    /// Another Redis, or the same after a restart, may have missed the last releases: they are
    /// said again.
    pub fn doubt_releases(&self) {
        for leaving in self.shared.recent.take() {
            self.keep_lost(leaving);
        }
    }

    /// Says again what Redis did not answer, until it does not answer again.
    pub async fn settle_releases(&self) {
        let mut slot = Instant::now();
        loop {
            let step = self.shared.lost.take(STEP);
            if step.is_empty() {
                return;
            }
            // Whoever stops here leaves nothing out.
            let step: Vec<_> = step.into_iter().map(|one| Kept::new(self, one)).collect();
            sleep_until(slot).await;
            slot += STEP_TIME;
            let settling = stream::iter(step).map(|kept| self.settle_release(kept));
            let settling = settling.buffer_unordered(SETTLED_AT_ONCE);
            if !settling.all(async |is_settled| is_settled).await {
                return;
            }
        }
    }

    /// The same for an instance that stops, which has not long to wait.
    pub async fn settle_last_releases(&self) {
        let _ = timeout(LAST_TRY, self.settle_releases()).await;
    }

    async fn settle_release(&self, mut kept: Kept) -> bool {
        let Some(leaving) = &kept.leaving else { return true };
        let user = leaving.user;
        let Some(unkept) = self.say_release(leaving).await else { return false };
        kept.leaving = None;
        self.hand_on(user, unkept).await;
        true
    }

    /// Lets go of a connection that has not written `written_back` and what is in its outbox.
    pub(super) async fn release(&self, connection: &Arc<Connection>, written_back: Vec<Delivery>) {
        let (hub, user) = (self.shared.router.hub(), connection.user());
        let mut unwritten = written_back;
        unwritten.extend(connection.outbox().close());
        let unwritten = hub.let_go(connection, unwritten);
        let unkept = self.disconnect(connection, unwritten).await;
        if let Some(mirror) = &self.shared.mirror {
            mirror.left(connection);
        }
        self.hand_on(user, unkept).await;
        for _ in 0..LEAVING_ROUNDS {
            let late = hub.remove_if_drained(connection);
            if late.is_empty() {
                return;
            }
            self.hand_on(user, late).await;
        }
        // From here on what is sent takes the way of what is sent to the absent, and may overtake
        // the last of what waited here.
        let last = hub.remove(connection);
        self.hand_on(user, last).await;
    }

    /// Answers what was not kept, and must be handed on.
    async fn disconnect(&self, connection: &Connection, unwritten: Vec<Delivery>) -> Vec<Delivery> {
        let Some(registration) = connection.registration() else {
            // The claim was not answered, and may have been done.
            self.suspect(connection.user());
            return unwritten;
        };
        let leaving = Leaving {
            epoch: registration.epoch,
            user: connection.user(),
            device: connection.device(),
            tag: Tag::new(registration.epoch, connection.number(), registration.since),
            unwritten: unwritten.into_iter().map(|one| (one.name_to_keep(), one)).collect(),
        };
        let Ok(_place) = self.shared.releasing.acquire().await else { return Vec::new() };
        // Also when this is not waited for until the end.
        let mut kept = Kept::new(self, leaving);
        let Some(leaving) = &kept.leaving else { return Vec::new() };
        let Some(unkept) = self.say_release(leaving).await else { return Vec::new() };
        kept.leaving = None;
        unkept
    }

    /// Answers what was not kept because the user has other connections; `None` without an answer.
    async fn say_release(&self, leaving: &Leaving) -> Option<Vec<Delivery>> {
        let release = leaving.release(self.shared.config.max_stored_message);
        let (asked, doubts) = (release.unwritten.len() as u64, self.shared.recent.doubts());
        let released = match self.shared.store.disconnect(leaving.epoch, &release).await {
            Ok(released) => released,
            Err(error) => {
                debug!("a release is not answered yet: {error}");
                return None;
            }
        };
        if let Some(again) = self.shared.recent.note(leaving, doubts) {
            self.keep_lost(again);
        }
        if released.left == 0 {
            let full = asked.saturating_sub(released.kept);
            self.shared.router.counters().full.fetch_add(full, Ordering::Relaxed);
            return Some(Vec::new());
        }
        let unwritten = leaving.unwritten.iter();
        Some(unwritten.map(|(mid, one)| one.clone().renamed(*mid)).collect())
    }

    fn keep_lost(&self, leaving: Leaving) {
        let dropped = self.shared.lost.push(leaving);
        self.shared.router.counters().dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

/// A release that is on its way, and is said again if it is not answered.
struct Kept {
    registrar: Registrar,
    /// `None` once it is answered.
    leaving: Option<Leaving>,
}

impl Kept {
    fn new(registrar: &Registrar, leaving: Leaving) -> Self {
        Self { registrar: registrar.clone(), leaving: Some(leaving) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(leaving) = self.leaving.take() {
            self.registrar.keep_lost(leaving);
        }
    }
}
