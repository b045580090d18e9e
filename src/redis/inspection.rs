//! A look at a server over a connection of its own, for who wants to know what is wrong with it.
//!
//! Takes any server that answers: what the daemon would refuse to work with is what is looked for.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection};

use super::Redis;
use crate::{clock, ids::Epoch};

/// What the daemon runs with one key, its scripts included. The README's user may do this, and
/// `tests/suite/acl.rs` compares.
pub const KEY_COMMANDS: [&str; 24] = [
    "exists", "expire", "get", "getdel", "hdel", "hexists", "hget", "hgetall", "hincrby", "hkeys",
    "hlen", "hscan", "hset", "hsetnx", "hvals", "lindex", "llen", "lpop", "lrange", "rpush", "set",
    "evalsha", "eval", "time",
];

/// What it runs without one.
pub const OTHER_COMMANDS: [&str; 5] = ["ping", "info", "role", "client|id", "client|kill"];

/// What it runs with a channel.
pub const CHANNEL_COMMANDS: [&str; 2] = ["publish", "subscribe"];

/// Beside these in a cluster.
pub const CLUSTER_COMMANDS: [&str; 4] = ["spublish", "ssubscribe", "cluster|slots", "asking"];

/// Asks Redis itself about each command, and runs none. Every ARGV is a command's words, parted by
/// spaces; answers those that are refused.
const MAY: &str = "
if not redis.acl_check_cmd then return {} end
local refused = {}
for _, line in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(line, '%S+') do words[#words + 1] = word end
  local known, may = pcall(redis.acl_check_cmd, unpack(words))
  if known and not may then refused[#refused + 1] = line end
end
return refused";

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NotInspected {
    /// It knows us, or does not, and does not let us.
    #[error("{0}")]
    Refused(String),
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
}

impl From<RedisError> for NotInspected {
    fn from(error: RedisError) -> Self {
        let refusals = ["NOAUTH", "WRONGPASS", "NOPERM"];
        let is_login = error.kind() == redis::ErrorKind::AuthenticationFailed;
        if is_login || error.code().is_some_and(|code| refusals.contains(&code)) {
            return Self::Refused(error.to_string());
        }
        Self::Unreachable(error.to_string())
    }
}

/// What a server says of itself.
#[derive(Clone, Debug, Default)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// The value of a field; empty: it has none.
    pub fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    /// The same as a number.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.get(field).parse().ok()
    }

    /// The fields whose names begin so, and their values.
    pub fn all(&self, beginning: &str) -> impl Iterator<Item = (&str, &str)> {
        let found = self.0.iter().filter(move |(name, _)| name.starts_with(beginning));
        found.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// An open connection to a server; cheap to clone.
#[derive(Clone)]
pub struct Inspection {
    connection: MultiplexedConnection,
    redis: Redis,
}

impl Redis {
    /// Host and port of `redis.url`, without the login.
    pub fn address(&self) -> String {
        self.dialler.info().addr().to_string()
    }

    /// Connects to the server of `redis.url`, whatever it is; each command is bounded by `limit`.
    ///
    /// # Errors
    /// It cannot be reached, or does not take the login.
    pub async fn inspect(&self, limit: Duration) -> Result<Inspection, NotInspected> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.dialler.connect_timeout.min(limit)))
            .set_response_timeout(Some(limit));
        let client = Client::open(self.dialler.info().clone())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // Without a login the first command is refused, not the connection.
        redis::cmd("PING").query_async::<String>(&mut connection).await?;
        Ok(Inspection { connection, redis: self.clone() })
    }
}

impl Inspection {
    /// One PING there and back.
    pub async fn ping(&mut self) -> Result<(), NotInspected> {
        redis::cmd("PING").query_async::<String>(&mut self.connection).await?;
        Ok(())
    }

    /// What `INFO` says.
    pub async fn info(&mut self) -> Result<Info, NotInspected> {
        let text: String = redis::cmd("INFO").query_async(&mut self.connection).await?;
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Ok(Info(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    /// A parameter of the server; `None` where it may not be asked, as in ElastiCache.
    pub async fn parameter(&mut self, name: &str) -> Option<String> {
        let mut ask = redis::cmd("CONFIG");
        let answer: RedisResult<Vec<String>> =
            ask.arg("GET").arg(name).query_async(&mut self.connection).await;
        answer.ok()?.into_iter().nth(1)
    }

    /// By how much the server's clock is before ours, in seconds, to half the round trip.
    pub async fn clock_offset(&mut self) -> Result<f64, NotInspected> {
        let before = clock::now();
        let (seconds, micros): (u64, u64) =
            redis::cmd("TIME").query_async(&mut self.connection).await?;
        let theirs = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Ok(clock::offset(before, clock::now(), theirs + Duration::from_micros(micros)))
    }

    /// What the daemon needs and this login may not do, on the keys and channels of the fleet.
    pub async fn refused(&mut self) -> Result<Vec<String>, NotInspected> {
        let keys = self.redis.keys();
        let (key, channel) = (keys.member("doctor"), keys.inbox(0, Epoch::random()));
        let mut wanted: Vec<String> = Vec::new();
        for command in KEY_COMMANDS {
            wanted.push(match command {
                "eval" | "evalsha" => format!("{command} script 1 {key}"),
                "time" => command.to_owned(),
                _ => format!("{command} {key}"),
            });
        }
        wanted.extend(OTHER_COMMANDS.iter().map(|command| command.replace('|', " ")));
        wanted.extend(CHANNEL_COMMANDS.iter().map(|command| match *command {
            "publish" => format!("publish {channel} x"),
            command => format!("{command} {channel}"),
        }));
        if keys.are_sharded() {
            wanted.extend([
                format!("spublish {channel} x"),
                format!("ssubscribe {channel}"),
                "cluster slots".to_owned(),
                "asking".to_owned(),
            ]);
        }
        let mut ask = redis::cmd("EVAL");
        ask.arg(MAY).arg(0).arg(&wanted);
        Ok(ask.query_async(&mut self.connection).await?)
    }
}
