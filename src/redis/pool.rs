//! What the pool holds, and what makes it let go of it.
//!
//! bb8-redis takes every connection for a good one for as long as it lives: after a restart of
//! Redis each command on it fails, and after a failover each is answered READONLY, for half an
//! hour. So the errors that cost the hot connection its place cost a pooled one its too.

use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use redis::{RedisError, Value, aio::MultiplexedConnection};

use super::{
    Fault,
    link::{require_primary, wants_new_connection},
    node::Order,
};

/// Makes connections, to the primary only.
pub(super) struct Manager {
    dialler: RedisConnectionManager,
    command_timeout: Duration,
}

/// A pooled connection.
pub(super) struct Pooled {
    connection: MultiplexedConnection,
    is_broken: bool,
}

impl Manager {
    pub(super) fn new(dialler: RedisConnectionManager, command_timeout: Duration) -> Self {
        Self { dialler, command_timeout }
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Pooled;
    type Error = RedisError;

    async fn connect(&self) -> Result<Pooled, RedisError> {
        let mut connection = self.dialler.connect().await?;
        connection.set_response_timeout(self.command_timeout);
        require_primary(&mut connection).await?;
        Ok(Pooled { connection, is_broken: false })
    }

    async fn is_valid(&self, pooled: &mut Pooled) -> Result<(), RedisError> {
        self.dialler.is_valid(&mut pooled.connection).await
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        pooled.is_broken
    }
}

impl Pooled {
    /// Carries an order out; the pool throws the connection away if the answer says that another
    /// one would do better.
    pub(super) async fn run(&mut self, order: &Order<'_>) -> Result<Value, Fault> {
        let answer = order.run(&mut self.connection, false).await;
        if let Err(Fault::Failed(error)) = &answer {
            self.is_broken |= wants_new_connection(error);
        }
        answer
    }
}
