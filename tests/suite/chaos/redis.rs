//! Redis goes away, forgets, is slow, full, or another; nobody's socket is closed for that, and
//! all is as before within T.

use std::time::Duration;

use crate::support::{
    chaos::{Check, Settings, Story},
    fleet::eventually,
    proxy::Line,
};

/// How long an entry may outlive its owner.
const T: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: half a minute without Redis"]
async fn away_for_half_a_minute_it_costs_nobody_a_connection() {
    let mut story = Story::of_regulars().await;
    story.passes(6.0).await;
    story.stop_redis(true);
    story.passes(30.0).await;
    story.start_redis();
    story.recovers().await;
    story.ends(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a minute without Redis"]
async fn unreachable_for_a_minute_it_is_found_again_and_nobody_has_a_new_epoch() {
    let settings = Settings { is_durable: true, ..Settings::of(3) };
    let mut story = Story::with(settings, 0).await;
    story.regulars().await;
    story.passes(6.0).await;
    let before = story.epochs();
    story.stop_redis(false);
    story.passes(60.0).await;
    story.start_redis();
    story.recovers().await;
    assert_eq!(story.epochs(), before);
    story.freeze_redis();
    story.passes(10.0).await;
    story.thaw_redis();
    story.recovers().await;
    assert_eq!(story.epochs(), before);
    story.ends(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: time to recover"]
async fn flushed_it_knows_everybody_again() {
    let story = Story::of_regulars().await;
    story.passes(6.0).await;
    let before = story.epochs();
    story.flush_redis();
    story.recovers().await;
    let after = story.epochs();
    assert!(after.len() == 3 && after.iter().all(|epoch| !before.contains(epoch)));
    story.ends(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: there and back again"]
async fn a_replica_that_missed_writes_takes_over() {
    let settings = Settings { has_replica: true, ..Settings::of(3) };
    let mut story = Story::with(settings, 0).await;
    story.regulars().await;
    story.passers_by(6);
    for missed in [100, 1000] {
        story.passes(6.0).await;
        story.tell(&format!("failover, {missed} ms of writes lost"));
        story.fail_over(Duration::from_millis(missed)).await;
        story.recovers().await;
    }
    assert_eq!(
        story.replica().ask(&["SET", "a", "1"]),
        "READONLY You can't write against a read only replica."
    );
    story.ends(&[Check::Outlives, Check::Handover]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: many slow commands"]
async fn slow_by_a_tenth_of_a_second_it_delays_and_loses_nothing() {
    let mut story = Story::of_regulars().await;
    story.passers_by(4);
    story.passes(4.0).await;
    story.slow_down(Duration::from_millis(100));
    story.passes(30.0).await;
    story.slow_down(Duration::ZERO);
    story.recovers().await;
    story.ends(&[Check::Outlives, Check::Handover]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: several outages"]
async fn what_was_written_late_undoes_nothing() {
    let mut story = Story::of_regulars().await;
    story.passers_by(8);
    story.passes(3.0).await;
    for round in 0..4 {
        let at = round % 3;
        story.tell(&format!("the line of {at} stalls"));
        // Longer than a command may take: the connection is given up with commands under way,
        // which arrive when the line moves again.
        story.set_line(at, Line::Stalled);
        story.passes(3.0).await;
        story.heal(at);
        story.passes(6.0).await;
    }
    story.recovers().await;
    story.ends(&[Check::Outlives, Check::Handover]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the detector's own figures"]
async fn full_it_still_lets_go_of_the_dead() {
    let mut story = Story::of_regulars().await;
    story.passes(4.0).await;
    let gone = story.entries_of(2);
    assert!(gone > 0, "there is something to let go");
    let epochs = story.epochs();
    story.fill_redis();
    assert!(story.redis().ask(&["SET", "a", "1"]).starts_with("OOM"));
    story.kill(2);
    eventually("the dead one's entries are gone", T + Duration::from_secs(2), async || {
        story.entries_of(2) == 0 && story.epochs().len() == 2
    })
    .await;
    assert!(story.epochs().iter().all(|epoch| epochs.contains(epoch)), "heartbeats are done");
    story.drain_redis();
    story.replace(2).await;
    story.recovers().await;
    story.ends(&[Check::Outlives]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: megabytes"]
async fn a_subscriber_that_redis_has_cut_hears_again() {
    // What is on the stalled line arrives at once when it moves again: the client has room for it.
    let config = "[limits]\noutbox_bytes = \"32MiB\"\n".to_owned();
    let story = Story::with(Settings { config, ..Settings::of(3) }, 0).await;
    story.redis().ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 64kb 1"]);
    let (mut sunil, mut sid) =
        (story.instance(0).connect("Sunil").await, story.instance(1).connect("Sid").await);
    sunil.send("Sid", "1").await;
    sid.expect("1").await;
    let subscribers = || story.redis().ask(&["PUBSUB", "CHANNELS", "*"]).lines().count();
    story.set_line(1, Line::Stalled);
    let long = format!("\"{}\"", "x".repeat(30_000));
    eventually("Redis has cut the subscriber", 2 * T, async || {
        sunil.send("Sid", &long).await;
        subscribers() < 3
    })
    .await;
    story.heal(1);
    eventually("it has subscribed again", T, async || subscribers() == 3).await;
    let mut heard = Vec::new();
    let mut tries = 1;
    eventually("messages are heard again", T, async || {
        tries += 1;
        sunil.send("Sid", &tries.to_string()).await;
        heard.append(&mut sid.hear_until_silence().await);
        heard.contains(&tries.to_string())
    })
    .await;
    let mut short: Vec<_> = heard.iter().filter(|text| text.len() < 10).collect();
    let count = short.len();
    short.sort();
    short.dedup();
    assert!(count > 0 && short.len() == count, "{short:?}");
}
