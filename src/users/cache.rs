//! Remembers a directory's answers, so that a reconnect storm does not become a query storm.
//!
//! An answer is fresh for its TTL. When the directory cannot be asked, a user seen within
//! `users.cache_stale` is still believed: a database restart must not lock out those who were
//! here a minute ago. Nobody is ever made up: without such an answer the look-up fails.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use moka::{Expiry, future::Cache};
use tokio::time::Instant;

use super::{Directory, Error, NewUser, Unavailable, User};
use crate::{config::settings::Users, ids::UserId, telemetry::events};

/// After a failed look-up, how long known users are answered from memory without asking again:
/// each would otherwise wait out a connect timeout of its own.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);

/// Longest life of an entry, whatever the settings; keeps sums of durations in range.
const MAX_ENTRY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A bounded cache before another directory.
///
/// Concurrent look-ups of one name share one question. An answer that arrives while
/// [`Directory::invalidate`] runs may be the older one; its TTL bounds the mistake.
#[derive(Debug)]
pub struct Cached<D> {
    inner: D,
    answers: Cache<UserId, Answer>,
    /// Shared with the answers' expiry.
    ages: Arc<ArcSwap<Ages>>,
    /// Until when the directory is taken for down. A std lock: held for one assignment.
    down_until: Mutex<Option<Instant>>,
}

/// How old an answer may be; replaced by a reload.
#[derive(Clone, Copy, Debug)]
struct Ages {
    ttl: Duration,
    negative_ttl: Duration,
    stale: Duration,
    /// What was answered until then is asked again, and only believed while nobody answers.
    doubted: Option<Instant>,
}

/// What the directory said, and when.
#[derive(Clone, Debug)]
enum Answer {
    Known(Arc<User>, Instant),
    Nobody(Instant),
    /// Handed to those who asked together, then dropped: errors are not remembered.
    Failed(Unavailable),
}

impl<D: Directory> Cached<D> {
    /// Holds at most `users.cache_entries` answers.
    pub fn new(inner: D, users: &Users) -> Self {
        let ages = Arc::new(ArcSwap::from_pointee(Ages::of(users)));
        let answers = Cache::builder()
            .max_capacity(users.cache_entries)
            .expire_after(Life(ages.clone()))
            .build();
        Self { inner, answers, ages, down_until: Mutex::new(None) }
    }

    fn is_fresh(&self, answer: &Answer) -> bool {
        self.ages.load().is_fresh(answer)
    }

    /// Asks the directory; on failure falls back on `old`, which keeps its age.
    async fn ask(&self, name: &UserId, old: Option<Answer>) -> Answer {
        let old = old.filter(|old| self.ages.load().is_believable(old));
        if let Some(old) = old.clone().filter(|_| self.is_down()) {
            return old;
        }
        let found = self.inner.find(name).await;
        self.note(&found);
        match found {
            Ok(Some(user)) => Answer::Known(user, Instant::now()),
            Ok(None) => Answer::Nobody(Instant::now()),
            Err(error) => old.unwrap_or(Answer::Failed(error)),
        }
    }

    fn is_down(&self) -> bool {
        let until = *self.down_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Logs the two turns, not each look-up between them.
    fn note<T>(&self, found: &Result<T, Unavailable>) {
        let until = found.is_err().then(|| Instant::now() + OUTAGE_PAUSE);
        let mut down_until = self.down_until.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *down_until, until);
        drop(down_until);
        match (before, found) {
            (None, Err(error)) => {
                tracing::warn!(
                    message_id = events::DATABASE_LOST,
                    "user look-up failed; users seen within {} are still let in: {error}",
                    humantime::format_duration(self.ages.load().stale),
                );
            }
            (Some(_), Ok(_)) => {
                tracing::info!(
                    message_id = events::DATABASE_BACK,
                    "the user directory answers again"
                );
            }
            _ => {}
        }
    }
}

impl Ages {
    fn of(users: &Users) -> Self {
        Self {
            ttl: users.cache_ttl,
            negative_ttl: users.cache_negative_ttl,
            stale: users.cache_stale,
            doubted: None,
        }
    }

    fn is_fresh(&self, answer: &Answer) -> bool {
        let (at, ttl) = match answer {
            Answer::Known(_, at) => (at, self.ttl),
            Answer::Nobody(at) => (at, self.negative_ttl),
            Answer::Failed(_) => return false,
        };
        self.doubted.is_none_or(|doubted| *at > doubted) && at.elapsed() < ttl
    }

    /// An expired answer that may stand in for the directory.
    fn is_believable(&self, answer: &Answer) -> bool {
        let bound = self.ttl.saturating_add(self.stale);
        matches!(answer, Answer::Known(_, at) if at.elapsed() < bound)
    }

    /// How long an answer given now can be of use.
    fn life(&self) -> Duration {
        self.ttl.max(self.negative_ttl).saturating_add(self.stale).min(MAX_ENTRY_LIFE)
    }
}

/// When an answer is dropped: by the ages of the time it was given, so that a reload needs no
/// new cache.
struct Life(Arc<ArcSwap<Ages>>);

impl Expiry<UserId, Answer> for Life {
    fn expire_after_create(
        &self,
        _: &UserId,
        _: &Answer,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(self.0.load().life())
    }

    fn expire_after_update(
        &self,
        _: &UserId,
        _: &Answer,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.0.load().life())
    }
}

#[async_trait]
impl<D: Directory> Directory for Cached<D> {
    async fn find(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        let old = self.answers.get(name).await;
        let answer = match old {
            Some(fresh) if self.is_fresh(&fresh) => fresh,
            old => {
                let asking = self.ask(name, old);
                let entry = self.answers.entry_by_ref(name);
                entry.or_insert_with_if(asking, |held| !self.is_fresh(held)).await.into_value()
            }
        };
        match answer {
            Answer::Known(user, _) => Ok(Some(user)),
            Answer::Nobody(_) => Ok(None),
            Answer::Failed(error) => {
                self.answers.invalidate(name).await;
                Err(error)
            }
        }
    }

    async fn add(&self, user: NewUser) -> Result<Arc<User>, Error> {
        let name = user.username.clone();
        let added = self.inner.add(user).await;
        self.answers.invalidate(&name).await;
        added
    }

    async fn list(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Arc<User>>, Unavailable> {
        self.inner.list(after, limit).await
    }

    async fn check(&self) -> Result<(), Unavailable> {
        self.inner.check().await
    }

    fn follow(&self, users: &Users) {
        self.inner.follow(users);
        let doubted = self.ages.load().doubted;
        self.ages.store(Arc::new(Ages { doubted, ..Ages::of(users) }));
    }

    /// Everybody is asked for again, but nobody is forgotten: a reload while the directory is
    /// away must not lock out those it knows.
    async fn reload(&self) -> Result<(), Error> {
        self.inner.reload().await?;
        self.ages.store(Arc::new(Ages { doubted: Some(Instant::now()), ..**self.ages.load() }));
        Ok(())
    }

    async fn invalidate(&self, name: &UserId) {
        self.inner.invalidate(name).await;
        self.answers.invalidate(name).await;
    }
}
