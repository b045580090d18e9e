//! Redis goes away, forgets, freezes, or cuts connections; nobody's socket is closed for that.

use std::time::Duration;

use tokio::time::sleep;

use super::{BUSY, T, assert_once, until_heard};
use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually},
    instance::Instance,
    proxy::{Line, Proxy},
    redis::RedisServer,
};

/// Entries of connections in a Redis, all users'.
const FIELDS: &str = "local n = 0 for _, key in ipairs(redis.call('KEYS', '*:u:*')) do \
                      n = n + redis.call('HLEN', key) end return n";

/// Sunil and Elon on 0, Sid on 1.
async fn three(fleet: &TestFleet) -> [Client; 3] {
    [fleet.connect(0, "Sunil").await, fleet.connect(0, "Elon").await, fleet.connect(1, "Sid").await]
}

/// Those on one instance talk, whatever Redis does.
async fn talk_locally(sunil: &mut Client, elon: &mut Client) {
    talk(sunil, "Elon", elon).await;
}

async fn talk(speaker: &mut Client, to: &str, hearer: &mut Client) {
    for n in 0..10 {
        speaker.send(to, &n.to_string()).await;
        hearer.expect(&n.to_string()).await;
    }
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_knows_everybody_within_seconds() {
    let mut fleet = TestFleet::start(2).await;
    let [mut sunil, mut elon, mut sid] = three(&fleet).await;
    sunil.send("Sid", r#""before""#).await;
    sid.expect(r#""before""#).await;
    let mut heard = Vec::new();
    for n in 0..200 {
        if n == 50 {
            fleet.redis.stop();
            talk_locally(&mut sunil, &mut elon).await;
            fleet.redis.start_again();
        }
        sunil.send("Sid", &n.to_string()).await;
    }
    heard.append(&mut sid.hear_until_silence().await);
    let took = until_heard(&mut sunil, "Sid", &mut sid).await;
    println!("heard again after {took:?}");
    let back = until_heard(&mut sid, "Sunil", &mut sunil).await;
    println!("and back after {back:?}");
    assert_once(&heard);
    eventually("all entries are back", BUSY, async || fleet.entries() == 3).await;
    assert!(fleet.has_no_ghosts());
    assert_eq!(fleet.indexed(), 3);
}

#[tokio::test]
async fn a_flushed_redis_knows_everybody_within_seconds() {
    let fleet = TestFleet::start(2).await;
    let [mut sunil, mut elon, mut sid] = three(&fleet).await;
    sunil.send("Sid", r#""before""#).await;
    sid.expect(r#""before""#).await;
    let epochs = fleet.epochs();
    fleet.redis.ask(&["FLUSHALL"]);
    talk_locally(&mut sunil, &mut elon).await;
    // An instance that has not noticed yet may write for its old epoch, and then again for its new.
    let took = eventually("all entries are back", T, async || {
        fleet.entries() == 3 && fleet.members() == 2 && fleet.has_no_ghosts()
    })
    .await;
    println!("all entries back after {took:?}");
    assert!(fleet.epochs().iter().all(|epoch| !epochs.contains(epoch)), "new epochs");
    until_heard(&mut sunil, "Sid", &mut sid).await;
    until_heard(&mut sid, "Sunil", &mut sunil).await;
    let mut fourth = fleet.connect(1, "Ann").await;
    until_heard(&mut sunil, "Ann", &mut fourth).await;
}

#[tokio::test]
async fn who_connects_while_redis_is_away_is_registered_when_it_is_back() {
    let mut fleet = TestFleet::start(2).await;
    let [mut sunil, mut elon, sid] = three(&fleet).await;
    fleet.redis.stop();
    let mut ann = fleet.connect(1, "Ann").await;
    let bob = fleet.connect(0, "Bob").await;
    sid.close().await;
    bob.close().await;
    sleep(Duration::from_secs(10)).await;
    let mut zoe = fleet.connect(1, "Zoë").await;
    talk_locally(&mut sunil, &mut elon).await;
    ann.send("Zoë", r#""local""#).await;
    zoe.expect(r#""local""#).await;
    fleet.redis.start_again();
    let took = eventually("all are registered", T, async || fleet.entries() == 4).await;
    println!("registered {took:?} after Redis was back");
    assert!(fleet.has_no_ghosts());
    until_heard(&mut sunil, "Ann", &mut ann).await;
    until_heard(&mut zoe, "Sunil", &mut sunil).await;
    assert_eq!((fleet.entries(), fleet.members()), (4, 2));
}

#[tokio::test]
async fn a_redis_frozen_for_five_seconds_costs_nobody_a_connection() {
    let fleet = TestFleet::start(2).await;
    let [mut sunil, mut elon, mut sid] = three(&fleet).await;
    let epochs = fleet.epochs();
    fleet.redis.freeze();
    talk_locally(&mut sunil, &mut elon).await;
    sunil.send("Sid", r#""into the ice""#).await;
    let mut ann = fleet.connect(1, "Ann").await;
    sleep(Duration::from_secs(5)).await;
    talk_locally(&mut sunil, &mut elon).await;
    fleet.redis.thaw();
    let took = eventually("Ann is registered", T, async || fleet.entries() == 4).await;
    println!("registered {took:?} after the thaw");
    until_heard(&mut sunil, "Sid", &mut sid).await;
    until_heard(&mut sunil, "Ann", &mut ann).await;
    assert_eq!(fleet.epochs(), epochs, "nobody was thought dead");
    assert!(fleet.has_no_ghosts());
}

#[tokio::test]
async fn a_stop_ends_within_its_bound_while_redis_is_away_or_frozen() {
    let mut fleet = TestFleet::start(2).await;
    let [_sunil, _elon, _sid] = three(&fleet).await;
    fleet.redis.freeze();
    let (status, took) = fleet[0].stop();
    println!("frozen: {status} after {took:?}");
    assert!(status.success() && took < Duration::from_secs(13), "{status} after {took:?}");
    fleet.redis.thaw();
    fleet.redis.stop();
    let (status, took) = fleet[1].stop();
    println!("away: {status} after {took:?}");
    assert!(status.success() && took < Duration::from_secs(13), "{status} after {took:?}");
}

#[tokio::test]
async fn an_inbox_that_was_cut_is_heard_again_within_seconds_and_routes_are_used_again() {
    let fleet = TestFleet::start(2).await;
    let [mut sunil, _elon, mut sid] = three(&fleet).await;
    sunil.send("Sid", r#""before""#).await;
    sid.expect(r#""before""#).await;
    for round in 0..3 {
        fleet.redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        // What nobody listens to is held, and delivered as soon as somebody does.
        for n in 0..20 {
            sunil.send("Sid", &format!("{}", round * 100 + n)).await;
        }
        let mut heard = Vec::new();
        eventually("all are heard", PATIENCE, async || {
            heard.append(&mut sid.hear_until_silence().await);
            heard.len() >= 20
        })
        .await;
        assert_once(&heard);
        assert_eq!(heard.len(), 20);
    }
    let slow = scripts(&fleet);
    for n in 0..1000 {
        sunil.send("Sid", &n.to_string()).await;
        sid.expect(&n.to_string()).await;
    }
    let slow = scripts(&fleet) - slow;
    assert!(slow < 300, "{slow} scripts for 1,000 messages: the slow path");
}

#[tokio::test]
async fn cut_command_connections_are_made_again() {
    let fleet = TestFleet::start(2).await;
    let [mut sunil, mut elon, mut sid] = three(&fleet).await;
    for _ in 0..3 {
        fleet.redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        talk_locally(&mut sunil, &mut elon).await;
        let took = until_heard(&mut sunil, "Sid", &mut sid).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        until_heard(&mut sid, "Sunil", &mut sunil).await;
    }
    assert_eq!((fleet.entries(), fleet.members()), (3, 2));
}

#[tokio::test]
async fn an_instance_whose_connection_flaps_takes_nobody_for_dead() {
    let mut fleet = TestFleet::start(1).await;
    let healthy = clients(&fleet);
    let (healthy_epoch, _sid) = (fleet.epochs(), fleet.connect(0, "Sid").await);
    fleet.grow().await;
    let mut sunil = fleet.connect(1, "Sunil").await;
    for n in 0..400 {
        // Only who has something to say notices at once that the connection is gone.
        sunil.send("Sid", &n.to_string()).await;
        if n % 10 == 0 {
            for id in clients(&fleet).iter().filter(|id| !healthy.contains(id)) {
                fleet.redis.ask(&["CLIENT", "KILL", "ID", id]);
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    // A heartbeat after each new connection is a look more, and no second and a half.
    assert!(fleet.epochs().contains(&healthy_epoch[0]), "it never missed a heartbeat");
    assert_eq!((fleet.entries(), fleet.has_no_ghosts()), (2, true));
    assert!(!fleet[1].log().contains("counts as dead"), "{}", fleet[1].log());
}

/// Ids of the connections that send commands, but the one that asks.
fn clients(fleet: &TestFleet) -> Vec<String> {
    let list = fleet.redis.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
    let others = list.lines().filter(|line| !line.contains("cmd=client"));
    let ids = others.filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
    ids.map(str::to_owned).collect()
}

/// Scripts that Redis has run.
fn scripts(fleet: &TestFleet) -> u64 {
    let stats = fleet.redis.ask(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = line.and_then(|rest| rest.split(',').next()).expect("scripts were run");
    calls.parse().expect("a count")
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_named_in_the_log() {
    let instance = Instance::start("[redis]\nurl = \"redis://:secret@127.0.0.1:1/0\"\n");
    instance.logs("cannot reach Redis at 127.0.0.1:1: ").await;
    assert!(!instance.log().contains("secret"), "{}", instance.log());
    let mut sid = instance.connect("Sid").await;
    sid.send("Sid", "1").await;
    sid.expect("1").await;
}

#[tokio::test]
async fn a_line_to_redis_that_answers_late_or_never_costs_nobody_a_connection() {
    let redis = RedisServer::start();
    let line = Proxy::to_port(redis.port());
    let instance = Instance::start(&format!("[redis]\nurl = \"{}\"\n", line.url()));
    let (mut sunil, mut sid) = (instance.connect("Sunil").await, instance.connect("Sid").await);
    let fields = || redis.ask(&["EVAL", FIELDS, "0"]);
    eventually("both are registered", PATIENCE, async || fields() == "2").await;
    for state in [Line::Stalled, Line::Deaf, Line::Blackhole, Line::Cut] {
        line.set(state);
        sleep(Duration::from_secs(3)).await;
        talk(&mut sunil, "Sid", &mut sid).await;
        let ann = instance.connect("Ann").await;
        line.set(Line::Open);
        let took = eventually("Ann is registered", T, async || fields() == "3").await;
        println!("registered {took:?} after the line was not {state:?} any more");
        ann.close().await;
        eventually("Ann is gone", T, async || fields() == "2").await;
    }
}
