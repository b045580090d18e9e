//! Hears what the database says of its users: one connection that does nothing else.
//!
//! A notification is lost on nobody's account but the listener's own: PostgreSQL keeps none for
//! who is not connected. So each time the ear is open (again), everything counts as changed, and
//! a connection that went silent without a word is found by asking it something.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::{StreamExt, stream};
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Notification};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{connect::Connector, fault::Fault};
use crate::{ids::UserId, users::Changes};

/// As the trigger of migration 0002 calls it.
const CHANNEL: &str = "wsfleetd_users";

const LISTEN: &str = "LISTEN wsfleetd_users";

/// How often a quiet connection is asked whether it is still the primary's.
const PROBE_PERIOD: Duration = Duration::from_secs(5);

/// The first pause after a loss: a disabled user must be out within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest: how late a database that is back may be noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What tells of changes, one of each kind: a row's insertion, update and removal, and TRUNCATE.
const TRIGGERS: i64 = 4;

const COUNT_TRIGGERS: &str = "SELECT count(*) FROM pg_trigger \
                              WHERE tgrelid = 'users'::regclass AND tgname LIKE 'users\\_announce\\_%'";

/// Hears, tells `changes`, and connects again whatever happens, until `stop`; `demoted` is called
/// when the server turns out to be the primary no more.
pub async fn run(
    connector: &Connector,
    changes: &Changes,
    demoted: &(dyn Fn() + Sync),
    stop: &CancellationToken,
) {
    let mut pauses = pauses();
    let mut is_deaf = false;
    loop {
        let mut opened = || {
            pauses = self::pauses();
            if std::mem::take(&mut is_deaf) {
                info!("changes of users are heard again");
            }
        };
        let lost = tokio::select! {
            () = stop.cancelled() => return,
            lost = listen(connector, changes, &mut opened) => lost,
        };
        if lost.is_read_only() {
            demoted();
        }
        if !std::mem::replace(&mut is_deaf, true) {
            warn!("changes of users are not heard, and are felt late until this is over: {lost}");
        } else {
            debug!("changes of users are still not heard: {lost}");
        }
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        if timeout(pause, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Jittered: a fleet that lost its database together comes back one by one.
fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Ends only by a fault.
async fn listen(connector: &Connector, changes: &Changes, opened: &mut impl FnMut()) -> Fault {
    let (client, mut connection) = match connector.connect_raw().await {
        Ok(connected) => connected,
        Err(fault) => return fault,
    };
    let mut messages = std::pin::pin!(stream::poll_fn(move |cx| connection.poll_message(cx)));
    let hear = async {
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(said)) => note(&said, changes),
                Ok(_) => {}
                Err(error) => return Fault::from(error),
            }
        }
        Fault::Closed
    };
    tokio::select! {
        fault = hear => fault,
        fault = keep(connector, &client, changes, opened) => fault,
    }
}

/// Opens the ear, then looks after the connection.
async fn keep(
    connector: &Connector,
    client: &Client,
    changes: &Changes,
    opened: &mut impl FnMut(),
) -> Fault {
    let within = connector.query_timeout();
    let opening = async {
        client.batch_execute(LISTEN).await?;
        Ok(client.query_one(COUNT_TRIGGERS, &[]).await?.try_get::<_, i64>(0)?)
    };
    let triggers = match timeout(within, opening).await {
        Ok(Ok(triggers)) => triggers,
        Ok(Err(fault)) => return fault,
        Err(_) => return Fault::Timeout(within),
    };
    changes.tell_everything();
    opened();
    if triggers != TRIGGERS {
        warn!(
            "the database does not tell of all changes, it has {triggers} of {TRIGGERS} triggers: \
             run `wsfleetd users migrate`; until then they are felt after users.cache_ttl"
        );
    }
    loop {
        sleep(PROBE_PERIOD).await;
        let probe =
            async { Ok(client.query_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)?) };
        match timeout(within, probe).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => return Fault::ReadOnly,
            Ok(Err(fault)) => return fault,
            Err(_) => return Fault::Timeout(within),
        }
    }
}

fn note(said: &Notification, changes: &Changes) {
    if said.channel() != CHANNEL {
        return;
    }
    match UserId::parse(said.payload()) {
        Some(name) => changes.tell(name),
        None => changes.tell_everything(),
    }
}
