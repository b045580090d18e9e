//! What only a real Redis can do to the store.

use std::{collections::HashSet, fs, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;
use wsfleetd::{
    ids::{Epoch, MessageId, UserHash},
    redis::InboxEvent,
    store::{Beat, Claim, Claimed, Fate, HoldRequest, Joined, Member, Release, Schemas, Swept},
};

use super::{Desk, LIMIT, PATIENCE, claim, config, members::member, policy, request, texts};
use crate::support::{
    fleet::{TestFleet, eventually, get},
    instance::Instance,
    redis::RedisServer,
};

#[tokio::test]
async fn a_redis_that_forgets_its_scripts_is_told_again() {
    let desk = Desk::redis(policy()).await;
    every_verb(&desk, Some("SCRIPT FLUSH")).await;
}

#[tokio::test]
async fn whatever_is_written_carries_the_prefix() {
    let desk = Desk::redis(policy()).await;
    every_verb(&desk, None).await;
    let keys = desk.server().ask(&["--scan"]);
    let (mut count, mut kinds) = (0, HashSet::new());
    for key in keys.lines() {
        assert!(key.starts_with("suite:{"), "{key}");
        kinds.insert(key.split(':').nth(2).unwrap().to_owned());
        count += 1;
    }
    for kind in ["hb", "inf", "conf", "origin", "dead", "u", "o", "b", "q", "r", "x"] {
        assert!(kinds.contains(kind), "no key of kind {kind} among {count}: {keys}");
    }
    let channels = desk.server().ask(&["PUBSUB", "CHANNELS"]);
    assert!(!channels.is_empty());
    assert!(channels.lines().all(|channel| channel.starts_with("suite:i:")), "{channels}");
}

#[tokio::test]
async fn a_fleet_needs_no_more_than_its_prefix_and_speaks_tls() {
    let (server, root) = RedisServer::with_tls();
    let rules = ["on", ">swordfish", "~chat:*", "&chat:*", "+@all", "-@admin", "-@dangerous"];
    let made = server.ask(&[&["ACL", "SETUSER", "fleet"], &rules[..]].concat());
    assert_eq!(made, "OK");
    let folder = TempDir::new().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "swordfish\n").unwrap();
    let settings = format!(
        "[redis]\nurl = \"{}\"\nprefix = \"chat\"\nusername = \"fleet\"\n\
         password_file = \"{}\"\nca_file = \"{}\"\n",
        server.url(),
        password.display(),
        root.display()
    );
    let instances = [Instance::start(&settings), Instance::start(&settings)];
    for instance in &instances {
        eventually("the instance is ready", PATIENCE, async || {
            get(instance.admin(), "/readyz").await.0 == 200
        })
        .await;
    }
    let (mut sunil, mut sid) =
        (instances[0].connect("Sunil").await, instances[1].connect("Sid").await);
    for round in 0..3 {
        let text = format!("\"{round}\"");
        sunil.send("Sid", &text).await;
        sid.expect(&text).await;
        sid.send("Sunil", &text).await;
        sunil.expect(&text).await;
    }
    // Held, and read again: the keys of a mailbox are the prefix's too.
    sid.close().await;
    eventually("Sid is gone", PATIENCE, async || {
        server.ask(&["--scan", "--pattern", "chat:*:u:*"]).lines().count() == 1
    })
    .await;
    sunil.send("Sid", "\"held\"").await;
    eventually("it is held", PATIENCE, async || {
        !server.ask(&["--scan", "--pattern", "chat:*:q:*"]).is_empty()
    })
    .await;
    instances[0].connect("Sid").await.expect("\"held\"").await;
    let denied = server.ask(&["ACL", "LOG"]);
    let refused_key = denied.contains("\nkey\n") || denied.contains("\nchannel\n");
    assert!(!refused_key, "something without the prefix was asked for: {denied}");
}

#[tokio::test]
async fn letting_go_works_when_redis_is_full() {
    let desk = Desk::redis(policy()).await;
    let (dead, here, me) = (Epoch::random(), Epoch::random(), member());
    let (sid, elon) = (desk.user("Sid"), desk.user("Elon"));
    assert_eq!(desk.store.join(&me).await.unwrap(), Joined::Member);
    let phone = claim(sid, 1);
    let (tag, _) = desk.enter(here, &phone).await;
    desk.enter(dead, &claim(sid, 2)).await;
    desk.enter(dead, &claim(elon, 3)).await;
    desk.server().ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    desk.server().ask(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(desk.store.connect(here, &claim(elon, 4), LIMIT).await.is_err(), "it is full indeed");

    let alive = desk.store.heartbeat(me.epoch).await.unwrap();
    assert!(matches!(alive, Beat::Alive { .. }), "{alive:?}");
    assert_eq!(desk.reap(dead).await, 2);
    assert!(desk.leave(here, &phone, &tag).await.removed);
    assert_eq!(desk.store.prune(sid, &[here], &[tag]).await.unwrap(), 0);
    desk.store.kick(elon).await.unwrap();
    desk.store.revoke(elon, PATIENCE).await.unwrap();
    desk.store.lift(elon).await.unwrap();
    assert!(matches!(desk.store.sweep(here, 0).await.unwrap(), Swept::Alive { .. }));
    desk.store.leave(me.epoch, me.origin).await.unwrap();
    assert!(desk.locate(sid).await.is_empty() && desk.locate(elon).await.is_empty());

    desk.server().ask(&["CONFIG", "SET", "maxmemory", "0"]);
    desk.enter(here, &claim(elon, 4)).await;
}

#[tokio::test]
async fn who_comes_back_behind_a_pruned_entry_is_announced_to_the_siblings() {
    let desk = Desk::redis(policy()).await;
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let mut inbox = desk.real().redis.inbox(there, Vec::new());
    let mut next = async || {
        let event = tokio::time::timeout(PATIENCE, inbox.next()).await.expect("it is heard");
        match event {
            InboxEvent::Message(_, payload) => String::from_utf8(payload).unwrap(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(next().await, "Hears(0)");
    desk.enter(there, &claim(sid, 1)).await;
    let said = |kind: char| {
        let body = format!("{sid} {here}");
        format!("1{kind}{}:{body}", body.len())
    };
    for number in 2..5 {
        let (tag, _) = desk.enter(here, &claim(sid, number)).await;
        assert_eq!(next().await, said('O'), "for connection {number}");
        assert_eq!(desk.store.prune(sid, &[here], &[tag]).await.unwrap(), 1);
        assert_eq!(next().await, said('o'));
    }
}

#[tokio::test]
async fn every_partition_is_a_place_like_any_other() {
    let desk = Desk::redis_with(policy(), 64, RedisServer::start()).await;
    let (here, dead) = (Epoch::random(), Epoch::random());
    let users: Vec<UserHash> = (0..600).map(|n| desk.user(&format!("user{n}"))).collect();
    for (number, user) in (1..).zip(&users) {
        desk.enter(here, &claim(*user, number)).await;
        desk.enter(dead, &claim(*user, 1000 + number)).await;
    }
    let mut listed = HashSet::new();
    for partition in 0..64 {
        let Swept::Alive { users, .. } = desk.store.sweep(here, partition).await.unwrap() else {
            panic!("not fenced")
        };
        assert!(!users.is_empty(), "nobody lives in partition {partition}");
        assert!(users.iter().all(|user| user.partition(64) == partition));
        listed.extend(users);
    }
    assert_eq!(listed, users.iter().copied().collect());
    assert_eq!(desk.reap(dead).await, 600);
    assert_eq!(desk.reap(here).await, 600);
    let left = desk.server().ask(&["--scan", "--pattern", "suite:*:u:*"]);
    assert!(left.is_empty(), "{left}");
}

#[tokio::test]
async fn what_a_dead_instance_left_is_freed_step_by_step() {
    let desk = Desk::redis_with(policy(), 1, RedisServer::start()).await;
    let dead = Epoch::random();
    for number in 0..700 {
        desk.enter(dead, &claim(desk.user(&format!("user{number}")), number)).await;
    }
    let (mut cursor, mut steps, mut removed) = (0, 0, 0);
    loop {
        let step = desk.store.reap(dead, 0, cursor).await.unwrap();
        (cursor, steps, removed) = (step.cursor, steps + 1, removed + step.removed);
        assert!(step.removed < 300, "one step is bounded: {step:?}");
        if step.left == 0 {
            break;
        }
        // Fenced from the first step on, though most is still there.
        let late = desk.connect(dead, &claim(desk.user("late"), 9999)).await;
        assert_eq!(late, Claimed::Fenced);
    }
    assert_eq!(removed, 700);
    assert!(steps > 3, "{steps} steps");
    let fence = desk.server().ask(&["TTL", &format!("suite:{{w0}}:o:{dead}")]);
    assert!(fence.parse::<u64>().is_ok_and(|left| left > 80_000), "it stands for a day: {fence}");
}

#[tokio::test]
async fn an_instance_that_was_set_up_differently_is_refused() {
    let desk = Desk::redis(policy()).await;
    let first = member();
    assert_eq!(desk.store.join(&first).await.unwrap(), Joined::Member);
    let stranger = Member { secret_check: "another".to_owned(), ..member() };
    let theirs = "check".to_owned();
    let refused = Joined::Mismatch { key: "secret".to_owned(), theirs };
    assert_eq!(desk.store.join(&stranger).await.unwrap(), refused);
    assert_eq!(desk.store.heartbeat(stranger.epoch).await.unwrap(), Beat::Fenced);

    let redis = wsfleetd::redis::Redis::new(config(desk.server(), 8)).unwrap();
    let other = wsfleetd::store::shared::SharedState::new(redis, &policy());
    let answer = wsfleetd::store::Store::join(&other, &member()).await.unwrap();
    let refused = Joined::Mismatch { key: "partitions".to_owned(), theirs: "4".to_owned() };
    assert_eq!(answer, refused);
    // Whoever comes back after a flush writes the setting back.
    desk.server().ask(&["FLUSHALL"]);
    assert_eq!(desk.store.heartbeat(first.epoch).await.unwrap(), Beat::Fenced);
    assert_eq!(desk.store.join(&first).await.unwrap(), Joined::Member);
    assert_eq!(desk.server().ask(&["HGET", "suite:{m}:conf", "partitions"]), "4");
}

/// Stand-ins for the next versions, which know other numbers; this one's successor is in one fleet with
/// it only if it joins as these do.
#[tokio::test]
async fn a_fleet_is_in_the_schema_of_its_first_member_and_takes_all_who_know_it() {
    let desk = Desk::redis(policy()).await;
    let knowing = |oldest, newest| Member { schemas: Schemas { oldest, newest }, ..member() };
    let join = async |oldest, newest| desk.store.join(&knowing(oldest, newest)).await.unwrap();
    let schema = || desk.server().ask(&["HGET", "suite:{m}:conf", "schema"]);
    let refused = |theirs: &str| Joined::Mismatch { key: "schema".into(), theirs: theirs.into() };

    // The next version comes first: the version before can still come.
    assert_eq!(join(1, 2).await, Joined::Member);
    assert_eq!(schema(), "1");
    assert_eq!(join(1, 1).await, Joined::Member);
    assert_eq!(join(1, 2).await, Joined::Member, "and the next again");
    assert_eq!(join(2, 3).await, refused("1"), "two versions ahead");
    assert_eq!(schema(), "1", "who was refused, or could do better, changes nothing");

    desk.server().ask(&["HSET", "suite:{m}:conf", "schema", "2"]);
    assert_eq!(join(1, 2).await, Joined::Member);
    assert_eq!(join(2, 3).await, Joined::Member);
    let old = knowing(1, 1);
    assert_eq!(desk.store.join(&old).await.unwrap(), refused("2"));
    assert_eq!(desk.store.heartbeat(old.epoch).await.unwrap(), Beat::Fenced);
    desk.server().ask(&["HSET", "suite:{m}:conf", "schema", "x"]);
    assert_eq!(join(1, 2).await, refused("x"));
}

#[tokio::test]
async fn the_rare_verbs_come_back_with_redis() {
    let mut desk = Desk::redis(policy()).await;
    let me = member();
    assert_eq!(desk.store.join(&me).await.unwrap(), Joined::Member);
    for partition in 0..4 {
        desk.store.sweep(me.epoch, partition).await.unwrap();
    }
    let server = desk.real.as_mut().and_then(|real| real.server.as_mut()).expect("a Redis");
    server.stop();
    server.start_again();
    eventually("an instance can join again", Duration::from_secs(5), async || {
        desk.store.join(&me).await.is_ok()
    })
    .await;
    eventually("every pooled connection is a live one", Duration::from_secs(5), async || {
        for _ in 0..8 {
            if desk.store.sweep(me.epoch, 0).await.is_err() {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test]
async fn the_rare_verbs_do_not_stay_with_a_primary_that_was_demoted() {
    let desk = Desk::redis(policy()).await;
    let me = member();
    assert_eq!(desk.store.join(&me).await.unwrap(), Joined::Member);
    let server = desk.server();
    // Nobody is there: it becomes a replica that answers READONLY, as after a failover.
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(desk.store.join(&me).await.is_err());
    let clients = || {
        let list = server.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
        list.lines().filter(|line| line.contains("lib-name=")).count()
    };
    eventually("its connections are given up", Duration::from_secs(5), async || {
        let _ = desk.store.join(&me).await;
        // What is dialled anew leaves again as soon as it learns that this is no primary.
        let ids = server.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
        let old = ids.lines().filter(|line| line.contains("cmd=evalsha")).count();
        clients() <= 2 && old <= 1
    })
    .await;
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    eventually("an instance can join again", Duration::from_secs(5), async || {
        desk.store.join(&me).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_was_reaped_alive_joins_again() {
    let fleet = TestFleet::start(2).await;
    let early = fleet.connect(0, "Sid").await;
    let index = fleet.redis.ask(&["--scan", "--pattern", "wsfleetd:{w*}:o:*"]);
    assert_eq!(index.lines().count(), 1, "{index}");
    fleet.redis.ask(&["HSET", &index, "!", "x"]);
    // Its lease is good, and nothing it says of Sid is written any more.
    let mut sid = fleet.connect(0, "Sid").await;
    let mut sunil = fleet.connect(1, "Sunil").await;
    fleet[0].logs("joining again under a new epoch").await;
    eventually("both of Sid's connections stand under the new epoch", PATIENCE, async || {
        let dead = index.rsplit(':').next().expect("an epoch");
        let keys = fleet.redis.ask(&["--scan", "--pattern", "wsfleetd:{w*}:u:*"]);
        let tags = keys.lines().map(|key| fleet.redis.ask(&["HVALS", key]));
        fleet.entries() == 3 && tags.into_iter().all(|tags| !tags.contains(dead))
    })
    .await;
    sunil.send("Sid", "\"hi\"").await;
    sid.expect("\"hi\"").await;
    drop(early);
}

/// Uses each verb once, with its answer looked at; before each, `first` is said to Redis.
async fn every_verb(desk: &Desk, first: Option<&str>) {
    let prepare = || {
        let Some(command) = first else { return };
        assert_eq!(desk.server().ask(&command.split(' ').collect::<Vec<_>>()), "OK");
    };
    let (here, there, me) = (Epoch::random(), Epoch::random(), member());
    let (sid, other) = (desk.user("Sid"), member());
    desk.listen(here).await;
    prepare();
    assert_eq!(desk.store.join(&me).await.unwrap(), Joined::Member);
    assert_eq!(desk.store.join(&other).await.unwrap(), Joined::Member);
    prepare();
    assert!(matches!(desk.store.heartbeat(me.epoch).await.unwrap(), Beat::Alive { .. }));
    prepare();
    let phone = claim(sid, 1);
    let (tag, _) = desk.enter(here, &phone).await;
    desk.enter(there, &claim(sid, 2)).await;
    prepare();
    let known = Claim { since: Some(tag.since()), ..phone.clone() };
    assert!(matches!(desk.assert(here, &known).await, Claimed::Registered { .. }));
    prepare();
    assert_eq!(desk.locate(sid).await.len(), 2);
    prepare();
    let message = HoldRequest { deaf: vec![there], ..request(sid, "hi") };
    assert_eq!(desk.store.hold(&message).await.unwrap().heard, 1);
    prepare();
    let mine = std::slice::from_ref(&tag);
    assert_eq!(desk.store.prune(sid, &[here], mine).await.unwrap(), 1);
    prepare();
    let unwritten = vec![(MessageId::random(), Bytes::from_static(b"rest"))];
    let release = Release { user: sid, device: phone.device.clone(), tag, unwritten };
    desk.store.disconnect(here, &release).await.unwrap();
    prepare();
    let partition = sid.partition(desk.store.partitions());
    assert!(matches!(desk.store.sweep(here, partition).await.unwrap(), Swept::Alive { .. }));
    prepare();
    assert_eq!(desk.reap(there).await, 1);
    prepare();
    assert!(matches!(desk.hold(sid, "held", &[]).await.fate, Fate::Kept(_)));
    prepare();
    let (_, held) = desk.enter(here, &claim(sid, 3)).await;
    assert_eq!(texts(&held), ["held"]);
    prepare();
    let told = desk.store.kick(sid).await.unwrap();
    assert_eq!((told.owners, told.heard), (vec![here], vec![here]));
    let elon = desk.user("Elon");
    prepare();
    desk.store.revoke(elon, Duration::from_secs(600)).await.unwrap();
    assert_eq!(desk.connect(here, &claim(elon, 4)).await, Claimed::Revoked);
    prepare();
    desk.store.lift(elon).await.unwrap();
    desk.enter(here, &claim(elon, 5)).await;
    desk.store.revoke(elon, Duration::from_secs(600)).await.unwrap();
    prepare();
    assert!(matches!(desk.hold(sid, "deaf", &[here]).await.fate, Fate::Kept(_)));
    assert!(desk.store.kill(other.epoch, 0).await.unwrap());
    prepare();
    let third = member();
    assert_eq!(desk.store.join(&third).await.unwrap(), Joined::Member);
    desk.store.leave(third.epoch, third.origin).await.unwrap();
}
