//! One server: its hot connection, its pool, and where it is.

use bb8_redis::RedisConnectionManager;
use redis::{Client, Cmd, ConnectionInfo, Pipeline, RedisResult, Value, aio::ConnectionLike};

use super::{
    Fault, Script,
    dialler::{Dialler, host_of},
    link::Link,
    pool::Manager,
};

/// What a server is asked to do.
#[derive(Clone, Copy)]
pub(super) enum Order<'a> {
    /// A script over keys of one slot.
    Script { script: &'a Script, keys: &'a [String], args: &'a [&'a [u8]] },
    /// A command on one key, which stands first.
    Plain { command: &'a Cmd, key: &'a str },
}

impl Order<'_> {
    /// A key of the slot it belongs to.
    pub fn key(&self) -> &str {
        match self {
            Self::Script { keys, .. } => keys.first().map_or("", String::as_str),
            Self::Plain { key, .. } => key,
        }
    }

    /// Carries it out. `asking` tells a server that does not own the slot yet that it was asked
    /// at its owner's word.
    pub async fn run(
        &self,
        connection: &mut impl ConnectionLike,
        asking: bool,
    ) -> Result<Value, Fault> {
        match self {
            Self::Script { script, keys, args } => script.run(connection, keys, args, asking).await,
            Self::Plain { command, .. } => Ok(send(command, connection, asking).await?),
        }
    }
}

/// Sends one command, behind `ASKING` if need be.
pub(super) async fn send(
    command: &Cmd,
    connection: &mut impl ConnectionLike,
    asking: bool,
) -> RedisResult<Value> {
    if !asking {
        return command.query_async(connection).await;
    }
    let mut pair = Pipeline::with_capacity(2);
    pair.cmd("ASKING").ignore();
    pair.add_command(command.clone()).ignore_errors();
    let mut answers: Vec<Value> = pair.query_async(connection).await?;
    answers.pop().unwrap_or(Value::Nil).extract_error()
}

/// A server.
pub(super) struct Node {
    pub info: ConnectionInfo,
    pub link: Link,
    pool: bb8::Pool<Manager>,
}

impl Node {
    /// Prepares; the first connection is made by [`Link::run`], and by the first rare order.
    pub fn new(dialler: &Dialler, info: ConnectionInfo) -> RedisResult<Self> {
        let client = Client::open(info.clone())?;
        let manager =
            Manager::new(RedisConnectionManager::new(info.clone())?, dialler.command_timeout);
        let pool = bb8::Pool::builder()
            .max_size(dialler.pool_size)
            .connection_timeout(dialler.connect_timeout)
            // A PING per check-out doubles the commands and proves nothing about the next one.
            .test_on_check_out(false)
            .build_unchecked(manager);
        Ok(Self { info, link: Link::new(client, dialler), pool })
    }

    /// The host it is reached at.
    pub fn host(&self) -> &str {
        host_of(&self.info)
    }

    /// On a pooled connection, where it may take as long as it likes.
    pub async fn run_rarely(&self, order: &Order<'_>) -> Result<Value, Fault> {
        let mut connection = self.pool.get().await.map_err(|error| match error {
            bb8::RunError::User(error) => Fault::Failed(error),
            bb8::RunError::TimedOut => Fault::Down,
        })?;
        connection.run(order).await
    }
}
