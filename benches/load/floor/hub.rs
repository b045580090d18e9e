//! Who is here: a sharded map from names to channels.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use tokio::sync::mpsc;

const SHARDS: usize = 64;

type Users = HashMap<String, mpsc::Sender<Bytes>>;

/// The connections; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    shards: Arc<[Mutex<Users>]>,
    hasher: RandomState,
}

impl Default for Hub {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }
}

impl Hub {
    /// Adds a user.
    pub fn insert(&self, user: String, outbox: mpsc::Sender<Bytes>) {
        self.shard(&user).insert(user, outbox);
    }

    /// Removes a user.
    pub fn remove(&self, user: &str) {
        self.shard(user).remove(user);
    }

    /// Whether the user is here; what does not fit into a full channel is dropped.
    pub fn deliver(&self, user: &str, text: Bytes) -> bool {
        let shard = self.shard(user);
        let outbox = shard.get(user);
        if let Some(outbox) = outbox {
            let _ = outbox.try_send(text);
        }
        outbox.is_some()
    }

    fn shard(&self, user: &str) -> MutexGuard<'_, Users> {
        let at = self.hasher.hash_one(user) as usize % SHARDS;
        self.shards[at].lock().expect("nobody panics with it")
    }
}
