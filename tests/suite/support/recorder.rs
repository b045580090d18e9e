//! What Redis is asked, in the order in which it does it: MONITOR on a connection of its own.

use std::{
    collections::{BTreeSet, HashMap},
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use wsfleetd_model::trace::{LocalEvent, Snapshot, Step, script_name, steps};

use super::{fleet::TestFleet, redis::RedisServer};

/// How long the last command may take to be seen.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands in Redis, in one step, so that it has a place in the recording.
const SNAPSHOT: &str = r"-- snapshot: everything about ownership, a line for each field.
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'hash' then
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do all[#all + 1] = key .. ' ' .. fields[i] .. ' ' .. fields[i + 1] end
  end
end
return all";

/// A recording under way.
pub struct Recorder {
    lines: Arc<Mutex<Vec<String>>>,
    connection: TcpStream,
}

/// One that has ended.
pub struct Recording {
    /// What Redis did.
    pub steps: Vec<Step>,
    /// What the daemons said.
    pub locals: Vec<LocalEvent>,
    /// What stood in Redis at the end.
    pub snapshot: Snapshot,
}

/// What Redis was seen to do, not looked at yet.
pub struct Tape {
    lines: Vec<String>,
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
        Self { lines, connection }
    }

    /// Lines so far.
    pub fn len(&self) -> usize {
        self.lines.lock().expect("the record").len()
    }

    /// Ends it: what was done, what was said, and how it stands.
    pub fn finish(self, fleet: &TestFleet) -> Recording {
        self.cut(&fleet.redis).read(&fleet.redis, &fleet.logs())
    }

    /// Ends it at this place; what was recorded is looked at later.
    pub fn cut(self, redis: &RedisServer) -> Tape {
        let snapshot = self.snapshot(redis);
        let lines = std::mem::take(&mut *self.lines.lock().expect("the record"));
        let _ = self.connection.shutdown(std::net::Shutdown::Both);
        Tape { lines, snapshot }
    }

    fn snapshot(&self, redis: &RedisServer) -> Snapshot {
        let lines = redis.ask(&["EVAL", SNAPSHOT, "0"]);
        let start = Instant::now();
        let has_it =
            || self.lines.lock().expect("the record").iter().any(|l| l.contains("-- snapshot: "));
        while !has_it() {
            assert!(start.elapsed() < PATIENCE, "the snapshot is not in the record");
            std::thread::sleep(Duration::from_millis(5));
        }
        lines.lines().map(str::to_owned).collect()
    }
}

impl Tape {
    /// As steps; `redis` knows the scripts' digests, and `logs` are what the daemons said.
    pub fn read(self, redis: &RedisServer, logs: &[String]) -> Recording {
        let steps = steps(&self.lines, &digests(&self.lines, redis));
        let locals = logs.iter().filter_map(|line| LocalEvent::parse(line)).collect();
        Recording { steps, locals, snapshot: self.snapshot }
    }
}

/// Which script is called by which digest: each was sent in full at least once.
fn digests(lines: &[String], redis: &RedisServer) -> HashMap<String, String> {
    let all = steps_of_eval(lines);
    let named = all.iter().filter_map(|source| {
        let name = script_name(source)?.to_owned();
        Some((redis.ask(&["SCRIPT", "LOAD", source]), name))
    });
    named.collect()
}

fn steps_of_eval(lines: &[String]) -> BTreeSet<String> {
    lines.iter().filter_map(|line| wsfleetd_model::trace::source(line)).collect()
}
