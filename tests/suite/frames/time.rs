//! What time ends: handshakes that dawdle, peers that are silent, connections that idle or age.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::{
    instance::Instance,
    raw::{FIN, PING, PONG, Raw, handshake},
};

/// A server may be late on a busy machine, never early.
const LATE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_handshake_that_dawdles_is_cut() {
    let instance = Instance::start("[websocket]\nhandshake_timeout = \"500ms\"\n");
    let request = handshake("/Dev", &[("username", "Sunil")]);
    let start = Instant::now();
    let mut silent = Raw::open(instance.app()).await;
    let mut halting = Raw::open(instance.api()).await;
    for byte in request.as_bytes() {
        halting.try_write(&[*byte]).await;
        sleep(Duration::from_millis(20)).await;
        if start.elapsed() > Duration::from_secs(3) {
            break;
        }
    }
    for client in [&mut silent, &mut halting] {
        let said = client.rest().await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    // One that was quick enough stays.
    let mut sunil = instance.connect("Sunil").await;
    sleep(Duration::from_secs(1)).await;
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_cut_after_two_periods_and_one_that_does_stays() {
    let instance = Instance::start("[websocket]\nping_interval = \"200ms\"\n");
    let mut dead = Raw::connect(instance.app(), "Sunil").await;
    let start = Instant::now();
    let answering = async {
        let mut alive = Raw::connect(instance.app(), "Sid").await;
        for _ in 0..10 {
            let ping = alive.next_with_pings().await.expect("a ping, not the end");
            assert_eq!(ping.first, FIN | PING);
            alive.frame(FIN | PONG, &ping.payload).await;
        }
    };
    let silent = async {
        dead.expect_end().await;
        start.elapsed()
    };
    let ((), lived) = tokio::join!(answering, silent);
    assert!(lived >= Duration::from_millis(360), "cut too early: {lived:?}");
    assert!(lived < LATE, "cut too late: {lived:?}");
}

#[tokio::test]
async fn idle_connections_are_sent_away_and_those_in_use_are_not() {
    let instance =
        Instance::start("[websocket]\nidle_timeout = \"1s\"\nping_interval = \"500ms\"\n");
    let mut idle = Raw::connect(instance.app(), "Sunil").await;
    let mut speaker = instance.connect("Sid").await;
    let mut hearer = instance.connect("Elon").await;
    let start = Instant::now();
    let talking = async {
        while start.elapsed() < Duration::from_millis(2500) {
            speaker.send("Elon", "1").await;
            hearer.expect("1").await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    let idling = async {
        let close = idle.expect_close().await;
        (close, start.elapsed())
    };
    let ((), (close, lived)) = tokio::join!(talking, idling);
    assert_eq!(close, (1001, "Going away".into()));
    assert!((Duration::from_millis(900)..LATE).contains(&lived), "{lived:?}");
    assert_eq!(speaker.expect_close().await, (1001, "Going away".into()));
}

#[tokio::test]
async fn a_connection_in_use_ends_at_its_age() {
    let instance = Instance::start("[websocket]\nmax_lifetime = \"1s\"\n");
    let mut sunil = Raw::connect(instance.app(), "Sunil").await;
    let start = Instant::now();
    for _ in 0..5 {
        sunil.say(r#"{"action":"send","to":"Sunil","message":1}"#).await;
        sunil.expect("1").await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(sunil.expect_close().await, (1001, "Going away".into()));
    let lived = start.elapsed();
    assert!((Duration::from_millis(850)..LATE).contains(&lived), "{lived:?}");
}

#[tokio::test]
async fn api_gateways_own_limits_can_be_asked_for() {
    let instance = Instance::start("[compat]\nmode = \"api-gateway\"\n");
    let mut sunil = instance.connect("Sunil").await;
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
    // Ten minutes are too long for a test; what the mode sets is printed.
    let shown = std::process::Command::new(crate::support::instance::binary())
        .args(["check-config", "--print", "--config"])
        .arg(instance.dir().join("wsfleetd.toml"))
        .output()
        .expect("wsfleetd runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for (key, value) in [("idle_timeout", "10m"), ("max_lifetime", "2h")] {
        let line = shown.lines().find(|line| line.contains(key)).expect("every key is shown");
        assert!(line.contains(value), "{line}");
    }
}
