//! Keeps the legacy keys of the users who are connected here (`compat.legacy_key_mirror`).
//!
//! A task beside everything else, and best effort: no connection waits for it, and none is refused
//! or closed because of it. A log-in is written at once and the end of a connection soon after, in
//! the order in which they happened; beyond that every key is said again from what is open, round
//! after round, which also repairs what was lost: by a full queue, by Redis, by a log-in elsewhere
//! that has ended. What an instance leaves behind that dies ends by its age.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    hub::{Connection, Hub},
    ids::{CurrentEpoch, Epoch, UserHash},
    redis::LinkState,
    store::{LegacyKeys, StoreError},
};

/// Log-ins and ends that wait to be written: a reconnect storm's few seconds. What does not fit is
/// repaired by the next round.
const QUEUE: usize = 16_384;

/// Keys written at a time, in one or two writes to the socket.
const AT_ONCE: usize = 64;

/// From the start of a round to the start of the next.
const PERIOD: Duration = Duration::from_secs(30);

/// How long a key stands that nobody says again: two rounds may fail.
pub const TTL: Duration = Duration::from_secs(90);

/// How long a stopping instance goes on saying who has gone.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Between two lines about keys that cannot be written.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Tells the task who comes and goes; cheap to clone.
#[derive(Clone)]
pub struct Mirror {
    events: mpsc::Sender<Event>,
}

enum Event {
    Came(Arc<Connection>),
    Left(Arc<Connection>),
}

/// The task.
pub struct MirrorTask {
    keys: LegacyKeys,
    hub: Hub,
    events: mpsc::Receiver<Event>,
    link: watch::Receiver<LinkState>,
    epoch: watch::Receiver<Epoch>,
    /// Keys said again per second, like the connections that are registered again.
    rate: u32,
    /// Users still to look at in this round.
    round: Vec<UserHash>,
    begun: Option<Instant>,
    complained: Option<Instant>,
}

impl Mirror {
    /// Writes nothing until the task's [`MirrorTask::run`].
    pub fn new(
        keys: LegacyKeys,
        hub: Hub,
        link: watch::Receiver<LinkState>,
        epoch: &CurrentEpoch,
        rate: u32,
    ) -> (Self, MirrorTask) {
        let (sender, events) = mpsc::channel(QUEUE);
        let (round, begun, complained) = (Vec::new(), None, None);
        let epoch = epoch.watch();
        let task = MirrorTask { keys, hub, events, link, epoch, rate, round, begun, complained };
        (Self { events: sender }, task)
    }

    /// A user has logged in.
    pub fn came(&self, connection: &Arc<Connection>) {
        // Full: see QUEUE.
        let _ = self.events.try_send(Event::Came(connection.clone()));
    }

    /// A connection has ended.
    pub fn left(&self, connection: &Arc<Connection>) {
        let _ = self.events.try_send(Event::Left(connection.clone()));
    }
}

impl MirrorTask {
    /// Writes until `stop`, and then what had been told by then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(AT_ONCE);
        loop {
            let pause = self.pause();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = self.events.recv_many(&mut batch, AT_ONCE) => match taken {
                    0 => return,
                    _ => self.write(&mut batch).await,
                },
                // Redis is back, and may have lost everything.
                Ok(()) = self.link.changed() => self.begun = None,
                // It was taken for dead, or Redis has lost everything.
                Ok(()) = self.epoch.changed() => self.begun = None,
                () = sleep(pause) => self.repair().await,
            }
        }
        self.events.close();
        let rest = async {
            while self.events.recv_many(&mut batch, AT_ONCE).await > 0 {
                self.write(&mut batch).await;
            }
        };
        // What is not said by then ends by its age.
        let _ = timeout(LAST_WORDS, rest).await;
    }

    /// Until the next step of a round, or the next round.
    fn pause(&self) -> Duration {
        match self.begun {
            None => Duration::ZERO,
            Some(_) if !self.round.is_empty() => {
                Duration::from_secs(AT_ONCE as u64) / self.rate.max(1)
            }
            Some(begun) => PERIOD.saturating_sub(begun.elapsed()),
        }
    }

    /// In order for each user: those of one user are written one after the other.
    async fn write(&mut self, batch: &mut Vec<Event>) {
        let mut users: Vec<Vec<Event>> = Vec::with_capacity(batch.len());
        for event in batch.drain(..) {
            let user = event.connection().user();
            match users.iter_mut().find(|events| events[0].connection().user() == user) {
                Some(events) => events.push(event),
                None => users.push(vec![event]),
            }
        }
        let (keys, hub) = (&self.keys, &self.hub);
        let work = stream::iter(users).map(async |events| {
            let mut written = Ok(());
            for event in events {
                written = written.and(tell(keys, hub, &event).await);
            }
            written
        });
        let failed = work.buffer_unordered(AT_ONCE).filter_map(async |done| done.err());
        let first = std::pin::pin!(failed).collect::<Vec<_>>().await.into_iter().next();
        self.complain(first);
    }

    /// The next step of a round, or the first of the next.
    async fn repair(&mut self) {
        if self.begun.is_none() || self.round.is_empty() {
            self.begun = Some(Instant::now());
            self.round = self.hub.users();
        }
        let rest = self.round.len().saturating_sub(AT_ONCE);
        let step = self.round.split_off(rest);
        let (keys, hub) = (&self.keys, &self.hub);
        let work = stream::iter(step).map(async |user| keep(keys, hub, user).await);
        let done: Vec<_> = work.buffer_unordered(AT_ONCE).collect().await;
        self.complain(done.into_iter().find_map(Result::err));
    }

    /// An outage is told by others; what is told here is a Redis that does not let us.
    fn complain(&mut self, error: Option<StoreError>) {
        let Some(StoreError::Unknown(error)) = error else { return };
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINTS) {
            self.complained = Some(Instant::now());
            warn!("legacy keys are not written; is Redis's user allowed `~*`? {error}");
        }
    }
}

impl Event {
    fn connection(&self) -> &Arc<Connection> {
        match self {
            Self::Came(connection) | Self::Left(connection) => connection,
        }
    }
}

async fn tell(keys: &LegacyKeys, hub: &Hub, event: &Event) -> Result<(), StoreError> {
    let connection = event.connection();
    let (user, id) = (&connection.about().user, connection.id());
    if !keys.has(user) {
        return Ok(());
    }
    match event {
        Event::Came(_) if connection.outbox().is_leaving() => Ok(()),
        Event::Came(_) => keys.put(user, id).await,
        Event::Left(_) => {
            keys.remove(user, id).await?;
            keep(keys, hub, connection.user()).await
        }
    }
}

/// Says the youngest connection that the user has here, if any.
async fn keep(keys: &LegacyKeys, hub: &Hub, user: UserHash) -> Result<(), StoreError> {
    let open = hub.of_user(user).into_iter().filter(|other| !other.outbox().is_leaving());
    let Some(youngest) = open.max_by_key(|other| other.number()) else { return Ok(()) };
    let name = &youngest.about().user;
    if keys.has(name) { keys.keep(name, youngest.id()).await } else { Ok(()) }
}
