//! Who has just left finds what came meanwhile: held briefly, within bounds, delivered first.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually},
};

/// `user` closes, and is known to have gone.
async fn leave(fleet: &TestFleet, client: Client) {
    let before = fleet.entries();
    client.close().await;
    eventually("the user is gone", PATIENCE, async || fleet.entries() == before - 1).await;
}

/// Says them to Sid, and waits until all have been dealt with.
async fn say(sender: &mut Client, messages: &[String]) {
    for message in messages {
        sender.send("Sid", message).await;
    }
    // Behind them: what was said before has been answered by Redis.
    sender.send("Sunil", r#""done""#).await;
    sender.expect(r#""done""#).await;
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn expect_all(client: &mut Client, messages: &[String]) {
    for message in messages {
        client.expect(message).await;
    }
}

#[tokio::test]
async fn what_came_meanwhile_is_delivered_first_and_in_order_wherever_the_user_comes_back() {
    let fleet = TestFleet::start(2).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut sid = fleet.connect(1, "Sid").await;
    say(&mut sunil, &numbers(0..3)).await;
    expect_all(&mut sid, &numbers(0..3)).await;
    for (from, at) in [(100, 0), (200, 1), (300, 1), (400, 0)] {
        leave(&fleet, sid).await;
        say(&mut sunil, &numbers(from..from + 20)).await;
        // Those that a route led to where Sid was come back from there first.
        eventually("all are held", PATIENCE, async || fleet.held() == 20).await;
        sid = fleet.connect(at, "Sid").await;
        say(&mut sunil, &numbers(from + 20..from + 30)).await;
        expect_all(&mut sid, &numbers(from..from + 30)).await;
        sid.expect_silence().await;
    }
}

#[tokio::test]
async fn what_was_held_is_delivered_to_one_connect_only() {
    let fleet = TestFleet::start(2).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let sid = fleet.connect(1, "Sid").await;
    leave(&fleet, sid).await;
    say(&mut sunil, &numbers(0..5)).await;
    let mut first = fleet.connect(0, "Sid").await;
    let mut second = fleet.connect(1, "Sid").await;
    expect_all(&mut first, &numbers(0..5)).await;
    first.expect_silence().await;
    second.expect_silence().await;
}

#[tokio::test]
async fn what_has_been_read_is_never_delivered_again() {
    let fleet = TestFleet::start(2).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let sid = fleet.connect(1, "Sid").await;
    leave(&fleet, sid).await;
    say(&mut sunil, &numbers(0..5)).await;
    let mut sid = fleet.connect(0, "Sid").await;
    expect_all(&mut sid, &numbers(0..5)).await;
    // It stands in the mailbox for its number's sake, and this time nothing new comes.
    assert!(fleet.held() > 0);
    for at in [1, 0] {
        leave(&fleet, sid).await;
        sid = fleet.connect(at, "Sid").await;
        sid.expect_silence().await;
    }
}

#[tokio::test]
async fn when_the_window_is_over_nothing_is_held_any_more() {
    let fleet = TestFleet::with_settings(2, "[delivery]\nhandover_window = \"1s\"\n").await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let sid = fleet.connect(1, "Sid").await;
    leave(&fleet, sid).await;
    eventually("the window ends", PATIENCE, async || fleet.keys("r:*").is_empty()).await;
    say(&mut sunil, &numbers(0..5)).await;
    assert_eq!(fleet.held(), 0, "too late to be held");
    let mut sid = fleet.connect(1, "Sid").await;
    sid.expect_silence().await;
    // Held in time, and come for too late.
    leave(&fleet, sid).await;
    say(&mut sunil, &numbers(5..10)).await;
    assert_eq!(fleet.held(), 5);
    sleep(Duration::from_millis(1100)).await;
    fleet.connect(0, "Sid").await.expect_silence().await;
}

#[tokio::test]
async fn no_more_is_held_than_the_bounds_allow() {
    let bounds = "[delivery]\nmailbox_entries = 5\nmailbox_bytes = \"4KiB\"\n\
                  max_stored_message = \"1KiB\"\n";
    let fleet = TestFleet::with_settings(2, bounds).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let sid = fleet.connect(1, "Sid").await;

    leave(&fleet, sid).await;
    say(&mut sunil, &numbers(0..10)).await;
    let mut sid = fleet.connect(0, "Sid").await;
    expect_all(&mut sid, &numbers(0..5)).await;
    sid.expect_silence().await;

    // Four of a thousand bytes fit into 4 KiB, and one of 1.1 KB is too long to be held.
    let thousand = |c: &str| format!("\"{}\"", c.repeat(998));
    let long = format!("\"{}\"", "x".repeat(1100));
    leave(&fleet, sid).await;
    let sent = [long.clone()].into_iter().chain(["a", "b", "c", "d", "e"].map(thousand));
    say(&mut sunil, &sent.collect::<Vec<_>>()).await;
    let mut sid = fleet.connect(1, "Sid").await;
    expect_all(&mut sid, &["a", "b", "c", "d"].map(thousand)).await;
    sid.expect_silence().await;
    say(&mut sunil, std::slice::from_ref(&long)).await;
    sid.expect(&long).await;
}

#[tokio::test]
async fn what_is_sent_after_a_crash_is_held_before_anyone_has_found_the_dead() {
    let mut fleet = TestFleet::start(3).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut sid = fleet.connect(1, "Sid").await;
    say(&mut sunil, &numbers(0..3)).await;
    expect_all(&mut sid, &numbers(0..3)).await;
    fleet[1].kill();
    eventually("nobody hears its inbox", PATIENCE, async || fleet.inboxes() == 2).await;
    say(&mut sunil, &numbers(10..20)).await;
    eventually("all are held", PATIENCE, async || fleet.held() == 10).await;
    assert_eq!(fleet.members(), 3, "the dead one is not found yet");
    let mut sid = fleet.connect(2, "Sid").await;
    say(&mut sunil, &numbers(20..30)).await;
    expect_all(&mut sid, &numbers(10..30)).await;
    sid.expect_silence().await;
}

#[tokio::test]
async fn what_is_sent_after_the_dead_are_reaped_is_held_too() {
    let mut fleet = TestFleet::start(3).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let _sid = fleet.connect(1, "Sid").await;
    fleet[1].kill();
    let bound = Duration::from_secs(12) + PATIENCE;
    eventually("the dead one's users are gone", bound, async || fleet.entries() == 1).await;
    say(&mut sunil, &numbers(0..10)).await;
    assert_eq!(fleet.held(), 10);
    let mut sid = fleet.connect(2, "Sid").await;
    expect_all(&mut sid, &numbers(0..10)).await;
    sid.expect_silence().await;
}

#[tokio::test]
async fn nothing_is_held_for_who_was_never_here() {
    let fleet = TestFleet::start(2).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    for stranger in ["Sid", "Nobody", "", "日本", "{w1}:q:x"] {
        for n in 0..10 {
            sunil.send(stranger, &n.to_string()).await;
        }
    }
    say(&mut sunil, &numbers(10..20)).await;
    let left: Vec<_> = ["q:*", "r:*"].iter().flat_map(|kind| fleet.keys(kind)).collect();
    assert_eq!(left, Vec::<String>::new());
    fleet.connect(1, "Sid").await.expect_silence().await;
}
