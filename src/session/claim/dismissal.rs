//! Closing a user's connections on somebody's word: a kick, or a revocation and its end.
//!
//! The word goes through the store to every owner; this instance's own connections are closed
//! here, with or without Redis. A revocation that Redis could not be told is said again, the
//! latest about each user, until it has been heard: shutting somebody out must not depend on the
//! minute. A kick is for now and is not repeated: the operator sees that it failed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::{debug, info};

use super::Registrar;
use crate::{
    hub::Connection,
    ids::{Epoch, UserHash},
    protocol::close::Close,
    store::{Dismissed, StoreError},
};

/// Users about whom Redis has still to be told. What does not fit is said once.
const UNHEARD: usize = 10_000;

/// Who was told to close a user's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dismissal {
    /// Connections of this instance that are being closed.
    pub here: usize,
    /// Instances that heard it, this one included if it has the user.
    pub heard: usize,
    /// Instances that have the user and did not hear it, though they may live.
    pub silent: usize,
}

/// Verdicts that Redis has not acknowledged: the latest for each user.
#[derive(Default)]
pub(super) struct Verdicts(Mutex<Unheard>);

#[derive(Default)]
struct Unheard {
    by_user: HashMap<UserHash, (u64, Verdict)>,
    /// Numbers them, so that a late success does not erase a later verdict.
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Revoked,
    Lifted,
}

impl Registrar {
    /// Shuts a user out of the fleet and closes what connections they have, with 1008.
    ///
    /// Every instance may say it and any number of times. What decides is the directory: whoever
    /// acts on a change reads the user, acts, and reads again, until both agree; then instances
    /// that learn of *disabled* and *enabled* at different times all end at the same.
    ///
    /// On an error the connections here are closed nevertheless, and the fleet is told as soon as
    /// Redis is back.
    pub async fn revoke(&self, user: UserHash) -> Result<Dismissal, StoreError> {
        let number = self.shared.verdicts.note(user, Verdict::Revoked);
        let told = self.shared.store.revoke(user, self.revocation()).await;
        if told.is_ok() {
            self.shared.verdicts.forget(user, number);
        }
        // After the mark stands: nobody can come in behind.
        let here = close(&self.shared.router.hub().of_user(user), Close::Policy);
        told.map(|told| self.dismissal(here, &told))
    }

    /// Lets a user in again, at once and everywhere. On an error the fleet is told as soon as
    /// Redis is back.
    pub async fn lift(&self, user: UserHash) -> Result<(), StoreError> {
        let number = self.shared.verdicts.note(user, Verdict::Lifted);
        self.shared.store.lift(user).await?;
        self.shared.verdicts.forget(user, number);
        Ok(())
    }

    /// Closes the connections a user has now, on every instance, with 1000; who comes back is
    /// let in. On an error those of this instance are closed nevertheless.
    pub async fn kick(&self, user: UserHash) -> Result<Dismissal, StoreError> {
        let mine = self.shared.router.hub().of_user(user);
        let told = self.shared.store.kick(user).await;
        let here = close(&mine, Close::Normal);
        told.map(|told| self.dismissal(here, &told))
    }

    /// Says again what Redis has not heard; stops at the first that it does not hear again.
    pub async fn settle_verdicts(&self) {
        for user in self.shared.verdicts.users() {
            let Some((number, verdict)) = self.shared.verdicts.about(user) else { continue };
            let told = match verdict {
                Verdict::Revoked => {
                    self.shared.store.revoke(user, self.revocation()).await.map(drop)
                }
                Verdict::Lifted => self.shared.store.lift(user).await,
            };
            match told {
                Ok(()) => self.shared.verdicts.forget(user, number),
                Err(error) => return debug!("a verdict is not heard yet: {error}"),
            }
        }
    }

    fn revocation(&self) -> Duration {
        self.shared.bounds.load().revocation
    }

    fn dismissal(&self, here: usize, told: &Dismissed) -> Dismissal {
        let me = self.shared.epoch.get();
        let heard = told.heard.iter().filter(|epoch| **epoch != me).count() + usize::from(here > 0);
        let is_silent = |epoch: &&Epoch| {
            **epoch != me && !told.heard.contains(epoch) && self.shared.view.lives(**epoch)
        };
        Dismissal { here, heard, silent: told.owners.iter().filter(is_silent).count() }
    }
}

/// How many there were.
fn close(connections: &[Arc<Connection>], close: Close) -> usize {
    for connection in connections {
        let id = connection.id();
        info!(conn.id = %id, "connection {id} is closed on somebody's word: {}", close.reason());
        connection.outbox().order(close);
    }
    connections.len()
}

impl Verdicts {
    fn note(&self, user: UserHash, verdict: Verdict) -> u64 {
        let mut unheard = self.lock();
        unheard.count += 1;
        let number = unheard.count;
        if unheard.by_user.len() < UNHEARD || unheard.by_user.contains_key(&user) {
            unheard.by_user.insert(user, (number, verdict));
        }
        number
    }

    fn forget(&self, user: UserHash, number: u64) {
        let mut unheard = self.lock();
        if unheard.by_user.get(&user).is_some_and(|(latest, _)| *latest == number) {
            unheard.by_user.remove(&user);
        }
    }

    fn about(&self, user: UserHash) -> Option<(u64, Verdict)> {
        self.lock().by_user.get(&user).copied()
    }

    fn users(&self) -> Vec<UserHash> {
        self.lock().by_user.keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Unheard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserHasher;

    #[test]
    fn the_latest_verdict_is_the_one_that_is_said_again() {
        let (verdicts, sid) = (Verdicts::default(), UserHasher::new(b"t").hash("Sid"));
        let first = verdicts.note(sid, Verdict::Revoked);
        let second = verdicts.note(sid, Verdict::Lifted);
        verdicts.forget(sid, first);
        assert_eq!(verdicts.about(sid), Some((second, Verdict::Lifted)));
        verdicts.forget(sid, second);
        assert!(verdicts.users().is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (verdicts, hasher) = (Verdicts::default(), UserHasher::new(b"t"));
        for n in 0..=UNHEARD {
            verdicts.note(hasher.hash(&n.to_string()), Verdict::Revoked);
        }
        assert_eq!(verdicts.users().len(), UNHEARD);
        verdicts.note(hasher.hash("0"), Verdict::Lifted);
        let (_, latest) = verdicts.about(hasher.hash("0")).unwrap();
        assert_eq!(latest, Verdict::Lifted, "a later word about somebody known still fits");
    }
}
