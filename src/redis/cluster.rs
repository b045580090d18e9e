//! A Redis Cluster: a link and a pool to each primary, and the map that says whose a key is.
//!
//! Ours rather than redis-rs's cluster client, because what a fleet needs of a connection is in
//! [`super::link`]: one that is thrown away by our own rules, killed before it can write late, and
//! that says at once when it is down instead of letting commands queue. What is added here is
//! little: ask any server for the map, follow MOVED and ASK, wait while keys are on their way
//! between two servers. Nothing here subscribes; a subscription that shares a connection with
//! commands has been seen to shift everybody's replies when its slot moves (COORDINATION §10).

mod keeper;
mod slots;

use std::sync::Arc;

use arc_swap::ArcSwap;
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::{
    sync::{Notify, watch},
    time::{Duration, Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::slots::{Slots, redirected};
use super::{
    Fault, Keys, LinkState,
    dialler::{Address, Dialler},
    node::{Node, Order},
};

/// How long an order follows redirections and waits for keys in transit; a slot moves within it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks while keys are in transit, or the map is out of date.
const PAUSE: Duration = Duration::from_millis(25);

/// A cluster; cheap to clone.
#[derive(Clone)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    dialler: Dialler,
    keys: Keys,
    map: ArcSwap<Map>,
    /// Wakes who keeps the map.
    doubt: Notify,
    state: watch::Sender<LinkState>,
    /// Grows with each new map.
    layout: watch::Sender<u64>,
}

/// Who owns what, and how they are reached.
struct Map {
    slots: Slots,
    /// In the order of `slots.primaries`.
    nodes: Vec<Arc<Member>>,
    /// For each partition, the first that has the same owner.
    stripes: Vec<u16>,
}

/// A primary, until it is none any more.
struct Member {
    address: Address,
    node: Arc<Node>,
    gone: CancellationToken,
}

/// On which of a server's connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Hot,
    Rare,
}

/// What an answer says about where to ask.
enum Redirect {
    /// Nothing: it is the answer.
    No,
    /// Here.
    Moved,
    /// There, this once.
    Ask(Arc<Node>),
    /// Again in a moment.
    Wait,
}

impl Cluster {
    /// Prepares; [`Cluster::run`] finds the servers.
    pub fn new(dialler: Dialler, keys: Keys) -> Self {
        let shared = Shared {
            dialler,
            keys,
            map: ArcSwap::from_pointee(Map::empty()),
            doubt: Notify::new(),
            state: watch::Sender::new(LinkState::Down),
            layout: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Up when every slot has an owner that is connected.
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    /// A number that grows whenever a slot has another owner.
    pub fn layout(&self) -> watch::Receiver<u64> {
        self.shared.layout.subscribe()
    }

    /// The owner of a key's slot, as far as is known.
    pub fn owner(&self, key: &str) -> Option<Arc<Node>> {
        let map = self.shared.map.load();
        map.slots.owner(key).and_then(|at| map.nodes.get(at)).map(|member| member.node.clone())
    }

    /// The first partition that has the same owner as this one: what goes there travels together.
    pub fn stripe(&self, partition: u16) -> u16 {
        self.shared.map.load().stripes.get(usize::from(partition)).copied().unwrap_or(partition)
    }

    /// Has the map looked at again: something did not go as it says.
    pub fn doubt(&self) {
        self.shared.doubt.notify_one();
    }

    /// Carries an order out at the owner of its key, wherever that has gone.
    pub async fn run_order(&self, order: &Order<'_>, lane: Lane) -> Result<Value, Fault> {
        let start = Instant::now();
        let mut elsewhere: Option<Arc<Node>> = None;
        loop {
            let (node, asking) = match elsewhere.take() {
                Some(node) => (node, true),
                None => (self.owner(order.key()).ok_or(Fault::Down)?, false),
            };
            let answer = match lane {
                Lane::Rare if !asking => node.run_rarely(order).await,
                _ => node.link.run_order(order, asking).await,
            };
            let redirect = match &answer {
                Ok(_) => Redirect::No,
                Err(fault) => self.redirect(fault, &node),
            };
            match redirect {
                Redirect::No => return answer,
                _ if start.elapsed() > PATIENCE => return answer,
                Redirect::Moved => {}
                Redirect::Ask(other) => elsewhere = Some(other),
                Redirect::Wait => sleep(PAUSE).await,
            }
        }
    }

    /// A command that is refused for its slot was not carried out: it may be sent again.
    fn redirect(&self, fault: &Fault, asked: &Node) -> Redirect {
        let Fault::Failed(error) = fault else {
            self.doubt();
            return Redirect::No;
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => self.follow(error, asked),
            ErrorKind::Server(ServerErrorKind::Ask) => self.ask(error, asked),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Redirect::Wait,
            // Its primary is gone, and another is not elected yet.
            ErrorKind::Server(ServerErrorKind::ClusterDown) => {
                self.doubt();
                Redirect::Wait
            }
            _ => {
                self.doubt();
                Redirect::No
            }
        }
    }

    fn follow(&self, error: &RedisError, asked: &Node) -> Redirect {
        self.doubt();
        let Some((slot, owner)) = target(error, asked) else { return Redirect::Wait };
        if self.move_slot(slot, &owner) { Redirect::Moved } else { Redirect::Wait }
    }

    fn ask(&self, error: &RedisError, asked: &Node) -> Redirect {
        let map = self.shared.map.load();
        let owner = target(error, asked).map(|(_, owner)| owner);
        match map.nodes.iter().find(|member| owner.as_ref() == Some(&member.address)) {
            Some(member) => Redirect::Ask(member.node.clone()),
            None => {
                self.doubt();
                Redirect::Wait
            }
        }
    }

    /// Whether an answer says that a slot has another owner; it is known from now on.
    pub fn has_moved(&self, error: &RedisError, asked: &Node) -> bool {
        let is_moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
        is_moved && matches!(self.follow(error, asked), Redirect::Moved)
    }

    /// Takes a server's word for one slot, until the map is read anew; false if the owner is not
    /// known.
    fn move_slot(&self, slot: u16, owner: &Address) -> bool {
        let map = self.shared.map.load();
        let mut slots = map.slots.clone();
        let is_known = slots.move_to(slot, owner);
        if is_known && slots != map.slots {
            let nodes = map.nodes.clone();
            self.install(slots, nodes);
        }
        is_known
    }

    fn install(&self, slots: Slots, nodes: Vec<Arc<Member>>) {
        let stripes = stripes(&slots, &self.shared.keys);
        self.shared.map.store(Arc::new(Map { slots, nodes, stripes }));
        self.shared.layout.send_modify(|version| *version += 1);
    }
}

impl Map {
    fn empty() -> Self {
        Self { slots: Slots::none(), nodes: Vec::new(), stripes: Vec::new() }
    }
}

/// Where a redirection points.
fn target(error: &RedisError, asked: &Node) -> Option<(u16, Address)> {
    let (text, slot) = error.redirect_node()?;
    Some((slot, redirected(text, asked.host())?))
}

fn stripes(slots: &Slots, keys: &Keys) -> Vec<u16> {
    let owners: Vec<_> = (0..keys.partitions()).map(|k| slots.owner(&keys.epochs(k))).collect();
    let first = |owner| owners.iter().position(|other| *other == owner).unwrap_or_default();
    owners.iter().map(|owner| first(*owner) as u16).collect()
}
