//! How an exploration is run, and what it must have seen.

use std::{env, time::Instant};

use stateright::{Checker, HasDiscoveries, Model};
use wsfleetd_model::{
    explore::Explored,
    ids::{InstanceId, User},
    properties::seen,
    rules::{Bounds, Bug},
};

/// With `soak` the last row of the README's table too, with a number the same to that depth.
const TIER: &str = "WSFLEETD_MODEL";

/// How far ten million states go there.
const SOAK_DEPTH: usize = 10;

/// One exploration of everything within bounds.
pub struct Exploration {
    name: String,
    model: Explored,
    must_see: Vec<&'static str>,
    depth: Option<usize>,
}

impl Exploration {
    /// Of all states within `bounds`.
    pub fn new(name: &str, bounds: Bounds) -> Self {
        let (model, must_see) = (Explored::new(bounds), vec![seen::QUIET]);
        Self { name: name.to_owned(), model, must_see, depth: None }
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

    /// No further than this many steps from the start.
    pub fn within_steps(mut self, steps: usize) -> Self {
        self.depth = Some(steps);
        self
    }

    /// Explores, prints what was counted, and fails for what is broken or was not seen.
    pub fn run(self) {
        let start = Instant::now();
        let checker = self.model.checker().finish_when(HasDiscoveries::AnyFailures);
        match self.depth {
            // Breadth first, so that the bound is a distance.
            Some(depth) => {
                let checker = checker.target_max_depth(depth + 1).threads(1).spawn_bfs().join();
                report(&self.name, &self.must_see, &checker, start);
            }
            // Depth first, which keeps little in memory.
            None => {
                let checker = checker.threads(threads()).spawn_dfs().join();
                report(&self.name, &self.must_see, &checker, start);
            }
        }
    }
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

/// What takes minutes; more of it with `WSFLEETD_MODEL=soak`.
pub fn larger() -> Vec<Exploration> {
    let mut all = vec![
        Exploration::new(
            "two messages, one move",
            Bounds { connects: 2, closes: 1, ..classic(2, 1, 1, 2) },
        )
        .sees(&[seen::HAND_OVER, seen::STALE_ROUTE, seen::ALSO_OWNED]),
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
    ];
    match env::var(TIER) {
        Ok(tier) if tier == "soak" => all.push(goal(SOAK_DEPTH)),
        Ok(depth) => all.push(goal(depth.parse().expect("`soak` or a number of steps"))),
        Err(_) => {}
    }
    all
}

/// Three instances, two users with two devices, three messages, up to two faults of any kind.
pub fn goal(depth: usize) -> Exploration {
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
    let mut goal = Exploration::new("three instances", bounds).within_steps(depth);
    goal.must_see.clear();
    goal
}
