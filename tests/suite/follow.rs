//! What a client has not read follows it: it connects elsewhere first, and then its old connection
//! ends. Nothing is missing, nothing that was written comes again, and all is in order.

use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually},
    raw::Raw,
};

/// Enough that the kernel does not take all of them.
const COUNT: usize = 150;

/// Those that are sent when the client has both connections.
const MORE: usize = 20;

/// Of what left the process with the last write nobody knows whether it has arrived: two messages
/// of this size are more than a write buffer.
const UNCERTAIN: usize = 2;

/// Room for all of them in an outbox and a mailbox.
const ROOM: &str = "mailbox_entries = 1000\nmailbox_bytes = \"32MiB\"\n\
                    [limits]\noutbox_bytes = \"32MiB\"\n";

/// How the old connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Its instance is stopped.
    Stopped,
    /// Its client vanishes.
    Reset,
}

/// A fleet that keeps what it must.
async fn fleet(classic: &str) -> TestFleet {
    TestFleet::with_settings(2, &format!("[delivery]\nclassic = \"{classic}\"\n{ROOM}")).await
}

/// Numbered messages to Sid that fill a kernel's buffers.
async fn say(sunil: &mut Client, numbers: std::ops::Range<usize>) {
    let filler = "x".repeat(30_000);
    for number in numbers {
        sunil.send("Sid", &format!("[{number}, \"{filler}\"]")).await;
    }
}

fn number(text: &str) -> usize {
    let (number, _): (usize, String) = serde_json::from_str(text).expect("what was sent");
    number
}

/// Sid does not read at instance 0, connects to `next`, and then the old connection ends.
async fn story(classic: &str, next: usize, end: End) {
    let mut fleet = fleet(classic).await;
    let mut old = Raw::open_narrow(fleet[0].app()).await.upgraded("Sid").await;
    let mut sunil = fleet.connect(1, "Sunil").await;
    // Over a route that is known, messages between two instances keep their order: when the second
    // is there, all are.
    let mut ann = fleet.connect(0, "Ann").await;
    sunil.send("Ann", "\"first\"").await;
    ann.expect("\"first\"").await;
    say(&mut sunil, 0..COUNT).await;
    sunil.send("Ann", "\"second\"").await;
    ann.expect("\"second\"").await;
    ann.close().await;
    let mut new = fleet.connect(next, "Sid").await;
    eventually("both are known", PATIENCE, async || fleet.entries() == 3).await;
    say(&mut sunil, COUNT..COUNT + MORE).await;
    let mut heard = Vec::new();
    while heard.last() != Some(&(COUNT + MORE - 1)) {
        heard.push(number(&new.hear().await));
    }
    // One that was on its way meanwhile may have been sent to both.
    assert!(heard[0] > COUNT - 10, "{heard:?}");
    assert_eq!(heard, (heard[0]..COUNT + MORE).collect::<Vec<_>>(), "what is new comes at once");
    let before = match end {
        End::Stopped => {
            fleet[0].signal("TERM");
            let status = fleet[0].wait();
            assert_eq!(status.code(), Some(0), "{}", fleet[0].log());
            old.drain().await.0.iter().map(|text| number(text)).collect()
        }
        End::Reset => {
            old.reset();
            Vec::new()
        }
    };
    eventually("the old one is gone", PATIENCE, async || fleet.entries() == 2).await;
    say(&mut sunil, COUNT + MORE..COUNT + MORE + 1).await;
    let mut after = Vec::new();
    while after.last() != Some(&(COUNT + MORE)) {
        after.push(number(&new.hear().await));
    }
    after.extend(new.hear_until_silence().await.iter().map(|text| number(text)));
    check(heard[0], &before, &after);
}

/// What the new connection got behind the new ones is what the old one alone was sent, up to `own`,
/// and had not written, in order.
fn check(own: usize, before: &[usize], after: &[usize]) {
    let mut followed: Vec<usize> = after.to_vec();
    // The last may overtake what follows: it takes the short way.
    followed.retain(|number| *number != COUNT + MORE);
    let first = *followed.first().expect("something follows");
    assert_eq!(followed, (first..own).collect::<Vec<_>>(), "in order, without a gap, each once");
    assert!(first < own - 10, "the kernel took it all: the test is too small");
    assert_eq!(after.len(), followed.len() + 1);
    if !before.is_empty() {
        // Of a client that has vanished nobody knows what it read.
        let read = before.len();
        assert_eq!(before, (0..read).collect::<Vec<_>>());
        assert!(first <= read, "{read} were read, and {first} comes next");
        assert!(first + UNCERTAIN >= read, "{read} were read, and {first} comes again");
    }
    println!("{} were written, {} followed", before.len(), followed.len());
}

#[tokio::test]
async fn to_another_instance_when_the_old_one_is_stopped() {
    for classic in ["handover", "keep"] {
        story(classic, 1, End::Stopped).await;
    }
}

#[tokio::test]
async fn to_another_instance_when_the_old_client_vanishes() {
    story("handover", 1, End::Reset).await;
}

#[tokio::test]
async fn to_another_connection_on_the_same_instance() {
    story("handover", 0, End::Reset).await;
}

/// What was held for a client that came back and went again without reading is held again.
#[tokio::test]
async fn to_the_next_connection_if_it_came_out_of_the_mailbox() {
    let fleet = fleet("handover").await;
    let mut sunil = fleet.connect(1, "Sunil").await;
    fleet.connect(0, "Sid").await.close().await;
    eventually("Sid is gone", PATIENCE, async || fleet.entries() == 1).await;
    say(&mut sunil, 0..COUNT).await;
    eventually("all are held", PATIENCE, async || fleet.held() == COUNT).await;
    let deaf = Raw::open_narrow(fleet[0].app()).await.upgraded("Sid").await;
    eventually("Sid is back", PATIENCE, async || fleet.entries() == 2).await;
    deaf.reset();
    eventually("Sid is gone again", PATIENCE, async || fleet.entries() == 1).await;
    let mut sid = fleet.connect(1, "Sid").await;
    let heard: Vec<_> = sid.hear_until_silence().await.iter().map(|text| number(text)).collect();
    let first = *heard.first().expect("something is held again");
    assert_eq!(heard, (first..COUNT).collect::<Vec<_>>());
    assert!(first < COUNT - 10, "the kernel took it all: the test is too small");
}
