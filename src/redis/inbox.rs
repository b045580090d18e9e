//! All that is published for one epoch: the subscription, or in a cluster one to each shard.
//!
//! Every connection dials again by itself, for ever, when it breaks, falls silent, or its server
//! loses a slot; the others go on meanwhile. Who reads is told what is heard from now on and what
//! is not any more, because what was said in between must be learnt anew. Silence is told from
//! quiet by a probe to one's own inbox.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered, SelectAll, unfold},
};
use redis::{ErrorKind, RedisError};
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::{
    LinkState, Redis,
    node::Node,
    subscriber::{self, Dialled, Ear, Heard, Mouth},
};
use crate::ids::Epoch;

/// Nothing heard for this long: probe (COORDINATION §4.4).
const QUIET: Duration = Duration::from_secs(5);

/// The probe not back within this: dial again.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// Between two tries to subscribe to what is not heard.
const PAUSE: Duration = Duration::from_millis(200);

/// After a slot has moved its new owner is known at once, or nearly.
const MOVED_PAUSE: Duration = Duration::from_millis(20);

/// What comes out of an inbox.
#[derive(Debug, PartialEq, Eq)]
pub enum InboxEvent {
    /// A payload, and the partition in which it was published.
    Message(u16, Vec<u8>),
    /// What is published in this partition is heard from now on; outside a cluster it is 0, and
    /// stands for all.
    Hears(u16),
    /// It is not heard any more.
    Deaf(u16),
    /// It was closed, and all that was published before has been read.
    Closed,
}

/// A subscription's number.
type Id = u64;

/// How far a channel is from being heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Nowhere,
    /// That connection was asked for it.
    Asked(Id),
    Heard(Id),
}

/// The subscriptions of one epoch.
pub struct Inbox {
    redis: Redis,
    probe: Arc<Probe>,
    channels: Vec<String>,
    places: HashMap<String, u16>,
    stages: Vec<Stage>,
    /// Open connections.
    posts: HashMap<Id, Post>,
    ears: SelectAll<BoxStream<'static, (Id, Word)>>,
    dials: FuturesUnordered<BoxFuture<'static, (Id, Result<Dialled, RedisError>)>>,
    /// Servers being dialled.
    dialled: HashMap<Id, Arc<Node>>,
    next_id: Id,
    /// When to look for channels that are nowhere.
    due: Option<Instant>,
    layout: Option<watch::Receiver<u64>>,
    link: watch::Receiver<LinkState>,
    ready: VecDeque<InboxEvent>,
    /// Ends the subscription.
    closing: CancellationToken,
    is_closing: bool,
}

/// A server that is listened to.
struct Post {
    node: Arc<Node>,
    mouth: Mouth,
    /// Which start of the server; `None`: it may not be asked.
    run_id: Option<String>,
    /// Ends the ear.
    _guard: DropGuard,
}

/// What comes from one connection.
enum Word {
    Heard(Heard),
    Refused(RedisError),
    Broken(RedisError),
}

/// What is said to oneself.
struct Probe {
    redis: Redis,
    payload: Vec<u8>,
}

impl Inbox {
    pub(super) fn new(redis: Redis, epoch: Epoch, probe: Vec<u8>) -> Self {
        let keys = redis.keys();
        let channels: Vec<_> = (0..keys.inboxes()).map(|place| keys.inbox(place, epoch)).collect();
        let places = channels.iter().cloned().zip(0..).collect();
        let probe = Arc::new(Probe { redis: redis.clone(), payload: probe });
        Self {
            probe,
            stages: vec![Stage::Nowhere; channels.len()],
            channels,
            places,
            posts: HashMap::new(),
            ears: SelectAll::new(),
            dials: FuturesUnordered::new(),
            dialled: HashMap::new(),
            next_id: 0,
            due: Some(Instant::now()),
            layout: redis.layout(),
            link: redis.watch(),
            ready: VecDeque::new(),
            closing: CancellationToken::new(),
            is_closing: false,
            redis,
        }
    }

    /// The same, until `closing`: then it unsubscribes, so that whoever publishes learns that
    /// nobody hears, reads what was published before, and says that it is closed.
    pub fn until(self, closing: CancellationToken) -> Self {
        Self { closing, ..self }
    }

    /// The next thing to know; never ends. A cancelled inbox must be dropped.
    pub async fn next(&mut self) -> InboxEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            if self.is_closing && !self.hears_any() {
                return InboxEvent::Closed;
            }
            let due = self.due;
            tokio::select! {
                biased;
                () = self.closing.cancelled(), if !self.is_closing => self.close_all().await,
                Some((id, word)) = self.ears.next(), if !self.ears.is_empty() => {
                    if let Some(event) = self.take(id, word) {
                        return event;
                    }
                }
                Some((id, dialled)) = self.dials.next(), if !self.dials.is_empty() => {
                    self.open(id, dialled);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.due = None;
                    self.subscribe().await;
                }
                true = changed(&mut self.layout) => self.follow_layout(),
                Ok(()) = self.link.changed() => self.leave_replaced(),
            }
        }
    }

    fn take(&mut self, id: Id, word: Word) -> Option<InboxEvent> {
        match word {
            Word::Heard(Heard::Message { channel, payload }) => {
                let channel = str::from_utf8(&channel).ok()?;
                return Some(InboxEvent::Message(*self.places.get(channel)?, payload));
            }
            Word::Heard(Heard::Subscribed(channel)) => {
                let place = *self.places.get(&channel)?;
                let stage = &mut self.stages[usize::from(place)];
                if *stage == Stage::Asked(id) {
                    *stage = Stage::Heard(id);
                    return Some(InboxEvent::Hears(place));
                }
            }
            Word::Heard(Heard::Unsubscribed(channel)) => {
                let place = *self.places.get(&channel)?;
                self.redis.doubt();
                self.look_again(MOVED_PAUSE);
                return self.lose(place, id);
            }
            Word::Heard(Heard::Other) => {}
            // Which of the channels asked for it is does not matter: all may be asked for again.
            Word::Refused(error) => {
                debug!("a subscription is refused: {error}");
                self.redis.doubt();
                self.look_again(MOVED_PAUSE);
                let asked = self.stages.iter_mut().filter(|stage| **stage == Stage::Asked(id));
                asked.for_each(|stage| *stage = Stage::Nowhere);
            }
            Word::Broken(error) => {
                debug!("a subscription broke: {error}");
                self.close(id);
            }
        }
        None
    }

    /// Nothing is heard over this connection any more.
    fn close(&mut self, id: Id) {
        self.posts.remove(&id);
        self.redis.doubt();
        self.look_again(PAUSE);
        for place in 0..self.channels.len() as u16 {
            let lost = self.lose(place, id);
            self.ready.extend(lost);
        }
    }

    /// `place` is not heard over `id` any more; tells whoever thought it was.
    fn lose(&mut self, place: u16, id: Id) -> Option<InboxEvent> {
        let stage = &mut self.stages[usize::from(place)];
        let was = *stage;
        if was == Stage::Asked(id) || was == Stage::Heard(id) {
            *stage = Stage::Nowhere;
        }
        (was == Stage::Heard(id)).then_some(InboxEvent::Deaf(place))
    }

    fn hears_any(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage, Stage::Heard(_)))
    }

    async fn close_all(&mut self) {
        (self.is_closing, self.due) = (true, None);
        for id in self.posts.keys().copied().collect::<Vec<_>>() {
            let heard = self.stages.iter().zip(&self.channels);
            let heard = heard.filter(|(stage, _)| **stage == Stage::Heard(id));
            let channels: Vec<_> = heard.map(|(_, channel)| channel.clone()).collect();
            let Some(post) = self.posts.get_mut(&id) else { continue };
            match timeout(PAUSE, post.mouth.unsubscribe(&channels)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => self.close(id),
            }
        }
    }

    fn look_again(&mut self, pause: Duration) {
        if self.is_closing {
            return;
        }
        let at = Instant::now() + pause;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Asks the owner of every channel that is nowhere, and dials it first if need be.
    async fn subscribe(&mut self) {
        let mut wanted: Vec<(Arc<Node>, Vec<u16>)> = Vec::new();
        for place in 0..self.channels.len() {
            if self.stages[place] != Stage::Nowhere {
                continue;
            }
            let Some(node) = self.redis.home(&self.channels[place]) else {
                self.look_again(PAUSE);
                continue;
            };
            match wanted.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &node)) {
                Some((_, places)) => places.push(place as u16),
                None => wanted.push((node, vec![place as u16])),
            }
        }
        for (node, places) in wanted {
            let open = self.posts.iter().find(|(_, post)| Arc::ptr_eq(&post.node, &node));
            if let Some(id) = open.map(|(id, _)| *id) {
                self.ask(id, &places).await;
            } else if !self.dialled.values().any(|other| Arc::ptr_eq(other, &node)) {
                self.dial(node);
            }
        }
    }

    async fn ask(&mut self, id: Id, places: &[u16]) {
        let Some(post) = self.posts.get_mut(&id) else { return };
        let channels: Vec<_> =
            places.iter().map(|place| self.channels[usize::from(*place)].clone()).collect();
        for place in places {
            self.stages[usize::from(*place)] = Stage::Asked(id);
        }
        // A few kilobytes: a connection that does not take them at once is no good.
        match timeout(PAUSE, post.mouth.subscribe(&channels)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => self.close(id),
        }
    }

    fn dial(&mut self, node: Arc<Node>) {
        let id = self.next_id;
        self.next_id += 1;
        self.dialled.insert(id, node.clone());
        let (dialler, verb) = (self.redis.dialler.clone(), self.redis.subscribe_verb());
        self.dials.push(Box::pin(async move {
            let dial = subscriber::dial(&node.info, dialler.ca_pem(), verb);
            let dialled = timeout(dialler.connect_timeout, dial).await;
            (id, dialled.unwrap_or_else(|_| Err(silent("no answer in time"))))
        }));
    }

    fn open(&mut self, id: Id, dialled: Result<Dialled, RedisError>) {
        let Some(node) = self.dialled.remove(&id) else { return };
        match dialled {
            Ok(Dialled { ear, mouth, run_id }) => {
                let end = CancellationToken::new();
                let server = node.info.addr().to_string();
                self.ears.push(listen(id, server, ear, self.probe.clone(), end.clone()));
                self.posts.insert(id, Post { node, mouth, run_id, _guard: end.drop_guard() });
                self.look_again(Duration::ZERO);
            }
            Err(error) => {
                debug!("cannot subscribe: {error}");
                self.redis.doubt();
                self.look_again(PAUSE);
            }
        }
    }

    /// Goes to the new owners of what has moved: an old one that is cut off from its cluster never
    /// says that it is one no more.
    fn follow_layout(&mut self) {
        for place in 0..self.channels.len() {
            let (Stage::Heard(id) | Stage::Asked(id)) = self.stages[place] else { continue };
            let home = self.redis.home(&self.channels[place]);
            let post = self.posts.get(&id);
            let is_home = post.zip(home).is_some_and(|(post, home)| Arc::ptr_eq(&post.node, &home));
            if !is_home {
                let lost = self.lose(place as u16, id);
                self.ready.extend(lost);
            }
        }
        self.look_again(Duration::ZERO);
        self.leave_idle();
    }

    /// Leaves servers that another one stands for by now: after a failover an old primary goes on
    /// passing messages, as a replica, and counts no listeners.
    fn leave_replaced(&mut self) {
        let replaced = |post: &Post| {
            let now = post.node.link.run_id();
            now.is_some() && post.run_id.is_some() && now != post.run_id
        };
        let left: Vec<_> =
            self.posts.iter().filter(|(_, post)| replaced(post)).map(|(id, _)| *id).collect();
        left.into_iter().for_each(|id| self.close(id));
    }

    /// Hangs up where there is nothing to hear any more.
    fn leave_idle(&mut self) {
        let (redis, channels) = (&self.redis, &self.channels);
        let homes: Vec<_> = channels.iter().filter_map(|channel| redis.home(channel)).collect();
        self.posts.retain(|_, post| homes.iter().any(|home| Arc::ptr_eq(home, &post.node)));
    }
}

async fn changed(layout: &mut Option<watch::Receiver<u64>>) -> bool {
    match layout {
        Some(layout) => layout.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

/// Everything one connection says, until it is no good any more or `end`.
fn listen(
    id: Id,
    server: String,
    ear: Ear,
    probe: Arc<Probe>,
    end: CancellationToken,
) -> BoxStream<'static, (Id, Word)> {
    // A channel that is heard here, to be probed.
    let start = (Some(ear), None::<String>, server, probe, end);
    let words = unfold(start, move |(ear, mut heard, server, probe, end)| async move {
        let mut ear = ear?;
        let word = tokio::select! {
            biased;
            () = end.cancelled() => return None,
            word = ear.next() => word,
            () = probe.until_silent(heard.as_deref()) => {
                warn!("the subscription at {server} has fallen silent; dialling again");
                Err(silent("the subscription is silent"))
            }
        };
        let (word, ear) = match word {
            Ok(word) => {
                match &word {
                    Heard::Subscribed(channel) => heard = Some(channel.clone()),
                    Heard::Unsubscribed(channel) => heard = heard.filter(|one| one != channel),
                    _ => {}
                }
                (Word::Heard(word), Some(ear))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                (Word::Refused(error), Some(ear))
            }
            Err(error) => (Word::Broken(error), None),
        };
        Some(((id, word), (ear, heard, server, probe, end)))
    });
    words.boxed()
}

impl Probe {
    /// Returns when a probe has not come back; to be dropped whenever something is heard.
    async fn until_silent(&self, channel: Option<&str>) {
        loop {
            sleep(QUIET).await;
            let Some(channel) = channel else { return };
            let is_sent = self.redis.say(channel, &self.payload).await.is_ok();
            sleep(PROBE_WAIT).await;
            // Without a way out nothing can be learnt about the way in.
            if is_sent {
                return;
            }
        }
    }
}

fn silent(text: &'static str) -> RedisError {
    (ErrorKind::Io, text).into()
}
