//! The fleet's shared state: what every store promises, in memory and in Redis alike, then what
//! only Redis can.

mod dismissal;
mod held;
mod limit;
mod members;
mod model;
mod ownership;
mod real;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};
use wsfleetd::{
    ids::{Epoch, MessageId, UserHash, UserHasher},
    lifecycle::Tasks,
    redis::{Config, InboxEvent, LinkState, Redis},
    store::{
        Claim, Claimed, Fate, Held, HoldAnswer, HoldPolicy, HoldRequest, Keep, Limit, Release,
        Released, SharedStore, Tag, memory::MemoryStore, shared::SharedState,
    },
};

use crate::support::redis::{RedisServer, cluster::RedisCluster};

/// How long Redis may take here: the machine is busy, and none of this is about speed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every key and channel of these tests starts with.
const PREFIX: &str = "suite";

/// Connections per user where a story is not about them.
const LIMIT: Limit = Limit { most: 32, displaces: false };

/// Every promise, for each way to keep it; in a cluster one after the other, for it takes seconds
/// to start.
macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(&super::Desk::memory(super::policy())).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(&super::Desk::redis(super::policy()).await).await;
            })*
        }
        #[tokio::test]
        async fn cluster() {
            let servers = crate::support::redis::cluster::RedisCluster::start();
            let mut kept = 0;
            $(
                println!("in a cluster: {}", stringify!($promise));
                servers.ask_all(&["FLUSHALL"]);
                $promise(&Desk::cluster(policy(), &servers).await).await;
                kept += 1;
            )*
            println!("checked {kept} promises");
            assert!(kept > 0);
        }
    };
}
use contract;

/// A store, and what stands behind it.
struct Desk {
    store: SharedStore,
    real: Option<Real>,
    hasher: UserHasher,
}

/// The Redis behind a store; everything ends with it.
struct Real {
    redis: Redis,
    tasks: Tasks,
    server: Option<RedisServer>,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl Desk {
    fn memory(policy: HoldPolicy) -> Self {
        let hasher = UserHasher::new(b"suite");
        Self { store: Arc::new(MemoryStore::new(policy)), real: None, hasher }
    }

    async fn redis(policy: HoldPolicy) -> Self {
        Self::redis_with(policy, 4, RedisServer::start()).await
    }

    async fn redis_with(policy: HoldPolicy, partitions: u16, server: RedisServer) -> Self {
        Self::over(config(&server, partitions), policy, Some(server)).await
    }

    /// In a cluster whose servers are somebody else's.
    async fn cluster(policy: HoldPolicy, servers: &RedisCluster) -> Self {
        let config =
            Config { url: servers.url().into(), cluster: true, ..config(&servers.servers[0], 16) };
        Self::over(config, policy, None).await
    }

    async fn over(config: Config, policy: HoldPolicy, server: Option<RedisServer>) -> Self {
        let stop = CancellationToken::new();
        let redis = Redis::new(config).unwrap();
        let (tasks, hot, stopped) = (Tasks::new(), redis.clone(), stop.clone());
        tasks.spawn("redis", async move { hot.run(stopped).await });
        let mut link = redis.watch();
        let up = link.wait_for(|state| matches!(state, LinkState::Up(_)));
        tokio::time::timeout(PATIENCE, up).await.expect("Redis is reached").unwrap();
        let store = Arc::new(SharedState::new(redis.clone(), &policy));
        let _guard = stop.clone().drop_guard();
        let real = Some(Real { redis, tasks, server, stop, _guard });
        Self { store, real, hasher: UserHasher::new(b"suite") }
    }

    fn real(&self) -> &Real {
        self.real.as_ref().expect("a store in Redis")
    }

    fn server(&self) -> &RedisServer {
        self.real().server.as_ref().expect("a Redis of its own")
    }

    fn user(&self, name: &str) -> UserHash {
        self.hasher.hash(name)
    }

    /// Somebody reads this epoch's inbox from now on, as an instance does. In memory nobody needs
    /// to: there the router that asks is the only one there is.
    async fn listen(&self, epoch: Epoch) {
        let Some(real) = &self.real else { return };
        let mut inbox = real.redis.inbox(epoch, Vec::new());
        for _ in 0..real.redis.keys().inboxes() {
            let event = tokio::time::timeout(PATIENCE, inbox.next()).await.expect("it is heard");
            assert!(matches!(event, InboxEvent::Hears(_)), "{event:?}");
        }
        let stop = real.stop.clone();
        real.tasks.spawn("inbox", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = async { loop { inbox.next().await; } } => {}
            }
        });
    }

    async fn connect(&self, epoch: Epoch, claim: &Claim) -> Claimed {
        self.store.connect(epoch, claim, LIMIT).await.unwrap()
    }

    /// Connects where that must succeed: its tag and what was held.
    async fn enter(&self, epoch: Epoch, claim: &Claim) -> (Tag, Vec<Held>) {
        match self.connect(epoch, claim).await {
            Claimed::Registered { tag, held, .. } => (tag, held),
            other => panic!("expected a registration, got {other:?}"),
        }
    }

    async fn assert(&self, epoch: Epoch, claim: &Claim) -> Claimed {
        let partition = claim.user.partition(self.store.partitions());
        let claims = std::slice::from_ref(claim);
        let mut answers = self.store.assert(epoch, partition, claims, LIMIT.most).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// Disconnects with nothing left to write.
    async fn leave(&self, epoch: Epoch, claim: &Claim, tag: &Tag) -> Released {
        self.leave_with(epoch, claim, tag, &[]).await
    }

    async fn leave_with(
        &self,
        epoch: Epoch,
        claim: &Claim,
        tag: &Tag,
        unwritten: &[&'static str],
    ) -> Released {
        let unwritten = unwritten.iter().map(|text| (MessageId::random(), Bytes::from(*text)));
        let release = Release {
            user: claim.user,
            device: claim.device.clone(),
            tag: tag.clone(),
            unwritten: unwritten.collect(),
        };
        self.store.disconnect(epoch, &release).await.unwrap()
    }

    async fn locate(&self, user: UserHash) -> Vec<Tag> {
        let mut tags = self.store.locate(user).await.unwrap();
        tags.sort_by_key(|tag| tag.as_str().to_owned());
        tags
    }

    /// Asks to hold `text`; nobody has been tried, and `deaf` do not answer.
    async fn hold(&self, user: UserHash, text: &'static str, deaf: &[Epoch]) -> HoldAnswer {
        let request = HoldRequest { deaf: deaf.to_vec(), ..request(user, text) };
        self.store.hold(&request).await.unwrap()
    }

    /// Holds where that must succeed: the seq.
    async fn keep(&self, user: UserHash, text: &'static str) -> u64 {
        match self.hold(user, text, &[]).await.fate {
            Fate::Kept(seq) => seq,
            fate => panic!("{text:?} should be kept, and is {fate:?}"),
        }
    }

    /// Reaps `epoch` everywhere: how many connections went.
    async fn reap(&self, epoch: Epoch) -> u64 {
        let mut removed = 0;
        for partition in 0..self.store.partitions() {
            let mut cursor = 0;
            loop {
                let step = self.store.reap(epoch, partition, cursor).await.unwrap();
                (removed, cursor) = (removed + step.removed, step.cursor);
                if step.left == 0 {
                    break;
                }
            }
        }
        removed
    }
}

fn config(server: &RedisServer, partitions: u16) -> Config {
    Config {
        url: server.url().into(),
        cluster: false,
        username: String::new(),
        password: None,
        ca_pem: None,
        prefix: PREFIX.to_owned(),
        partitions,
        connect_timeout: PATIENCE,
        command_timeout: PATIENCE,
        pool_size: 2,
    }
}

/// Long enough for any test, and small enough to be filled.
fn policy() -> HoldPolicy {
    let (window, ttl) = (Some(Duration::from_secs(600)), Duration::from_secs(3600));
    HoldPolicy { window, keeps: false, ttl, entries: 4, bytes: 100 }
}

fn claim(user: UserHash, number: u64) -> Claim {
    Claim { user, number, device: format!("~device{number}="), since: None }
}

fn request(user: UserHash, text: &'static str) -> HoldRequest {
    HoldRequest {
        user,
        from: Epoch::random(),
        mid: MessageId::random(),
        payload: Bytes::from_static(text.as_bytes()),
        tried: Vec::new(),
        deaf: Vec::new(),
        keep: Keep::Awaited,
    }
}

fn texts(held: &[Held]) -> Vec<&str> {
    held.iter().map(|one| std::str::from_utf8(&one.payload).unwrap()).collect()
}
