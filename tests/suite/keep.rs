//! `delivery.classic = "keep"`: whatever is said to a registered user who is not there waits.

use std::time::Duration;

use tokio::time::sleep;
use wsfleetd::{config::settings::Users, users};

use crate::{
    failure::HASTY,
    support::{
        client::Client,
        fleet::{PATIENCE, TestFleet, eventually},
        instance::Instance,
        postgres::Postgres,
    },
    users::{migrated, new_user},
};

const KEEP: &str = "[delivery]\nclassic = \"keep\"\nhandover_window = \"100ms\"\n";

/// Says them to Sid, and waits until all have been dealt with.
async fn say(sender: &mut Client, me: &str, messages: &[String]) {
    for message in messages {
        sender.send("Sid", message).await;
    }
    sender.send(me, r#""done""#).await;
    sender.expect(r#""done""#).await;
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn expect_all(client: &mut Client, messages: &[String]) {
    for message in messages {
        client.expect(message).await;
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn who_never_came_finds_everything_once_and_in_order() {
    let fleet = TestFleet::with_settings(2, KEEP).await;
    let (mut sunil, mut elon) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Elon").await);
    say(&mut sunil, "Sunil", &numbers(0..20)).await;
    say(&mut elon, "Elon", &numbers(20..40)).await;
    assert_eq!(fleet.held(), 40);
    let mut sid = fleet.connect(1, "Sid").await;
    say(&mut sunil, "Sunil", &numbers(40..50)).await;
    expect_all(&mut sid, &numbers(0..50)).await;
    let mut second = fleet.connect(0, "Sid").await;
    second.expect_silence().await;
    for client in [sid, second] {
        client.close().await;
    }
    eventually("Sid is gone", PATIENCE, async || fleet.entries() == 2).await;
    // Long after the hand-over's window.
    sleep(Duration::from_millis(1200)).await;
    say(&mut elon, "Elon", &numbers(50..60)).await;
    expect_all(&mut fleet.connect(0, "Sid").await, &numbers(50..60)).await;
}

#[tokio::test]
async fn alone_it_is_the_same() {
    let instance = Instance::start(KEEP);
    let mut sunil = instance.connect("Sunil").await;
    say(&mut sunil, "Sunil", &numbers(0..20)).await;
    let mut sid = instance.connect("Sid").await;
    expect_all(&mut sid, &numbers(0..20)).await;
}

#[tokio::test]
async fn for_strangers_nothing_is_kept() {
    let fleet = TestFleet::with_settings(2, KEEP).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    for stranger in ["Nobody", "sid", "", "\u{7}", "{w1}:q:x", &"x".repeat(300)] {
        for n in 0..5 {
            sunil.send(stranger, &n.to_string()).await;
        }
    }
    say(&mut sunil, "Sunil", &[]).await;
    let left: Vec<_> = ["q:*", "r:*"].iter().flat_map(|kind| fleet.keys(kind)).collect();
    assert_eq!(left, Vec::<String>::new());
    sunil.expect_silence().await;
}

#[tokio::test]
async fn what_was_kept_survives_the_death_of_sender_and_owner() {
    let mut fleet = TestFleet::with_settings(3, &format!("{KEEP}{HASTY}")).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut elon = fleet.connect(2, "Elon").await;
    let mut sid = fleet.connect(1, "Sid").await;
    say(&mut sunil, "Sunil", &numbers(0..3)).await;
    expect_all(&mut sid, &numbers(0..3)).await;
    fleet[1].kill();
    // What is on its way over a route just then may come later than what is not; see handover.
    eventually("the dead one is found", PATIENCE, async || fleet.members() == 2).await;
    say(&mut sunil, "Sunil", &numbers(10..20)).await;
    eventually("all are kept", PATIENCE, async || fleet.held() == 10).await;
    fleet[0].kill();
    eventually("the dead are gone", PATIENCE, async || fleet.entries() == 1).await;
    say(&mut elon, "Elon", &numbers(20..30)).await;
    let mut sid = fleet.connect(2, "Sid").await;
    expect_all(&mut sid, &numbers(10..30)).await;
}

#[tokio::test]
async fn a_full_mailbox_takes_nothing_more_until_it_was_read() {
    let bounds = "mailbox_entries = 5\nmailbox_bytes = \"4KiB\"\nmax_stored_message = \"1KiB\"\n";
    let fleet = TestFleet::with_settings(2, &format!("{KEEP}{bounds}")).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    say(&mut sunil, "Sunil", &[format!("\"{}\"", "x".repeat(1100))]).await;
    for round in 0..2 {
        say(&mut sunil, "Sunil", &numbers(0..10)).await;
        let sid = fleet.connect(round, "Sid").await;
        let mut sid = sid;
        expect_all(&mut sid, &numbers(0..5)).await;
        sid.close().await;
        eventually("Sid is gone", PATIENCE, async || fleet.entries() == 1).await;
    }
}

#[tokio::test]
async fn what_is_too_old_is_not_delivered_and_takes_nothing_younger_with_it() {
    let fleet = TestFleet::with_settings(1, &format!("{KEEP}mailbox_ttl = \"4s\"\n")).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    say(&mut sunil, "Sunil", &numbers(0..3)).await;
    sleep(Duration::from_millis(2500)).await;
    say(&mut sunil, "Sunil", &numbers(3..6)).await;
    sleep(Duration::from_millis(2000)).await;
    expect_all(&mut fleet.connect(0, "Sid").await, &numbers(3..6)).await;
}

#[tokio::test]
async fn after_a_flush_it_goes_on() {
    let fleet = TestFleet::with_settings(2, KEEP).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut sid = fleet.connect(1, "Sid").await;
    say(&mut sunil, "Sunil", &numbers(0..3)).await;
    expect_all(&mut sid, &numbers(0..3)).await;
    sid.close().await;
    eventually("Sid is gone", PATIENCE, async || fleet.entries() == 1).await;
    say(&mut sunil, "Sunil", &numbers(3..6)).await;
    eventually("those are kept", PATIENCE, async || fleet.held() == 3).await;
    fleet.redis.ask(&["FLUSHALL"]);
    // A route may still lead to where Sid was; what comes back over it is kept like the rest.
    say(&mut sunil, "Sunil", &numbers(10..20)).await;
    eventually("all are kept", PATIENCE, async || fleet.held() == 10).await;
    expect_all(&mut fleet.connect(0, "Sid").await, &numbers(10..20)).await;
}

#[tokio::test]
async fn while_the_directory_is_away_those_who_are_expected_are_kept_for_and_nobody_else() {
    let mut postgres = Postgres::start();
    let database = migrated(&postgres).await;
    let directory = users::open(&database, &Users::default()).await.expect("a directory");
    for name in ["Sunil", "Sid", "Ann"] {
        directory.add(new_user(name)).await.expect("a new user");
    }
    let instance = Instance::start(&format!("{KEEP}[database]\nurl = \"{}\"\n", postgres.url()));
    let mut sunil = instance.connect("Sunil").await;
    say(&mut sunil, "Sunil", &numbers(0..3)).await;
    postgres.stop();
    say(&mut sunil, "Sunil", &numbers(3..6)).await;
    sunil.send("Ann", r#""lost""#).await;
    say(&mut sunil, "Sunil", &[]).await;
    postgres.start_again();
    eventually("Ann is found again", PATIENCE, async || {
        sunil.send("Ann", r#""kept""#).await;
        say(&mut sunil, "Sunil", &[]).await;
        match Client::try_connect(instance.app(), "/Dev", "Ann").await {
            Ok(mut ann) => ann.hear_until_silence().await.first().is_some_and(|t| t == r#""kept""#),
            Err(_) => false,
        }
    })
    .await;
    expect_all(&mut instance.connect("Sid").await, &numbers(0..6)).await;
}
