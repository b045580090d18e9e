//! Redis as this daemon uses it: one pipelining connection for what is hot, a pool for what is
//! rare, and a connection of its own for the subscription; in a cluster, each of these per shard.
//!
//! Three, because each has a habit the others must not share. A multiplexed connection turns
//! concurrent commands into one write, which a pool cannot (measured 7 to 12 times slower, see
//! COORDINATION §10); a pooled one may block for as long as its command likes; and a
//! subscription on a connection that also carries commands has been seen to hand one caller's
//! reply to another.

mod cluster;
mod dialler;
mod inbox;
pub mod inspection;
mod keys;
mod link;
mod node;
mod patience;
mod pool;
mod publish;
mod script;
mod subscriber;

use std::{sync::Arc, time::Duration};

use redis::Value;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::{
    inbox::{Inbox, InboxEvent},
    keys::Keys,
    link::LinkState,
    publish::{Parcel, Published},
    script::Script,
};

use self::{
    cluster::{Cluster, Lane},
    dialler::Dialler,
    node::{Node, Order},
};
use crate::ids::{Epoch, UserHash};

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `redis://` or `rediss://`, with a database number if any.
    pub url: SecretString,
    /// Whether that is any server of a Redis Cluster.
    pub cluster: bool,
    /// Overrides the URL's user, for Redis ACLs; empty: the URL's.
    pub username: String,
    /// Overrides the URL's password.
    pub password: Option<SecretString>,
    /// PEM roots for `rediss://`; `None`: the well-known ones.
    pub ca_pem: Option<Vec<u8>>,
    /// Stands in front of every key and channel.
    pub prefix: String,
    /// Slots the users are spread over; the same in the whole fleet.
    pub partitions: u16,
    /// Bound on opening a connection.
    pub connect_timeout: Duration,
    /// Bound on one command; a connection that misses it is thrown away.
    pub command_timeout: Duration,
    /// Most pooled connections, to each server.
    pub pool_size: u32,
}

/// Why Redis did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no connection now; nothing was sent.
    #[error("not connected to Redis")]
    Down,
    /// Sent, and the answer is an error or never came: it may have been done.
    #[error("Redis: {0}")]
    Failed(#[from] redis::RedisError),
    /// An answer this version does not understand.
    #[error("unexpected answer from Redis: {0}")]
    Answer(String),
}

/// The URL or its certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("redis.url cannot be used: {0}")]
pub struct BadUrl(String);

/// The ways to Redis; cheap to clone.
#[derive(Clone)]
pub struct Redis {
    servers: Servers,
    dialler: Arc<Dialler>,
    keys: Keys,
}

#[derive(Clone)]
enum Servers {
    One(Arc<Node>),
    Cluster(Cluster),
}

impl Redis {
    /// Prepares; the first connection is made by [`Redis::run`].
    pub fn new(config: Config) -> Result<Self, BadUrl> {
        let bad = |error: redis::RedisError| BadUrl(error.to_string());
        let dialler = Dialler::new(&config).map_err(bad)?;
        let keys = Keys::new(&config.prefix, config.partitions, config.cluster);
        let servers = if config.cluster {
            Servers::Cluster(Cluster::new(dialler.clone(), keys.clone()))
        } else {
            let node = Node::new(&dialler, dialler.info().clone()).map_err(bad)?;
            Servers::One(Arc::new(node))
        };
        Ok(Self { servers, dialler: Arc::new(dialler), keys })
    }

    /// Keeps the hot connections alive until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        match &self.servers {
            Servers::One(node) => node.link.run(stop).await,
            Servers::Cluster(cluster) => cluster.run(stop).await,
        }
    }

    /// Whether commands can be sent now, in a cluster to every shard; and every later change.
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        match &self.servers {
            Servers::One(node) => node.link.watch(),
            Servers::Cluster(cluster) => cluster.watch(),
        }
    }

    /// Whether commands can be sent now, in a cluster to every shard.
    pub fn is_up(&self) -> bool {
        matches!(*self.watch().borrow(), LinkState::Up(_))
    }

    /// A number that grows whenever another server, or another start of one, stands where one stood.
    pub fn replaced(&self) -> watch::Receiver<u64> {
        self.dialler.replaced.subscribe()
    }

    /// How keys and channels are spelled.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Runs a script on the hot connection to the owner of its keys.
    pub async fn call(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Value, Fault> {
        self.run_order(&Order::Script { script, keys, args }, Lane::Hot).await
    }

    /// Runs a script on a pooled connection: for what is rare, so that it cannot delay messages.
    pub async fn call_rarely(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Value, Fault> {
        self.run_order(&Order::Script { script, keys, args }, Lane::Rare).await
    }

    /// The values of a hash, over the hot connection.
    pub async fn values(&self, key: &str) -> Result<Value, Fault> {
        let mut command = redis::cmd("HVALS");
        command.arg(key);
        self.run_order(&Order::Plain { command: &command, key }, Lane::Hot).await
    }

    /// What concerns this user and another of the same stripe is carried by the same server.
    pub fn stripe(&self, user: UserHash) -> u16 {
        self.stripe_of(user.partition(self.keys.partitions()))
    }

    /// The stripe of what is published in this partition.
    pub fn stripe_of(&self, partition: u16) -> u16 {
        match &self.servers {
            Servers::One(_) => 0,
            Servers::Cluster(cluster) => cluster.stripe(partition),
        }
    }

    /// The subscription to all inboxes of an epoch; `probe` is published to one's own inbox to
    /// tell silence from quiet.
    pub fn inbox(&self, epoch: Epoch, probe: Vec<u8>) -> Inbox {
        Inbox::new(self.clone(), epoch, probe)
    }

    async fn run_order(&self, order: &Order<'_>, lane: Lane) -> Result<Value, Fault> {
        match (&self.servers, lane) {
            (Servers::One(node), Lane::Hot) => node.link.run_order(order, false).await,
            (Servers::One(node), Lane::Rare) => node.run_rarely(order).await,
            (Servers::Cluster(cluster), lane) => cluster.run_order(order, lane).await,
        }
    }

    /// The server that a key or a channel belongs to, as far as is known.
    fn home(&self, key: &str) -> Option<Arc<Node>> {
        match &self.servers {
            Servers::One(node) => Some(node.clone()),
            Servers::Cluster(cluster) => cluster.owner(key),
        }
    }

    /// A number that grows with each change of owners; `None` where there are no slots.
    fn layout(&self) -> Option<watch::Receiver<u64>> {
        match &self.servers {
            Servers::One(_) => None,
            Servers::Cluster(cluster) => Some(cluster.layout()),
        }
    }

    /// Whether an answer says that the slot has another owner, which is known from now on.
    fn has_moved(&self, error: &redis::RedisError, asked: &Node) -> bool {
        match &self.servers {
            Servers::One(_) => false,
            Servers::Cluster(cluster) => cluster.has_moved(error, asked),
        }
    }

    /// Something did not go as the map of the cluster says.
    fn doubt(&self) {
        if let Servers::Cluster(cluster) = &self.servers {
            cluster.doubt();
        }
    }
}
