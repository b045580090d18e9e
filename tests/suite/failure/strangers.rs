//! Who shares a Redis and not a fleet; who is set up for another fleet.

use crate::support::{
    fleet::{PATIENCE, TestFleet, eventually, get},
    instance::Instance,
};

#[tokio::test]
async fn two_fleets_on_one_redis_do_not_hear_each_other() {
    let fleet = TestFleet::start(2).await;
    let other = format!("[redis]\nurl = \"{}\"\nprefix = \"other\"\n", fleet.redis.url());
    let (left, right) = (Instance::start(&other), Instance::start(&other));
    for instance in [&left, &right] {
        eventually("the other fleet is ready", PATIENCE, async || {
            get(instance.admin(), "/readyz").await.0 == 200
        })
        .await;
    }
    let (mut sunil, mut sid) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await);
    let (mut their_sunil, mut their_sid) =
        (left.connect("Sunil").await, right.connect("Sid").await);
    for n in 0..20 {
        sunil.send("Sid", &format!("\"ours {n}\"")).await;
        their_sunil.send("Sid", &format!("\"theirs {n}\"")).await;
        sid.expect(&format!("\"ours {n}\"")).await;
        their_sid.expect(&format!("\"theirs {n}\"")).await;
    }
    sid.expect_silence().await;
    their_sid.expect_silence().await;
    assert_eq!((fleet.members(), fleet.entries()), (2, 2));
}

#[tokio::test]
async fn an_instance_set_up_for_another_fleet_is_refused_with_the_key_named() {
    let fleet = TestFleet::start(1).await;
    let secret = fleet[0].dir().join("secret");
    std::fs::write(&secret, "another fleet's secret").expect("write the secret");
    let redis = format!("[redis]\nurl = \"{}\"\n", fleet.redis.url());
    for (setting, key) in [
        ("[fleet]\npartitions = 128\n".to_owned(), "fleet.partitions"),
        (format!("[fleet]\nsecret_file = \"{}\"\n", secret.display()), "fleet.secret_file"),
    ] {
        let mut stranger = Instance::start(&format!("{redis}{setting}"));
        let status = stranger.wait();
        assert_eq!(status.code(), Some(78), "{}", stranger.log());
        let log = stranger.log();
        assert!(log.contains(key), "{log}");
        println!("{}", log.lines().last().unwrap_or_default());
    }
    assert_eq!(fleet.members(), 1);
}
