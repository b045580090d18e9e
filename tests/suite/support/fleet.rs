//! A fleet of real daemons over a real Redis, for tests that read as stories.

use std::{
    collections::BTreeSet,
    ops::{Index, IndexMut},
    time::{Duration, Instant},
};

use super::{client::Client, instance::Instance, recorder::Recorder, redis::RedisServer};

/// Instances that share a Redis.
pub struct TestFleet {
    /// Before the Redis, so that they end first.
    instances: Vec<Instance>,
    pub redis: RedisServer,
    more: String,
    /// What ended instances have said, where it is wanted.
    said: Vec<String>,
    is_recorded: bool,
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
        let (said, is_recorded) = (Vec::new(), false);
        let fleet = Self { instances, redis, more, said, is_recorded };
        fleet.settle().await;
        fleet
    }

    /// The same, recorded from the first command on, with daemons that say what they deliver.
    pub async fn recorded(size: usize, more: &str) -> (Self, Recorder) {
        let redis = RedisServer::start();
        let recorder = Recorder::start(redis.port());
        let level = "[telemetry]\nlevel = \"info,wsfleetd=debug,wsfleetd::trace=trace\"\n";
        let more = format!("[redis]\nurl = \"{}\"\n{level}{more}", redis.url());
        let instances = (0..size).map(|_| Instance::start_in(&[], &more)).collect();
        let (said, is_recorded) = (Vec::new(), true);
        let fleet = Self { instances, redis, more, said, is_recorded };
        fleet.settle().await;
        (fleet, recorder)
    }

    /// Everything that any instance has said.
    pub fn logs(&self) -> Vec<String> {
        let now = self.instances.iter().map(Instance::log);
        now.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>())
            .chain(self.said.iter().cloned())
            .collect()
    }

    /// Adds an instance.
    pub async fn grow(&mut self) -> usize {
        let at = self.instances.len();
        self.instances.push(Instance::start(&self.more));
        self.settle_one(at).await;
        at
    }

    /// Starts a new instance in the place of one that has ended.
    pub async fn replace(&mut self, at: usize) {
        if self.is_recorded {
            self.said.extend(self.instances[at].log().lines().map(str::to_owned));
            self.instances[at] = Instance::start_in(&[], &self.more);
        } else {
            self.instances[at] = Instance::start(&self.more);
        }
        self.settle_one(at).await;
    }

    /// The same under `wrapper`: see [`Instance::start_under`].
    pub async fn replace_under(&mut self, at: usize, wrapper: &[&str]) {
        self.instances[at] = Instance::start_wrapped(wrapper, &self.more);
        self.settle_one(at).await;
    }

    /// Every instance is ready and a member.
    pub async fn settle(&self) {
        for at in 0..self.instances.len() {
            self.settle_one(at).await;
        }
    }

    /// Entries of connections in Redis, all users'.
    pub fn entries(&self) -> usize {
        self.sum("HLEN", "u:*")
    }

    /// Users that instances count as theirs; tombstones are none.
    pub fn indexed(&self) -> usize {
        let count = "local n = 0 for _, key in ipairs(redis.call('KEYS', 'wsfleetd:{w*}:o:*')) do \
                     n = n + redis.call('HLEN', key) - redis.call('HEXISTS', key, '!') end return n";
        self.redis.ask(&["EVAL", count, "0"]).parse().expect("a count")
    }

    /// Tags `@<epoch>.<number>.<since>` of all entries.
    pub fn tags(&self) -> Vec<String> {
        let tags = self.keys("u:*").into_iter().map(|key| self.redis.ask(&["HVALS", &key]));
        tags.flat_map(|tags| tags.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Epochs of the members.
    pub fn epochs(&self) -> Vec<String> {
        self.redis.ask(&["HKEYS", "wsfleetd:{m}:hb"]).lines().map(str::to_owned).collect()
    }

    /// Every entry belongs to a member.
    pub fn has_no_ghosts(&self) -> bool {
        let epochs = self.epochs();
        self.tags().iter().all(|tag| epochs.iter().any(|epoch| tag[1..].starts_with(epoch)))
    }

    /// The epochs in whose name connections are registered: one for each instance that has any.
    pub fn owners(&self) -> BTreeSet<String> {
        let tags = self.tags();
        tags.iter().filter_map(|tag| Some(tag.split_once('.')?.0.to_owned())).collect()
    }

    /// Messages that wait for someone in Redis, read ones that are kept for their number included.
    pub fn held(&self) -> usize {
        self.sum("LLEN", "q:*")
    }

    /// Keys of the users' partitions that end like this.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let keys = self.redis.ask(&["--scan", "--pattern", &format!("wsfleetd:{{w*}}:{pattern}")]);
        keys.lines().filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }

    /// Inboxes that are being listened to.
    pub fn inboxes(&self) -> usize {
        let channels = self.redis.ask(&["PUBSUB", "CHANNELS", "wsfleetd:*"]);
        channels.lines().filter(|channel| !channel.is_empty()).count()
    }

    /// Members by their heartbeats.
    pub fn members(&self) -> usize {
        self.redis.ask(&["HLEN", "wsfleetd:{m}:hb"]).parse().unwrap_or(0)
    }

    /// Connects `user` to instance `at`.
    pub async fn connect(&self, at: usize, user: &str) -> Client {
        self[at].connect(user).await
    }

    async fn settle_one(&self, at: usize) {
        eventually("the instance is ready", PATIENCE, async || {
            get(self[at].admin(), "/readyz").await.0 == 200
        })
        .await;
    }

    fn sum(&self, length: &str, pattern: &str) -> usize {
        let lengths = self.keys(pattern).into_iter().map(|key| self.redis.ask(&[length, &key]));
        lengths.map(|length| length.parse::<usize>().unwrap_or(0)).sum()
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
