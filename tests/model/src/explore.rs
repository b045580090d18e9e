//! What `stateright` needs to know.

use stateright::{Model, Property};

use crate::{
    action::Action,
    instance::{Phase, Status},
    properties,
    rules::{Bounds, Partitions, Rules},
    world::World,
};

/// One exploration.
#[derive(Clone, Debug)]
pub struct Explored {
    /// What holds.
    pub rules: Rules,
    /// How far it goes.
    pub bounds: Bounds,
}

impl Explored {
    /// With a partition for each user, and nothing planted.
    pub fn new(bounds: Bounds) -> Self {
        let partitions = Partitions::Modulo(bounds.users);
        let rules = Rules { confirms: bounds.confirms, ..Rules::new(partitions) };
        Self { rules, bounds }
    }

    /// The state behind a step; `None` if the step changes nothing.
    pub fn step(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.apply(&self.rules, &self.bounds, action);
        (next != *world).then_some(next)
    }

    /// Nothing that the fleet does by itself changes anything any more, and nobody is kept from
    /// doing it.
    pub fn is_quiet(&self, world: &World) -> bool {
        if !looks_quiet(world) {
            return false;
        }
        let mut next = Vec::new();
        world.from_within(&self.rules, &mut next);
        next.into_iter().all(|action| self.step(world, action).is_none())
    }
}

impl Model for Explored {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World::new(&self.bounds);
        if self.rules.confirms {
            world.settle(&self.rules);
        }
        vec![world]
    }

    fn actions(&self, world: &World, next: &mut Vec<Action>) {
        world.from_within(&self.rules, next);
        world.from_outside(&self.bounds, next);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        self.step(world, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The cheap part of the question.
fn looks_quiet(world: &World) -> bool {
    let is_calm = world.instances().all(|(_, one)| {
        let is_able = match one.status {
            Status::Running => !one.is_cut && one.joined && one.lease,
            Status::Paused | Status::Stopping => false,
            Status::Ended => true,
        };
        is_able
            && one.calls.is_empty()
            && one.waiting.is_none()
            && one.lanes.is_empty()
            && one.told.is_empty()
            && one.returns.is_empty()
            && one.kills.is_empty()
            && one.reaping.is_empty()
            && one.asserting.is_none()
            && one
                .connections
                .iter()
                .all(|(_, one)| one.phase == Phase::Open && one.queue.is_empty() && !one.ordered)
    });
    is_calm && world.peek_redis().inboxes.iter().all(|(_, inbox)| inbox.is_empty())
}
