//! More of one thing than anybody needs.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    instance::Instance,
    process::resident,
    raw::{CONTINUATION, FIN, PING, PONG, Raw, TEXT, masked},
};

/// What the daemon may grow by: the write buffer's bound, with generosity.
const GROWTH: usize = 8 * 1024 * 1024;

#[tokio::test]
async fn pings_by_the_thousand_are_answered_in_order_and_the_last_for_sure() {
    const PINGS: u32 = 20_000;
    let instance = Instance::start("");
    let mut neighbour = instance.connect("Ann").await;
    let mut client = Raw::connect(instance.app(), "Sunil").await;
    let (mut last, mut answered) = (None, 0);
    for first in (0..PINGS).step_by(1000) {
        let burst: Vec<_> =
            (first..first + 1000).flat_map(|n| masked(FIN | PING, &n.to_be_bytes())).collect();
        client.write(&burst).await;
        // RFC 6455 §5.5.3: of several pings only the latest must be answered.
        while last != Some(first + 999) {
            let pong = client.next().await.expect("a pong");
            assert_eq!(pong.first, FIN | PONG);
            let number = u32::from_be_bytes(pong.payload.try_into().expect("four bytes"));
            assert!(last < Some(number), "{number} after {last:?}");
            (last, answered) = (Some(number), answered + 1);
        }
        let start = Instant::now();
        neighbour.send("Ann", "1").await;
        neighbour.expect("1").await;
        assert!(start.elapsed() < Duration::from_secs(2), "the neighbour waits");
    }
    assert!(answered >= PINGS / 1000);
    client.say(r#"{"action":"send","to":"Sunil","message":"and now?"}"#).await;
    client.expect("\"and now?\"").await;
}

#[tokio::test]
async fn one_who_pings_and_never_reads_is_bounded() {
    let instance = Instance::start("");
    let mut neighbour = instance.connect("Ann").await;
    neighbour.send("Ann", "1").await;
    neighbour.expect("1").await;
    let before = resident(instance.pid());
    let mut flood = Raw::open_narrow(instance.app()).await.upgraded("Sid").await;
    let pings = masked(FIN | PING, &[b'x'; 125]).repeat(1000);
    // 13 MB of pings: three times what the kernel keeps of their pongs.
    for _ in 0..100 {
        flood.write_for(&pings, Duration::from_secs(1)).await;
    }
    let grown = resident(instance.pid()).saturating_sub(before);
    assert!(grown < GROWTH, "the daemon grew by {grown} bytes");
    neighbour.send("Ann", "2").await;
    neighbour.expect("2").await;
}

#[tokio::test]
async fn a_message_in_a_great_many_parts_is_one_message() {
    let instance = Instance::start("");
    let mut client = Raw::connect(instance.app(), "Sunil").await;
    let text = r#"{"action":"send","to":"Sunil","message":"in many parts"}"#;
    let mut bytes = masked(TEXT, b"");
    for byte in text.as_bytes() {
        bytes.extend(masked(CONTINUATION, &[*byte]));
        bytes.extend(masked(CONTINUATION, b"").repeat(100));
        bytes.extend(masked(FIN | PONG, b""));
    }
    bytes.extend(masked(FIN | CONTINUATION, b""));
    client.write(&bytes).await;
    client.expect("\"in many parts\"").await;
}

#[tokio::test]
async fn a_message_that_grows_sixfold_when_printed_arrives() {
    let instance = Instance::start("");
    let mut sid = instance.connect("Sid").await;
    let mut sunil = Raw::connect(instance.app(), "Sunil").await;
    // U+007F is one byte in JSON and `\u007f` in what Python makes of it.
    let raw = "\u{7f}".repeat(128 * 1024 - 100);
    let frame = format!(r#"{{"action":"send","to":"Sid","message":"{raw}"}}"#);
    let parts: Vec<_> = frame.as_bytes().chunks(32 * 1024).collect();
    for (number, part) in parts.iter().enumerate() {
        let opcode = if number == 0 { TEXT } else { CONTINUATION };
        let fin = if number == parts.len() - 1 { FIN } else { 0 };
        sunil.frame(fin | opcode, part).await;
    }
    let heard = sid.hear().await;
    assert_eq!(heard.len(), 2 + 6 * raw.len());
    assert!(heard.trim_matches('"').as_bytes().chunks(6).all(|part| part == b"\\u007f"));
}
