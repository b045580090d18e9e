//! What Redis is asked, in the order in which it does it: MONITOR on a connection of its own.
//!
//! Where another server takes over, or the same comes back, a part of the recording ends and another
//! begins. Both places are commands that Redis does, so that each part is whole: a mark behind which
//! the server does nothing more of its own accord, and a look at what it holds before it does anything.

use std::{
    collections::{BTreeSet, HashMap},
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use wsfleetd_model::trace::{LocalEvent, Loss, Snapshot, Step, script_name, source, steps};

use super::{fleet::TestFleet, redis::RedisServer};

/// How long the last command may take to be seen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Behind this nothing more belongs to a part.
const MARK: &str = "the end of this part";

/// What stands in Redis, in one step, so that it has a place in the recording.
const SNAPSHOT: &str = r"-- snapshot: everything about ownership, a line for each field.
local all = {}
local function say(...) all[#all + 1] = table.concat({ ... }, ' ') end
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'hash' then
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do say(key, fields[i], fields[i + 1]) end
  elseif string.match(key, '}:r:') then
    say(key, redis.call('PTTL', key), redis.call('GET', key))
  elseif string.match(key, '}:q:') then
    for n, entry in ipairs(redis.call('LRANGE', key, 0, -1)) do
      say(key, n, string.match(entry, '^%d+ %d+ %S+'))
    end
  end
end
return all";

/// A recording under way.
pub struct Recorder {
    lines: Arc<Mutex<Vec<String>>>,
    connection: TcpStream,
    /// What the server held when it took over or came back, and what it may have lost.
    first: Option<(Loss, Snapshot)>,
    /// Whose replica it is since the mark.
    follows: Option<u16>,
}

/// One that has ended.
#[derive(Clone)]
pub struct Recording {
    /// What Redis did.
    pub steps: Vec<Step>,
    /// What the daemons said.
    pub locals: Vec<LocalEvent>,
    /// What stood in Redis at the end.
    pub snapshot: Snapshot,
}

/// What Redis was seen to do, one server after another; not looked at yet.
pub struct Tape {
    servers: Vec<Recorder>,
    /// What stood in the last of them at the end.
    snapshot: Snapshot,
}

impl Recorder {
    /// Records from now on.
    pub fn start(port: u16) -> Self {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("Redis is up");
        connection.write_all(b"MONITOR\r\n").expect("ask for the record");
        let mut reader = BufReader::new(connection.try_clone().expect("a socket"));
        let mut answer = String::new();
        reader.read_line(&mut answer).expect("an answer");
        assert_eq!(answer, "+OK\r\n");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = lines.clone();
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                into.lock().expect("the record").push(line);
            }
        });
        Self { lines, connection, first: None, follows: None }
    }

    /// Records a server that has come back, before anybody else can ask it anything.
    pub fn resume(redis: &RedisServer, loss: Loss) -> Self {
        let mut recorder = Self::start(redis.port());
        recorder.first = Some((loss, recorder.snapshot(redis)));
        recorder
    }

    /// A replica becomes the primary, and is recorded from that moment on.
    pub fn promote(replica: &RedisServer) -> Self {
        let mut recorder = Self::start(replica.port());
        let answers = replica.at_once(&[&["REPLICAOF", "NO", "ONE"], &["EVAL", SNAPSHOT, "0"]]);
        recorder.wait_for("-- snapshot: ");
        recorder.first = Some((Loss::TheLatest, answers.into_iter().skip(1).collect()));
        recorder
    }

    /// The server does nothing more.
    pub fn end(&self, redis: &RedisServer) {
        redis.at_once(&[&["ECHO", MARK], &["CLIENT", "PAUSE", "600000", "ALL"]]);
        self.wait_for(MARK);
    }

    /// The server does only what its new primary says, and passes on what whoever has stayed publishes.
    pub fn end_behind(&mut self, redis: &RedisServer, primary: &RedisServer) {
        let port = primary.port();
        let follow = ["REPLICAOF", "127.0.0.1", &port.to_string()];
        redis.at_once(&[&["ECHO", MARK], &follow]);
        self.wait_for(MARK);
        self.follows = Some(port);
    }

    /// Records no more, if this is the server at that port.
    pub fn stop_if_at(&self, port: u16) {
        if self.connection.peer_addr().is_ok_and(|address| address.port() == port) {
            self.stop();
        }
    }

    fn stop(&self) {
        let _ = self.connection.shutdown(std::net::Shutdown::Both);
    }

    /// Lines so far.
    pub fn len(&self) -> usize {
        self.lines.lock().expect("the record").len()
    }

    /// Ends it: what was done, what was said, and how it stands.
    pub fn finish(self, fleet: &TestFleet) -> Recording {
        Tape::of(vec![self], &fleet.redis).read(&fleet.redis, &fleet.logs())
    }

    fn snapshot(&self, redis: &RedisServer) -> Snapshot {
        let lines = redis.ask(&["EVAL", SNAPSHOT, "0"]);
        self.wait_for("-- snapshot: ");
        lines.lines().map(str::to_owned).collect()
    }

    fn wait_for(&self, words: &str) {
        let start = Instant::now();
        let has_it = || self.lines.lock().expect("the record").iter().any(|l| l.contains(words));
        while !has_it() {
            assert!(start.elapsed() < PATIENCE, "{words:?} is not in the record");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Tape {
    /// Ends it at this place; `redis` is the last of the servers.
    pub fn of(servers: Vec<Recorder>, redis: &RedisServer) -> Self {
        let snapshot = servers.last().expect("a server was recorded").snapshot(redis);
        servers.iter().for_each(Recorder::stop);
        Self { servers, snapshot }
    }

    /// As steps; `redis` knows the scripts' digests, and `logs` are what the daemons said.
    pub fn read(self, redis: &RedisServer, logs: &[String]) -> Recording {
        let lines: Vec<_> = self.servers.iter().map(Recorder::take).collect();
        let digests = digests(&lines.concat(), redis);
        let (mut all, mut aside) = (Vec::new(), Vec::new());
        for (recorder, mut lines) in self.servers.into_iter().zip(lines) {
            let end = lines.iter().position(|line| line.contains(MARK)).unwrap_or(lines.len());
            let behind = lines.split_off(end);
            let passed_on = behind.into_iter().filter(|line| !recorder.is_of_its_primary(line));
            let passed_on = steps(&passed_on.collect::<Vec<_>>(), &digests);
            aside.extend(passed_on.iter().flat_map(Step::publishes));
            all.extend(recorder.part(steps(&lines, &digests)));
        }
        let locals = logs.iter().filter_map(|line| LocalEvent::parse(line)).collect();
        Recording { steps: merged(all, aside), locals, snapshot: self.snapshot }
    }
}

impl Recorder {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().expect("the record"))
    }

    /// Behind what the server held at first, and up to the last look at what it held.
    fn part(self, mut all: Vec<Step>) -> Vec<Step> {
        if let Some((loss, holds)) = self.first {
            let first = all.iter().position(is_snapshot).expect("it was looked at");
            let at = all[first].at;
            all.splice(..=first, [Step::switch(at, loss, holds)]);
        }
        let end = all.iter().position(is_snapshot).unwrap_or(all.len());
        all.truncate(end);
        all
    }

    fn is_of_its_primary(&self, line: &str) -> bool {
        self.follows.is_some_and(|port| line.contains(&format!(" 127.0.0.1:{port}] ")))
    }
}

fn is_snapshot(step: &Step) -> bool {
    step.name == "snapshot"
}

/// All servers have one clock: the machine's.
fn merged(all: Vec<Step>, mut aside: Vec<Step>) -> Vec<Step> {
    aside.sort_by_key(|step| step.at);
    let (mut merged, mut aside) = (Vec::new(), aside.into_iter().peekable());
    for step in all {
        merged.extend(std::iter::from_fn(|| aside.next_if(|other| other.at <= step.at)));
        merged.push(step);
    }
    merged.extend(aside);
    merged
}

/// Which script is called by which digest: each was sent in full at least once.
fn digests(lines: &[String], redis: &RedisServer) -> HashMap<String, String> {
    let all: BTreeSet<String> = lines.iter().filter_map(|line| source(line)).collect();
    let named = all.iter().filter_map(|source| {
        let name = script_name(source)?.to_owned();
        Some((redis.ask(&["SCRIPT", "LOAD", source]), name))
    });
    named.collect()
}
