//! This version and the one before in one fleet: while it is upgraded, and when it goes back.
//!
//! The one before is a binary of its own, which tests/run builds from the commit that
//! tests/lib/versions.sh names, and not this one with another number: what instances say to each
//! other changes in more than a number, and only the old code knows what it makes of the new.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually},
    instance::{Instance, USERS, everybody},
    raw::ask,
};

/// Messages of each to each, in each state of the fleet.
const EACH: usize = 20;

/// What a peer has not confirmed is sent again within this; the copy must not be delivered.
const AGAIN: Duration = Duration::from_secs(3);

/// Becomes the daemon before: the last arguments of this are the present one's.
fn predecessor() -> [String; 4] {
    let binary = std::env::var("WSFLEETD_TEST_PREDECESSOR").expect(
        "WSFLEETD_TEST_PREDECESSOR names the binary of the version before; tests/run sets it",
    );
    let script = format!("shift; exec '{binary}' \"$@\"");
    ["sh".into(), "-c".into(), script, "sh".into()]
}

/// Everything that crosses instances, from each to each.
async fn converse(fleet: &TestFleet, size: usize) {
    say_much(fleet, size).await;
    reach_every_device(fleet, size).await;
    hand_over(fleet, size).await;
}

/// Each hears each, everything and nothing twice. Not in order: they were connected elsewhere just
/// now, and what is sent there comes back and goes its way again.
async fn say_much(fleet: &TestFleet, size: usize) {
    let mut clients = Vec::new();
    for (at, user) in USERS.iter().enumerate().take(size) {
        clients.push(fleet.connect(at, user).await);
    }
    for number in 0..EACH {
        for (at, client) in clients.iter_mut().enumerate() {
            for (_, to) in USERS.iter().enumerate().take(size).filter(|(other, _)| *other != at) {
                client.send(to, &format!("[{at},{number}]")).await;
            }
        }
    }
    for (at, client) in clients.iter_mut().enumerate() {
        let mut heard = vec![Vec::new(); size];
        for _ in 0..EACH * (size - 1) {
            let text = client.hear().await;
            let (from, number): (usize, usize) =
                serde_json::from_str(&text).expect("as it was sent");
            heard[from].push(number);
        }
        for (from, numbers) in heard.iter_mut().enumerate().filter(|(from, _)| *from != at) {
            numbers.sort_unstable();
            assert_eq!(*numbers, (0..EACH).collect::<Vec<_>>(), "{at} heard of {from}");
        }
    }
    tokio::time::sleep(AGAIN).await;
    for mut client in clients {
        client.expect_silence().await;
        client.close().await;
    }
}

/// A user who is connected everywhere hears everywhere, and is sent away everywhere.
async fn reach_every_device(fleet: &TestFleet, size: usize) {
    for at in 0..size {
        let mut devices = Vec::new();
        for device in 0..size {
            devices.push(fleet.connect(device, "Zoë").await);
        }
        let mut bob = fleet.connect(at, "Bob").await;
        bob.send("Zoë", "\"to all\"").await;
        for device in &mut devices {
            device.expect("\"to all\"").await;
        }
        let kicked = fleet[at].asks(&["kick", "Zoë"]);
        assert_eq!(kicked.code, Some(0), "{}", kicked.err);
        for device in &mut devices {
            assert_eq!(device.expect_close().await.0, 1000);
        }
        bob.close().await;
        eventually("all have left", PATIENCE, async || fleet.entries() == 0).await;
    }
}

/// What was sent to who has just left one is delivered by another.
async fn hand_over(fleet: &TestFleet, size: usize) {
    for at in 0..size {
        let to = (at + 1) % size;
        fleet.connect(at, "Ann").await.close().await;
        eventually("Ann has left", PATIENCE, async || fleet.entries() == 0).await;
        let mut elon = fleet.connect(to, "Elon").await;
        elon.send("Ann", "\"meanwhile\"").await;
        // Behind it: it has been dealt with.
        elon.send("Elon", "\"done\"").await;
        elon.expect("\"done\"").await;
        let mut ann = fleet.connect(to, "Ann").await;
        ann.expect("\"meanwhile\"").await;
        ann.close().await;
        elon.close().await;
        eventually("both have left", PATIENCE, async || fleet.entries() == 0).await;
    }
}

/// Stops one, whose client goes elsewhere and misses nothing, and starts it as another version.
async fn change(fleet: &mut TestFleet, size: usize, at: usize, wrapper: &[String]) {
    let other = (at + 1) % size;
    let mut sid = fleet.connect(at, "Sid").await;
    let mut sunil = fleet.connect(other, "Sunil").await;
    fleet[at].signal("TERM");
    assert_eq!(sid.expect_close().await, (1001, "Going away".into()));
    sunil.send("Sid", "\"on your way\"").await;
    assert_eq!(fleet[at].wait().code(), Some(0), "{}", fleet[at].log());
    let mut sid = Client::connect(fleet[other].app(), "/Dev", "Sid").await;
    sid.expect("\"on your way\"").await;
    let words: Vec<_> = wrapper.iter().map(String::as_str).collect();
    fleet.replace_under(at, &words).await;
    sid.close().await;
    sunil.close().await;
    eventually("both have left", PATIENCE, async || fleet.entries() == 0).await;
}

#[tokio::test]
#[ignore = "long: needs the version before, which tests/run builds"]
async fn a_fleet_goes_back_to_the_version_before_and_is_upgraded_again_one_by_one() {
    const SIZE: usize = 3;
    let (before, now) = (predecessor(), []);
    let mut fleet = TestFleet::start(SIZE).await;
    for version in [&before[..], &now[..]] {
        for at in 0..SIZE {
            change(&mut fleet, SIZE, at, version).await;
            assert_eq!(fleet.members(), SIZE);
            converse(&fleet, SIZE).await;
        }
    }
    assert!(fleet.has_no_ghosts());
    assert_eq!((fleet.entries(), fleet.indexed()), (0, 0));
}

#[tokio::test]
#[ignore = "long: needs the version before, which tests/run builds"]
async fn each_version_frees_what_the_other_left_when_it_was_killed() {
    let before = predecessor();
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    for (killed, left) in [(&before[..], &[][..]), (&[], &before)] {
        let mut fleet = TestFleet::start(2).await;
        for (at, version) in [killed, left].into_iter().enumerate() {
            fleet[at].stop();
            fleet.replace_under(at, version).await;
        }
        let _cut = fleet.connect(0, "Sid").await;
        assert_eq!(fleet.entries(), 1);
        fleet[0].kill();
        eventually("the dead one's are freed", Duration::from_secs(30), async || {
            fleet.entries() == 0 && fleet.members() == 1
        })
        .await;
    }
}

/// Nobody counts as dead for so long that only its own file can have told the next process.
const PATIENT: &str =
    "[fleet]\nheartbeat = \"5s\"\nsuspect_rounds = 4\nlease = \"15s\"\ncut_off_after = \"60s\"\n";

#[tokio::test]
#[ignore = "long: needs the version before, which tests/run builds"]
async fn each_version_reads_the_epoch_that_the_other_left_in_the_place_it_takes() {
    let before = predecessor();
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    for (killed, next) in [(&before[..], &[][..]), (&[], &before)] {
        let mut fleet = TestFleet::with_settings(1, PATIENT).await;
        fleet[0].stop();
        fleet.replace_under(0, killed).await;
        let _cut = fleet.connect(0, "Sid").await;
        assert_eq!(fleet.entries(), 1);
        fleet[0].kill();
        let _next = fleet[0].another_under(next);
        eventually("what it left is freed at once", PATIENCE, async || fleet.entries() == 0).await;
    }
}

#[tokio::test]
#[ignore = "long: needs the version before, which tests/run builds"]
async fn each_version_goes_on_with_the_key_and_the_users_of_the_other() {
    let before = predecessor();
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    for (first, second) in [(&before[..], &[][..]), (&[], &before)] {
        let mut instance = Instance::start_under(first, "modes = [\"token\"]", &everybody(), "");
        let key = fs::read(instance.dir().join("auth-secret")).expect("the key it has made");
        let added =
            instance.asks_under(first, &["users", "add", "Žofie", "--first-name", "Ž, \"o\""]);
        assert_eq!(added.code, Some(0), "{}", added.err);
        instance.stop();
        let next = instance.another_under(second);
        let answer = ask(next.app(), "/ws", &[("Authorization", &bearer(&key, "Žofie"))]).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        let disabled = next.asks_under(second, &["users", "disable", "Žofie"]);
        assert_eq!(disabled.code, Some(0), "{}", disabled.err);
        let shown = next.asks_under(first, &["users", "show", "Žofie", "--json"]);
        let user: Value = serde_json::from_str(&shown.out).expect("JSON");
        assert_eq!((&user["first_name"], &user["disabled"]), (&"Ž, \"o\"".into(), &true.into()));
    }
}

fn bearer(key: &[u8], user: &str) -> String {
    let until = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 600;
    let claims = json!({"sub": user, "exp": until});
    let key = EncodingKey::from_secret(key);
    format!("Bearer {}", encode(&Header::default(), &claims, &key).expect("a token"))
}
