//! The pool's connections, thrown away once they are found unfit.
//!
//! bb8-redis takes every connection for sound (its `has_broken` is always false) and a check on
//! the way out would cost a PING each time: after a restart of Redis the pool would hand out dead
//! connections for ever. So each remembers whether a command has failed on it.

use bb8_redis::RedisConnectionManager;
use redis::{Client, RedisError, aio::MultiplexedConnection};

/// Makes and judges pooled connections.
#[derive(Debug)]
pub struct Manager(RedisConnectionManager);

/// A pooled connection.
#[derive(Debug)]
pub struct Pooled {
    /// To send commands over.
    pub connection: MultiplexedConnection,
    /// Set by whoever finds that another connection would do better.
    pub is_unfit: bool,
}

impl Manager {
    /// Connects as `client` does.
    pub fn new(client: &Client) -> Result<Self, RedisError> {
        RedisConnectionManager::new(client.get_connection_info().clone()).map(Self)
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Pooled;
    type Error = RedisError;

    async fn connect(&self) -> Result<Pooled, RedisError> {
        Ok(Pooled { connection: self.0.connect().await?, is_unfit: false })
    }

    async fn is_valid(&self, pooled: &mut Pooled) -> Result<(), RedisError> {
        self.0.is_valid(&mut pooled.connection).await
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        pooled.is_unfit
    }
}
