//! The log under systemd: what arrives at journald's socket, and what happens when it stalls.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tracing::{debug, info, info_span, warn};
use wsfleetd::{
    config::settings::{LogTarget, Telemetry},
    telemetry::{self, events},
};

use crate::support::{
    child::{PATIENCE, Role},
    journal::Journal,
};

/// More than any queue on the way holds.
const BURST: u64 = 20_000;

/// Starts a process whose standard error is "the journal's stream": here, a file.
fn service(behaviour: &str, journal: &Journal, dir: &TempDir) -> Role {
    let log = File::create(dir.path().join("stderr")).expect("a file");
    let about = log.metadata().expect("its inode");
    let stream = format!("{}:{}", about.dev(), about.ino());
    let took = dir.path().join("took");
    let vars = [
        ("BEHAVIOUR", behaviour),
        ("JOURNAL_STREAM", stream.as_str()),
        ("TOOK", took.to_str().expect("a plain path")),
    ];
    Role::start_with_journal("telemetry::talker", &vars, log, journal.dir())
}

#[test]
fn under_systemd_records_arrive_in_the_journal_with_the_promised_fields() {
    let (journal, dir) = (Journal::open(), TempDir::new().expect("a directory"));
    let mut service = service("talk", &journal, &dir);

    let hello = journal.next();
    let promised = [
        ("MESSAGE", "Sunil connected from 192.0.2.7"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "wsfleetd"),
        ("CONN_ID", "WDGT8fY4joECJrQ="),
        ("USER_NAME", "Sunil"),
        ("PEER_IP", "192.0.2.7"),
        ("TARGET", "suite::telemetry"),
        ("CODE_FILE", "tests/suite/telemetry.rs"),
    ];
    for (name, value) in promised {
        assert_eq!(hello.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!hello.contains_key("MESSAGE_ID"));

    let warning = journal.next_with_id(events::REDIS_LOST);
    assert_eq!((warning["PRIORITY"].as_str(), warning["DURATION_MS"].as_str()), ("4", "1500"));

    let panic = journal.next_with_id(events::PANICKED);
    assert_eq!(panic["PRIORITY"], "3");
    assert!(panic["MESSAGE"].contains("tests/suite/telemetry.rs:"), "{}", panic["MESSAGE"]);
    assert!(service.wait().success());
    let stderr = fs::read_to_string(dir.path().join("stderr")).expect("the file");
    assert!(stderr.starts_with("<2>thread helper panicked at "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "nothing else is said there: {stderr}");
}

#[test]
fn a_journal_that_stalls_stalls_nobody_and_is_told_what_it_missed() {
    let (journal, dir) = (Journal::open(), TempDir::new().expect("a directory"));
    let mut service = service("burst", &journal, &dir);

    // Nobody reads until the burst is over.
    let took = dir.path().join("took");
    let start = Instant::now();
    while !took.exists() {
        assert!(start.elapsed() < PATIENCE, "the service stands still");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut written, mut lost) = (0, 0);
    while written + lost < BURST {
        let entry = journal.next();
        match entry.get("COUNT") {
            Some(count) => lost += count.parse::<u64>().expect("a number"),
            None => written += 1,
        }
    }
    assert_eq!(written + lost, BURST, "each record is written or counted");
    fs::remove_file(&took).expect("the service may leave");
    assert!(lost > BURST / 2, "only {lost} lost: was the journal read meanwhile?");
    assert!(service.wait().success());
}

#[test]
fn a_journal_that_never_wakes_up_does_not_keep_the_process() {
    let (journal, dir) = (Journal::open(), TempDir::new().expect("a directory"));
    let mut service = service("burst and leave", &journal, &dir);
    let start = Instant::now();
    assert!(service.wait().success());
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}

#[test]
fn json_lines_are_written_down_to_the_level_that_is_set_at_the_time() {
    let dir = TempDir::new().expect("a directory");
    let log = dir.path().join("stderr");
    let mut service =
        Role::start_logging("telemetry::talker", &[("BEHAVIOUR", "change level")], &log);
    assert!(service.wait().success());
    let lines = fs::read_to_string(log).expect("the file");
    let messages: Vec<_> = lines.lines().map(message).collect();
    assert_eq!(messages, ["one", "four", "five"]);
}

fn message(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    line["message"].as_str().expect("a text").to_owned()
}

/// Not a test but the service of the stories above.
#[test]
#[ignore = "runs as the child of the tests in this file"]
fn talker() {
    let Ok(behaviour) = env::var("BEHAVIOUR") else { return };
    let target = if behaviour == "change level" { LogTarget::Json } else { LogTarget::Auto };
    let log = telemetry::init(&Telemetry { log: target, ..Telemetry::default() }).expect("a log");
    match behaviour.as_str() {
        "talk" => talk(),
        "change level" => change_level(&log),
        "burst" => {
            burst();
            wait_for_the_reader();
        }
        _ => burst(),
    }
}

/// The reader takes the file away when it has seen all records.
fn wait_for_the_reader() {
    let start = Instant::now();
    while took().exists() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The file that tells how long the burst took.
fn took() -> PathBuf {
    env::var_os("TOOK").expect("a path").into()
}

fn talk() {
    let connection = info_span!("connection", conn.id = "WDGT8fY4joECJrQ=", user.name = "Sunil");
    connection.in_scope(|| {
        debug!("not at this level");
        info!(peer.ip = "192.0.2.7", "Sunil connected from 192.0.2.7");
    });
    warn!(message_id = events::REDIS_LOST, duration_ms = 1500, "Redis has not answered for 1.5 s");
    let helper = std::thread::Builder::new().name("helper".into());
    let ended = helper.spawn(|| panic!("a defect")).expect("a thread").join();
    assert!(ended.is_err());
}

fn change_level(log: &telemetry::Guard) {
    info!("one");
    debug!("two");
    log.levels().set("warn").expect("a level");
    info!("three");
    warn!("four");
    log.levels().set("info,suite::telemetry=debug").expect("a filter");
    debug!("five");
    assert!(log.levels().set("wran").is_err(), "a misspelt level changes nothing");
}

fn burst() {
    let start = Instant::now();
    for number in 0..BURST {
        info!("record {number}");
    }
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(5), "logging waited: {elapsed:?}");
    fs::write(took(), format!("{elapsed:?}")).expect("written");
}
