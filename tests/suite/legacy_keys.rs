//! `compat.legacy_key_mirror`: back ends find a user's connection under the bare name, as before.

use std::time::Duration;

use super::acl::{cluster_rules, rules};
use crate::support::{
    fleet::{PATIENCE, TestFleet, eventually, get},
    instance::{Instance, USERS, everybody},
    redis::{RedisServer, cluster::RedisCluster},
};

/// With a detector six times as fast as the default.
const MIRROR: &str = "[compat]\nlegacy_key_mirror = true\n\
    [fleet]\nheartbeat = \"250ms\"\nsuspect_rounds = 4\nlease = \"800ms\"\n";

/// From one round over all keys to the next, and what a busy machine adds.
const ROUND: Duration = Duration::from_secs(40);

async fn finds(redis: &RedisServer, user: &str, id: &str, why: &str) {
    eventually(why, PATIENCE, async || redis.ask(&["GET", user]) == id).await;
}

#[tokio::test]
async fn the_last_log_in_stands_and_an_older_ones_end_does_not_remove_it() {
    let fleet = TestFleet::with_settings(2, MIRROR).await;
    let mut phone = fleet.connect(0, "Sid").await;
    let phones = phone.ask_id().await;
    finds(&fleet.redis, "Sid", &phones, "a back end finds the phone").await;
    let mut laptop = fleet.connect(1, "Sid").await;
    let laptops = laptop.ask_id().await;
    finds(&fleet.redis, "Sid", &laptops, "the last log-in wins").await;
    phone.close().await;
    eventually("the phone is gone", PATIENCE, async || fleet.entries() == 1).await;
    // Whoever has gone is told right after.
    tokio::time::sleep(Duration::from_millis(500)).await;
    finds(&fleet.redis, "Sid", &laptops, "the laptop is still there").await;
    laptop.close().await;
    finds(&fleet.redis, "Sid", "", "nobody is there").await;
}

#[tokio::test]
async fn when_the_last_log_in_ends_another_on_the_same_instance_is_found_at_once() {
    let fleet = TestFleet::with_settings(2, MIRROR).await;
    let (mut phone, mut ann) = (fleet.connect(0, "Sid").await, fleet.connect(1, "Ann").await);
    let laptop = fleet.connect(0, "Sid").await;
    let (phones, anns) = (phone.ask_id().await, ann.ask_id().await);
    finds(&fleet.redis, "Ann", &anns, "Ann is found").await;
    laptop.close().await;
    finds(&fleet.redis, "Sid", &phones, "the phone is found").await;
    finds(&fleet.redis, "Ann", &anns, "Ann is still found").await;
}

#[tokio::test]
#[ignore = "long: waits for a round over all keys"]
async fn when_the_last_log_in_ends_another_elsewhere_is_found_within_a_round() {
    let fleet = TestFleet::with_settings(2, MIRROR).await;
    let mut phone = fleet.connect(0, "Sid").await;
    let phones = phone.ask_id().await;
    fleet.connect(1, "Sid").await.close().await;
    eventually("the phone is found again", ROUND, async || {
        fleet.redis.ask(&["GET", "Sid"]) == phones
    })
    .await;
}

#[tokio::test]
async fn what_redis_forgets_is_written_again() {
    let mut fleet = TestFleet::with_settings(2, MIRROR).await;
    let (mut sid, mut ann) = (fleet.connect(0, "Sid").await, fleet.connect(1, "Ann").await);
    let (sids, anns) = (sid.ask_id().await, ann.ask_id().await);
    finds(&fleet.redis, "Ann", &anns, "Ann is found").await;
    fleet.redis.ask(&["FLUSHALL"]);
    finds(&fleet.redis, "Sid", &sids, "Sid is found after a FLUSHALL").await;
    finds(&fleet.redis, "Ann", &anns, "and Ann").await;
    fleet.redis.stop();
    fleet.redis.forget();
    fleet.redis.start_again();
    finds(&fleet.redis, "Sid", &sids, "Sid is found in a Redis that starts empty").await;
    finds(&fleet.redis, "Ann", &anns, "and Ann").await;
}

#[tokio::test]
async fn who_stops_leaves_no_key_and_what_the_dead_leave_ends_by_itself() {
    let mut fleet = TestFleet::with_settings(2, MIRROR).await;
    let mut sid = fleet.connect(0, "Sid").await;
    let _ann = fleet.connect(1, "Ann").await;
    let sids = sid.ask_id().await;
    finds(&fleet.redis, "Sid", &sids, "Sid is found").await;
    fleet[0].kill();
    let left: i64 = fleet.redis.ask(&["TTL", "Sid"]).parse().expect("seconds");
    assert!((1..=90).contains(&left), "it ends in {left} s");
    let mut sid = fleet.connect(1, "Sid").await;
    let sids = sid.ask_id().await;
    finds(&fleet.redis, "Sid", &sids, "the dead one's key is in nobody's way").await;
    fleet[1].stop();
    let rest = ["Sid", "Ann"].map(|user| fleet.redis.ask(&["EXISTS", user]));
    assert_eq!(rest, ["0", "0"], "a stopped instance leaves no key");
}

#[tokio::test]
async fn whoever_may_not_write_them_is_told_and_serves_all_the_same() {
    let server = RedisServer::start();
    let rules = rules("swordfish");
    let user = ["ACL", "SETUSER", "wsfleetd"].into_iter();
    let set: Vec<&str> = user.chain(rules.iter().map(String::as_str)).collect();
    assert_eq!(server.ask(&set), "OK");
    let url = server.url().replace("//", "//wsfleetd:swordfish@");
    let instance = Instance::start(&format!("[redis]\nurl = \"{url}\"\n{MIRROR}"));
    eventually("the instance is ready", PATIENCE, async || {
        get(instance.admin(), "/readyz").await.0 == 200
    })
    .await;
    let (mut sid, mut ann) = (instance.connect("Sid").await, instance.connect("Ann").await);
    instance.logs("legacy keys are not written; is Redis's user allowed `~*`?").await;
    sid.send("Ann", "1").await;
    ann.expect("1").await;
    assert_eq!(server.ask(&["EXISTS", "Sid"]), "0");
    // The rule that the README adds.
    assert_eq!(server.ask(&["ACL", "SETUSER", "wsfleetd", "~*"]), "OK");
    let mut bob = instance.connect("Bob").await;
    let bobs = bob.ask_id().await;
    finds(&server, "Bob", &bobs, "and then they are written").await;
    assert_eq!(instance.log().matches("legacy keys are not written").count(), 1, "once a minute");
}

#[tokio::test]
async fn in_a_cluster_each_key_stands_in_the_slot_of_its_name() {
    let redis = RedisCluster::start();
    let rules = [rules("swordfish"), cluster_rules(), vec!["~*".into()]].concat();
    let user = ["ACL", "SETUSER", "wsfleetd"].into_iter();
    let set: Vec<&str> = user.chain(rules.iter().map(String::as_str)).collect();
    for server in &redis.servers {
        assert_eq!(server.ask(&set), "OK");
    }
    let url = redis.url().replace("//", "//wsfleetd:swordfish@");
    let settings = format!("[redis]\nurl = \"{url}\"\ncluster = true\n{MIRROR}");
    let instance = Instance::start(&settings);
    eventually("the instance is ready", PATIENCE, async || {
        get(instance.admin(), "/readyz").await.0 == 200
    })
    .await;
    let mut open = Vec::new();
    for user in USERS {
        let mut client = instance.connect(user).await;
        let id = client.ask_id().await;
        // The owner of the slot answers, the others say where to ask.
        eventually(user, PATIENCE, async || redis.ask(&["GET", user]) == id).await;
        open.push(client);
    }
    let client = open.remove(0);
    client.close().await;
    let first = USERS[0];
    eventually("it is removed", PATIENCE, async || redis.ask(&["EXISTS", first]) == "0").await;
}

#[tokio::test]
async fn nothing_is_written_unless_it_is_asked_for_nor_for_a_name_like_our_own_keys() {
    let fleet = TestFleet::start(1).await;
    let _sid = fleet.connect(0, "Sid").await;
    let server = RedisServer::start();
    let users = format!("{}wsfleetd:{{m}}:hb,,,,,\n", everybody());
    let settings = format!("[redis]\nurl = \"{}\"\n{MIRROR}", server.url());
    let instance = Instance::start_with("modes = [\"header\"]", &users, &settings);
    eventually("the instance is ready", PATIENCE, async || {
        get(instance.admin(), "/readyz").await.0 == 200
    })
    .await;
    let before = server.ask(&["TYPE", "wsfleetd:{m}:hb"]);
    let _odd = instance.connect("wsfleetd:{m}:hb").await;
    let mut sid = instance.connect("Sid").await;
    let sids = sid.ask_id().await;
    finds(&server, "Sid", &sids, "Sid is found").await;
    assert_eq!(server.ask(&["TYPE", "wsfleetd:{m}:hb"]), before);
    assert_eq!(fleet.redis.ask(&["EXISTS", "Sid"]), "0", "it is off there");
}
