//! A run as transitions of the model, from its first command to its end, over every failover and every
//! restart: one server is recorded after another, and what each holds when it takes over, before anybody
//! else can ask it anything.

use wsfleetd_model::trace::{Counts, Loss, Replay};

use super::Fleet;
use crate::support::{
    recorder::{Recorder, Recording, Tape},
    redis::RedisServer,
};

/// Commands kept in memory, some 300 bytes each; behind them the recording ends.
const MOST: usize = 1_000_000;

/// Nobody listens there.
const NOWHERE: u16 = 1;

/// What daemons must say, for the replay.
pub const TRACED: (&str, &str) =
    ("WSFLEETD__TELEMETRY__LEVEL", "info,wsfleetd=debug,wsfleetd::trace=trace");

/// The recording of a fleet.
#[derive(Default)]
pub struct Recorded {
    /// One server after another, the present primary last.
    servers: Vec<Recorder>,
    /// What the primary, which is away, will have lost.
    loss: Option<Loss>,
    /// How often another server has taken over, or the same has come back.
    switches: usize,
    /// What ended instances have said.
    said: Vec<String>,
    /// What was recorded, and up to where.
    ended: Option<(Tape, Vec<String>, &'static str)>,
}

impl Recorded {
    /// Of a fleet over this server, if it is to be replayed.
    pub(super) fn over(server: &RedisServer, is_replayed: bool) -> Self {
        let servers = is_replayed.then(|| Recorder::start(server.port()));
        Self { servers: servers.into_iter().collect(), ..Self::default() }
    }

    /// Keeps what an instance has said that has ended.
    pub(super) fn keep(&mut self, log: &str) {
        if !self.servers.is_empty() {
            self.said.extend(log.lines().map(str::to_owned));
        }
    }

    /// The server is about to be killed.
    pub(super) fn pause(&mut self, server: &RedisServer, loss: Loss) {
        if let Some(recorder) = self.servers.last() {
            recorder.end(server);
            self.loss = Some(loss);
        }
    }

    /// The server is back.
    fn resume(&mut self, server: &RedisServer) {
        if let Some(loss) = self.loss.take() {
            self.servers.push(Recorder::resume(server, loss));
            self.switches += 1;
        }
    }
}

impl Fleet {
    /// Ends the recording when there is no room for more.
    pub(super) fn bound_recording(&mut self) {
        if self.recorded.servers.iter().map(Recorder::len).sum::<usize>() > MOST {
            self.end_recording("what there is room for");
        }
    }

    /// Starts the primary again; nobody finds it before it is recorded.
    pub(super) fn resume(&mut self) {
        let port = self.redis().port();
        self.nodes.iter().for_each(|node| node.line.lead_to(NOWHERE));
        self.servers[self.primary].start_again();
        self.recorded.resume(&self.servers[self.primary]);
        self.nodes.iter().for_each(|node| node.line.lead_to(port));
    }

    /// The replica stops following: from now on it holds what it holds.
    pub(super) fn promote(&mut self, new: usize) {
        let replica = &self.servers[new];
        if self.recorded.servers.is_empty() {
            replica.ask(&["REPLICAOF", "NO", "ONE"]);
            return;
        }
        let promoted = Recorder::promote(replica);
        // Whoever has stayed there was recorded while it was a replica.
        self.recorded.servers.iter().for_each(|one| one.stop_if_at(replica.port()));
        self.recorded.servers.push(promoted);
        self.recorded.switches += 1;
    }

    /// The primary of old becomes the replica of the new one.
    pub(super) fn demote(&mut self, old: usize, new: usize) {
        let (old, new) = (&self.servers[old], &self.servers[new]);
        match self.recorded.servers.as_mut_slice() {
            [.., before, _] => before.end_behind(old, new),
            _ => old.follow(new),
        }
    }

    fn end_recording(&mut self, up_to: &'static str) {
        if self.recorded.servers.is_empty() {
            return;
        }
        // What is said later may have been caused by what is not recorded any more.
        let mut logs = std::mem::take(&mut self.recorded.said);
        for node in &self.nodes {
            logs.extend(node.instance.log().lines().map(str::to_owned));
        }
        let tape = Tape::of(std::mem::take(&mut self.recorded.servers), self.redis());
        self.recorded.ended = Some((tape, logs, up_to));
    }

    /// Ends the recording: as far as it goes, this is what happened.
    pub fn recording(&mut self) -> Recording {
        self.end_recording("the end");
        let (tape, logs, up_to) = self.recorded.ended.take().expect("something was recorded");
        let recording = tape.read(self.redis(), &logs);
        println!("recorded up to {up_to}");
        recording
    }

    /// The recording is one of the model's, and tells of something.
    pub fn replays(&self, recording: &Recording) -> Counts {
        let Recording { steps, locals, snapshot } = recording;
        let counts = match Replay::run(steps, locals, snapshot) {
            Ok(counts) => counts,
            Err(refused) => panic!("the model does not do this: {refused}"),
        };
        let (parts, switches) = (counts.parts(), self.recorded.switches);
        let sum: u64 = parts.iter().sum();
        println!(
            "replayed {sum} steps over {switches} failovers and restarts ({parts:?} between them), \
             and {} local ones: {counts}",
            locals.len()
        );
        for kind in ["connect", "deliver"] {
            assert!(counts.of(kind) > 0, "no {kind} was replayed");
        }
        assert_eq!(counts.of("switch"), switches as u64, "a failover or a restart is missing");
        assert!(parts.iter().all(|steps| *steps > 0), "nothing was replayed behind one of them");
        counts
    }
}
