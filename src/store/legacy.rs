//! The key by which the application's old back ends find a user: the name itself, holding the id
//! of the connection.
//!
//! The application set it at each log-in, without an end; the last one won. Here it ends by itself
//! when nobody says any more that it is true, for an instance that dies cannot take back its own,
//! and whoever removes it looks first whether it is still what it put there. No decision of ours
//! rests on it. It stands outside the prefix and, in a cluster, in a slot of its own, so it is
//! written by commands of its own.

use std::time::Duration;

use super::{StoreError, shared::seconds};
use crate::{
    ids::{ConnectionId, UserId},
    redis::{Redis, Script},
};

/// Sets it, whatever stands there: the last log-in wins.
const PUT: &str = "return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])";

/// Says that it is true, unless another connection's stands there.
const KEEP: &str = "
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1";

/// Removes it, unless another connection's stands there. Works when Redis is full.
const REMOVE: &str = "#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('GETDEL', KEYS[1])
return 1";

/// Writes users' legacy keys.
pub struct LegacyKeys {
    redis: Redis,
    ttl: String,
    put: Script,
    keep: Script,
    remove: Script,
}

impl LegacyKeys {
    /// Over an open [`Redis`]; a key that is not kept ends after `ttl`, at least a second.
    pub fn new(redis: Redis, ttl: Duration) -> Self {
        let (put, keep, remove) = (Script::new(PUT), Script::new(KEEP), Script::new(REMOVE));
        Self { redis, ttl: seconds(ttl), put, keep, remove }
    }

    /// Whether a user has such a key. A name that begins like our own keys could be one of them.
    pub fn has(&self, user: &UserId) -> bool {
        !self.redis.keys().is_ours(user.as_str())
    }

    /// The user has logged in with this connection.
    pub async fn put(&self, user: &UserId, id: ConnectionId) -> Result<(), StoreError> {
        self.run(&self.put, user, &[id.to_string().as_bytes(), self.ttl.as_bytes()]).await
    }

    /// The user still has this connection; a younger log-in elsewhere stands.
    pub async fn keep(&self, user: &UserId, id: ConnectionId) -> Result<(), StoreError> {
        self.run(&self.keep, user, &[id.to_string().as_bytes(), self.ttl.as_bytes()]).await
    }

    /// This connection has ended; a younger one's key stands.
    pub async fn remove(&self, user: &UserId, id: ConnectionId) -> Result<(), StoreError> {
        self.run(&self.remove, user, &[id.to_string().as_bytes()]).await
    }

    async fn run(&self, script: &Script, user: &UserId, args: &[&[u8]]) -> Result<(), StoreError> {
        self.redis.call(script, &[user.as_str().to_owned()], args).await?;
        Ok(())
    }
}
