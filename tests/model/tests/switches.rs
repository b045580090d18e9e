//! A recording that goes on behind a failover: what the next server holds, and what is done there.

use std::collections::HashMap;

use wsfleetd_model::trace::{Counts, Loss, Refused, Replay, Snapshot, Step, steps};

const EPOCH: &str = "AAAAAAAAAAA";
const USER: &str = "sid";

/// One script with what it did, as MONITOR says it.
fn script(at: u64, name: &str, keys: &[&str], args: &[&str], did: &[&[&str]]) -> Vec<String> {
    let quoted =
        |words: &[&str]| words.iter().map(|word| format!(" \"{word}\"")).collect::<String>();
    let source = format!("-- {name}: a script");
    let count = keys.len().to_string();
    let call = [&["EVAL", &source, &count], keys, args].concat();
    let head = format!("{at}.000000 [0 127.0.0.1:1]{}", quoted(&call));
    let inner = did.iter().map(|words| format!("{at}.000000 [0 lua]{}", quoted(words)));
    std::iter::once(head).chain(inner).collect()
}

fn join(at: u64) -> Vec<String> {
    script(at, "member", &["p:{m}:hb"], &["join", EPOCH], &[&["HSETNX", "p:{m}:hb", EPOCH, "0"]])
}

fn connect(at: u64, device: &str) -> Vec<String> {
    let (entries, index) = (entries(), index());
    let did: [&[&str]; 5] = [
        &["HGET", &index, "!"],
        &["HGET", &entries, device],
        &["HSET", &entries, device, &tag(at)],
        &["HSET", "p:{w1}:b", EPOCH, "1"],
        &["HSET", &index, USER, "1"],
    ];
    script(at, "connect", &[&entries], &[USER, EPOCH, "7", device, ""], &did)
}

fn disconnect(at: u64, device: &str, tag: &str, command: &str) -> Vec<String> {
    let (entries, args) = (entries(), [USER, device, tag, EPOCH]);
    let did: [&[&str]; 2] = [&["HGET", &entries, device], &[command, &entries, device]];
    script(at, "disconnect", &[&entries], &args, &did)
}

fn release(at: u64, device: &str, since: u64) -> Vec<String> {
    disconnect(at, device, &tag(since), "HDEL")
}

fn entries() -> String {
    format!("p:{{w1}}:u:{USER}")
}

fn index() -> String {
    format!("p:{{w1}}:o:{EPOCH}")
}

fn tag(since: u64) -> String {
    format!("@{EPOCH}.7.{since}")
}

/// What stands when these devices are connected, each since its second.
fn standing(devices: &[(&str, u64)]) -> Snapshot {
    let entries = devices.iter().map(|(device, at)| format!("{} {device} {}", entries(), tag(*at)));
    let rest = [
        format!("p:{{m}}:hb {EPOCH} 0"),
        format!("p:{{w1}}:b {EPOCH} 1"),
        format!("{} {USER} 1", index()),
    ];
    entries.chain(rest).collect()
}

/// Three connect, another server takes over that holds `holds`, and `then` is done there.
fn replayed(
    loss: Loss,
    holds: Snapshot,
    then: &[Vec<String>],
    end: &Snapshot,
) -> Result<Counts, Box<Refused>> {
    let before = [join(1), connect(2, "a"), connect(3, "b"), connect(4, "c")].concat();
    let mut all = steps(&before, &HashMap::new());
    all.push(Step::switch(5_000_000, loss, holds));
    all.extend(steps(&then.concat(), &HashMap::new()));
    Replay::run(&all, &[], end)
}

#[test]
fn a_replica_may_have_missed_the_latest_and_is_judged_from_there_on() {
    let holds = standing(&[("a", 2), ("b", 3)]);
    let then = [release(6, "a", 2), connect(7, "d")];
    let end = standing(&[("b", 3), ("d", 7)]);
    let counts = replayed(Loss::TheLatest, holds, &then, &end).expect("all of it is in order");
    assert_eq!((counts.parts(), counts.of("lost")), ([4, 2].as_slice(), 1));
}

#[test]
fn what_is_not_enabled_behind_a_failover_is_found() {
    let holds = || standing(&[("a", 2), ("b", 3)]);
    let wrong = [
        ("a release of what nobody has claimed", release(6, "a", 9)),
        ("a release of what stands that removes nothing", disconnect(6, "b", &tag(3), "HGET")),
        (
            "a connection that is older than one before it",
            [connect(8, "e"), connect(7, "d")].concat(),
        ),
    ];
    for (what, then) in wrong {
        let refused = replayed(Loss::TheLatest, holds(), &[then], &holds()).expect_err(what);
        assert!(refused.number > 5, "{what}: refused too early: {refused}");
    }
}

#[test]
fn nobody_may_hold_what_never_stood_there() {
    let all = || standing(&[("a", 2), ("b", 3), ("c", 4)]);
    let wrong = [
        ("an entry that never was", Loss::TheLatest, standing(&[("a", 2), ("b", 9)])),
        ("the latest without what was before", Loss::TheLatest, standing(&[("a", 2), ("c", 4)])),
        ("what was lost, though nothing may be", Loss::Nothing, standing(&[("a", 2), ("b", 3)])),
        ("something, though nothing may be left", Loss::Everything, all()),
    ];
    for (what, loss, holds) in wrong {
        let refused = replayed(loss, holds.clone(), &[], &holds).expect_err(what);
        assert_eq!(refused.number, 5, "{what}: {refused}");
    }
    for (loss, holds) in [(Loss::Nothing, all()), (Loss::TheLatest, all())] {
        replayed(loss, holds, &[], &all()).expect("nothing is lost");
    }
    let anew = [join(6)];
    let end = vec![format!("p:{{m}}:hb {EPOCH} 0")];
    replayed(Loss::Everything, Vec::new(), &anew, &end).expect("everything is lost");
}
