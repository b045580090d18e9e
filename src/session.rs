//! One connection's actor: reads its client, writes its outbox, keeps it alive, lets it go.
//!
//! One task per connection and one select in it. A message that needs the store is waited for
//! without reading on, so that one sender's messages stay in order and its client feels the
//! back-pressure; what others send to this client is written meanwhile.

mod claim;
mod flow;
mod keepalive;
pub mod state;
pub mod wire;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tracing::debug;

pub use self::{
    claim::{Claimed, Config as ClaimConfig, Dismissal, NotClaimed, Registrar},
    flow::Config as FlowConfig,
    keepalive::Config as KeepaliveConfig,
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
        wire.write_first(held.into_iter().map(|held| Delivery::unnamed(held.payload)));
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
