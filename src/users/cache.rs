//! Remembers a directory's answers, so that a reconnect storm does not become a query storm.
//!
//! An answer is fresh for its TTL. When the directory cannot be asked, a user seen within
//! `users.cache_stale` is still believed: a database restart must not lock out those who were
//! here a minute ago. Nobody is ever made up: without such an answer the look-up fails.

mod history;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::future::join;
use moka::{Expiry, future::Cache};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::history::{Asked, History};
use super::{Change, Changes, Directory, Edit, Error, NewUser, Unavailable, User};
use crate::{config::settings::Users, ids::UserId, telemetry::events};

/// After a failed look-up, how long known users are answered from memory without asking again:
/// each would otherwise wait out a connect timeout of its own.
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);

/// Longest life of an entry, whatever the settings; keeps sums of durations in range.
const MAX_ENTRY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A bounded cache before another directory.
///
/// Concurrent look-ups of one name share one question. An answer that was asked for before a
/// change counts as old whenever it arrives.
#[derive(Debug)]
pub struct Cached<D> {
    inner: D,
    answers: Cache<UserId, Answer>,
    history: History,
    changes: Changes,
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
}

/// What the directory said, and when it was asked.
#[derive(Clone, Debug)]
enum Answer {
    Known(Arc<User>, Asked),
    Nobody(Asked),
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
        let (history, changes) = (History::default(), Changes::default());
        Self { inner, answers, history, changes, ages, down_until: Mutex::new(None) }
    }

    fn is_fresh(&self, name: &UserId, answer: &Answer) -> bool {
        let has_changed =
            answer.asked().is_some_and(|asked| self.history.has_changed(name, &asked));
        !has_changed && self.ages.load().is_fresh(answer)
    }

    /// Asks the directory; on failure falls back on `old`, which keeps its age.
    async fn ask(&self, name: &UserId, old: Option<Answer>) -> Answer {
        let old = old.filter(|old| self.ages.load().is_believable(old));
        if let Some(old) = old.clone().filter(|_| self.is_down()) {
            return old;
        }
        let asked = self.history.now();
        let found = self.inner.find(name).await;
        self.note(&found);
        Answer::new(found, asked, old)
    }

    /// So that what was asked before is asked again. Nobody is forgotten: should the directory go
    /// away just now, its last word is better than none.
    fn doubt_everything(&self) {
        self.history.all_changed();
    }

    /// Takes over what the directory behind this one tells, once it is forgotten here.
    async fn forget_and_tell(&self) {
        let heard = self.inner.changes();
        loop {
            match heard.next().await {
                Change::Users(names) => {
                    for name in names {
                        self.forget(&name).await;
                        self.changes.tell(name);
                    }
                }
                Change::Everything => {
                    self.doubt_everything();
                    self.changes.tell_everything();
                }
            }
        }
    }

    async fn forget(&self, name: &UserId) {
        self.history.changed(name);
        self.answers.invalidate(name).await;
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
        }
    }

    fn is_fresh(&self, answer: &Answer) -> bool {
        let (at, ttl) = match answer {
            Answer::Known(_, asked) => (asked.at, self.ttl),
            Answer::Nobody(asked) => (asked.at, self.negative_ttl),
            Answer::Failed(_) => return false,
        };
        at.elapsed() < ttl
    }

    /// An expired answer that may stand in for the directory.
    fn is_believable(&self, answer: &Answer) -> bool {
        let bound = self.ttl.saturating_add(self.stale);
        matches!(answer, Answer::Known(_, asked) if asked.at.elapsed() < bound)
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

impl Answer {
    /// On a failure `old`, which keeps its age.
    fn new(found: Result<Option<Arc<User>>, Unavailable>, asked: Asked, old: Option<Self>) -> Self {
        match found {
            Ok(Some(user)) => Self::Known(user, asked),
            Ok(None) => Self::Nobody(asked),
            Err(error) => old.unwrap_or(Self::Failed(error)),
        }
    }

    /// `None` for a failure, which is not remembered.
    fn asked(&self) -> Option<Asked> {
        match self {
            Self::Known(_, asked) | Self::Nobody(asked) => Some(*asked),
            Self::Failed(_) => None,
        }
    }

    fn into_found(self) -> Result<Option<Arc<User>>, Unavailable> {
        match self {
            Self::Known(user, _) => Ok(Some(user)),
            Self::Nobody(_) => Ok(None),
            Self::Failed(error) => Err(error),
        }
    }
}

#[async_trait]
impl<D: Directory> Directory for Cached<D> {
    async fn find(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        let old = self.answers.get(name).await;
        let answer = match old {
            Some(fresh) if self.is_fresh(name, &fresh) => fresh,
            old => {
                let asking = self.ask(name, old);
                let entry = self.answers.entry_by_ref(name);
                entry
                    .or_insert_with_if(asking, |held| !self.is_fresh(name, held))
                    .await
                    .into_value()
            }
        };
        if matches!(answer, Answer::Failed(_)) {
            self.answers.invalidate(name).await;
        }
        answer.into_found()
    }

    /// What was being asked meanwhile may have been answered by a copy that is behind: it counts
    /// as old, too.
    async fn find_now(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        let found = self.inner.find_now(name).await;
        self.note(&found);
        self.history.changed(name);
        let answer = Answer::new(found, self.history.now(), None);
        if !matches!(answer, Answer::Failed(_)) {
            self.answers.insert(name.clone(), answer.clone()).await;
        }
        answer.into_found()
    }

    async fn find_many_now(&self, names: &[UserId]) -> Result<Vec<Arc<User>>, Unavailable> {
        self.inner.find_many_now(names).await
    }

    async fn add(&self, user: NewUser) -> Result<Arc<User>, Error> {
        let name = user.username.clone();
        let added = self.inner.add(user).await;
        self.forget(&name).await;
        added
    }

    async fn list(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Arc<User>>, Unavailable> {
        self.inner.list(after, limit).await
    }

    async fn edit(&self, name: &UserId, edit: &Edit) -> Result<Arc<User>, Error> {
        let edited = self.inner.edit(name, edit).await;
        self.forget(name).await;
        edited
    }

    async fn remove(&self, name: &UserId) -> Result<(), Error> {
        let removed = self.inner.remove(name).await;
        self.forget(name).await;
        removed
    }

    async fn check(&self) -> Result<(), Unavailable> {
        self.inner.check().await
    }

    fn follow(&self, users: &Users) {
        self.inner.follow(users);
        self.ages.store(Arc::new(Ages::of(users)));
    }

    /// Everybody is asked for again, but nobody is forgotten: a reload while the directory is
    /// away must not lock out those it knows.
    async fn reload(&self) -> Result<(), Error> {
        self.inner.reload().await?;
        self.doubt_everything();
        Ok(())
    }

    async fn invalidate(&self, name: &UserId) {
        self.inner.invalidate(name).await;
        self.forget(name).await;
    }

    fn changes(&self) -> Changes {
        self.changes.clone()
    }

    async fn watch(&self, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = join(self.inner.watch(stop), self.forget_and_tell()) => {}
        }
    }
}
