//! An owner that is no process of the fleet: the test itself, with the product's own verbs.
//!
//! A classic client cannot choose its device, so that no two of them ever claim the same one. This
//! can: it is what a fleet.v1 client on another instance will be.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::{CancellationToken, DropGuard};
use wsfleetd::{
    ids::{Epoch, UserHasher},
    lifecycle::Tasks,
    redis::{Config, LinkState, Redis},
    store::{Claim, Claimed, HoldPolicy, Store, Tag, shared::SharedState},
};

use crate::support::proxy::{Meddler, Proxy};

const PATIENCE: Duration = Duration::from_secs(10);

/// An epoch of its own at the Redis of a fleet with the default settings.
pub struct Foreigner {
    store: SharedState,
    hasher: UserHasher,
    epoch: Epoch,
    _tasks: Tasks,
    _stop: DropGuard,
    _line: Proxy,
}

impl Foreigner {
    /// Comes to the Redis on this port, over a line with the fleet's bug on it.
    pub async fn arrive(port: u16, meddler: Option<Arc<dyn Meddler>>) -> Self {
        let line = Proxy::to_port(port);
        if let Some(meddler) = meddler {
            line.meddle(meddler);
        }
        let redis = Redis::new(Config {
            url: line.url().into(),
            cluster: false,
            username: String::new(),
            password: None,
            ca_pem: None,
            prefix: "wsfleetd".to_owned(),
            partitions: 256,
            connect_timeout: PATIENCE,
            command_timeout: PATIENCE,
            pool_size: 1,
        })
        .expect("a good address");
        let (tasks, stop, hot) = (Tasks::new(), CancellationToken::new(), redis.clone());
        let stopped = stop.clone();
        tasks.spawn("redis", async move { hot.run(stopped).await });
        let mut link = redis.watch();
        let up = link.wait_for(|state| matches!(state, LinkState::Up(_)));
        tokio::time::timeout(PATIENCE, up).await.expect("Redis is reached").expect("it is watched");
        let policy = HoldPolicy {
            keeps: false,
            window: Some(Duration::from_secs(30)),
            ttl: Duration::from_secs(3600),
            entries: 256,
            bytes: 256 * 1024,
        };
        Self {
            store: SharedState::new(redis, &policy),
            hasher: UserHasher::new(b"wsfleetd"),
            epoch: Epoch::random(),
            _tasks: tasks,
            _stop: stop.drop_guard(),
            _line: line,
        }
    }

    /// Claims the device of a connection of `user`, whose id is given.
    pub async fn claim(&self, user: &str, id: &str) -> Tag {
        let claim = Claim {
            user: self.hasher.hash(user),
            number: 1,
            device: format!("~{id}"),
            since: None,
        };
        match self.store.connect(self.epoch, &claim, 32.into()).await.expect("Redis answers") {
            Claimed::Registered { tag, .. } => tag,
            other => panic!("expected a registration, got {other:?}"),
        }
    }

    /// Whether an entry stands.
    pub async fn has(&self, user: &str, tag: &Tag) -> bool {
        let tags = self.store.locate(self.hasher.hash(user)).await.expect("Redis answers");
        tags.contains(tag)
    }
}
