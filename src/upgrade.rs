//! The handshake: a list of named refusals, then a claim, then 101.
//!
//! The order is the contract's (PROTOCOL §2): what is cheap and says least about the fleet comes
//! first, the directory is asked only about a proven name, and the claim comes last and before
//! the 101, so that all of it can still be said in HTTP.

pub mod auth;
mod gate;
mod peer;
mod refusal;
mod request;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;

use self::{
    auth::Authenticator,
    gate::{Gate, Memory},
    request::Handshake,
};
pub use self::{gate::Limits, peer::Peer, refusal::Refusal};
use crate::{
    clock,
    hub::{About, Connection},
    ids::{ConnectionId, IdSource, UserHash, UserId, request_id},
    lifecycle::Tasks,
    limit::{Place, Rate, Reached, Reporter, Subject},
    protocol::classic::error_frame,
    router::Router,
    session::{self, Claimed, NotClaimed, Registrar, Session, Socket},
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
    /// What may be changed later.
    pub limits: Limits,
    /// The bounds of each socket.
    pub wire: session::WireConfig,
    /// Pings and timeouts.
    pub keepalive: session::KeepaliveConfig,
}

/// What the handshake works with.
pub struct Parts {
    /// Who a client is; its keys may be replaced.
    pub auth: ArcSwap<Authenticator>,
    /// Who may connect.
    pub directory: Arc<dyn Directory>,
    /// Whether all instances read the same users, and not each its own file.
    pub directory_is_shared: bool,
    /// Makes connections known to the fleet.
    pub registrar: Registrar,
    /// Takes what clients say.
    pub router: Router,
    /// Names connections.
    pub ids: Arc<IdSource>,
    /// Where sessions run.
    pub tasks: Tasks,
    /// Told of the limits that are reached.
    pub reporter: Reporter,
}

/// How a request came here.
#[derive(Debug)]
pub struct Arrival {
    /// Whose it is.
    pub peer: Peer,
    /// The right to its descriptor.
    pub socket: Arc<Place>,
    /// `websocket.handshake_timeout` ends.
    pub deadline: Instant,
}

/// Turns requests into sessions; cheap to clone.
#[derive(Clone)]
pub struct Upgrader {
    shared: Arc<Shared>,
}

struct Shared {
    paths: Vec<String>,
    allowed_origins: Vec<String>,
    parts: Parts,
    gate: Gate,
    /// `limits.outbox_bytes`, for connections to come.
    outbox_bytes: AtomicUsize,
    /// `limits.message_rate`, also for those that are open.
    messages: Arc<Rate>,
    session: Arc<session::Config>,
    user_limit: Reached,
}

/// A connection that was let in and waits for its stream.
struct Admitted {
    claimed: Claimed,
    seat: Place,
}

impl Upgrader {
    /// Over its parts.
    pub fn new(config: Config, parts: Parts) -> Self {
        let Config { paths, allowed_origins, limits, wire, keepalive } = config;
        let messages = Arc::new(Rate::new(limits.message_rate, limits.message_burst));
        let reporter = &parts.reporter;
        let flow =
            session::FlowConfig::new(messages.clone(), reporter.limit("limits.message_rate"));
        let slow = reporter.limit("limits.outbox_bytes");
        let shared = Shared {
            paths,
            allowed_origins,
            gate: Gate::new(&limits, Memory::of_this_process(), reporter),
            outbox_bytes: AtomicUsize::new(limits.outbox_bytes),
            messages,
            session: Arc::new(session::Config { wire, keepalive: keepalive.into(), flow, slow }),
            user_limit: reporter.limit("limits.connections_per_user"),
            parts,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Changes what may be changed while connections are open. Nobody is sent away: what is beyond
    /// a bound that was lowered stays until it leaves.
    pub fn set_limits(&self, limits: &Limits) {
        self.shared.gate.set(limits);
        self.shared.outbox_bytes.store(limits.outbox_bytes, Ordering::Relaxed);
        self.shared.messages.set(limits.message_rate, limits.message_burst);
    }

    /// `limits.max_connections` as it is in force.
    pub fn max_connections(&self) -> usize {
        self.shared.gate.seats()
    }

    /// Checks credentials with other keys from now on. Open connections stay.
    pub fn set_auth(&self, auth: Authenticator) {
        self.shared.parts.auth.store(Arc::new(auth));
    }

    /// Whether `path` is one of the WebSocket's.
    pub fn serves(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        self.shared.paths.iter().any(|served| served == path)
    }

    /// Answers a request that wants to be a WebSocket, and starts its session, which keeps the
    /// arrival's right to a descriptor as long as it lives.
    pub async fn upgrade(
        &self,
        mut request: Request<Incoming>,
        arrival: Arrival,
    ) -> Response<Full<Bytes>> {
        let (number, id) = self.shared.parts.ids.issue();
        let on_upgrade = hyper::upgrade::on(&mut request);
        let client = arrival.peer.client;
        let answer = async {
            let handshake = Handshake::read(&request, arrival.peer.proxy)?;
            let admitting = self.admit(&handshake, client, number, id);
            let admitted = timeout_at(arrival.deadline, admitting).await;
            let admitted = admitted.map_err(|_| Refusal::Late)??;
            Ok((admitted, switching(handshake.key)))
        };
        match answer.await {
            Ok((admitted, switching)) => {
                self.start(admitted, on_upgrade, arrival.socket);
                switching
            }
            Err(refusal) => {
                debug!(conn.id = %id, peer.ip = %client, "refused {id} from {client}: {refusal}");
                refuse(refusal, id)
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
        let who = Subject { client: Some(client), connection: Some(id), user: None };
        let seat = self.shared.gate.enter(client, &who)?;
        let parts = &self.shared.parts;
        let user = parts.auth.load_full().identify(handshake).await?;
        self.check_registered(&user).await?;
        let hash = parts.router.hasher().hash(user.as_str());
        let about = About { user: user.clone(), client, connected: clock::now() };
        let claimed = match self.claim(hash, about.clone(), (number, id)).await {
            Err(NotClaimed::Revoked) => self.claim_if_welcome(hash, about).await?,
            answer => answer?,
        };
        Ok(Admitted { claimed, seat })
    }

    async fn claim(
        &self,
        user: UserHash,
        about: About,
        (number, id): (u64, ConnectionId),
    ) -> Result<Claimed, NotClaimed> {
        let room = self.shared.outbox_bytes.load(Ordering::Relaxed);
        let connection = Arc::new(Connection::new(id, number, user, about, room));
        let claimed = self.shared.parts.registrar.claim(connection.clone()).await;
        claimed.inspect_err(|reason| {
            if matches!(reason, NotClaimed::Limit { .. }) {
                let About { user, client, .. } = connection.about();
                let who = Subject { client: Some(*client), connection: Some(id), user: Some(user) };
                self.shared.user_limit.hit(&who, reason);
            }
        })
    }

    /// Claims once more when the fleet shuts out whom the directory lets in, by its own word, the
    /// only one that is younger than the fleet's: nobody may have been there to hear it change.
    async fn claim_if_welcome(&self, user: UserHash, about: About) -> Result<Claimed, Refusal> {
        let parts = &self.shared.parts;
        if !parts.directory_is_shared {
            return Err(Refusal::Disabled);
        }
        match parts.directory.find_now(&about.user).await {
            Ok(None) => return Err(Refusal::UnknownUser),
            Ok(Some(found)) if !found.disabled => {}
            _ => return Err(Refusal::Disabled),
        }
        if parts.registrar.lift(user).await.is_err() {
            return Err(Refusal::Disabled);
        }
        // Another number: the first is on its way out.
        Ok(self.claim(user, about, parts.ids.issue()).await?)
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let allowed = &self.shared.allowed_origins;
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let is_allowed = match allowed.is_empty() {
            // A credential that the browser sends by itself must not serve a stranger's page.
            true if self.shared.parts.auth.load().is_ambient() => is_same_host(origin, headers),
            true => true,
            false => allowed.iter().any(|allowed| origin.as_bytes() == allowed.as_bytes()),
        };
        if is_allowed { Ok(()) } else { Err(Refusal::Origin) }
    }

    async fn check_registered(&self, name: &UserId) -> Result<(), Refusal> {
        match self.shared.parts.directory.find(name).await {
            Ok(Some(user)) if user.disabled => Err(Refusal::Disabled),
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Refusal::UnknownUser),
            Err(_) => Err(Refusal::DirectoryAway),
        }
    }

    fn start(&self, admitted: Admitted, on_upgrade: OnUpgrade, socket: Arc<Place>) {
        let (config, router) = (self.shared.session.clone(), self.shared.parts.router.clone());
        // Boxed: what only the beginning needs is not kept by everyone who is connected.
        let begin = Box::pin(begin(config, router, admitted, on_upgrade));
        self.shared.parts.tasks.spawn("session", async move {
            if let Some((mut session, _seat)) = begin.await {
                session.run().await;
            }
            drop(socket);
        });
    }
}

/// Takes the stream over; `None` if it is gone already.
async fn begin(
    config: Arc<session::Config>,
    router: Router,
    admitted: Admitted,
    on_upgrade: OnUpgrade,
) -> Option<(Session<Socket>, Place)> {
    let Admitted { claimed, seat } = admitted;
    let upgraded = timeout(SWITCH_WAIT, on_upgrade).await.ok()?.ok()?;
    // The socket itself, not hyper's wrapper: its buffers end with the handshake.
    let parts = upgraded.downcast::<TokioIo<Socket>>().ok()?;
    let (stream, ahead) = (parts.io.into_inner(), parts.read_buf);
    Some((Session::new(config, router, claimed, stream, ahead).await, seat))
}

/// Whether a page's origin names the host that the request was sent to.
fn is_same_host(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    matches!((origin, host), (Some((_, page)), Some(host)) if page.eq_ignore_ascii_case(host))
}

fn switching(key: &[u8]) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = derive_accept_key(key).parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

fn refuse(refusal: Refusal, id: ConnectionId) -> Response<Full<Bytes>> {
    let body = error_frame(refusal.message(), id, request_id());
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.extend(refusal.headers());
    response
}
