//! An instance leaves: its clients are told, its traces are gone, and it ends in time whatever
//! they do.

use std::{fs, time::Duration};

use tokio::net::TcpStream;

use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually},
    instance::{Instance, USERS},
    raw::{Raw, ask, handshake},
};

/// `drain.stop_timeout`, and the last words to Redis beyond it.
const BOUND: Duration = Duration::from_secs(13);

/// Connections per user, for 200 in all.
const EACH: usize = 25;

#[tokio::test]
async fn two_hundred_connections_are_told_and_released() {
    let mut fleet = TestFleet::start(1).await;
    let mut clients = Vec::new();
    for user in USERS {
        for _ in 0..EACH {
            clients.push(fleet.connect(0, user).await);
        }
    }
    assert_eq!((fleet.entries(), fleet.members()), (200, 1));
    fleet[0].signal("TERM");
    let start = std::time::Instant::now();
    for client in &mut clients {
        assert_eq!(client.expect_close().await, (1001, "Going away".into()));
    }
    let status = fleet[0].wait();
    let took = start.elapsed();
    assert_eq!(status.code(), Some(0), "{}", fleet[0].log());
    assert!(took < Duration::from_secs(8), "well within its bound of 10 s, not {took:?}");
    assert_eq!((fleet.entries(), fleet.members()), (0, 0));
}

#[tokio::test]
async fn a_client_that_is_deaf_holds_nothing_up_and_nobody_new_is_let_in() {
    let mut fleet = TestFleet::start(1).await;
    let app = fleet[0].app();
    // Neither reads: one has nothing to read, of the other much is waiting.
    let _mute = Raw::open(app).await.upgraded("Sid").await;
    let _deaf = Raw::open_narrow(app).await.upgraded("Elon").await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    for _ in 0..150 {
        sunil.send("Elon", &format!("\"{}\"", "x".repeat(30_000))).await;
    }
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
    fleet[0].signal("TERM");
    fleet[0].logs("stopping politely").await;
    assert_eq!(sunil.expect_close().await, (1001, "Going away".into()));
    // Clients are told while the listener closes: either may be first by a moment.
    eventually("nobody new is let in", Duration::from_secs(1), async || {
        let refused = TcpStream::connect(app).await.map_err(|error| error.kind());
        refused.err() == Some(std::io::ErrorKind::ConnectionRefused)
    })
    .await;
    let start = std::time::Instant::now();
    let status = fleet[0].wait();
    assert_eq!(status.code(), Some(0), "{}", fleet[0].log());
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    assert_eq!((fleet.entries(), fleet.members()), (0, 0));
}

#[tokio::test]
async fn sockets_that_are_no_websocket_yet_hold_nothing_up() {
    let mut instance = Instance::start("");
    let _silent = Raw::open(instance.app()).await;
    let mut halting = Raw::open(instance.api()).await;
    halting.write(&handshake("/Dev", &[]).as_bytes()[..20]).await;
    // A load balancer keeps its connection for the next check.
    let mut balancer = Raw::open(instance.api()).await;
    balancer.write(b"GET /api/healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(balancer.answer().await.status, 200);
    let mut operator = Raw::open(instance.admin()).await;
    operator.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(operator.answer().await.status, 200);
    let (status, took) = instance.stop();
    assert_eq!(status.code(), Some(0), "{}", instance.log());
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn a_second_signal_ends_the_wait() {
    let mut instance = Instance::start("");
    let _mute = Raw::connect(instance.app(), "Sid").await;
    instance.signal("TERM");
    instance.logs("stopping politely").await;
    let start = std::time::Instant::now();
    instance.signal("INT");
    let status = instance.wait();
    assert!(instance.log().contains("aborting"), "the drain was still on: {}", instance.log());
    assert_eq!(status.code(), Some(1), "{}", instance.log());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn without_redis_an_instance_still_ends_in_time() {
    for hangs in [false, true] {
        let mut fleet = TestFleet::start(1).await;
        let mut sid = fleet.connect(0, "Sid").await;
        if hangs {
            fleet.redis.freeze()
        } else {
            fleet.redis.stop()
        }
        fleet[0].signal("TERM");
        assert_eq!(sid.expect_close().await, (1001, "Going away".into()));
        let start = std::time::Instant::now();
        fleet[0].wait();
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_reload_lets_in_who_was_added_and_cuts_nobody() {
    let instance = Instance::start("");
    let mut sid = instance.connect("Sid").await;
    assert_eq!(ask(instance.app(), "/Dev", &[("username", "Newton")]).await.status, 401);
    let file = instance.dir().join("users.csv");
    let mut users = fs::read_to_string(&file).expect("the users");
    users.push_str("Newton,,,,,\n");
    fs::write(&file, &users).expect("write users.csv");
    instance.signal("HUP");
    instance.logs("reloaded: ").await;
    let mut newton = instance.connect("Newton").await;
    newton.send("Sid", "\"hello\"").await;
    sid.expect("\"hello\"").await;
    // A file that cannot be read changes nothing.
    fs::write(&file, "no,such\ncolumns,\n").expect("write users.csv");
    instance.signal("HUP");
    instance.logs("the users are not reloaded").await;
    instance.connect("Newton").await.close().await;
}

#[tokio::test]
async fn what_a_slow_client_has_not_read_is_delivered_where_it_connects_next() {
    const COUNT: usize = 200;
    // The kernel takes some 100 of these: what is left is more than a mailbox holds by default.
    let settings = "[delivery]\nmailbox_entries = 1000\nmailbox_bytes = \"32MiB\"\n\
                    [limits]\noutbox_bytes = \"32MiB\"\n";
    let mut fleet = TestFleet::with_settings(2, settings).await;
    let mut slow = Raw::open_narrow(fleet[0].app()).await.upgraded("Sid").await;
    let mut sunil = fleet.connect(1, "Sunil").await;
    let filler = "x".repeat(30_000);
    for number in 0..COUNT {
        sunil.send("Sid", &format!("[{number}, \"{filler}\"]")).await;
    }
    // Messages to the same instance keep their order: when this is there, all are.
    let mut ann = fleet.connect(0, "Ann").await;
    sunil.send("Ann", "\"sent\"").await;
    ann.expect("\"sent\"").await;
    fleet[0].signal("TERM");
    let status = fleet[0].wait();
    assert_eq!(status.code(), Some(0), "{}", fleet[0].log());
    sunil.send("Sid", &format!("[{COUNT}, \"\"]")).await;

    let number = |text: &String| -> usize {
        let (number, _): (usize, String) = serde_json::from_str(text).expect("what was sent");
        number
    };
    let before: Vec<_> = slow.drain().await.0.iter().map(number).collect();
    assert_eq!(before, (0..before.len()).collect::<Vec<_>>(), "in order until the end");
    assert!(before.len() < COUNT, "the kernel took it all: the test is too small");
    let mut sid = Client::connect(fleet[1].app(), "/Dev", "Sid").await;
    let mut after = vec![number(&sid.hear().await)];
    while after.last() != Some(&COUNT) {
        after.push(number(&sid.hear().await));
    }
    let first = after[0];
    assert!(first <= before.len(), "{} are read, and {first} comes next", before.len());
    assert_eq!(after, (first..=COUNT).collect::<Vec<_>>(), "in order, without a gap");
    eventually("only Sid and Sunil are left", PATIENCE, async || fleet.entries() == 2).await;
}
