//! A fleet over a Redis Cluster: users live in slots, slots live on servers, and servers change.

use std::time::Duration;

use wsfleetd::{ids::UserHasher, redis::Keys};

use super::acl::{cluster_rules, rules};
use crate::failure::assert_once;
use crate::support::{
    client::Client,
    fleet::{PATIENCE, eventually, get},
    instance::{Instance, USERS},
    redis::{RedisServer, cluster::RedisCluster},
};

/// How long an entry may outlive its owner (COORDINATION, T), and what a busy machine adds.
const T: Duration = Duration::from_secs(12);
const BUSY: Duration = Duration::from_secs(6);

/// How long a user may be out of reach while a slot moves: change detection, and one assertion.
const BLIP: Duration = Duration::from_secs(5);

/// Instances that share a Redis Cluster.
struct Fleet {
    /// Before the servers, so that they end first.
    instances: Vec<Instance>,
    redis: RedisCluster,
}

impl Fleet {
    async fn start(size: usize, redis: RedisCluster) -> Self {
        // As the user that the README shows.
        let rules = [rules("swordfish"), cluster_rules()].concat();
        let user = ["ACL", "SETUSER", "wsfleetd"].into_iter();
        let set: Vec<&str> = user.chain(rules.iter().map(String::as_str)).collect();
        for server in &redis.servers {
            assert_eq!(server.ask(&set), "OK");
        }
        let url = redis.url().replace("//", "//wsfleetd:swordfish@");
        let settings = format!("[redis]\nurl = \"{url}\"\ncluster = true\n");
        let instances: Vec<_> = (0..size).map(|_| Instance::start(&settings)).collect();
        let fleet = Self { instances, redis };
        for instance in &fleet.instances {
            eventually("the instance is ready", PATIENCE, async || {
                get(instance.admin(), "/readyz").await.0 == 200
            })
            .await;
        }
        eventually("every inbox is heard", PATIENCE, async || fleet.inboxes() == 256 * size).await;
        fleet
    }

    async fn connect(&self, at: usize, user: &str) -> Client {
        self.instances[at].connect(user).await
    }

    /// Sharded channels that somebody listens to.
    fn inboxes(&self) -> usize {
        let channels = self.redis.ask_all(&["PUBSUB", "SHARDCHANNELS", "wsfleetd:*"]);
        channels.iter().flat_map(|some| some.lines()).filter(|one| !one.is_empty()).count()
    }

    /// Entries of connections, all users'.
    fn entries(&self) -> usize {
        let keys = self.redis.ask_all(&["KEYS", "wsfleetd:{w*}:u:*"]);
        let keys = keys.iter().flat_map(|some| some.lines()).filter(|key| !key.is_empty());
        keys.map(|key| self.redis.ask(&["HLEN", key]).parse::<usize>().unwrap_or(0)).sum()
    }

    fn slot_of(&self, user: &str) -> u16 {
        let key =
            Keys::new("wsfleetd", 256, true).user('u', UserHasher::new(b"wsfleetd").hash(user));
        self.redis.servers[0].ask(&["CLUSTER", "KEYSLOT", &key]).parse().expect("a slot")
    }
}

/// Waits until what `sender` says to `to` is heard; how long that took. Heard is each once.
async fn until_heard(sender: &mut Client, to: &str, hearer: &mut Client, word: &str) -> Duration {
    let mut tries = 0;
    let mut heard: Vec<String> = Vec::new();
    let took = eventually("it is heard", T + BUSY, async || {
        tries += 1;
        sender.send(to, &format!("\"{word} {tries}\"")).await;
        heard.append(&mut hearer.hear_until_silence().await);
        heard.contains(&format!("\"{word} {tries}\""))
    })
    .await;
    assert_once(&heard);
    took
}

#[tokio::test]
async fn users_talk_across_instances_and_shards_and_are_handed_over() {
    let fleet = Fleet::start(2, RedisCluster::start()).await;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for user in USERS {
        let at = here.len() % 2;
        here.push(fleet.connect(at, user).await);
        there.push(fleet.connect(1 - at, user).await);
    }
    let shards: std::collections::HashSet<_> =
        USERS.iter().map(|user| fleet.redis.owner_of(fleet.slot_of(user))).collect();
    assert!(shards.len() > 1, "the users live on several shards");
    for round in 0..3 {
        for from in 0..USERS.len() {
            for to in 0..USERS.len() {
                let text = format!("\"{round}: {from} to {to}\"");
                here[from].send(USERS[to], &text).await;
                here[to].expect(&text).await;
                there[to].expect(&text).await;
            }
        }
    }
    // One ear of each instance on each server, and none of them says anything else.
    for server in &fleet.redis.servers {
        let ears = server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        assert_eq!(ears.lines().count(), 2, "{ears}");
    }

    let sid = USERS.iter().position(|user| *user == "Sid").expect("Sid");
    here.swap_remove(sid).close().await;
    there.swap_remove(sid).close().await;
    eventually("Sid is gone", PATIENCE, async || fleet.entries() == 14).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let sent: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for text in &sent {
        sunil.send("Sid", text).await;
    }
    sunil.send("Sunil", "\"done\"").await;
    sunil.expect("\"done\"").await;
    let mut sid = fleet.connect(1, "Sid").await;
    for text in &sent {
        sid.expect(text).await;
    }
    sid.expect_silence().await;
}

#[tokio::test]
async fn the_users_of_a_killed_instance_are_gone_from_every_shard_within_twelve_seconds() {
    let mut fleet = Fleet::start(3, RedisCluster::start()).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut alok = fleet.connect(2, "Alok").await;
    let mut lost = Vec::new();
    for user in USERS {
        lost.push(fleet.connect(1, user).await);
    }
    assert_eq!(fleet.entries(), 10);
    fleet.instances[1].kill();
    let mut said = 0;
    let took = eventually("its users are gone", T, async || {
        said += 1;
        sunil.send("Alok", &said.to_string()).await;
        alok.expect(&said.to_string()).await;
        fleet.entries() == 2
    })
    .await;
    println!("gone after {took:?}, {said} messages meanwhile");
    let mut sid = fleet.connect(2, "Sid").await;
    sunil.send("Sid", "\"welcome\"").await;
    sid.expect("\"welcome\"").await;
}

#[tokio::test]
async fn a_slot_that_moves_while_messages_flow_costs_a_short_blip_and_nothing_is_mixed_up() {
    let fleet = Fleet::start(2, RedisCluster::start()).await;
    let (mut sunil, mut sid) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await);
    let mut ann = fleet.connect(1, "Ann").await;
    let slot = fleet.slot_of("Sid");
    let home = fleet.redis.owner_of(slot);
    let bystander = fleet.slot_of("Ann");
    assert_ne!(slot, bystander, "they live in different slots");
    until_heard(&mut sunil, "Sid", &mut sid, "before").await;
    for round in 0..2 {
        let from = (home + round) % 3;
        let to = (from + 1) % 3;
        fleet.redis.begin_move(slot, from, to);
        let mut heard = Vec::new();
        for n in 0..30 {
            if n == 10 {
                let moved = fleet.redis.move_keys(slot, from, to);
                assert!(moved > 0, "Sid's keys stand in the slot");
            }
            if n == 20 {
                fleet.redis.end_move(slot, to);
            }
            sunil.send("Sid", &format!("\"{round}: {n}\"")).await;
            // Who lives elsewhere notices nothing.
            sunil.send("Ann", &n.to_string()).await;
            ann.expect(&n.to_string()).await;
        }
        let took = eventually("Sid hears again", BLIP, async || {
            heard.append(&mut sid.hear_until_silence().await);
            heard.contains(&format!("\"{round}: 29\""))
        })
        .await;
        println!("round {round}: {} of 30 heard, the last after {took:?}", heard.len());
        assert_once(&heard);
        assert!(heard.iter().all(|text| text.starts_with(&format!("\"{round}: "))), "{heard:?}");
        let took = until_heard(&mut sunil, "Sid", &mut sid, "after").await;
        assert!(took < BLIP, "{took:?}");
        eventually("every inbox is heard again", PATIENCE, async || fleet.inboxes() == 512).await;
        until_heard(&mut sid, "Sunil", &mut sunil, "back").await;
    }
    assert_eq!(fleet.entries(), 3);
}

#[tokio::test]
async fn a_primary_that_dies_is_replaced_by_its_replica_and_all_are_known_again() {
    let mut fleet = Fleet::start(2, RedisCluster::with_replicas(1)).await;
    let (mut sunil, mut sid) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await);
    let mut others = Vec::new();
    for user in USERS.iter().filter(|user| !["Sunil", "Sid"].contains(user)) {
        others.push(fleet.connect(1, user).await);
    }
    until_heard(&mut sunil, "Sid", &mut sid, "before").await;
    let home = fleet.redis.owner_of(fleet.slot_of("Sid"));
    fleet.redis.servers[home].stop();
    let replica: &RedisServer = &fleet.redis.servers[3 + home];
    let took = eventually("the replica is promoted", T + BUSY, async || {
        replica.ask(&["ROLE"]).starts_with("master")
    })
    .await;
    println!("promoted after {took:?}");
    let took = until_heard(&mut sunil, "Sid", &mut sid, "after").await;
    println!("heard {took:?} after that");
    until_heard(&mut sid, "Sunil", &mut sunil, "back").await;
    eventually("every inbox is heard again", PATIENCE, async || fleet.inboxes() == 512).await;
    eventually("all are known again", T, async || {
        let keys = fleet.redis.ask_all(&["KEYS", "wsfleetd:{w*}:u:*"]);
        keys.iter().flat_map(|some| some.lines()).filter(|key| !key.is_empty()).count() == 8
    })
    .await;
    for instance in &fleet.instances {
        let log = instance.log();
        assert!(!log.contains("joining again under a new epoch"), "no lease was lost: {log}");
    }
}
