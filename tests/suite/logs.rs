//! What the daemon says while it works: a line per state change, none per message, and never what
//! a message holds.

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    fleet::{PATIENCE, TestFleet, eventually},
    instance::Instance,
};

/// Stands in every message, and must stand in no log.
const CONTENT: &str = "xyzzy-what-nobody-else-may-read";

/// Everything a message can meet: here, elsewhere, nobody, a user who has just left, a mistake.
async fn talk(fleet: &TestFleet, times: usize) {
    let (mut sunil, mut sid) = (fleet.connect(0, "Sunil").await, fleet.connect(0, "Sid").await);
    let mut elon = fleet.connect(1, "Elon").await;
    let text = format!("\"{CONTENT}\"");
    for _ in 0..times {
        sunil.send("Sid", &text).await;
        sid.expect(&text).await;
        sunil.send("Elon", &text).await;
        elon.expect(&text).await;
        sunil.send("Alok", &text).await;
        sunil.say(CONTENT).await;
        assert!(sunil.hear().await.contains("Forbidden"));
        sunil.say(&format!(r#"{{"action":"send","message":{text}}}"#)).await;
        assert!(sunil.hear().await.contains("Internal server error"));
    }
    elon.close().await;
    sunil.send("Elon", &text).await;
    let mut back = fleet.connect(1, "Elon").await;
    back.expect(&text).await;
}

#[tokio::test]
async fn no_message_is_logged_at_any_level() {
    let fleet = TestFleet::start(2).await;
    for at in 0..2 {
        assert_eq!(fleet[at].asks(&["log-level", "trace"]).out, "trace\n");
    }
    talk(&fleet, 3).await;
    let mut checked = 0;
    for at in 0..2 {
        let log = fleet[at].log();
        assert!(!log.contains(CONTENT), "{log}");
        checked += log.lines().count();
    }
    println!("{checked} lines");
    assert!(checked > 10, "{checked} lines at level trace: this test looks at nothing");
}

#[tokio::test]
async fn messages_and_connections_are_worth_no_line_at_level_info() {
    let fleet = TestFleet::start(2).await;
    for at in 0..2 {
        assert_eq!(fleet[at].asks(&["log-level", "info"]).out, "info\n");
    }
    // Who has just joined registers once more what is open, and says so once.
    let is_worth_it = |line: &&str| !line.contains("fleet::sweeper: registered");
    let lines = |at: usize| fleet[at].log().lines().filter(is_worth_it).count();
    fleet[0].logs("set the log's level").await;
    fleet[1].logs("set the log's level").await;
    let before = [lines(0), lines(1)];
    talk(&fleet, 50).await;
    let after = [lines(0), lines(1)];
    assert_eq!(before, after, "{}\n{}", fleet[0].log(), fleet[1].log());
    for at in 0..2 {
        let said = fleet[at].log().matches("fleet::sweeper: registered").count();
        assert!(said <= 2, "{}", fleet[at].log());
    }
}

#[tokio::test]
async fn a_connections_life_is_told_in_fields_that_stay() {
    let instance = Instance::start_in(&[("WSFLEETD__TELEMETRY__LOG", "json")], "");
    instance.connect("Zoë").await.close().await;
    let find = |words: &str| {
        let log = instance.log();
        let line = log.lines().find(|line| line.contains(words))?.to_owned();
        Some(serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    };
    eventually("the end is told", PATIENCE, async || find("ended after").is_some()).await;
    let (begin, end) = (find("from 127.0.0.1").expect("a beginning"), find("ended after").unwrap());
    for record in [&begin, &end] {
        assert_eq!(record["level"], "DEBUG", "{record}");
        assert_eq!(record["conn.id"].as_str().expect("an id").len(), 16);
    }
    assert_eq!(begin["user.name"], "Zoë");
    assert_eq!(begin["peer.ip"], "127.0.0.1");
    assert_eq!(begin["conn.id"], end["conn.id"]);
    let took = end["duration_ms"].as_u64().expect("a number");
    assert!(Duration::from_millis(took) < PATIENCE);
    let ready = find("ready: instance").expect("ready");
    assert!(ready["instance.id"].is_string(), "{ready}");
    assert_eq!(ready["level"], "INFO");
}
