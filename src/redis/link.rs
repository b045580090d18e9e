//! The hot connection and the task that keeps it.
//!
//! redis-rs's own `ConnectionManager` gives up after a few tries and stays on a demoted primary;
//! a command that times out does not make it reconnect at all (COORDINATION §10, each seen).
//! So the rule is ours: an answer that means the connection, or the server behind it, is not the
//! one we want throws the connection away, and one task dials, for ever, with capped and
//! jittered pauses. Late writes of the old connection cannot arrive after those of the new one:
//! the old one is killed by its id first, if this is still the server that gave the id.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use backon::{BackoffBuilder, ExponentialBuilder};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Fault, dialler::Dialler, node::Order, patience::within};
use crate::telemetry::events;

/// Pauses between dials: first, longest. Half a second is what a fleet may do to a Redis that
/// comes back; jitter spreads it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// As good as none, which redis-rs has no word for once a connection is there.
const NEVER: Duration = Duration::from_secs(86_400);

/// How often it is said again that Redis cannot be reached.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Whether Redis can be reached, as the hot connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No connection.
    Down,
    /// Connected; the number grows with each new connection.
    Up(u64),
}

/// The hot connection; cheap to clone.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    connect_timeout: Duration,
    command_timeout: Duration,
    /// Whether the server must belong to a cluster, or must not.
    in_cluster: bool,
    current: ArcSwapOption<Dialled>,
    /// The highest generation found unfit.
    broken: watch::Sender<u64>,
    state: watch::Sender<LinkState>,
    replaced: Arc<watch::Sender<u64>>,
}

struct Dialled {
    connection: MultiplexedConnection,
    generation: u64,
    name: ClientName,
}

/// What a server calls a connection. A server that was restarted counts its clients from the
/// beginning, so that an id by itself may be a stranger's by now.
#[derive(Clone, Debug)]
struct ClientName {
    /// `None`: an ACL forbids INFO.
    run_id: Option<String>,
    id: i64,
}

impl ClientName {
    /// Whether the other was given by another server, or by another start of it.
    fn is_another(&self, other: &Self) -> bool {
        self.run_id.is_some() && other.run_id.is_some() && self.run_id != other.run_id
    }
}

impl Link {
    pub(super) fn new(client: Client, dialler: &Dialler) -> Self {
        let shared = Shared {
            client,
            connect_timeout: dialler.connect_timeout,
            command_timeout: dialler.command_timeout,
            in_cluster: dialler.in_cluster,
            current: ArcSwapOption::empty(),
            broken: watch::Sender::new(0),
            state: watch::Sender::new(LinkState::Down),
            replaced: dialler.replaced.clone(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The state now and every later change.
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    /// Whether commands can be sent now.
    pub fn is_up(&self) -> bool {
        self.shared.current.load().is_some()
    }

    /// Which start of which server it is connected to; `None` without a connection, or where that
    /// may not be asked.
    pub fn run_id(&self) -> Option<String> {
        self.shared.current.load().as_ref().and_then(|dialled| dialled.name.run_id.clone())
    }

    pub(super) async fn run_order(&self, order: &Order<'_>, asking: bool) -> Result<Value, Fault> {
        let (mut connection, generation) = self.current()?;
        let limit = self.shared.command_timeout;
        let answer = within(limit, order.run(&mut connection, asking)).await;
        if let Err(Fault::Failed(error)) = &answer {
            self.judge(error, generation);
        }
        answer
    }

    /// All in one round trip; each command's own answer or refusal.
    pub(super) async fn pipeline(&self, commands: &mut Pipeline) -> Result<Vec<Value>, Fault> {
        let (mut connection, generation) = self.current()?;
        let answers = commands.ignore_errors().query_async(&mut connection);
        let answers: Result<Vec<Value>, _> = within(self.shared.command_timeout, answers).await;
        if let Ok(answers) = &answers {
            for answer in answers {
                if let Value::ServerError(error) = answer {
                    self.judge(&error.clone().into(), generation);
                }
            }
        }
        answers.map_err(|error| {
            self.judge(&error, generation);
            Fault::Failed(error)
        })
    }

    fn current(&self) -> Result<(MultiplexedConnection, u64), Fault> {
        let current = self.shared.current.load();
        let dialled = current.as_ref().ok_or(Fault::Down)?;
        Ok((dialled.connection.clone(), dialled.generation))
    }

    /// Throws the connection away if the error says that another one would do better.
    fn judge(&self, error: &RedisError, generation: u64) {
        if wants_new_connection(error) {
            self.shared.broken.send_if_modified(|broken| {
                let later = generation > *broken;
                *broken = generation.max(*broken);
                later
            });
        }
    }

    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut broken = self.shared.broken.subscribe();
        let address = self.shared.client.get_connection_info().addr();
        let mut generation = 0;
        let mut late: Option<ClientName> = None;
        loop {
            generation += 1;
            let dialled = tokio::select! {
                () = stop.cancelled() => return,
                dialled = self.dial_until_up(generation, late.as_ref()) => dialled,
            };
            let name = dialled.name.clone();
            if late.as_ref().is_some_and(|late| late.is_another(&name)) {
                self.shared.replaced.send_modify(|count| *count += 1);
            }
            self.shared.current.store(Some(Arc::new(dialled)));
            self.shared.state.send_replace(LinkState::Up(generation));
            info!(message_id = events::REDIS_BACK, "connected to Redis at {address}");
            tokio::select! {
                () = stop.cancelled() => return,
                _ = broken.wait_for(|broken| *broken >= generation) => {}
            }
            self.shared.current.store(None);
            self.shared.state.send_replace(LinkState::Down);
            late = Some(name);
            warn!(
                message_id = events::REDIS_LOST,
                "lost the connection to Redis at {address}; dialling again"
            );
        }
    }

    async fn dial_until_up(&self, generation: u64, late: Option<&ClientName>) -> Dialled {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(PAUSES.0)
            .with_max_delay(PAUSES.1)
            .with_jitter()
            .without_max_times()
            .build();
        let mut complained: Option<Instant> = None;
        loop {
            let error = match self.dial(generation, late).await {
                Ok(dialled) => return dialled,
                Err(error) => error,
            };
            if complained.is_none_or(|at| at.elapsed() >= COMPLAINTS) {
                complained = Some(Instant::now());
                let address = self.shared.client.get_connection_info().addr();
                warn!(
                    message_id = events::REDIS_LOST,
                    error = %error,
                    "cannot reach Redis at {address}: {error}; trying on"
                );
            }
            tokio::time::sleep(pauses.next().unwrap_or(PAUSES.1)).await;
        }
    }

    async fn dial(
        &self,
        generation: u64,
        late: Option<&ClientName>,
    ) -> Result<Dialled, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.shared.connect_timeout))
            .set_response_timeout(Some(self.shared.command_timeout));
        let mut connection =
            self.shared.client.get_multiplexed_async_connection_with_config(&config).await?;
        let run_id = self.inspect(&mut connection).await?;
        let late = late.filter(|late| late.run_id.is_some() && late.run_id == run_id);
        if let Some(late) = late {
            kill(&mut connection, late.id).await;
        }
        require_primary(&mut connection).await?;
        let id = redis::cmd("CLIENT").arg("ID").query_async(&mut connection).await?;
        // From here on it is ours to say when.
        connection.set_response_timeout(NEVER);
        Ok(Dialled { connection, generation, name: ClientName { run_id, id } })
    }

    /// Which start of which server this is, if it may be asked; refuses one of the wrong mode, on
    /// which no script would find its keys, or no message its reader.
    async fn inspect(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<String>, RedisError> {
        let info = redis::cmd("INFO").arg("server").query_async::<String>(connection).await;
        let Ok(info) = info else { return Ok(None) };
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
        let is_cluster = field("redis_mode:").map(|mode| mode.trim() == "cluster");
        match (is_cluster, self.shared.in_cluster) {
            (Some(true), false) => Err(wrong_mode("it is a Redis Cluster; set redis.cluster")),
            (Some(false), true) => Err(wrong_mode("it is no Redis Cluster; unset redis.cluster")),
            _ => Ok(run_id_of(&info)),
        }
    }
}

/// Which start of which server says this of itself.
pub(super) fn run_id_of(info: &str) -> Option<String> {
    info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned())
}

fn wrong_mode(text: &'static str) -> RedisError {
    (ErrorKind::InvalidClientConfig, text).into()
}

async fn kill(connection: &mut MultiplexedConnection, id: i64) {
    let mut command = redis::cmd("CLIENT");
    // Gone already, or not allowed by the ACL: then its socket's death must do.
    let _: Result<Value, _> = command.arg("KILL").arg("ID").arg(id).query_async(connection).await;
}

/// A server that still loads, or that has become a replica, would refuse every script: better to
/// find out here, where there are pauses between tries.
pub(super) async fn require_primary(
    connection: &mut MultiplexedConnection,
) -> Result<(), RedisError> {
    let _: Value = redis::cmd("PING").query_async(connection).await?;
    let role: Result<Value, _> = redis::cmd("ROLE").query_async(connection).await;
    // An ACL may forbid ROLE; then the first refused write will tell.
    role.map_or(Ok(()), |role| refuse_replica(&role))
}

/// Refuses a server that calls itself a replica.
pub(super) fn refuse_replica(role: &Value) -> Result<(), RedisError> {
    let Value::Array(parts) = role else { return Ok(()) };
    match parts.first() {
        Some(Value::BulkString(role)) if role != b"master" => {
            Err((ErrorKind::Server(ServerErrorKind::ReadOnly), "not the primary").into())
        }
        _ => Ok(()),
    }
}

/// Whether the connection on which this happened should be replaced.
pub(super) fn wants_new_connection(error: &RedisError) -> bool {
    let kinds = [
        ErrorKind::Server(ServerErrorKind::ReadOnly),
        ErrorKind::Server(ServerErrorKind::BusyLoading),
        ErrorKind::Server(ServerErrorKind::MasterDown),
    ];
    error.is_timeout()
        || error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || kinds.contains(&error.kind())
}
