//! A reader that stops: it alone pays.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    instance::Instance,
    process::resident,
    raw::{FIN, Raw, TEXT, masked},
};

/// Far above what the outbox and the kernel take.
const MESSAGES: usize = 800;
const BYTES: usize = 30_000;

/// What the daemon may grow by: the outbox's 256 KiB and the write buffer, with generosity, and
/// far below the 24 MB that were said.
const GROWTH: usize = 12 * 1024 * 1024;

#[tokio::test]
async fn a_reader_that_stops_is_cut_while_its_neighbour_hears_everything() {
    let instance = Instance::start("");
    let mut sunil = instance.connect("Sunil").await;
    let mut ann = instance.connect("Ann").await;
    let mut sid = Raw::open_narrow(instance.app()).await.upgraded("Sid").await;
    // Warm: what the first message needs is not growth.
    sunil.send("Ann", "\"hello\"").await;
    ann.expect("\"hello\"").await;
    let before = resident(instance.pid());
    let big = format!("\"{}\"", "x".repeat(BYTES));
    let (mut most, mut slowest) = (0, Duration::ZERO);
    for number in 0..MESSAGES {
        sunil.send("Sid", &big).await;
        let start = Instant::now();
        sunil.send("Ann", &number.to_string()).await;
        ann.expect(&number.to_string()).await;
        slowest = slowest.max(start.elapsed());
        most = most.max(resident(instance.pid()));
    }
    assert!(slowest < Duration::from_secs(2), "Ann waited {slowest:?}");
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH, "the daemon grew by {grown} bytes");
    let (heard, code) = sid.drain().await;
    assert!(heard.len() < MESSAGES, "Sid was cut");
    assert!(heard.iter().all(|text| *text == big), "what Sid heard is whole");
    assert!(matches!(code, Some(1013) | None), "{code:?}");
    let told = "limits.outbox_bytes: a client reads too slowly, and is closed";
    instance.logs(told).await;
    assert!(!instance.log().contains("xxxx"), "what was said is nobody's business");
    // Sid's next connection is like any other.
    let mut sid = instance.connect("Sid").await;
    sunil.send("Sid", "\"back?\"").await;
    while sid.hear().await != "\"back?\"" {}
}

#[tokio::test]
async fn a_client_that_reads_no_answers_to_its_own_nonsense_is_bounded_too() {
    let instance = Instance::start("");
    let mut sunil = instance.connect("Sunil").await;
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
    let before = resident(instance.pid());
    let mut flood = Raw::open_narrow(instance.app()).await.upgraded("Sid").await;
    let nonsense = masked(FIN | TEXT, b"x").repeat(10_000);
    // What the kernel takes is soon full; then the daemon has stopped taking.
    let start = Instant::now();
    while flood.write_for(&nonsense, Duration::from_secs(1)).await {
        assert!(start.elapsed() < Duration::from_secs(20), "it takes nonsense for ever");
    }
    let grown = resident(instance.pid()).saturating_sub(before);
    assert!(grown < GROWTH, "the daemon grew by {grown} bytes");
    sunil.send("Sunil", "2").await;
    sunil.expect("2").await;
}
