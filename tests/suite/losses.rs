//! What may have been lost is counted, and said once per period.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually},
    instance::Instance,
    proxy::Proxy,
    redis::RedisServer,
};

/// How long a record may take: its period, and a busy machine.
const RECORD: Duration = Duration::from_secs(20);

async fn is_told(instance: &Instance, words: &str) {
    eventually(words, RECORD, async || instance.log().contains(words)).await;
}

/// Records of possible loss so far.
fn records(instance: &Instance) -> usize {
    instance.log().matches("messages may have been lost in the last").count()
}

/// Messages that records say were published without an answer.
fn unanswered(instance: &Instance) -> u64 {
    let log = instance.log();
    let before = log.lines().filter_map(|line| line.split_once(" published without an answer"));
    let counts = before.filter_map(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

/// Holds `count` messages for Sid, who has just left instance 1.
async fn hold(fleet: &TestFleet, sunil: &mut Client, count: usize) {
    fleet.connect(1, "Sid").await.close().await;
    eventually("Sid is gone", PATIENCE, async || fleet.entries() == 1).await;
    let before = fleet.held();
    for n in 0..count {
        sunil.send("Sid", &n.to_string()).await;
    }
    eventually("all are held", PATIENCE, async || fleet.held() == before + count).await;
}

#[tokio::test]
async fn what_was_held_in_a_redis_that_is_flushed_is_told_and_what_is_published_in_vain() {
    let fleet = TestFleet::start(2).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    hold(&fleet, &mut sunil, 5).await;
    fleet.redis.ask(&["FLUSHALL"]);
    is_told(&fleet[0], "5 held by a Redis that has lost data").await;
    assert_eq!((records(&fleet[0]), records(&fleet[1])), (1, 0));

    let mut sid = fleet.connect(1, "Sid").await;
    eventually("both are known again", PATIENCE, async || fleet.entries() == 2).await;
    eventually("Sid hears", PATIENCE, async || {
        sunil.send("Sid", "1").await;
        !sid.hear_until_silence().await.is_empty()
    })
    .await;
    let start = Instant::now();
    fleet.redis.freeze();
    for n in 0..200 {
        sunil.send("Sid", &n.to_string()).await;
        sleep(Duration::from_millis(10)).await;
    }
    fleet.redis.thaw();
    eventually("it is told", RECORD, async || unanswered(&fleet[0]) > 0).await;
    let periods = start.elapsed().as_secs() as usize / 10 + 1;
    let told = records(&fleet[0]) - 1;
    assert!((1..=periods).contains(&told), "{told} records in {periods} periods");
    assert!(!fleet[0].log().contains("up to 0 messages"));
}

#[tokio::test]
async fn a_failover_is_noticed_and_costs_at_most_what_was_held() {
    let primary = RedisServer::start();
    let replica = RedisServer::start();
    let line = Proxy::to_port(primary.port());
    let settings = format!("[redis]\nurl = \"{}\"\n", line.url());
    let instances = [Instance::start(&settings), Instance::start(&settings)];
    replica.ask(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    eventually("it is in step", RECORD, async || {
        replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    let (mut sunil, mut sid) =
        (instances[0].connect("Sunil").await, instances[1].connect("Sid").await);
    let members = || replica.ask(&["HKEYS", "wsfleetd:{m}:hb"]);
    eventually("both are members", PATIENCE, async || members().lines().count() == 2).await;
    let before = members();
    sunil.send("Sid", "0").await;
    sid.expect("0").await;
    sid.close().await;
    let held = || replica.ask(&["--scan", "--pattern", "wsfleetd:*:q:*"]);
    let mut n = 0;
    eventually("a message is held", PATIENCE, async || {
        n += 1;
        sunil.send("Sid", &n.to_string()).await;
        !held().is_empty()
    })
    .await;
    // The name leads to the replica, which is promoted; the old primary lives on as its replica.
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    primary.ask(&["REPLICAOF", "127.0.0.1", &replica.port().to_string()]);
    line.lead_to(replica.port());
    is_told(&instances[0], "held by a Redis that has lost data").await;
    eventually("both inboxes are heard there", PATIENCE, async || {
        let channels = replica.ask(&["PUBSUB", "NUMPAT"]).len()
            + replica.ask(&["PUBSUB", "CHANNELS", "wsfleetd:*"]).lines().count();
        channels >= 3
    })
    .await;
    assert_eq!(members(), before, "nobody was fenced for that");
    let mut sid = instances[1].connect("Sid").await;
    eventually("Sid hears", PATIENCE, async || {
        sunil.send("Sid", "\"after\"").await;
        sid.hear_until_silence().await.contains(&"\"after\"".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_slow_redis_does_not_set_the_pace_of_registration() {
    let redis = RedisServer::start();
    let line = Proxy::to_port(redis.port());
    let users: String = (0..400).map(|n| format!("user{n},,,,,\n")).collect();
    let header = "username,first_name,last_name,mobile,password_hash,disabled\n";
    let settings = format!("[redis]\nurl = \"{}\"\n", line.url());
    let instance =
        Instance::start_with(r#"modes = ["header"]"#, &format!("{header}{users}"), &settings);
    let mut clients = Vec::new();
    for n in 0..400 {
        clients.push(instance.connect(&format!("user{n}")).await);
    }
    let entries = || redis.ask(&["--scan", "--pattern", "wsfleetd:*:u:*"]).lines().count();
    assert_eq!(entries(), 400);
    line.slow_down(Duration::from_millis(100));
    redis.ask(&["FLUSHALL"]);
    let took = eventually("all are registered", RECORD, async || entries() == 400).await;
    println!("400 users in 256 partitions, 100 ms per command: {took:?}");
    // One after another the partitions alone would take 20 s.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
