//! A Lua script by its digest, sent in full only when Redis does not know it.

use redis::{Cmd, ErrorKind, ServerErrorKind, Value, aio::ConnectionLike};

use super::{Fault, node::send};

/// A script and its SHA-1.
pub struct Script {
    source: &'static str,
    digest: String,
}

impl Script {
    /// From its source text.
    pub fn new(source: &'static str) -> Self {
        Self { source, digest: redis::Script::new(source).get_hash().to_owned() }
    }

    /// Runs it: by digest, and once more in full if Redis has been restarted or flushed since.
    pub(super) async fn run(
        &self,
        connection: &mut impl ConnectionLike,
        keys: &[String],
        args: &[&[u8]],
        asking: bool,
    ) -> Result<Value, Fault> {
        let known = self.command("EVALSHA", &self.digest, keys, args);
        match send(&known, connection, asking).await {
            Err(error) if is_unknown_script(&error) => {
                let whole = self.command("EVAL", self.source, keys, args);
                Ok(send(&whole, connection, asking).await?)
            }
            answer => Ok(answer?),
        }
    }

    fn command(&self, name: &str, body: &str, keys: &[String], args: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(body).arg(keys.len()).arg(keys);
        for arg in args {
            command.arg(arg);
        }
        command
    }
}

fn is_unknown_script(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
