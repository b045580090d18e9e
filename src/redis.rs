//! Redis as this daemon uses it: one pipelining connection for what is hot, a pool for what is
//! rare, and a connection of its own for the subscription.
//!
//! Three, because each has a habit the others must not share. A multiplexed connection turns
//! concurrent commands into one write, which a pool cannot (measured 7 to 12 times slower, see
//! COORDINATION §10); a pooled one may block for as long as its command likes; and a
//! subscription on a connection that also carries commands has been seen to hand one caller's
//! reply to another.

mod keys;
mod link;
mod pool;
mod script;
mod subscriber;

use std::time::Duration;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates, Value,
    io::tcp::TcpSettings,
};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

pub use self::{
    keys::Keys,
    link::{Link, LinkState},
    script::Script,
    subscriber::{Subscriber, SubscriberEvent},
};

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `redis://` or `rediss://`, with a database number if any.
    pub url: SecretString,
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
    /// Most pooled connections.
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

/// The three ways to Redis; cheap to clone.
#[derive(Clone)]
pub struct Redis {
    info: ConnectionInfo,
    ca_pem: Option<Vec<u8>>,
    link: Link,
    pool: bb8::Pool<pool::Manager>,
    keys: Keys,
    connect_timeout: Duration,
}

impl Redis {
    /// Prepares; the first connection is made by [`Redis::run`].
    pub fn new(config: Config) -> Result<Self, BadUrl> {
        let bad = |error: redis::RedisError| BadUrl(error.to_string());
        let info = connection_info(&config).map_err(bad)?;
        let client = client(info.clone(), config.ca_pem.clone()).map_err(bad)?;
        let manager = pool::Manager::new(&client).map_err(bad)?;
        let pool = bb8::Pool::builder()
            .max_size(config.pool_size)
            .connection_timeout(config.connect_timeout)
            // A PING per check-out doubles the commands and proves nothing about the next one.
            .test_on_check_out(false)
            .build_unchecked(manager);
        Ok(Self {
            info: client.get_connection_info().clone(),
            ca_pem: config.ca_pem,
            link: Link::new(client, config.connect_timeout, config.command_timeout),
            pool,
            keys: Keys::new(&config.prefix, config.partitions),
            connect_timeout: config.connect_timeout,
        })
    }

    /// Keeps the hot connection alive until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        self.link.run(stop).await;
    }

    /// The hot connection's state, and its changes.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// How keys and channels are spelled.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Runs a script on the hot connection.
    pub async fn call(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Value, Fault> {
        self.link.call(script, keys, args).await
    }

    /// The values of a hash, over the hot connection.
    pub async fn values(&self, key: &str) -> Result<Value, Fault> {
        let mut command = redis::Pipeline::with_capacity(1);
        command.cmd("HVALS").arg(key);
        let mut answers: Vec<Value> = self.link.pipeline(&command).await?;
        answers.pop().ok_or_else(|| Fault::Answer("no answer to HVALS".to_owned()))
    }

    /// Publishes each payload on its channel in one round trip; how many heard each.
    pub async fn publish(&self, batch: &[(String, Vec<u8>)]) -> Result<Vec<i64>, Fault> {
        let mut pipeline = redis::Pipeline::with_capacity(batch.len());
        for (channel, payload) in batch {
            pipeline.cmd("PUBLISH").arg(channel).arg(payload);
        }
        self.link.pipeline(&pipeline).await
    }

    /// Runs a script on a pooled connection: for what is rare, so that it cannot delay messages.
    pub async fn call_rarely(
        &self,
        script: &Script,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Value, Fault> {
        let mut pooled = self.pool.get().await.map_err(|error| match error {
            bb8::RunError::User(error) => Fault::Failed(error),
            bb8::RunError::TimedOut => Fault::Down,
        })?;
        let answer = script.run(&mut pooled.connection, keys, args).await;
        if let Err(Fault::Failed(error)) = &answer {
            pooled.is_unfit |= link::wants_new_connection(error);
        }
        answer
    }

    /// Opens the subscription to `channels`.
    pub async fn subscribe(&self, channels: &[String]) -> Result<Subscriber, Fault> {
        let dial = Subscriber::dial(&self.info, self.ca_pem.as_deref(), channels);
        match tokio::time::timeout(self.connect_timeout, dial).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Fault::Down),
        }
    }
}

fn client(info: ConnectionInfo, ca_pem: Option<Vec<u8>>) -> redis::RedisResult<Client> {
    let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if !tls || ca_pem.is_none() {
        return Client::open(info);
    }
    let settings = info.tcp_settings().clone();
    let client =
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: ca_pem })?;
    let info = client.get_connection_info().clone().set_tcp_settings(settings);
    Client::open(info)
}

fn connection_info(config: &Config) -> redis::RedisResult<ConnectionInfo> {
    let info = config.url.expose_secret().into_connection_info()?;
    let mut login =
        info.redis_settings().clone().set_lib_name("wsfleetd", env!("CARGO_PKG_VERSION"));
    if !config.username.is_empty() {
        login = login.set_username(&config.username);
    }
    if let Some(password) = &config.password {
        login = login.set_password(password.expose_secret());
    }
    Ok(info.set_redis_settings(login).set_tcp_settings(tcp_settings(config.command_timeout)))
}

/// redis-rs leaves Nagle on in 1.x; and only the kernel can tell a blackholed socket early.
fn tcp_settings(command_timeout: Duration) -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(3));
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(command_timeout * 5)
}
