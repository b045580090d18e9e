//! The handshake: a list of named refusals, then a claim, then 101.
//!
//! The order is the contract's (PROTOCOL §2): what is cheap and says least about the fleet comes
//! first, the directory is asked only about a proven name, and the claim comes last and before
//! the 101, so that all of it can still be said in HTTP.

pub mod auth;
mod peer;
mod refusal;
mod request;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::{debug, warn};

use self::{auth::Authenticator, request::Handshake};
pub use self::{peer::Peer, refusal::Refusal};
use crate::{
    clock,
    hub::{About, Connection},
    ids::{ConnectionId, IdSource, UserId, request_id},
    lifecycle::Tasks,
    protocol::classic::error_frame,
    router::Router,
    session::{self, Claimed, Registrar, Session},
    telemetry::events,
    users::Directory,
};

/// From the 101 on the wire to the stream being ours: nothing but a few polls.
const SWITCH_WAIT: Duration = Duration::from_secs(5);

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `websocket.paths`, without trailing slashes.
    pub paths: Vec<String>,
    /// `websocket.allowed_origins`; empty: any.
    pub allowed_origins: Vec<String>,
    /// `limits.max_connections`
    pub max_connections: usize,
    /// `limits.outbox_bytes`
    pub outbox_bytes: usize,
    /// What each session gets.
    pub session: session::Config,
}

/// Turns requests into sessions; cheap to clone.
#[derive(Clone)]
pub struct Upgrader {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    auth: Authenticator,
    directory: Arc<dyn Directory>,
    registrar: Registrar,
    router: Router,
    ids: Arc<IdSource>,
    seats: Arc<Semaphore>,
    tasks: Tasks,
}

/// A connection that was let in and waits for its stream.
struct Admitted {
    claimed: Claimed,
    seat: OwnedSemaphorePermit,
}

impl Upgrader {
    /// Over its parts.
    pub fn new(
        config: Config,
        auth: Authenticator,
        directory: Arc<dyn Directory>,
        registrar: Registrar,
        router: Router,
        ids: Arc<IdSource>,
        tasks: Tasks,
    ) -> Self {
        let seats = Arc::new(Semaphore::new(config.max_connections));
        let shared = Shared { config, auth, directory, registrar, router, ids, seats, tasks };
        Self { shared: Arc::new(shared) }
    }

    /// Whether `path` is one of the WebSocket's.
    pub fn serves(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        self.shared.config.paths.iter().any(|served| served == path)
    }

    /// Answers a request that wants to be a WebSocket, and starts its session, which keeps `socket`,
    /// the right to a descriptor, as long as it lives.
    pub async fn upgrade(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        socket: Arc<OwnedSemaphorePermit>,
    ) -> Response<Full<Bytes>> {
        let (number, id) = self.shared.ids.issue();
        let on_upgrade = hyper::upgrade::on(&mut request);
        let handshake = match Handshake::read(&request, peer.proxy) {
            Ok(handshake) => handshake,
            Err(refusal) => return refuse(&refusal, id),
        };
        match self.admit(&handshake, peer.client, number, id).await {
            Ok(admitted) => {
                self.start(admitted, on_upgrade, socket);
                switching(handshake.key)
            }
            Err(refusal) => {
                let client = peer.client;
                debug!(peer.ip = %client, "refused a connection from {client}: {refusal}");
                refuse(&refusal, id)
            }
        }
    }

    async fn admit(
        &self,
        handshake: &Handshake<'_>,
        client: IpAddr,
        number: u64,
        id: ConnectionId,
    ) -> Result<Admitted, Refusal> {
        if !self.serves(handshake.path) {
            return Err(Refusal::NotFound);
        }
        self.check_origin(handshake.headers)?;
        let seat = self.take_seat()?;
        let user = self.shared.auth.identify(handshake)?;
        self.check_registered(&user).await?;
        let hash = self.shared.router.hasher().hash(user.as_str());
        let about = About { user, client, connected: clock::now() };
        let room = self.shared.config.outbox_bytes;
        let connection = Arc::new(Connection::new(id, number, hash, about, room));
        let claimed = self.shared.registrar.claim(connection).await?;
        Ok(Admitted { claimed, seat })
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let allowed = &self.shared.config.allowed_origins;
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let listed = allowed.iter().any(|allowed| origin.as_bytes() == allowed.as_bytes());
        if allowed.is_empty() || listed { Ok(()) } else { Err(Refusal::Origin) }
    }

    fn take_seat(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let seat = self.shared.seats.clone().try_acquire_owned();
        seat.map_err(|_| {
            let limit = self.shared.config.max_connections;
            warn!(
                message_id = events::LIMIT_REACHED,
                limit, "full: limits.max_connections = {limit} connections are open"
            );
            Refusal::Full
        })
    }

    async fn check_registered(&self, name: &UserId) -> Result<(), Refusal> {
        match self.shared.directory.find(name).await {
            Ok(Some(user)) if user.disabled => Err(Refusal::Disabled),
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Refusal::UnknownUser),
            Err(_) => Err(Refusal::DirectoryAway),
        }
    }

    fn start(&self, admitted: Admitted, on_upgrade: OnUpgrade, socket: Arc<OwnedSemaphorePermit>) {
        let (config, router) = (self.shared.config.session.clone(), self.shared.router.clone());
        // Boxed: what only the beginning needs is not kept by everyone who is connected.
        let begin = Box::pin(begin(config, router, admitted, on_upgrade));
        self.shared.tasks.spawn("session", async move {
            if let Some((mut session, _seat)) = begin.await {
                session.run().await;
            }
            drop(socket);
        });
    }
}

/// Takes the stream over; `None` if it is gone already.
async fn begin(
    config: session::Config,
    router: Router,
    admitted: Admitted,
    on_upgrade: OnUpgrade,
) -> Option<(Session<TcpStream>, OwnedSemaphorePermit)> {
    let Admitted { claimed, seat } = admitted;
    let upgraded = timeout(SWITCH_WAIT, on_upgrade).await.ok()?.ok()?;
    // The plain stream, not hyper's wrapper: its buffers end with the handshake.
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    let (stream, ahead) = (parts.io.into_inner(), parts.read_buf);
    Some((Session::new(&config, router, claimed, stream, ahead).await, seat))
}

fn switching(key: &[u8]) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    if let Ok(accept) = derive_accept_key(key).parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

fn refuse(refusal: &Refusal, id: ConnectionId) -> Response<Full<Bytes>> {
    let body = error_frame(refusal.message(), id, request_id());
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.extend(refusal.headers());
    response
}
