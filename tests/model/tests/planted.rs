//! Each planted bug is found, by the property that is meant to find it, on the shortest way.

use stateright::{Checker, HasDiscoveries, Model};
use wsfleetd_model::{
    explore::Explored,
    ids::{InstanceId, User},
    properties as must,
    rules::{Bounds, Bug},
};

/// A bug, what finds it, and in how many steps.
struct Planted {
    bug: Bug,
    bounds: Bounds,
    broken: &'static str,
    steps: usize,
}

/// One user with one device on two instances, who connects twice.
fn twice() -> Bounds {
    Bounds { connects: 2, ..Bounds::new(2, 1, 1) }
}

/// The same, where the device keeps its name.
fn same_device() -> Bounds {
    Bounds { stable_devices: true, ..twice() }
}

/// The same, on instances from which nothing is sent.
fn moves_elsewhere() -> Bounds {
    Bounds { connects: 2, closes: 1, apart: true, ..Bounds::new(3, 1, 1) }
}

fn with_messages(bounds: Bounds, count: usize) -> Bounds {
    Bounds { messages: vec![(InstanceId(0), User(0)); count], ..bounds }
}

fn planted(bug: Bug) -> Planted {
    let (bounds, broken, steps) = match bug {
        Bug::ReleaseWithoutCompare => {
            (Bounds { closes: 1, ..same_device() }, must::WRONG_RELEASE, 12)
        }
        Bug::NoTombstone => (Bounds { pauses: 1, ..Bounds::new(2, 1, 1) }, must::LATE_WRITE, 16),
        Bug::ReapBeforeFence => {
            (Bounds { pauses: 1, ..Bounds::new(2, 1, 1) }, must::LATE_WRITE, 13)
        }
        Bug::NoDisplacement => (same_device(), must::ONE_OWNER, 10),
        Bug::ReassertDisplacesYounger => (Bounds { pauses: 1, ..same_device() }, must::YOUNGER, 8),
        Bug::KillWithoutCompare => {
            (Bounds { false_suspicion: true, ..Bounds::new(2, 1, 1) }, must::KILLED, 11)
        }
        Bug::JoinReusesEpoch => (Bounds { pauses: 1, ..Bounds::new(2, 1, 1) }, must::KNOWN, 13),
        Bug::FencedGoesOn => (Bounds { pauses: 1, ..Bounds::new(2, 1, 1) }, must::KNOWN, 9),
        Bug::RouteSurvivesNotMine => {
            (with_messages(Bounds { closes: 1, ..twice() }, 2), must::ROUTE, 15)
        }
        Bug::OwnerForgetsSiblings => (twice(), must::SIBLINGS, 6),
        Bug::HoldReadAfterRegister => {
            (with_messages(Bounds { closes: 1, ..twice() }, 2), must::HELD_FIRST, 10)
        }
        Bug::UnwrittenNotKept => {
            (with_messages(Bounds { closes: 1, ..Bounds::new(2, 1, 1) }, 1), must::DELIVERED, 10)
        }
        Bug::NotMineUnsaid => {
            (with_messages(Bounds { closes: 1, ..Bounds::new(2, 1, 1) }, 1), must::DELIVERED, 10)
        }
        Bug::PruneKeepsIndex => {
            (Bounds { cuts: 1, closes: 1, ..Bounds::new(2, 1, 1) }, must::INDEX, 10)
        }
        Bug::ClaimingLeftOut => (Bounds { cuts: 1, ..twice() }, must::SIBLINGS, 10),
        Bug::SenderNotNamed => {
            (with_messages(Bounds { closes: 1, ..twice() }, 2), must::DELIVERED, 21)
        }
        Bug::OwnInboxCountsAsHere => {
            (with_messages(Bounds { closes: 1, ..Bounds::new(1, 1, 1) }, 1), must::DELIVERED, 15)
        }
        Bug::InboxLeftUnread => {
            (with_messages(Bounds { stops: 1, ..twice() }, 1), must::DELIVERED, 14)
        }
        Bug::DisplacedWhileClaiming => (same_device(), must::ONE_OWNER, 11),
        Bug::UnwrittenDroppedIfOthers => {
            (with_messages(Bounds { closes: 1, ..twice() }, 1), must::DELIVERED, 10)
        }
        Bug::UnconfirmedForgotten => {
            let bounds = Bounds { crashes: 1, confirms: true, ..Bounds::new(3, 1, 1) };
            (with_messages(bounds, 1), must::CONFIRMED, 11)
        }
        Bug::ForgottenThoughHad => {
            let bounds = Bounds { closes: 1, pauses: 1, confirms: true, ..twice() };
            (with_messages(bounds, 1), must::TWICE, 15)
        }
        Bug::ToldAgainUnknown => {
            let bounds = Bounds { pauses: 1, confirms: true, ..Bounds::new(2, 1, 1) };
            (with_messages(bounds, 1), must::TWICE, 11)
        }
        Bug::NobodyWaits => (with_messages(moves_elsewhere(), 2), must::ORDER, 21),
        Bug::ArrivedNotPassedOn => {
            let bounds = Bounds { closes: 1, connects: 3, confirms: true, ..Bounds::new(3, 1, 1) };
            (with_messages(bounds, 1), must::DELIVERED, 16)
        }
        Bug::CopiesAnswered => {
            let bounds = Bounds { confirms: true, ..Bounds::new(4, 1, 1) };
            (with_messages(bounds, 1), must::ONCE_EACH, 28)
        }
        Bug::NoIsForgotten => {
            (with_messages(Bounds { closes: 2, ..twice() }, 1), must::DELIVERED, 29)
        }
        Bug::SiblingForgottenLate => {
            (with_messages(Bounds { closes: 1, connects: 3, ..twice() }, 1), must::SIBLINGS, 23)
        }
        Bug::ReleaseRememberedLate => {
            (Bounds { closes: 1, failovers: 1, ..twice() }, must::GHOST, 15)
        }
    };
    Planted { bug, bounds, broken, steps }
}

const ALL: [Bug; 29] = [
    Bug::ReleaseWithoutCompare,
    Bug::NoTombstone,
    Bug::ReapBeforeFence,
    Bug::NoDisplacement,
    Bug::ReassertDisplacesYounger,
    Bug::KillWithoutCompare,
    Bug::JoinReusesEpoch,
    Bug::FencedGoesOn,
    Bug::RouteSurvivesNotMine,
    Bug::OwnerForgetsSiblings,
    Bug::HoldReadAfterRegister,
    Bug::UnwrittenNotKept,
    Bug::NotMineUnsaid,
    Bug::PruneKeepsIndex,
    Bug::ClaimingLeftOut,
    Bug::SenderNotNamed,
    Bug::OwnInboxCountsAsHere,
    Bug::InboxLeftUnread,
    Bug::DisplacedWhileClaiming,
    Bug::UnwrittenDroppedIfOthers,
    Bug::ReleaseRememberedLate,
    Bug::UnconfirmedForgotten,
    Bug::ForgottenThoughHad,
    Bug::ToldAgainUnknown,
    Bug::NobodyWaits,
    Bug::CopiesAnswered,
    Bug::ArrivedNotPassedOn,
    Bug::NoIsForgotten,
    Bug::SiblingForgottenLate,
];

#[test]
fn each_planted_bug_is_found_on_the_shortest_way() {
    let mut wrong = Vec::new();
    for bug in ALL {
        let Planted { bug, bounds, broken, steps } = planted(bug);
        let mut model = Explored::new(bounds);
        model.rules.bug = Some(bug);
        let found = model.checker().finish_when(HasDiscoveries::AnyOf([broken].into()));
        // One thread: only then is the first way found the shortest.
        let checker = found.threads(1).spawn_bfs().join();
        let Some(path) = checker.discovery(broken) else {
            wrong.push(format!(
                "{bug:?} is not found by *{broken}* in {} states",
                checker.unique_state_count()
            ));
            continue;
        };
        let actions = path.into_actions();
        println!("{bug:?}: not *{broken}*, after {} steps:", actions.len());
        actions.iter().for_each(|action| println!("    {action:?}"));
        println!("  ({} states)", checker.unique_state_count());
        if actions.len() != steps {
            wrong.push(format!("{bug:?} is found after {} steps, not {steps}", actions.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
