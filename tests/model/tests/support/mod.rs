//! How an exploration is run, and what it must have seen.

use std::{
    fs,
    time::{Duration, Instant},
};

use stateright::{Checker, HasDiscoveries, Model};
use wsfleetd_model::{
    explore::Explored,
    ids::{InstanceId, User},
    properties::seen,
    rules::{Bounds, Bug},
};

/// A wide exploration ends at so many distinct states, or after so long.
const WIDE_STATES: usize = 10_000_000;
const WIDE_TIME: Duration = Duration::from_secs(600);

/// A process that needs more memory fails: the machine is others' too.
const MOST_MEMORY: u64 = 4 << 30;

/// One exploration of everything within bounds.
pub struct Exploration {
    name: String,
    model: Explored,
    must_see: Vec<&'static str>,
}

impl Exploration {
    /// Of all states within `bounds`.
    pub fn new(name: &str, bounds: Bounds) -> Self {
        let (model, must_see) = (Explored::new(bounds), vec![seen::QUIET]);
        Self { name: name.to_owned(), model, must_see }
    }

    /// What must happen, or nothing was explored.
    pub fn sees(mut self, these: &[&'static str]) -> Self {
        self.must_see.extend(these);
        self
    }

    /// With a bug.
    pub fn with(mut self, bug: Bug) -> Self {
        self.model.rules.bug = Some(bug);
        self
    }

    /// Explores, prints what was counted, and fails for what is broken or was not seen.
    pub fn run(self) {
        let start = Instant::now();
        let checker = self.model.checker().finish_when(HasDiscoveries::AnyFailures);
        // Depth first: what waits to be looked at is little, and so is the memory.
        let checker = checker.threads(threads()).spawn_dfs().join();
        report(&self.name, &self.must_see, &checker, start);
    }

    /// Explores as far as time and memory allow, and says which bound was met.
    pub fn run_wide(self) {
        let start = Instant::now();
        let checker = self.model.checker().finish_when(HasDiscoveries::AnyFailures);
        let checker = checker.threads(threads()).spawn_dfs();
        let bound = loop {
            if checker.unique_state_count() >= WIDE_STATES {
                break "as many states as asked for";
            } else if checker.is_done() {
                break "everything, or a failure";
            } else if start.elapsed() > WIDE_TIME {
                break "the time";
            }
            let used = resident();
            assert!(used < MOST_MEMORY, "{used} bytes at {} states", checker.unique_state_count());
            std::thread::sleep(Duration::from_millis(200));
        };
        // The threads end with the process: what they find from here on is not waited for.
        report(&self.name, &self.must_see, &checker, start);
        println!("  bound met: {bound}; {} MiB resident", resident() >> 20);
    }
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn report(name: &str, must_see: &[&str], checker: &impl Checker<Explored>, start: Instant) {
    let (distinct, steps) = (checker.unique_state_count(), checker.state_count());
    let depth = checker.max_depth() - 1;
    println!("{name}: {distinct} states, {steps} steps, depth {depth}, {:.1?}", start.elapsed());
    assert!(distinct > 1, "{name}: nothing was explored");
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        if !property.expectation.discovery_is_failure() {
            let is_missing = must_see.contains(&property.name) && found.is_none();
            assert!(!is_missing, "{name}: never: {}", property.name);
        } else if let Some(path) = found {
            let last = format!("{:#?}", path.last_state());
            path.into_actions().iter().for_each(|action| println!("    {action:?}"));
            panic!("{name}: not *{}*:\n{last}", property.name);
        }
    }
}

/// Where every connection is a device of its own.
pub fn classic(instances: u32, users: u32, devices: u32, messages: u32) -> Bounds {
    let messages = (0..messages).map(|mid| (InstanceId(0), User(mid % users))).collect();
    Bounds { messages, ..Bounds::new(instances, users, devices) }
}

/// Where devices keep their names.
pub fn fleet_v1(instances: u32, users: u32, devices: u32, messages: u32) -> Bounds {
    Bounds { stable_devices: true, ..classic(instances, users, devices, messages) }
}

/// What takes minutes.
pub fn larger() -> Vec<Exploration> {
    vec![
        Exploration::new(
            "two messages, one move",
            Bounds { connects: 2, closes: 1, ..classic(2, 1, 1, 2) },
        )
        .sees(&[seen::HAND_OVER, seen::STALE_ROUTE, seen::ALSO_OWNED]),
        Exploration::new(
            "two messages, one move elsewhere",
            Bounds { connects: 2, closes: 1, apart: true, ..classic(3, 1, 1, 2) },
        )
        .sees(&[seen::HAND_OVER, seen::STALE_ROUTE, seen::ALSO_OWNED, seen::WAIT]),
        Exploration::new(
            "a way that is old, one comes back there",
            Bounds { connects: 3, closes: 1, confirms: true, ..classic(3, 1, 1, 1) },
        )
        .sees(&[seen::STALE_ROUTE, seen::ALSO_OWNED]),
        Exploration::new(
            "three connects, one closed, one message",
            Bounds { connects: 3, closes: 1, ..classic(2, 1, 1, 1) },
        ),
        Exploration::new(
            "two close elsewhere, one message",
            Bounds { connects: 2, closes: 2, apart: true, ..classic(3, 1, 1, 1) },
        ),
        Exploration::new(
            "two close, one message",
            Bounds { connects: 2, closes: 2, ..classic(2, 1, 1, 1) },
        ),
        Exploration::new(
            "a pause, two connects, one closed",
            Bounds { connects: 2, closes: 1, pauses: 1, ..classic(2, 1, 1, 0) },
        )
        .sees(&[seen::FENCE, seen::REAP, seen::LATE_WRITE]),
        Exploration::new(
            "a cut, two connects, one closed",
            Bounds { connects: 2, closes: 1, cuts: 1, ..classic(2, 1, 1, 0) },
        )
        .sees(&[seen::FENCE, seen::REGISTERED_AGAIN]),
        Exploration::new(
            "somebody slow is suspected",
            Bounds { connects: 2, closes: 1, false_suspicion: true, ..classic(2, 1, 1, 0) },
        )
        .sees(&[seen::FENCE, seen::REAP]),
    ]
}

/// Three instances, two users with two devices, three messages, up to two faults of any kind.
pub fn goal() -> Exploration {
    let bounds = Bounds {
        connects: 2,
        closes: 2,
        crashes: 1,
        pauses: 1,
        cuts: 1,
        flushes: 1,
        faults: 2,
        ..classic(3, 2, 2, 3)
    };
    let mut goal = Exploration::new("three instances", bounds);
    goal.must_see.clear();
    goal
}
