//! A Redis Cluster of the test's own: its servers know each other from their first moment, for to
//! meet by gossip takes seconds.

use std::{
    fs,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{RedisServer, free_port};

/// How long the servers may take to agree that all is well: Redis itself waits two seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Slots of a cluster.
const SLOTS: usize = 16_384;

/// Primaries, each with as many replicas as asked for.
pub struct RedisCluster {
    /// The primaries first, in the order of their slots; then the replicas in the same order.
    pub servers: Vec<RedisServer>,
    primaries: usize,
}

/// What the configuration file says of one server.
struct Seat {
    id: String,
    port: u16,
    bus: u16,
    /// Whose replica it is.
    of: Option<usize>,
}

impl RedisCluster {
    /// Three primaries.
    pub fn start() -> Self {
        Self::with_replicas(0)
    }

    /// Three primaries with `replicas` each.
    pub fn with_replicas(replicas: usize) -> Self {
        let primaries = 3;
        let seats: Vec<Seat> = (0..primaries * (1 + replicas))
            .map(|at| Seat {
                id: format!("{at:040x}"),
                port: free_port(),
                bus: free_port(),
                of: (at >= primaries).then_some(at % primaries),
            })
            .collect();
        let servers = (0..seats.len()).map(|at| start_one(&seats, at, primaries)).collect();
        let cluster = Self { servers, primaries };
        cluster.wait();
        cluster
    }

    /// Any server's URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.servers[0].port())
    }

    /// Runs a command on every primary that answers; their answers.
    pub fn ask_all(&self, command: &[&str]) -> Vec<String> {
        let all = self.servers.iter();
        let primaries = all.filter(|one| one.ask(&["ROLE"]).starts_with("master"));
        primaries.map(|one| one.ask(command)).collect()
    }

    /// Runs a command on one key wherever that is.
    pub fn ask(&self, command: &[&str]) -> String {
        self.servers[0].ask(&[&["-c"], command].concat())
    }

    /// Which primary has a slot.
    pub fn owner_of(&self, slot: u16) -> usize {
        let first = |at: &usize| at * SLOTS / self.primaries;
        (0..self.primaries).rev().find(|at| first(at) <= usize::from(slot)).unwrap_or_default()
    }

    /// Begins to move a slot: its keys can be in either place from now on.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, source, target) = (slot.to_string(), id(from), id(to));
        let begun = ["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source];
        assert_eq!(self.servers[to].ask(&begun), "OK");
        let begun = ["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target];
        assert_eq!(self.servers[from].ask(&begun), "OK");
    }

    /// Moves the keys of a slot that is on its way.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize) -> usize {
        let (slot, port) = (slot.to_string(), self.servers[to].port().to_string());
        let mut moved = 0;
        loop {
            let keys = self.servers[from].ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                return moved;
            }
            moved += keys.len();
            let order = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            let answer = self.servers[from].ask(&[&order[..], &keys[..]].concat());
            assert!(answer == "OK" || answer == "NOKEY", "{answer}");
        }
    }

    /// Ends the move of a slot.
    pub fn end_move(&self, slot: u16, to: usize) {
        let (slot, target) = (slot.to_string(), id(to));
        let order = [to].into_iter().chain((0..self.primaries).filter(|at| *at != to));
        for at in order {
            let answer = self.servers[at].ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
            assert_eq!(answer, "OK");
        }
    }

    fn wait(&self) {
        let start = Instant::now();
        let is_well = |(at, one): (usize, &RedisServer)| {
            let info = one.ask(&["CLUSTER", "INFO"]);
            let in_step = at < self.primaries
                || one.ask(&["INFO", "replication"]).contains("master_link_status:up");
            info.contains("cluster_state:ok") && in_step
        };
        while !self.servers.iter().enumerate().all(is_well) {
            assert!(start.elapsed() < PATIENCE, "the cluster does not become whole");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn id(at: usize) -> String {
    format!("{at:040x}")
}

fn start_one(seats: &[Seat], at: usize, primaries: usize) -> RedisServer {
    let dir = TempDir::with_prefix("wsfleetd-redis-").expect("a temporary directory");
    let lines = seats.iter().enumerate().map(|(of, seat)| {
        let myself = if of == at { "myself," } else { "" };
        let Seat { id, port, bus, .. } = seat;
        match seat.of {
            Some(of) => format!("{id} 127.0.0.1:{port}@{bus} {myself}slave {} 0 0 {} connected\n", seats[of].id, of + 1),
            None => {
                let (first, last) = (of * SLOTS / primaries, (of + 1) * SLOTS / primaries - 1);
                format!("{id} 127.0.0.1:{port}@{bus} {myself}master - 0 0 {} connected {first}-{last}\n", of + 1)
            }
        }
    });
    let known: String = lines.chain(["vars currentEpoch 3 lastVoteEpoch 0\n".to_owned()]).collect();
    fs::write(dir.path().join("nodes.conf"), known).expect("write nodes.conf");
    let bus = seats[at].bus.to_string();
    let arguments = [
        ["--cluster-enabled", "yes"],
        ["--cluster-config-file", "nodes.conf"],
        ["--cluster-port", &bus],
        ["--cluster-announce-ip", "127.0.0.1"],
        ["--cluster-node-timeout", "2000"],
        ["--cluster-replica-validity-factor", "0"],
        ["--repl-diskless-sync-delay", "0"],
    ];
    let arguments = arguments.concat().into_iter().map(str::to_owned).collect();
    RedisServer::at(seats[at].port, dir, arguments)
}
