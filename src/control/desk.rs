//! Where the operator's questions are answered: one table of routes over what the daemon knows.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    ConnectionItem, ConnectionPage, FleetStatus, Kick, Kicked, Level, Load, Messages, PeerList,
    Problem, State, Status, neighbours::Neighbours,
};
use crate::{
    clock,
    fleet::{membership::Lease, roster::Roster},
    http::{Health, HttpPeers},
    hub::{Connection, Hub},
    ids::{CurrentEpoch, InstanceId, UserId},
    lifecycle::Tasks,
    relay::Relay,
    router::Router,
    session::{Dismissal, Registrar},
    store::View,
    telemetry::Levels,
    upgrade::Upgrader,
};

/// Bytes of a request's body: a name or a filter.
const MAX_BODY: usize = 4 * 1024;

/// Connections on one page: about a megabyte.
const MAX_PAGE: usize = 5000;

/// What the desk looks at in a fleet.
#[derive(Clone)]
pub struct Fleet {
    /// The present epoch.
    pub epoch: CurrentEpoch,
    /// Who lives.
    pub view: View,
    /// Whether this instance does.
    pub lease: Lease,
    /// What went to and fro.
    pub relay: Relay,
    /// Who the members are.
    pub roster: Roster,
}

/// What it looks at.
pub struct Parts {
    /// This instance's label.
    pub instance: InstanceId,
    /// The connections here.
    pub hub: Hub,
    /// What became of messages.
    pub router: Router,
    /// Who closes a user's connections everywhere.
    pub registrar: Registrar,
    /// What is not well.
    pub health: Health,
    /// The log's.
    pub levels: Levels,
    /// What runs.
    pub tasks: Tasks,
    /// `None`: the instance is alone.
    pub fleet: Option<Fleet>,
    /// Lets clients in, and knows how many.
    pub upgrader: Upgrader,
    /// Cancelled when the drain begins.
    pub draining: CancellationToken,
}

/// Answers; cheap to clone.
#[derive(Clone)]
pub struct Desk {
    parts: Arc<Parts>,
    start: Instant,
    neighbours: Arc<Neighbours>,
}

/// A refusal: the status, and words for a person.
type Refusal = (StatusCode, String);

impl Desk {
    /// Open from now on.
    pub fn new(parts: Parts) -> Self {
        let neighbours = Arc::new(Neighbours::new(Arc::new(HttpPeers)));
        Self { parts: Arc::new(parts), start: Instant::now(), neighbours }
    }

    /// Answers one request; `caller` is the user id of who asks, as far as the kernel tells.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        caller: Option<u32>,
    ) -> Response<Full<Bytes>> {
        let caller = caller.map_or_else(|| "somebody".to_owned(), |uid| format!("uid {uid}"));
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/status") => respond(Ok(self.status().await)),
            (&Method::GET, "/peers") => respond(Ok(self.peers().await)),
            (&Method::GET, "/connections") => respond(self.connections(request.uri().query())),
            (&Method::POST, "/kick") => respond(self.kick(request, &caller).await),
            (&Method::GET, "/log-level") => respond(Ok(self.level())),
            (&Method::PUT, "/log-level") => respond(self.set_level(request, &caller).await),
            (method, path) => {
                let words = format!("this daemon does not know {method} {path}");
                respond::<()>(Err((StatusCode::NOT_FOUND, words)))
            }
        }
    }

    async fn status(&self) -> Status {
        let parts = &self.parts;
        let failing = parts.health.report().await.failing;
        let words = |reason: serde_json::Value| {
            reason.as_str().map_or_else(|| reason.to_string(), str::to_owned)
        };
        let is_draining = parts.draining.is_cancelled();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: parts.instance.to_string(),
            state: if is_draining { State::Draining } else { State::Serving },
            uptime_s: self.start.elapsed().as_secs(),
            connections: Load { open: parts.hub.len(), max: parts.upgrader.max_connections() },
            fleet: parts.fleet.as_ref().map(fleet_status),
            failing: failing.into_iter().map(|(name, reason)| (name, words(reason))).collect(),
            messages: self.messages(),
            tasks: parts.tasks.len(),
            log_level: parts.levels.get(),
        }
    }

    async fn peers(&self) -> PeerList {
        match &self.parts.fleet {
            Some(fleet) => {
                let (own, open) = (fleet.epoch.get(), self.parts.hub.len());
                self.neighbours.list(&fleet.roster, own, open, fleet.lease.is_held()).await
            }
            None => PeerList::default(),
        }
    }

    fn messages(&self) -> Messages {
        let counters = self.parts.router.counters();
        Messages {
            local: counters.local.load(Ordering::Relaxed),
            remote: counters.remote.load(Ordering::Relaxed),
            slow: counters.slow.load(Ordering::Relaxed),
            held: counters.held.load(Ordering::Relaxed),
            dropped: counters.dropped.load(Ordering::Relaxed),
        }
    }

    fn connections(&self, query: Option<&str>) -> Result<ConnectionPage, Refusal> {
        let query: BTreeMap<_, _> =
            url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let after = number(&query, "after")?;
        let limit = number(&query, "limit")?.unwrap_or(u64::MAX).clamp(1, MAX_PAGE as u64) as usize;
        if query.contains_key("waiting") {
            return Ok(self.slowest(limit));
        }
        let is_later = |connection: &Connection| after.is_none_or(|a| connection.number() > a);
        let mut found = match query.get("user") {
            Some(user) => {
                let mut theirs = self.parts.hub.of_user(self.parts.router.hasher().hash(user));
                theirs.retain(|connection| is_later(connection));
                theirs
            }
            None => self.parts.hub.select(is_later),
        };
        found.sort_unstable_by_key(|connection| connection.number());
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|last| last.number());
        Ok(ConnectionPage { items: found.iter().map(|one| item(one)).collect(), next })
    }

    /// Those whose clients have most to take, the worst first; one page.
    fn slowest(&self, limit: usize) -> ConnectionPage {
        let mut found = self.parts.hub.select(|connection| connection.outbox().waiting_bytes() > 0);
        found.sort_by_cached_key(|connection| Reverse(connection.outbox().waiting_bytes()));
        found.truncate(limit);
        ConnectionPage { items: found.iter().map(|one| item(one)).collect(), next: None }
    }

    async fn kick(&self, request: Request<Incoming>, caller: &str) -> Result<Kicked, Refusal> {
        let Kick { user } = read(request).await?;
        let name = UserId::parse(&user).ok_or_else(|| {
            let words =
                format!("{user:?} is no username: 1 to 256 bytes without control characters");
            (StatusCode::BAD_REQUEST, words)
        })?;
        let user = self.parts.router.hasher().hash(name.as_str());
        let kicked = self.parts.registrar.kick(user).await.map_err(|error| {
            let words = format!("connections of other instances may be left: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, words)
        })?;
        let Dismissal { here, heard: instances, silent } = kicked;
        info!(
            user.name = name.as_str(),
            "{caller} kicked {name:?} off {instances} instances, {here} connections here"
        );
        let kicked = Kicked { here, instances, silent };
        Ok(kicked)
    }

    fn level(&self) -> Level {
        Level { level: self.parts.levels.get() }
    }

    async fn set_level(&self, request: Request<Incoming>, caller: &str) -> Result<Level, Refusal> {
        let Level { level } = read(request).await?;
        let refuse =
            |error: crate::telemetry::TelemetryError| (StatusCode::BAD_REQUEST, error.to_string());
        self.parts.levels.set(&level).map_err(refuse)?;
        info!(
            "{caller} set the log's level to {level:?}, until the next start or a new telemetry.level"
        );
        Ok(self.level())
    }
}

fn fleet_status(fleet: &Fleet) -> FleetStatus {
    let counters = fleet.relay.counters();
    FleetStatus {
        epoch: fleet.epoch.get().to_string(),
        members: fleet.view.len(),
        lease: fleet.lease.is_held(),
        sent: counters.sent.load(Ordering::Relaxed),
        received: counters.received.load(Ordering::Relaxed),
        possible_loss: fleet.relay.losses().total(),
    }
}

fn item(connection: &Connection) -> ConnectionItem {
    let about = connection.about();
    ConnectionItem {
        id: connection.id().to_string(),
        user: about.user.to_string(),
        client: about.client,
        connected_at: clock::rfc3339(about.connected).to_string(),
        registered: connection.registration().is_some(),
        waiting_bytes: connection.outbox().waiting_bytes(),
    }
}

fn number(
    query: &BTreeMap<std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>>,
    key: &str,
) -> Result<Option<u64>, Refusal> {
    let Some(text) = query.get(key) else { return Ok(None) };
    let refuse = |_| (StatusCode::BAD_REQUEST, format!("{key} = {text:?} is no number"));
    text.parse().map(Some).map_err(refuse)
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let bad = |error: String| (StatusCode::BAD_REQUEST, format!("the request's body: {error}"));
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| bad(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))
}

fn respond<T: Serialize>(answer: Result<T, Refusal>) -> Response<Full<Bytes>> {
    let (status, body) = match answer {
        Ok(answer) => (StatusCode::OK, serde_json::to_vec(&answer)),
        Err((status, error)) => (status, serde_json::to_vec(&Problem { error })),
    };
    let mut response = Response::new(Full::from(body.unwrap_or_default()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
