//! Everything that may happen within stated bounds, and every property in every state.

mod support;

use support::{Exploration, classic, fleet_v1};
use wsfleetd_model::{
    properties::seen,
    rules::{Bounds, Bug},
};

#[test]
fn a_user_moves_between_two_instances_while_a_message_comes() {
    let bounds = Bounds { connects: 2, closes: 1, ..classic(2, 1, 1, 1) };
    let seen = [seen::HAND_OVER, seen::STALE_ROUTE, seen::ALSO_OWNED];
    Exploration::new("one move, one message", bounds).sees(&seen).run();
}

#[test]
fn a_device_connects_twice_and_the_younger_wins() {
    let bounds = Bounds { connects: 2, closes: 1, ..fleet_v1(2, 1, 1, 0) };
    Exploration::new("one device, twice", bounds).sees(&[seen::DISPLACED]).run();
}

#[test]
fn an_instance_is_stopped_while_a_message_comes() {
    let bounds = Bounds { connects: 2, stops: 1, ..classic(2, 1, 1, 1) };
    Exploration::new("a stop, one message", bounds).sees(&[seen::HAND_OVER]).run();
}

#[test]
fn an_instance_crashes_while_a_message_comes() {
    let bounds = Bounds { connects: 2, crashes: 1, ..classic(2, 1, 1, 1) };
    let seen = [seen::REAP, seen::HAND_OVER, seen::DEAF];
    Exploration::new("a crash, one message", bounds).sees(&seen).run();
}

#[test]
fn an_instance_stands_still_and_comes_back() {
    let bounds = Bounds { pauses: 1, ..classic(2, 1, 1, 0) };
    let seen = [seen::FENCE, seen::REAP, seen::LATE_WRITE, seen::REGISTERED_AGAIN];
    Exploration::new("a pause", bounds).sees(&seen).run();
}

#[test]
fn an_instance_is_cut_off() {
    let bounds = Bounds { cuts: 1, closes: 1, ..classic(2, 1, 1, 0) };
    let seen = [seen::FENCE, seen::REGISTERED_AGAIN];
    Exploration::new("a cut", bounds).sees(&seen).run();
}

#[test]
fn redis_forgets_everything() {
    let bounds = Bounds { flushes: 1, ..classic(2, 1, 1, 0) };
    let seen = [seen::FENCE, seen::REGISTERED_AGAIN];
    Exploration::new("a flush", bounds).sees(&seen).run();
}

#[test]
fn a_replica_that_has_missed_writes_takes_over() {
    let bounds = Bounds { failovers: 1, closes: 1, connects: 2, ..classic(2, 1, 1, 0) };
    Exploration::new("a failover", bounds).sees(&[seen::REGISTERED_AGAIN]).run();
}

#[test]
fn what_a_peer_that_stands_still_was_sent_is_told_again() {
    let bounds = Bounds { pauses: 1, closes: 1, confirms: true, ..classic(2, 1, 1, 1) };
    let seen = [seen::TOLD_AGAIN, seen::FENCE];
    Exploration::new("a pause, a message to be confirmed, one closed", bounds).sees(&seen).run();
}

#[test]
fn what_a_peer_that_dies_was_sent_reaches_where_the_user_is_by_then() {
    let bounds = Bounds { crashes: 1, confirms: true, ..classic(3, 1, 1, 1) };
    let seen = [seen::TOLD_AGAIN, seen::REAP, seen::ALSO_OWNED];
    Exploration::new("a crash behind a stale route", bounds).sees(&seen).run();
}

#[test]
#[should_panic(expected = "never: sometimes an epoch is reaped")]
fn an_exploration_that_does_not_see_what_it_must_fails() {
    Exploration::new("nothing happens", classic(2, 1, 1, 0)).sees(&[seen::REAP]).run();
}

#[test]
#[should_panic(expected = "not *without a fault every message is delivered or held*")]
fn an_exploration_that_meets_a_broken_property_fails() {
    let bounds = Bounds { closes: 1, ..classic(2, 1, 1, 1) };
    Exploration::new("planted", bounds).with(Bug::NotMineUnsaid).run();
}

/// The bounds that the design asks for; far more than can be explored to the end.
#[test]
#[ignore = "soak: ten million states of three instances"]
fn wide() {
    support::goal().run_wide();
}

/// The larger ones, one after another: each would have all of the memory for itself.
#[test]
#[ignore = "long: millions of states"]
fn larger_bounds() {
    for exploration in support::larger() {
        exploration.run();
    }
}
