//! The close handshake in every order, and ends without one.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    instance::Instance,
    raw::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, Raw, TEXT, masked},
};

/// The daemon's wait for a close frame's answer is 2 s; a busy machine may add to it.
const WAIT: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_secs(6);

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

#[tokio::test]
async fn the_client_closes_first() {
    let instance = Instance::start("");
    let long = [b'x'; 123];
    for (what, bytes, answer) in [
        ("without a code", masked(FIN | CLOSE, b""), 1005),
        ("with a code", close(1000, b""), 1000),
        ("with a reason", close(1001, b"bye"), 1001),
        ("with the longest reason", close(1000, &long), 1000),
        ("with a library's code", close(3000, b""), 3000),
        ("with the highest code", close(4999, "schön".as_bytes()), 4999),
        ("with a code below all", close(999, b""), 1002),
        ("with code 0", close(0, b""), 1002),
        ("with the code that is kept", close(1004, b""), 1002),
        ("with the code of no code", close(1005, b""), 1002),
        ("with the code of a lost connection", close(1006, b""), 1002),
        ("with the code of a failed TLS handshake", close(1015, b""), 1002),
        ("with a code nobody has given a meaning", close(1016, b""), 1002),
        ("with the last of those", close(2999, b""), 1002),
        ("with a code above all", close(5000, b""), 1002),
        ("with a code far above all", close(65535, b""), 1002),
        ("with half a code", masked(FIN | CLOSE, b"\x03"), 1002),
        ("with a reason that is not UTF-8", close(1000, b"\xff"), 1007),
        ("with a reason too long by one", close(1000, &[b'x'; 124]), 1002),
        ("in two parts", masked(CLOSE, b"\x03\xe8"), 1002),
        ("twice", [close(1000, b""), close(1001, b"")].concat(), 1000),
        ("and goes on talking", [close(1000, b""), masked(FIN | TEXT, b"{}")].concat(), 1000),
        ("and sends garbage", [close(1000, b""), vec![0xff; 100]].concat(), 1000),
        ("in the middle of a message", [masked(TEXT, b"{"), close(1000, b"")].concat(), 1000),
    ] {
        let mut client = Raw::connect(instance.app(), "Sunil").await;
        client.try_write(&bytes).await;
        assert_eq!(client.expect_close().await.0, answer, "a client closes {what}");
        // Where we failed the connection the client has its turn to answer; nothing else is said.
        client.try_write(&close(answer.max(1000), b"")).await;
        client.expect_end().await;
    }
    survives(&instance).await;
}

#[tokio::test]
async fn the_server_closes_first() {
    let instance = Instance::start("");
    for (what, answer) in [
        ("answers with the code", close(1003, b"")),
        ("answers with another code", close(1000, b"fine")),
        ("answers without a code", masked(FIN | CLOSE, b"")),
        ("answers with a code nobody may send", close(1006, b"")),
        ("answers with half a code", masked(FIN | CLOSE, b"\x03")),
        ("breaks the protocol instead", masked(FIN | 3, b"")),
        (
            "was still talking",
            [masked(FIN | TEXT, b"{}"), masked(FIN | PING, b"?"), close(1003, b"")].concat(),
        ),
    ] {
        let mut client = Raw::connect(instance.app(), "Sunil").await;
        client.frame(FIN | BINARY, b"not supported").await;
        assert_eq!(client.expect_close().await.0, 1003);
        let start = Instant::now();
        client.try_write(&answer).await;
        client.expect_end().await;
        assert!(start.elapsed() < WAIT, "a client that {what} is waited for");
    }
    survives(&instance).await;
}

#[tokio::test]
async fn both_close_at_once() {
    let instance = Instance::start("");
    let mut client = Raw::connect(instance.app(), "Sunil").await;
    // The client's close is on its way before it can have seen the server's.
    client.write(&[masked(FIN | BINARY, b""), close(1000, b"")].concat()).await;
    assert_eq!(client.expect_close().await.0, 1003);
    let start = Instant::now();
    client.expect_end().await;
    assert!(start.elapsed() < WAIT, "the client's close is its answer");
}

#[tokio::test]
async fn a_close_that_is_not_answered_is_not_waited_for_long() {
    let instance = Instance::start("");
    for chatter in [b"".to_vec(), masked(FIN | TEXT, b"{\"action\":\"x\"}")] {
        let mut client = Raw::connect(instance.app(), "Sunil").await;
        client.frame(FIN | BINARY, b"").await;
        assert_eq!(client.expect_close().await.0, 1003);
        let start = Instant::now();
        client.try_write(&chatter).await;
        client.expect_end().await;
        let waited = start.elapsed();
        assert!((WAIT / 2..LATE).contains(&waited), "{waited:?}");
    }
}

#[tokio::test]
async fn a_client_that_closes_while_the_server_leaves_is_let_go_at_once() {
    let mut instance = Instance::start("");
    let mut client = Raw::connect(instance.app(), "Sunil").await;
    instance.signal("TERM");
    assert_eq!(client.expect_close().await, (1001, "Going away".into()));
    client.write(&close(1000, b"")).await;
    client.expect_end().await;
    assert!(instance.wait().success());
}

#[tokio::test]
async fn a_connection_may_end_anywhere() {
    let instance = Instance::start("");
    let whole = masked(FIN | TEXT, br#"{"action":"send","to":"Sid","message":1}"#);
    let ends = [0, 1, 2, 5, 6, 7, whole.len() - 1].map(|end| whole[..end].to_vec());
    let begun = masked(TEXT, b"{");
    let within = [
        begun.clone(),
        [begun.clone(), masked(CONTINUATION, b"\"")].concat(),
        [begun, masked(FIN | PING, b"")].concat(),
    ];
    for part in ends.into_iter().chain(within) {
        let mut client = Raw::connect(instance.app(), "Sunil").await;
        client.write(&part).await;
        client.half_close().await;
        // A ping that came whole is answered; the end of what the client says is its end.
        let last = client.next().await;
        assert!(last.is_none() || last == Some(Frame { first: FIN | PONG, payload: vec![] }));
        let mut client = Raw::connect(instance.app(), "Ann").await;
        client.write(&part).await;
        client.reset();
    }
    // All are let go: neither of the users has a connection.
    let start = Instant::now();
    while instance.log().matches(" ms: Lost").count() < 20 {
        assert!(start.elapsed() < LATE, "{}", instance.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    survives(&instance).await;
}

#[tokio::test]
async fn who_closes_with_much_unread_hears_the_rest_on_the_next_connection() {
    // More than the kernel takes for one connection (4 MB), less than the outbox does.
    const MESSAGES: usize = 200;
    let instance = Instance::start(
        "[limits]\noutbox_bytes = \"16MiB\"\n\
         [delivery]\nmailbox_bytes = \"16MiB\"\nmailbox_entries = 1000\n",
    );
    let mut sunil = instance.connect("Sunil").await;
    let mut sid = Raw::open_narrow(instance.app()).await.upgraded("Sid").await;
    let filler = "x".repeat(30_000);
    for number in 0..MESSAGES {
        sunil.send("Sid", &format!("\"{number} {filler}\"")).await;
    }
    sunil.send("Sunil", "0").await;
    sunil.expect("0").await;
    sid.write(&close(1000, b"")).await;
    instance.logs("ended after").await;
    let number = |text: &String| text.trim_matches('"').split(' ').next()?.parse::<usize>().ok();
    let mut again = instance.connect("Sid").await;
    let mut rest = Vec::new();
    while rest.last() != Some(&(MESSAGES - 1)) {
        rest.extend(number(&again.hear().await));
    }
    let (heard, _) = sid.drain().await;
    let heard: Vec<_> = heard.iter().filter_map(number).collect();
    assert!(heard.len() < MESSAGES, "there was room for all: this test proves nothing");
    assert!(heard.iter().copied().eq(0..heard.len()), "{heard:?}");
    assert!(
        rest[0] <= heard.len(),
        "{} is the first of the rest, {} were heard",
        rest[0],
        heard.len()
    );
    assert!(rest.iter().copied().eq(rest[0]..MESSAGES), "{rest:?}");
}

/// What one client does wrong harms no other.
async fn survives(instance: &Instance) {
    let mut sid = instance.connect("Sid").await;
    sid.send("Sid", "\"still here\"").await;
    while sid.hear().await != "\"still here\"" {}
}
