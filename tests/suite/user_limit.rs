//! `limits.connections_per_user`, counted over the fleet, and its three policies.

use tokio_tungstenite::tungstenite::Error;

use crate::support::{
    client::{Client, PATIENCE, refusal},
    fleet::{TestFleet, eventually},
    instance::Instance,
};

const DISPLACED: (u16, &str) = (4409, "Displaced by a newer connection");

fn policy(policy: &str, most: u32) -> String {
    format!("[limits]\nconnections_per_user = {most}\nconnections_per_user_policy = \"{policy}\"\n")
}

async fn expect_displaced(client: &mut Client) {
    let (code, reason) = client.expect_close().await;
    assert_eq!((code, reason.as_str()), DISPLACED);
}

async fn expect_refused(fleet: &TestFleet, at: usize, user: &str) {
    let answer = refusal(fleet[at].app(), "/Dev", &[("username", user)]).await;
    assert_eq!(answer.status(), 403);
    let body = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
    assert!(body.contains("Too many connections"), "{body}");
}

#[tokio::test]
async fn the_thirty_third_is_refused_wherever_it_comes() {
    let fleet = TestFleet::start(2).await;
    let mut all = Vec::new();
    for n in 0..32 {
        all.push(fleet.connect(n % 2, "Sid").await);
    }
    for at in [0, 1] {
        expect_refused(&fleet, at, "Sid").await;
        fleet.connect(at, "Elon").await.close().await;
    }
    all.pop().expect("the last").close().await;
    eventually("there is room again", PATIENCE, async || fleet.entries() == 31).await;
    let mut last = fleet.connect(0, "Sid").await;
    expect_refused(&fleet, 1, "Sid").await;
    last.send("Sid", "1").await;
    for client in &mut all {
        client.expect("1").await;
    }
    last.expect("1").await;
}

#[tokio::test]
async fn the_oldest_makes_room_wherever_it_is() {
    let fleet = TestFleet::with_settings(2, &policy("displace-oldest", 2)).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut first = fleet.connect(0, "Sid").await;
    let mut second = fleet.connect(1, "Sid").await;
    let mut third = fleet.connect(1, "Sid").await;
    expect_displaced(&mut first).await;
    let mut fourth = fleet.connect(1, "Sid").await;
    expect_displaced(&mut second).await;
    sunil.send("Sid", "1").await;
    third.expect("1").await;
    fourth.expect("1").await;
    assert_eq!(fleet.entries(), 3);
    eventually("nothing is left of them", PATIENCE, async || fleet.indexed() == 2).await;
}

#[tokio::test]
async fn alone_the_oldest_makes_room_too() {
    let instance = Instance::start(&policy("displace-oldest", 1));
    let mut first = instance.connect("Sid").await;
    let mut second = instance.connect("Sid").await;
    expect_displaced(&mut first).await;
    second.send("Sid", "1").await;
    second.expect("1").await;
}

#[tokio::test]
async fn two_at_once_are_never_one_too_many() {
    let fleet = TestFleet::with_settings(2, &policy("reject", 2)).await;
    let _first = fleet.connect(0, "Sid").await;
    for round in 0..10 {
        let dial = async |at: usize| Client::try_connect(fleet[at].app(), "/Dev", "Sid").await;
        let (one, other) = tokio::join!(dial(0), dial(1));
        let one_of_them = match (one, other) {
            (Ok(client), Err(Error::Http(refused))) | (Err(Error::Http(refused)), Ok(client)) => {
                assert_eq!(refused.status(), 403);
                client
            }
            (one, other) => {
                panic!("round {round}: {:?} and {:?}", one.map(drop), other.map(drop))
            }
        };
        assert_eq!(fleet.entries(), 2);
        one_of_them.close().await;
        eventually("it is gone", PATIENCE, async || fleet.entries() == 1).await;
    }
}

#[tokio::test]
async fn two_at_once_displace_one_each_and_not_each_other_both() {
    let fleet = TestFleet::with_settings(2, &policy("displace-oldest", 1)).await;
    let mut last = fleet.connect(0, "Sid").await;
    for _ in 0..10 {
        let (one, other) = tokio::join!(fleet.connect(0, "Sid"), fleet.connect(1, "Sid"));
        expect_displaced(&mut last).await;
        assert_eq!(fleet.entries(), 1);
        let (mut one, mut other) = (one, other);
        let is_one = tokio::select! {
            (code, _) = one.expect_close() => code == DISPLACED.0,
            (code, _) = other.expect_close() => code != DISPLACED.0,
        };
        last = if is_one { other } else { one };
        last.send("Sid", r#""I live""#).await;
        last.expect(r#""I live""#).await;
        assert_eq!(fleet.entries(), 1);
    }
}

#[tokio::test]
async fn unlimited_counts_nobody() {
    let fleet = TestFleet::with_settings(2, &policy("unlimited", 1)).await;
    let mut all = Vec::new();
    for n in 0..40 {
        all.push(fleet.connect(n % 2, "Sid").await);
    }
    assert_eq!(fleet.entries(), 40);
}

#[tokio::test]
async fn who_misses_that_it_was_displaced_learns_it_when_its_instance_listens_again() {
    let fleet = TestFleet::with_settings(2, &policy("displace-oldest", 1)).await;
    let mut first = fleet.connect(0, "Sid").await;
    fleet.redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let mut second = fleet.connect(1, "Sid").await;
    expect_displaced(&mut first).await;
    second.send("Sid", "1").await;
    second.expect("1").await;
    assert_eq!(fleet.entries(), 1);
}

#[tokio::test]
async fn what_a_flush_forgot_comes_back_within_the_limit() {
    let fleet = TestFleet::with_settings(2, &policy("displace-oldest", 3)).await;
    let mut all = Vec::new();
    for n in 0..3 {
        all.push(fleet.connect(n % 2, "Sid").await);
    }
    let before = fleet.epochs();
    fleet.redis.ask(&["FLUSHALL"]);
    eventually("all three are back under new epochs", PATIENCE * 2, async || {
        let is_new = fleet.epochs().iter().all(|epoch| !before.contains(epoch));
        is_new && fleet.members() == 2 && fleet.entries() == 3 && fleet.has_no_ghosts()
    })
    .await;
    let mut fourth = fleet.connect(0, "Sid").await;
    expect_displaced(&mut all[0]).await;
    fourth.send("Sid", "1").await;
    for client in all[1..].iter_mut().chain([&mut fourth]) {
        client.expect("1").await;
    }
}
