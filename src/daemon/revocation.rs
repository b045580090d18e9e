//! Acts on changes in the directory: who is disabled or gone is shut out, who is not is let in.
//!
//! The directory says only who has changed. Here the user is read from the source itself, and
//! what is so now is made true for the fleet. Every instance does this for every change, in any
//! order and any number of times: each ends with what the directory says last, and so does the
//! fleet. When anything may have been missed, those who are connected here are read again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    config::settings::Settings,
    hub::Hub,
    ids::{UserHasher, UserId},
    session::Registrar,
    telemetry::events,
    users::{Change, Directory, Unavailable},
};

/// Users read in one query when everybody is read again.
const BATCH: usize = 500;

/// How often one change is read again because the directory changed its mind meanwhile. What is
/// still wrong then was changed again, and that is told again.
const ROUNDS: usize = 3;

/// The pause before a directory that does not answer is asked again. It has to be asked until it
/// answers: there is no other way to know whom to shut out.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Some instance may ask the directory just before a change and tell so only after it.
const MARGIN: Duration = Duration::from_secs(60);

/// How long a revocation must stand: for as long as an instance may believe an older answer
/// (COORDINATION, change 12). Those of a file are believed no longer than the file is.
pub fn stands(settings: &Settings) -> Duration {
    let users = &settings.users;
    match settings.database.url {
        Some(_) => users.cache_ttl.saturating_add(users.cache_stale).saturating_add(MARGIN),
        None => MARGIN,
    }
}

/// Keeps connections in step with the directory.
pub struct Revocation {
    pub directory: Arc<dyn Directory>,
    pub hub: Hub,
    pub hasher: UserHasher,
    pub registrar: Registrar,
}

impl Revocation {
    /// Until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let changes = self.directory.changes();
        let work = async {
            loop {
                match changes.next().await {
                    Change::Users(names) => {
                        for name in names {
                            self.settle(&name).await;
                        }
                    }
                    Change::Everything => self.settle_connected().await,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Reads, acts, and reads again until both agree: another instance may be acting on an older
    /// or a younger state of the same user.
    async fn settle(&self, name: &UserId) {
        let mut before = self.is_welcome(name).await;
        for _ in 0..ROUNDS {
            self.act(name, before).await;
            let after = self.is_welcome(name).await;
            if after == before {
                return;
            }
            before = after;
        }
    }

    /// Everybody who is connected here, in batches; only those who must go are acted upon.
    async fn settle_connected(&self) {
        let all = self.hub.select(|_| true);
        let names: BTreeSet<_> = all.iter().map(|one| one.about().user.clone()).collect();
        drop(all);
        let names: Vec<_> = names.into_iter().collect();
        debug!("reading {} users who are connected again", names.len());
        for batch in names.chunks(BATCH) {
            let found = self.until_answered(|| self.directory.find_many_now(batch)).await;
            let welcome: BTreeSet<_> =
                found.iter().filter(|user| !user.disabled).map(|user| &user.username).collect();
            for name in batch.iter().filter(|name| !welcome.contains(name)) {
                self.settle(name).await;
            }
        }
    }

    async fn is_welcome(&self, name: &UserId) -> bool {
        let found = self.until_answered(|| self.directory.find_now(name)).await;
        found.is_some_and(|user| !user.disabled)
    }

    async fn act(&self, name: &UserId, is_welcome: bool) {
        let user = self.hasher.hash(name.as_str());
        let told = match is_welcome {
            true => self.registrar.lift(user).await.map(drop),
            false => self.registrar.revoke(user).await.map(|told| {
                info!(
                    message_id = events::USER_REVOKED,
                    user.name = %name,
                    "{name} is disabled or gone: {} connections here are closed, {} instances told",
                    told.here,
                    told.heard
                );
            }),
        };
        if let Err(error) = told {
            debug!("the fleet is told about {name} when Redis is back: {error}");
        }
    }

    async fn until_answered<T, F>(&self, ask: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, Unavailable>>,
    {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => debug!("asking the directory again in a second: {error}"),
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}
