//! SIGHUP: what takes effect in the running daemon, what does not, and what is said of both.

mod limits;
mod live;

use std::fs;

use wsfleetd::{
    config::keys::{KEYS, Reload},
    telemetry::events,
};

use crate::support::{
    fleet::{PATIENCE, eventually},
    instance::Instance,
    raw::ask,
    systemd::Manager,
};

/// Writes `toml` over everything else that `instance` reads, sends SIGHUP, and waits for the
/// report.
pub async fn reload(instance: &Instance, toml: &str) {
    hang_up(instance, toml, "reloaded: ").await;
}

/// The same, waiting for the words that `report` it.
pub async fn hang_up(instance: &Instance, toml: &str, report: &str) {
    let above = instance.dir().join("conf.d");
    fs::create_dir_all(&above).expect("a directory");
    fs::write(above.join("90-reload.toml"), toml).expect("write the change");
    let before = instance.log().matches(report).count();
    instance.signal("HUP");
    eventually(report, PATIENCE, async || instance.log().matches(report).count() > before).await;
}

/// The line of the log that contains `words`.
fn line(instance: &Instance, words: &str) -> String {
    let log = instance.log();
    log.lines().find(|line| line.contains(words)).expect("it has been logged").to_owned()
}

#[test]
fn every_key_that_is_live_is_proven_to_be() {
    let live = KEYS.iter().filter(|key| key.reload == Reload::Live).map(|key| key.name);
    let mut proven = live::PROVEN.to_vec();
    proven.sort_unstable();
    let mut live: Vec<_> = live.collect();
    live.sort_unstable();
    assert_eq!(live, proven, "the keys marked Live, and those with a test in reload/live.rs");
}

#[tokio::test]
async fn what_a_reload_changes_is_named_with_both_values() {
    let instance = Instance::start("");
    reload(&instance, "users.cache_ttl = \"7s\"\ntelemetry.level = \"debug\"\n").await;
    let report = line(&instance, "reloaded: ");
    let expected = "reloaded: users.cache_ttl = \"7s\" (was \"1m\"), \
                    telemetry.level = \"debug\" (was \"info,wsfleetd=debug\")";
    assert!(report.contains(expected), "{report}");
    // Once is enough: the same configuration again changes nothing.
    reload(&instance, "users.cache_ttl = \"7s\"\ntelemetry.level = \"debug\"\n").await;
    instance.logs("reloaded: no key has changed").await;
}

#[tokio::test]
async fn a_key_that_takes_a_restart_is_named_and_left_as_it_is() {
    let instance = Instance::start("");
    let mut sid = instance.connect("Sid").await;
    let change = "websocket.paths = [\"/other\"]\nredis.url = \"redis://:hunter2@127.0.0.1:1\"\n\
                  fleet.heartbeat = \"2s\"\n";
    for _ in 0..2 {
        reload(&instance, change).await;
    }
    let report = line(&instance, "only a restart takes over");
    let expected = "changed, but only a restart takes over: \
                    websocket.paths = [\"/other\"] (was [\"/api\", \"/ws\", \"/Dev\"]), \
                    redis.url, fleet.heartbeat = \"2s\" (was \"1s 500ms\")";
    assert!(report.contains(expected), "{report}");
    let times = instance.log().matches("only a restart takes over").count();
    assert_eq!(times, 2, "for as long as it is so");
    assert!(!instance.log().contains("hunter2"));

    assert_eq!(ask(instance.app(), "/other", &[("username", "Sid")]).await.status, 404);
    instance.connect("Elon").await.send("Sid", "1").await;
    sid.expect("1").await;
    reload(&instance, "").await;
    assert_eq!(instance.log().matches("only a restart takes over").count(), 2, "taken back");
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_every_mistake_is_told() {
    let json = [("WSFLEETD__TELEMETRY__LOG", "json")];
    let instance = Instance::start_in(&json, "");
    let mut sid = instance.connect("Sid").await;
    let file = instance.dir().join("users.csv");
    let mut users = fs::read_to_string(&file).expect("the users");
    users.push_str("Newton,,,,,\n");
    fs::write(&file, &users).expect("write users.csv");

    let change = "telemetry.level = \"error\"\nusers.cache_ttl = 7\nredis.urll = \"hunter2\"\n";
    hang_up(&instance, change, "configuration is rejected").await;
    let record = line(&instance, "configuration is rejected");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["message_id"], events::CONFIG_REJECTED);
    assert_eq!(record["level"], "ERROR");
    let message = record["message"].as_str().expect("a text");
    for part in [
        "90-reload.toml:2: users.cache_ttl = 7\n  problem: is a number, not text in quotes\n",
        "90-reload.toml:3: redis.urll\n  problem: there is no such key\n  remedy:  did you mean",
        "2 mistakes in the configuration",
    ] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    assert!(!message.contains("hunter2"), "{message}");
    let newton = ask(instance.app(), "/Dev", &[("username", "Newton")]).await;
    assert_eq!(newton.status, 401, "the users' file is not read either");

    // The old level is in force, and the connection lives; the next reload is as good as any.
    reload(&instance, "").await;
    instance.connect("Newton").await.send("Sid", "2").await;
    sid.expect("2").await;
}

#[tokio::test]
async fn a_users_file_that_is_broken_keeps_its_key_from_changing() {
    let instance = Instance::start("");
    let other = instance.dir().join("other.csv");
    fs::write(&other, "no,such\ncolumns,\n").expect("write other.csv");
    let change = format!("users.file = \"{}\"\nusers.cache_ttl = \"7s\"\n", other.display());
    reload(&instance, &change).await;
    assert!(instance.log().contains("the users are not reloaded, the old ones stay"));
    let report = line(&instance, "reloaded: ");
    assert!(report.contains("users.cache_ttl") && !report.contains("users.file"), "{report}");
    instance.connect("Sid").await.close().await;

    fs::write(&other, crate::support::instance::everybody()).expect("write other.csv");
    reload(&instance, &change).await;
    instance.logs("reloaded: users.file = ").await;
}

#[tokio::test]
async fn systemd_is_told_of_the_beginning_and_the_end() {
    let manager = Manager::new();
    let instance = Instance::start_managed(&manager, "");
    let of_life = |text: &String| text.starts_with("READY=1") || text.starts_with("RELOADING=1");
    let told = || manager.heard().into_iter().filter(of_life).collect::<Vec<_>>();
    eventually("it is ready", PATIENCE, async || told().len() == 1).await;
    // A refused reload has an end too.
    let mut last = 0;
    for (count, change) in [(3, ""), (5, "users.cache_ttl = 7\n")] {
        let report = if change.is_empty() { "reloaded: " } else { "is rejected" };
        hang_up(&instance, change, report).await;
        eventually("it is told", PATIENCE, async || told().len() == count).await;
        let told = told();
        let [.., begin, end] = told.as_slice() else { panic!("{told:?}") };
        let time = begin.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a beginning");
        let time: u64 = time.parse().expect("microseconds");
        assert!(time > last, "{time} is not after {last}");
        last = time;
        assert!(end.starts_with("READY=1\nSTATUS=serving 0 connections"), "{end}");
    }
}
