//! A recorded run of real daemons, replayed as transitions of the model in `tests/model`.

use std::time::Duration;

use tokio::time::sleep;
use wsfleetd_model::trace::{Counts, LocalEvent, Replay};

use crate::support::{
    fleet::{PATIENCE, TestFleet, eventually},
    instance::USERS,
    recorder::Recording,
};

/// A detector six times as fast as the default: the story is not about its figures.
const HASTY: &str = "[fleet]\nheartbeat = \"250ms\"\nsuspect_rounds = 4\nlease = \"800ms\"\n";

/// How long the fleet may take to be as before, on a busy machine.
const SETTLED: Duration = Duration::from_secs(20);

/// Users come, talk, move and go; an instance is killed, one freezes, Redis forgets everything.
async fn story() -> Recording {
    let (mut fleet, recorder) = TestFleet::recorded(3, HASTY).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut others = Vec::new();
    for (n, user) in USERS[1..].iter().enumerate() {
        others.push(fleet.connect(n % 3, user).await);
    }
    for round in 0..3 {
        for user in &USERS[1..] {
            sunil.send(user, &format!("\"{round}\"")).await;
        }
    }
    // One leaves while it is written to, and comes back elsewhere.
    let sid = others.remove(3);
    sid.close().await;
    for n in 0..5 {
        sunil.send("Sid", &format!("\"held {n}\"")).await;
    }
    let mut sid = fleet.connect(2, "Sid").await;
    let held = sid.hear_until_silence().await;
    assert!(held.iter().any(|text| text.contains("held 4")), "{held:?}");
    let entries = fleet.entries();
    fleet.redis.ask(&["FLUSHALL"]);
    eventually("all are registered again", SETTLED, async || {
        fleet.members() == 3 && fleet.entries() == entries && fleet.has_no_ghosts()
    })
    .await;
    fleet[1].kill();
    // Before another dies: two of four would be taken for a trouble of Redis's, and waited for.
    eventually("the dead one and its entries are gone", SETTLED, async || {
        fleet.members() == 2 && fleet.has_no_ghosts()
    })
    .await;
    fleet.replace(1).await;
    let _second = fleet.connect(1, "Sid").await;
    fleet[2].signal("STOP");
    eventually("it counts as dead", SETTLED, async || {
        fleet.members() == 2 && fleet.has_no_ghosts()
    })
    .await;
    let entries = fleet.entries();
    fleet[2].signal("CONT");
    eventually("it is back", SETTLED, async || {
        fleet.members() == 3 && fleet.entries() > entries && fleet.has_no_ghosts()
    })
    .await;
    let entries = fleet.entries();
    for user in &USERS[1..] {
        sunil.send(user, "\"after\"").await;
    }
    sunil.close().await;
    eventually("it is released", PATIENCE, async || fleet.entries() == entries - 1).await;
    sleep(Duration::from_millis(500)).await;
    recorder.finish(&fleet)
}

fn replay(recording: &Recording) -> Result<Counts, String> {
    Replay::run(&recording.steps, &recording.locals, &recording.snapshot)
        .map_err(|refused| refused.to_string())
}

#[tokio::test]
async fn a_recorded_run_is_one_of_the_models_and_corrupted_ones_are_not() {
    let recording = story().await;
    let counts = replay(&recording).unwrap_or_else(|refused| panic!("{refused}"));
    println!("replayed {counts}");
    for kind in ["connect", "disconnect", "assert", "hold", "reap", "member", "publish E"] {
        assert!(counts.of(kind) > 0, "no {kind} was replayed: {counts}");
    }
    for kind in ["killed", "fenced", "flush", "deliver", "fence"] {
        assert!(counts.of(kind) > 0, "no {kind} was replayed: {counts}");
    }
    for (what, corrupted) in corruptions(recording) {
        let Err(refused) = replay(&corrupted) else { panic!("{what}: not caught") };
        println!("{what}: {}\n", refused.lines().take(2).collect::<Vec<_>>().join("\n"));
    }
}

/// Recordings that tell of something that did not happen.
fn corruptions(recording: Recording) -> Vec<(&'static str, Recording)> {
    let mut all = Vec::new();
    let copy = || recording.clone();
    let does = |name: &str, command: &str, key: &str| {
        recording.steps.iter().position(|step| {
            let did = |words: &Vec<String>| words[0] == command && words[1].contains(key);
            step.name == name && step.inner.iter().any(did)
        })
    };

    let mut dropped = copy();
    dropped.steps.remove(does("reap", "HDEL", ":u:").expect("a reap that removes"));
    all.push(("a reap is dropped", dropped));

    let mut swapped = copy();
    let mut claims = swapped.steps.iter().enumerate().filter(|(_, step)| step.name == "connect");
    let (first, second) = (claims.next().expect("one").0, claims.next().expect("another").0);
    swapped.steps.swap(first, second);
    all.push(("two claims are swapped", swapped));

    let mut wrong = copy();
    let release = does("disconnect", "HDEL", ":u:").expect("a release");
    let tag = &mut wrong.steps[release].args[2];
    *tag = format!("{}{}", &tag[..tag.len() - 1], if tag.ends_with('0') { '1' } else { '0' });
    all.push(("a release has a wrong tag", wrong));

    let mut stranger = copy();
    let owners: Vec<String> = recording.locals.iter().filter_map(epoch_of).collect();
    for local in &mut stranger.locals {
        if let LocalEvent::Deliver { epoch, taken: 1.., .. } = local {
            *epoch = owners.iter().find(|owner| *owner != epoch).expect("another").clone();
            break;
        }
    }
    all.push(("a deliver by who does not own the user", stranger));

    let mut twice = copy();
    let is_deliver = |local: &&LocalEvent| epoch_of(local).is_some();
    twice.locals.extend(recording.locals.iter().rfind(is_deliver).cloned());
    all.push(("a message is delivered twice", twice));

    let mut unfenced = copy();
    unfenced.steps.retain(|step| step.name != "FLUSHALL");
    all.push(("the flush is left out", unfenced));
    all
}

fn epoch_of(local: &LocalEvent) -> Option<String> {
    match local {
        LocalEvent::Deliver { epoch, taken: 1.., .. } => Some(epoch.clone()),
        _ => None,
    }
}
