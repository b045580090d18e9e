//! A fleet of real daemons over a real Redis, for tests that read as stories.

use std::{
    collections::BTreeSet,
    ops::{Index, IndexMut},
    time::{Duration, Instant},
};

use super::{client::Client, instance::Instance, redis::RedisServer};

/// Instances that share a Redis.
pub struct TestFleet {
    /// Before the Redis, so that they end first.
    instances: Vec<Instance>,
    pub redis: RedisServer,
    more: String,
}

impl TestFleet {
    /// `size` instances with the default settings.
    pub async fn start(size: usize) -> Self {
        Self::with_settings(size, "").await
    }

    /// `size` instances with `more` sections of configuration (not `[redis]`).
    pub async fn with_settings(size: usize, more: &str) -> Self {
        let redis = RedisServer::start();
        let more = format!("[redis]\nurl = \"{}\"\n{more}", redis.url());
        let instances = (0..size).map(|_| Instance::start(&more)).collect();
        let fleet = Self { instances, redis, more };
        fleet.settle().await;
        fleet
    }

    /// Adds an instance.
    pub async fn grow(&mut self) -> usize {
        self.instances.push(Instance::start(&self.more));
        self.settle().await;
        self.instances.len() - 1
    }

    /// Every instance is ready and a member.
    pub async fn settle(&self) {
        for instance in &self.instances {
            eventually("the instance is ready", PATIENCE, async || {
                get(instance.admin(), "/readyz").await.0 == 200
            })
            .await;
        }
    }

    /// Entries of connections in Redis, all users'.
    pub fn entries(&self) -> usize {
        let keys = self.redis.ask(&["--scan", "--pattern", "wsfleetd:{w*}:u:*"]);
        let lens = keys
            .lines()
            .filter(|key| !key.is_empty())
            .map(|key| self.redis.ask(&["HLEN", key]).parse::<usize>().expect("a length"));
        lens.sum()
    }

    /// The epochs in whose name connections are registered: one for each instance that has any.
    pub fn owners(&self) -> BTreeSet<String> {
        let keys = self.redis.ask(&["--scan", "--pattern", "wsfleetd:{w*}:u:*"]);
        let keys = keys.lines().filter(|key| !key.is_empty());
        let tags: Vec<_> = keys.map(|key| self.redis.ask(&["HVALS", key])).collect();
        let tags = tags.iter().flat_map(|tags| tags.lines());
        tags.filter_map(|tag| Some(tag.split_once('.')?.0.to_owned())).collect()
    }

    /// Messages that wait for someone in Redis, read ones that are kept for their number included.
    pub fn held(&self) -> usize {
        let keys = self.redis.ask(&["--scan", "--pattern", "wsfleetd:{w*}:q:*"]);
        let lens = keys
            .lines()
            .filter(|key| !key.is_empty())
            .map(|key| self.redis.ask(&["LLEN", key]).parse::<usize>().expect("a length"));
        lens.sum()
    }

    /// Members by their heartbeats.
    pub fn members(&self) -> usize {
        self.redis.ask(&["HLEN", "wsfleetd:{m}:hb"]).parse().unwrap_or(0)
    }

    /// Connects `user` to instance `at`.
    pub async fn connect(&self, at: usize, user: &str) -> Client {
        self[at].connect(user).await
    }
}

impl Index<usize> for TestFleet {
    type Output = Instance;

    fn index(&self, at: usize) -> &Instance {
        &self.instances[at]
    }
}

impl IndexMut<usize> for TestFleet {
    fn index_mut(&mut self, at: usize) -> &mut Instance {
        &mut self.instances[at]
    }
}

/// How long things may take that take no time.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `holds`; how long that took.
pub async fn eventually(
    what: &str,
    within: Duration,
    mut holds: impl AsyncFnMut() -> bool,
) -> Duration {
    let start = Instant::now();
    loop {
        if holds().await {
            return start.elapsed();
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One GET: status and body.
pub async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let work = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    };
    tokio::time::timeout(PATIENCE, work).await.ok().flatten().unwrap_or((0, String::new()))
}
