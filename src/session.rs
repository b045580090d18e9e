//! One connection's actor: reads its client, writes its outbox, keeps it alive, lets it go.
//!
//! One task per connection and one select in it. A message that needs the store is waited for
//! without reading on, so that one sender's messages stay in order and its client feels the
//! back-pressure; what others send to this client is written meanwhile.

mod claim;
mod flow;
mod keepalive;
mod mirror;
mod socket;
pub mod state;
pub mod wire;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tracing::debug;

pub use self::{
    claim::{Bounds, Claimed, Config as ClaimConfig, Dismissal, NotClaimed, Registrar},
    flow::Config as FlowConfig,
    keepalive::Config as KeepaliveConfig,
    mirror::{Mirror, TTL as MIRROR_TTL},
    socket::Socket,
    wire::{Config as WireConfig, Transport},
};
use self::{
    flow::Flow,
    keepalive::{Due, Keepalive},
    state::{Action, Classic, Input},
    wire::{Event, Wire},
};
use crate::{
    hub::Delivery,
    limit::{Reached, Subject},
    protocol::close::Close,
    router::Router,
};

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The socket's bounds.
    pub wire: WireConfig,
    /// Pings and timeouts.
    pub keepalive: Arc<KeepaliveConfig>,
    /// The rate of messages.
    pub flow: FlowConfig,
    /// Told of clients that are too slow for `limits.outbox_bytes`.
    pub slow: Reached,
}

/// What is waited for before more is read, at most one at a time: a message on its slow way, or the
/// time that a client must hold its breath.
type Slow = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// We close it.
    Close(Close),
    /// The peer closes it.
    Peer,
    /// It is gone.
    Lost,
}

/// The actor.
pub struct Session<T> {
    config: Arc<Config>,
    wire: Wire<T>,
    claimed: Claimed,
    router: Router,
    state: Classic,
    keepalive: Keepalive,
    flow: Flow,
    slow: Option<Slow>,
}

impl<T: Transport> Session<T> {
    /// Takes over an upgraded stream.
    pub async fn new(
        config: Arc<Config>,
        router: Router,
        mut claimed: Claimed,
        stream: T,
        read_ahead: Bytes,
    ) -> Self {
        let mut wire = Wire::new(stream, read_ahead, &config.wire).await;
        let held = claimed.take_held();
        wire.write_first(held.into_iter().map(|held| Delivery::held(held.mid, held.payload)));
        let state = Classic::new(claimed.connection().id());
        let keepalive = Keepalive::new(config.keepalive.clone());
        let flow = Flow::default();
        Self { config, wire, claimed, router, state, keepalive, flow, slow: None }
    }

    /// Runs until the connection has ended and is released.
    ///
    /// By reference, here and below: a future keeps an argument that it was given by value twice,
    /// and there is one such future per connection.
    pub async fn run(&mut self) {
        let start = Instant::now();
        self.log_begin();
        let end = self.serve().await;
        // Boxed: what only the end needs is not kept by everyone who is connected.
        Box::pin(self.let_go(end)).await;
        self.report(end, start);
    }

    fn report(&self, end: End, start: Instant) {
        if end == End::Close(Close::TryAgainLater) {
            self.config.slow.hit(&self.subject(), "a client reads too slowly, and is closed");
        }
        let (connection, duration_ms) =
            (self.claimed.connection(), start.elapsed().as_millis() as u64);
        let (id, about) = (connection.id(), connection.about());
        debug!(
            conn.id = %id,
            user.name = %about.user.as_str(),
            peer.ip = %about.client,
            duration_ms,
            "connection {id} ended after {duration_ms} ms: {end:?}"
        );
    }

    fn subject(&self) -> Subject<'_> {
        let connection = self.claimed.connection();
        let (id, about) = (connection.id(), connection.about());
        Subject { client: Some(about.client), connection: Some(id), user: Some(&about.user) }
    }

    fn log_begin(&self) {
        let (id, about) = (self.claimed.connection().id(), self.claimed.connection().about());
        let (user, client) = (about.user.as_str(), about.client);
        debug!(conn.id = %id, user.name = user, peer.ip = %client, "connection {id}: {user} from {client}");
    }

    async fn let_go(&mut self, end: End) {
        let unwritten = self.say_goodbye(end).await;
        if let Some(slow) = self.slow.take() {
            slow.await;
        }
        self.claimed.release(unwritten).await;
    }

    async fn serve(&mut self) -> End {
        loop {
            let reading = self.slow.is_none();
            tokio::select! {
                biased;
                // What was sent first is delivered first, before more is read.
                () = finish(&mut self.slow) => self.slow = None,
                event = self.wire.event(self.claimed.connection().outbox(), reading) => {
                    if let Some(end) = self.on_event(event) {
                        return end;
                    }
                }
                due = self.keepalive.due() => {
                    if let Some(end) = self.on_due(due) {
                        return end;
                    }
                }
            }
        }
    }

    fn on_event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Text(text) => {
                let now = Instant::now();
                self.keepalive.heard();
                self.keepalive.used(now);
                if !self.flow.admits(&self.config.flow, now) {
                    return self.on_too_many(now);
                }
                return self.on_input(Input::Text(text.as_str()));
            }
            Event::Binary => return self.on_input(Input::Binary),
            Event::Control => self.keepalive.heard(),
            Event::Wrote => self.keepalive.used(Instant::now()),
            Event::PeerClosed => return Some(End::Peer),
            Event::Broken(close) | Event::Ordered(close) => return Some(End::Close(close)),
            Event::Lost => return Some(End::Lost),
        }
        None
    }

    fn on_input(&mut self, input: Input<'_>) -> Option<End> {
        match self.state.on(input) {
            Action::Ignore => {}
            Action::Deliver { to, text } => {
                if let Some(message) = self.router.deliver(&to, text) {
                    let router = self.router.clone();
                    self.slow = Some(Box::pin(async move { router.deliver_slowly(message).await }));
                }
            }
            Action::Reply(text) => self.wire.say(text),
            Action::Close(close) => return Some(End::Close(close)),
        }
        None
    }

    fn on_too_many(&mut self, now: Instant) -> Option<End> {
        let rate = self.config.flow.per_second();
        let what = format_args!("a client sends more than {rate} messages a second, and is told");
        self.config.flow.reached().hit(&self.subject(), what);
        if let Some(pause) = self.flow.answered(&self.config.flow, now) {
            self.slow = Some(Box::pin(sleep(pause)));
        }
        self.on_input(Input::TooMany)
    }

    fn on_due(&mut self, due: Due) -> Option<End> {
        match due {
            Due::Ping => self.wire.ping().err().map(End::Close),
            Due::Close(close) => Some(End::Close(close)),
            Due::Dead => Some(End::Lost),
        }
    }

    /// Says goodbye; answers what the client has not been given.
    ///
    /// From the first line on, what others send is held, not written.
    async fn say_goodbye(&mut self, end: End) -> Vec<Delivery> {
        let mut waiting = self.claimed.connection().outbox().close();
        match end {
            End::Close(close) => self.wire.close(close).await,
            End::Peer => self.wire.answer_close().await,
            End::Lost => {}
        }
        let mut unwritten = self.wire.unwritten();
        unwritten.append(&mut waiting);
        unwritten
    }
}

/// Never ends when there is nothing to wait for.
async fn finish(slow: &mut Option<Slow>) {
    match slow {
        Some(slow) => slow.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{DuplexStream, duplex};
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{Message, protocol::Role},
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        clock,
        config::{self, settings::Settings},
        hub::{About, Connection, Hub},
        ids::{CurrentEpoch, IdSource, Origin, UserHasher, UserId},
        lifecycle::Tasks,
        limit::{Rate, Reporter},
        router,
        store::{HoldPolicy, SharedStore, View, memory::MemoryStore},
    };

    /// What an operator asks for in one line.
    fn api_gateway() -> Settings {
        let asked = [("WSFLEETD__COMPAT__MODE", "api-gateway")];
        config::load(None, asked).expect("it is all right").settings
    }

    fn config(settings: &Settings) -> Arc<Config> {
        let websocket = &settings.websocket;
        let reporter = Reporter::new(Tasks::new(), CancellationToken::new());
        let keepalive = KeepaliveConfig {
            ping_interval: websocket.ping_interval,
            idle_timeout: websocket.idle_timeout,
            max_lifetime: websocket.max_lifetime,
        };
        Arc::new(Config {
            wire: WireConfig { max_message: 4096, max_frame: 4096, read_buffer: 1024 },
            keepalive: keepalive.into(),
            flow: FlowConfig::new(Arc::new(Rate::new(0, 1)), reporter.limit("limits.test")),
            slow: reporter.limit("limits.test"),
        })
    }

    fn registrar() -> (Router, Registrar) {
        let policy =
            HoldPolicy { window: None, keeps: false, ttl: Duration::MAX, entries: 1, bytes: 1 };
        let store: SharedStore = Arc::new(MemoryStore::new(policy));
        let (view, epoch) = (View::default(), CurrentEpoch::default());
        let config = router::Config { hold: false, max_stored_message: 1, directory: None };
        let (hub, hasher) = (Hub::default(), UserHasher::new(b"test"));
        let router =
            Router::new(config, hub, store.clone(), view.clone(), None, hasher, epoch.clone());
        let config = ClaimConfig {
            max_stored_message: 1,
            bounds: Bounds { connections_per_user: 1.into(), revocation: Duration::ZERO },
        };
        let tasks = Tasks::new();
        (router.clone(), Registrar::new(config, store, router, view, epoch, tasks, None))
    }

    /// A session that runs by itself, and its client.
    async fn open(config: Arc<Config>) -> WebSocketStream<DuplexStream> {
        let (router, registrar) = registrar();
        let (number, id) = IdSource::new(Origin::random()).issue();
        let user = UserId::parse("Sunil").expect("a name");
        let hash = router.hasher().hash(user.as_str());
        let about = About { user, client: Ipv4Addr::LOCALHOST.into(), connected: clock::now() };
        let connection = Arc::new(Connection::new(id, number, hash, about, 4096));
        let claimed = registrar.claim(connection).await.expect("a place");
        let (ours, theirs) = duplex(4096);
        Tasks::new().spawn("session", async move {
            Session::new(config, router, claimed, ours, Bytes::new()).await.run().await;
        });
        WebSocketStream::from_raw_socket(theirs, Role::Client, None).await
    }

    /// Answers pings, and says something every `pause`; how it is told to go, and after how long.
    async fn sent_away(
        client: &mut WebSocketStream<DuplexStream>,
        pause: Duration,
    ) -> (u16, String, Duration) {
        let start = Instant::now();
        loop {
            match tokio::time::timeout(pause, client.next()).await {
                Ok(Some(Ok(Message::Close(Some(frame))))) => {
                    return (frame.code.into(), frame.reason.to_string(), start.elapsed());
                }
                Ok(Some(Ok(_))) => client.flush().await.expect("the pong leaves"),
                Ok(other) => panic!("it ended without a goodbye: {other:?}"),
                Err(_) => client.send(Message::text("?")).await.expect("it is open"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_api_gateway_it_sends_the_idle_away_after_ten_minutes_though_they_answer_pings() {
        let mut client = open(config(&api_gateway())).await;
        let (code, reason, after) = sent_away(&mut client, Duration::MAX).await;
        assert_eq!((code, reason.as_str(), after.as_secs()), (1001, "Going away", 600));
    }

    #[tokio::test(start_paused = true)]
    async fn as_api_gateway_it_sends_the_busy_away_within_two_hours_not_all_at_once() {
        let mut ends = Vec::new();
        for _ in 0..8 {
            let mut client = open(config(&api_gateway())).await;
            // Less than the time between two pings, or there would be no pause.
            let (code, reason, after) = sent_away(&mut client, Duration::from_secs(10)).await;
            assert_eq!((code, reason.as_str()), (1001, "Going away"));
            assert!((6480..=7200).contains(&after.as_secs()), "{after:?}");
            ends.push(after.as_secs());
        }
        ends.dedup();
        assert!(ends.len() > 4, "they end together: {ends:?}");
    }
}
