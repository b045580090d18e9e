//! How an exploration is run, and what it must have seen.

use std::{env, time::Instant};

use stateright::{Checker, HasDiscoveries, Model};
use wsfleetd_model::{
    explore::Explored,
    ids::{InstanceId, User},
    properties::seen,
    rules::{Bounds, Bug},
};

/// With `soak` the last row of the README's table too.
const TIER: &str = "WSFLEETD_MODEL";

/// Enough to meet ten million distinct states there.
const SOAK_STEPS: usize = 50_000_000;

/// One exploration of everything within bounds.
pub struct Exploration {
    name: String,
    model: Explored,
    must_see: Vec<&'static str>,
    most: Option<usize>,
}

impl Exploration {
    /// Of all states within `bounds`.
    pub fn new(name: &str, bounds: Bounds) -> Self {
        let (model, must_see) = (Explored::new(bounds), vec![seen::QUIET]);
        Self { name: name.to_owned(), model, must_see, most: None }
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

    /// No more than about so many steps.
    pub fn up_to(mut self, steps: usize) -> Self {
        self.most = Some(steps);
        self
    }

    /// Explores, prints what was counted, and fails for what is broken or was not seen.
    pub fn run(self) {
        let start = Instant::now();
        let checker = self.model.checker().finish_when(HasDiscoveries::AnyFailures);
        let checker = self.most.into_iter().fold(checker, |one, most| one.target_state_count(most));
        // Depth first: what waits to be looked at is little, and so is the memory.
        let checker = checker.threads(threads()).spawn_dfs().join();
        report(&self.name, &self.must_see, &checker, start);
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
    if env::var(TIER).is_ok_and(|tier| tier == "soak") {
        all.push(goal());
    }
    all
}

/// Three instances, two users with two devices, three messages, up to two faults of any kind.
fn goal() -> Exploration {
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
    let mut goal = Exploration::new("three instances", bounds).up_to(SOAK_STEPS);
    goal.must_see.clear();
    goal
}
