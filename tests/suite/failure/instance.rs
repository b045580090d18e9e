//! An instance dies without a word, or stands still and comes back.

use std::time::Duration;

use tokio::{io::AsyncReadExt, time::sleep};

use super::{BUSY, HASTY, T, until_heard};
use crate::support::fleet::{PATIENCE, TestFleet, eventually};

#[tokio::test]
async fn the_users_of_a_killed_instance_are_gone_within_twelve_seconds() {
    let mut fleet = TestFleet::start(3).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut alok = fleet.connect(2, "Alok").await;
    let mut lost = Vec::new();
    for user in ["Sid", "Ann", "Bob", "Elon"] {
        lost.push(fleet.connect(1, user).await);
    }
    assert_eq!(fleet.entries(), 6);
    fleet[1].kill();
    // The healthy ones talk all the time, and nothing of that fails.
    let mut said = 0;
    let took = eventually("its users are gone", T, async || {
        said += 1;
        sunil.send("Alok", &said.to_string()).await;
        alok.expect(&said.to_string()).await;
        alok.send("Sunil", &said.to_string()).await;
        sunil.expect(&said.to_string()).await;
        sunil.send("Sid", r#""are you there?""#).await;
        fleet.entries() == 2
    })
    .await;
    println!("gone after {took:?}, {said} messages each way meanwhile");
    assert_eq!(fleet.members(), 2);
    eventually("their index is empty", PATIENCE, async || fleet.indexed() == 2).await;
    for mut client in lost {
        assert_eq!(client.expect_close().await.0, 1006);
    }
}

#[tokio::test]
async fn who_comes_back_elsewhere_after_a_crash_is_heard_at_once() {
    let mut fleet = TestFleet::start(3).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut sid = fleet.connect(1, "Sid").await;
    sunil.send("Sid", "1").await;
    sid.expect("1").await;
    fleet[1].kill();
    let mut sid = fleet.connect(2, "Sid").await;
    assert_eq!(fleet.members(), 3, "the dead one is not found yet");
    for n in 2..50 {
        sunil.send("Sid", &n.to_string()).await;
        sid.expect(&n.to_string()).await;
    }
    sid.expect_silence().await;
}

#[tokio::test]
async fn an_instance_started_in_the_place_of_a_dead_one_is_a_new_member() {
    let mut fleet = TestFleet::with_settings(2, HASTY).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let before = fleet.epochs();
    fleet[1].kill();
    fleet.replace(1).await;
    let mut sid = fleet.connect(1, "Sid").await;
    sunil.send("Sid", r#""welcome""#).await;
    sid.expect(r#""welcome""#).await;
    eventually("the old epoch is gone", T + BUSY, async || {
        let now = fleet.epochs();
        now.len() == 2 && before.iter().filter(|epoch| now.contains(epoch)).count() == 1
    })
    .await;
    sid.send("Sunil", r#""thanks""#).await;
    sunil.expect(r#""thanks""#).await;
}

#[tokio::test]
async fn an_instance_that_stood_still_comes_back_under_a_new_epoch() {
    stand_still(HASTY, Duration::from_secs(4)).await;
}

#[tokio::test]
#[ignore = "long: the detector's own figures"]
async fn an_instance_that_stood_still_for_20_seconds_comes_back_under_a_new_epoch() {
    stand_still("", Duration::from_secs(20)).await;
}

async fn stand_still(settings: &str, span: Duration) {
    let fleet = TestFleet::with_settings(3, settings).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut frozen = fleet.connect(1, "Sid").await;
    let mut moved_before = fleet.connect(1, "Ann").await;
    let epochs = fleet.epochs();
    fleet[1].signal("STOP");
    let mut moved = fleet.connect(2, "Ann").await;
    sleep(span).await;
    assert_eq!(fleet.members(), 2, "it counts as dead");
    eventually("its users are gone", BUSY, async || fleet.entries() == 2).await;
    assert!(fleet.has_no_ghosts());
    sunil.send("Ann", "1").await;
    moved.expect("1").await;
    sunil.send("Sid", r#""held""#).await;

    fleet[1].signal("CONT");
    eventually("it has joined again", T, async || fleet.members() == 3).await;
    eventually("its users are known", T, async || fleet.entries() == 4).await;
    assert!(fleet.has_no_ghosts());
    assert_eq!(fleet.epochs().iter().filter(|epoch| epochs.contains(epoch)).count(), 2);
    frozen.expect(r#""held""#).await;
    let took = until_heard(&mut sunil, "Sid", &mut frozen).await;
    println!("heard {took:?} after it was registered");
    sunil.send("Ann", "2").await;
    moved.expect("2").await;
    moved.expect_silence().await;
    moved_before.expect("2").await;
    moved_before.expect_silence().await;
}

#[tokio::test]
async fn two_that_fall_silent_together_are_not_given_up_one_after_the_other() {
    let fleet = TestFleet::with_settings(4, HASTY).await;
    let before = fleet.epochs();
    // Their last heartbeats are at different moments: each time one is suspect before the other.
    for _ in 0..4 {
        for at in [2, 3] {
            fleet[at].signal("STOP");
        }
        sleep(Duration::from_millis(2500)).await;
        for at in [2, 3] {
            fleet[at].signal("CONT");
        }
        assert_eq!(fleet.epochs(), before, "half the fleet is not dead within 2.5 s");
        sleep(Duration::from_millis(800)).await;
    }
    // One alone is.
    fleet[2].signal("STOP");
    eventually("it counts as dead", T, async || fleet.members() == 3).await;
    fleet[2].signal("CONT");
    eventually("it is back", T, async || fleet.members() == 4).await;
}

#[tokio::test]
async fn a_half_open_socket_takes_nothing_from_the_one_that_replaces_it() {
    let fleet = TestFleet::start(3).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut old = fleet.connect(1, "Sid").await;
    sunil.send("Sid", r#""before""#).await;
    old.expect(r#""before""#).await;
    // Nobody reads here any more, and no FIN is ever sent.
    let mut old = old.into_stream();
    let mut new = fleet.connect(2, "Sid").await;
    for n in 0..100 {
        sunil.send("Sid", &format!("\"to both {n}\"")).await;
        new.expect(&format!("\"to both {n}\"")).await;
    }
    new.expect_silence().await;
    let mut bytes = Vec::new();
    eventually("the old one was told too", PATIENCE, async || {
        let mut some = [0; 8192];
        let read = tokio::time::timeout(Duration::from_millis(100), old.read(&mut some)).await;
        bytes.extend_from_slice(&some[..read.map_or(0, |read| read.expect("it is open"))]);
        String::from_utf8_lossy(&bytes).contains("to both 99")
    })
    .await;
    assert_eq!(String::from_utf8_lossy(&bytes).matches("to both").count(), 100);
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let fleet = TestFleet::with_settings(2, "[limits]\nconnections_per_user = 100\n").await;
    for _ in 0..3 {
        let all = (0..500).map(|n| {
            let user = crate::support::instance::USERS[n % 8];
            fleet.connect(n % 2, user)
        });
        let all = futures_util::future::join_all(all).await;
        assert_eq!(fleet.entries(), 500);
        let half = all.into_iter().enumerate().map(async |(n, client)| {
            // Half of them say goodbye.
            if n % 4 < 2 { client.close().await } else { drop(client.into_stream()) }
        });
        futures_util::future::join_all(half).await;
        eventually("no entry is left", PATIENCE, async || fleet.entries() == 0).await;
        eventually("no index is left", PATIENCE, async || fleet.indexed() == 0).await;
    }
    for at in 0..2 {
        fleet[at].signal("TERM");
        fleet[at].logs("drained: 0 of 0 connections").await;
    }
}
