//! The instances, each behind a line of its own, and the one or two Redises behind them.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    actor::{Seat, Seats},
    replay::Recorded,
    timeline::Timeline,
};
use crate::support::{
    fleet::{PATIENCE, eventually, get},
    instance::Instance,
    proxy::{Meddler, Proxy},
    redis::RedisServer,
};

/// How a fleet is set up.
#[derive(Clone)]
pub struct Settings {
    /// Instances.
    pub size: usize,
    /// More sections of configuration (not `[redis]`).
    pub config: String,
    /// Variables for every instance; `{n}` stands for the number of its start.
    pub variables: Vec<(String, String)>,
    /// Variables for Redis.
    pub redis_variables: Vec<(String, String)>,
    /// Whether Redis writes to disk, so that a restart keeps what it knew.
    pub is_durable: bool,
    /// Whether a replica stands beside the primary.
    pub has_replica: bool,
    /// What stands on every line from the start.
    pub meddler: Option<Arc<dyn Meddler>>,
    /// The detector's figures: how long an instance must be silent to be suspect.
    pub suspect: Duration,
    /// Where logs, and every command that Redis does, are kept.
    pub record: Option<PathBuf>,
    /// Whether what Redis does is replayed by the model.
    pub is_replayed: bool,
}

impl Settings {
    /// So many instances with the default settings.
    pub fn of(size: usize) -> Self {
        Self {
            size,
            config: String::new(),
            variables: Vec::new(),
            redis_variables: Vec::new(),
            is_durable: false,
            has_replica: false,
            meddler: None,
            suspect: Duration::from_millis(1350) * 4,
            record: None,
            is_replayed: false,
        }
    }

    /// The same with a detector three times as fast, for stories that are not about its figures.
    pub fn hasty(size: usize) -> Self {
        let config = "[fleet]\nheartbeat = \"500ms\"\nsuspect_rounds = 4\nlease = \"1600ms\"\n";
        let suspect = Duration::from_millis(450) * 4;
        Self { config: config.to_owned(), suspect, ..Self::of(size) }
    }
}

/// One instance and its line to Redis.
pub struct Node {
    /// The number of its start, from 0.
    pub number: usize,
    /// The process.
    pub instance: Instance,
    /// Its line.
    pub line: Proxy,
}

/// The fleet.
pub struct Fleet {
    pub(super) nodes: Vec<Node>,
    pub(super) servers: Vec<RedisServer>,
    pub(super) primary: usize,
    pub(super) settings: Settings,
    pub(super) timeline: Arc<Timeline>,
    pub(super) seats: Seats,
    /// Where the primary is, for who watches it.
    pub(super) port: watch::Sender<u16>,
    started: usize,
    monitors: Vec<Option<Child>>,
    pub(super) recorded: Recorded,
}

impl Fleet {
    /// Starts all, and waits until all are ready.
    pub async fn start(settings: Settings, timeline: Arc<Timeline>) -> Self {
        let mut servers = vec![server(&settings)];
        if settings.has_replica {
            servers.push(server(&settings));
            servers[1].follow(&servers[0]);
        }
        let port = watch::Sender::new(servers[0].port());
        let recorded = Recorded::over(&servers[0], settings.is_replayed);
        let mut fleet = Self {
            nodes: Vec::new(),
            monitors: servers.iter().map(|_| None).collect(),
            servers,
            primary: 0,
            timeline,
            seats: Seats::default(),
            port,
            started: 0,
            recorded,
            settings,
        };
        (0..fleet.servers.len()).for_each(|at| fleet.monitor(at));
        for at in 0..fleet.settings.size {
            let node = fleet.launch();
            fleet.nodes.push(node);
            fleet.offer(at);
        }
        for at in 0..fleet.settings.size {
            fleet.settle(at).await;
        }
        fleet
    }

    /// The instance at a place.
    pub fn instance(&self, at: usize) -> &Instance {
        &self.nodes[at].instance
    }

    /// The present primary.
    pub fn redis(&self) -> &RedisServer {
        &self.servers[self.primary]
    }

    /// The members' epochs, in order.
    pub fn epochs(&self) -> Vec<String> {
        let epochs = self.redis().ask(&["HKEYS", "wsfleetd:{m}:hb"]);
        let mut epochs: Vec<_> = epochs.lines().map(str::to_owned).collect();
        epochs.sort();
        epochs
    }

    /// Waits until an instance is ready.
    pub(super) async fn settle(&self, at: usize) {
        eventually("the instance is ready", PATIENCE, async || {
            get(self.instance(at).admin(), "/readyz").await.0 == 200
        })
        .await;
    }

    /// Starts an instance of the next number, behind a line of its own.
    pub(super) fn launch(&mut self) -> Node {
        let number = self.started;
        self.started += 1;
        let line = Proxy::to_port(self.redis().port());
        if let Some(meddler) = &self.settings.meddler {
            line.meddle(meddler.clone());
        }
        let config = format!("[redis]\nurl = \"{}\"\n{}", line.url(), self.settings.config);
        let own = |text: &str| text.replace("{n}", &number.to_string());
        let variables = self.settings.variables.iter();
        let variables: Vec<_> = variables.map(|(name, text)| (name.as_str(), own(text))).collect();
        let variables: Vec<_> = variables.iter().map(|(name, text)| (*name, &text[..])).collect();
        let instance = Instance::start_in(&variables, &config);
        Node { number, instance, line }
    }

    /// Clients may choose the instance at a place.
    pub(super) fn offer(&self, at: usize) {
        let node = &self.nodes[at];
        let (instance, address) = (node.number, node.instance.app());
        self.seats.put(at, Seat { instance, address, is_open: true });
    }

    /// Writes down every command that a server does from now on.
    pub(super) fn monitor(&mut self, at: usize) {
        let Some(record) = &self.settings.record else { return };
        let path = record.join(format!("redis-{at}.monitor"));
        let file = std::fs::File::options().create(true).append(true).open(path);
        let port = self.servers[at].port().to_string();
        let monitor = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port, "MONITOR"])
            .stdin(Stdio::null())
            .stdout(file.expect("a file for the record"))
            .stderr(Stdio::null())
            .spawn();
        if let Some(mut old) = self.monitors[at].replace(monitor.expect("redis-cli runs")) {
            let _ = (old.kill(), old.wait());
        }
    }

    /// Keeps what an instance has logged that has ended.
    pub(super) fn keep_last_log(&mut self, at: usize) {
        self.keep_log(at);
        let log = self.instance(at).log();
        self.recorded.keep(&log);
    }

    fn keep_log(&self, at: usize) {
        let Some(record) = &self.settings.record else { return };
        let node = &self.nodes[at];
        let path = record.join(format!("instance-{}.log", node.number));
        std::fs::write(path, node.instance.log()).expect("write the record");
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|at| self.keep_log(at));
        for monitor in self.monitors.iter_mut().flatten() {
            let _ = (monitor.kill(), monitor.wait());
        }
    }
}

fn server(settings: &Settings) -> RedisServer {
    let mut arguments = vec!["--repl-diskless-sync-delay", "0"];
    if settings.is_durable {
        arguments.extend(["--appendonly", "yes"]);
    }
    RedisServer::with_environment(&arguments, &settings.redis_variables)
}
