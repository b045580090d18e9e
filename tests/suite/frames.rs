//! Frames and sockets that behave badly: each ends as RFC 6455 and the contract say, and nobody
//! else notices.

mod closing;
mod floods;
mod slow;
mod time;

use crate::support::{
    instance::Instance,
    raw::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, Raw, TEXT, masked, unmasked},
};

/// The bounds of the contract: `websocket.max_frame` and `max_message`.
const MAX_FRAME: usize = 32 * 1024;
const MAX_MESSAGE: usize = 128 * 1024;

/// A message to oneself, as JSON text of exactly `length` bytes; and what is heard of it.
fn send_of(length: usize) -> (String, String) {
    let (head, tail) = (r#"{"action":"send","to":"Sunil","message":""#, r#""}"#);
    let filler = "x".repeat(length - head.len() - tail.len());
    (format!("{head}{filler}{tail}"), format!("\"{filler}\""))
}

/// Sends `bytes` and must be told off with this close code.
async fn assert_closed(instance: &Instance, what: &str, bytes: &[u8], code: u16) {
    let mut client = Raw::connect(instance.app(), "Sunil").await;
    client.try_write(bytes).await;
    let (told, _) = client.expect_close().await;
    assert_eq!(told, code, "{what}");
    client.try_write(&masked(FIN | CLOSE, &told.to_be_bytes())).await;
    client.expect_end().await;
}

#[tokio::test]
async fn frames_against_the_protocol_are_closed_with_1002() {
    let instance = Instance::start("");
    let twice = |first, second| [masked(first, b"{"), masked(second, b"}")].concat();
    for (what, bytes) in [
        ("an unmasked text", unmasked(FIN | TEXT, b"{}")),
        ("an unmasked ping", unmasked(FIN | PING, b"")),
        ("reserved bit 1", masked(FIN | 0x40 | TEXT, b"{}")),
        ("reserved bit 2", masked(FIN | 0x20 | TEXT, b"{}")),
        ("reserved bit 3", masked(FIN | 0x10 | TEXT, b"{}")),
        ("a reserved data opcode", masked(FIN | 3, b"{}")),
        ("a reserved control opcode", masked(FIN | 11, b"")),
        ("a continuation of nothing", masked(FIN | CONTINUATION, b"{}")),
        ("a message within a message", twice(TEXT, FIN | TEXT)),
        ("the last reserved data opcode", masked(FIN | 7, b"")),
        ("the last reserved control opcode", masked(FIN | 15, b"")),
        ("all reserved bits on a ping", masked(FIN | 0x70 | PING, b"")),
        ("a reserved bit on a continuation", twice(TEXT, FIN | 0x40 | CONTINUATION)),
        ("an open continuation of nothing", masked(CONTINUATION, b"")),
        ("an unmasked continuation", [masked(TEXT, b"{"), unmasked(FIN, b"}")].concat()),
        ("a binary message within a text", twice(TEXT, FIN | BINARY)),
        ("a fragmented ping", masked(PING, b"")),
        ("a fragmented pong", masked(PONG, b"")),
        ("a ping of 126 bytes", masked(FIN | PING, &[b'x'; 126])),
        ("a pong of 126 bytes", masked(FIN | PONG, &[b'x'; 126])),
        ("a ping as long as a frame may be", masked(FIN | PING, &[b'x'; MAX_FRAME])),
    ] {
        assert_closed(&instance, what, &bytes, 1002).await;
    }
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_closed_with_1007() {
    let instance = Instance::start("");
    let parts = |parts: [&[u8]; 3]| {
        let [first, second, third] = parts;
        [masked(TEXT, first), masked(CONTINUATION, second), masked(FIN | CONTINUATION, third)]
            .concat()
    };
    let split = [masked(TEXT, b"\"\xe2\x82"), masked(FIN | CONTINUATION, b"\"")].concat();
    let halves = parts([b"\"\xc3", b"", b"\xe2\""]);
    let middle = parts([b"\"a", b"\xff", b"b\""]);
    for (what, bytes) in [
        ("a lone byte", masked(FIN | TEXT, b"\"\xff\"")),
        ("a surrogate", masked(FIN | TEXT, b"\"\xed\xa0\x80\"")),
        ("a character cut short by the end", masked(FIN | TEXT, b"\"\xe2\x82")),
        ("a character cut short by a fragment", split),
        ("a character that is no code point", masked(FIN | TEXT, b"\"\xf4\x90\x80\x80\"")),
        ("an overlong character", masked(FIN | TEXT, b"\"\xc0\xaf\"")),
        ("its first half in one part, another's second half in the next", halves),
        ("bad text in the middle of three parts", middle),
    ] {
        assert_closed(&instance, what, &bytes, 1007).await;
    }
}

#[tokio::test]
async fn binary_messages_are_closed_with_1003() {
    let instance = Instance::start("");
    for payload in [&b""[..], b"{\"action\":\"send\"}", &[0; 1000]] {
        let bytes = masked(FIN | BINARY, payload);
        assert_closed(&instance, "binary", &bytes, 1003).await;
        let bytes = [masked(BINARY, payload), masked(FIN | CONTINUATION, b"")].concat();
        assert_closed(&instance, "binary in two parts", &bytes, 1003).await;
    }
}

#[tokio::test]
async fn frames_and_messages_may_reach_their_bound_and_no_more() {
    let instance = Instance::start("");
    let mut client = Raw::connect(instance.app(), "Sunil").await;
    let (frame, echo) = send_of(MAX_FRAME);
    client.say(&frame).await;
    client.expect(&echo).await;
    let (message, echo) = send_of(MAX_MESSAGE);
    client.write(&fragmented(&message)).await;
    client.expect(&echo).await;

    let (long, _) = send_of(MAX_FRAME + 1);
    assert_closed(&instance, "a long frame", &masked(FIN | TEXT, long.as_bytes()), 1009).await;
    let (long, _) = send_of(MAX_MESSAGE + 1);
    assert_closed(&instance, "a long message", &fragmented(&long), 1009).await;
    // All of it is on its way before the server has said a word.
    let huge = vec![b'x'; 4 * 1024 * 1024];
    assert_closed(&instance, "a huge frame", &masked(FIN | TEXT, &huge), 1009).await;
    let mut claim = vec![FIN | TEXT, 0x80 | 127];
    claim.extend((u64::MAX >> 1).to_be_bytes());
    claim.extend([0; 4]);
    assert_closed(&instance, "the head of an endless frame", &claim, 1009).await;
}

/// One text message in frames of a quarter of the bound.
fn fragmented(text: &str) -> Vec<u8> {
    let parts: Vec<_> = text.as_bytes().chunks(MAX_FRAME / 4).collect();
    let last = parts.len() - 1;
    let frames = parts.iter().enumerate().map(|(number, part)| {
        let opcode = if number == 0 { TEXT } else { CONTINUATION };
        masked(if number == last { FIN | opcode } else { opcode }, part)
    });
    frames.collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn a_fragmented_message_is_delivered_whole_with_pings_answered_in_between() {
    let instance = Instance::start("");
    let mut client = Raw::connect(instance.app(), "Sunil").await;
    client.frame(TEXT, br#"{"action":"send","to":"Su"#).await;
    client.frame(FIN | PING, b"are you there?").await;
    let pong = Frame { first: FIN | PONG, payload: b"are you there?".to_vec() };
    assert_eq!(client.next().await, Some(pong));
    client.frame(CONTINUATION, b"nil\",\"message\":\"\xe2\x82").await;
    client.frame(FIN | PONG, b"unasked").await;
    client.frame(CONTINUATION, b"").await;
    client.frame(FIN | CONTINUATION, b"\xac\"}").await;
    client.expect("\"\\u20ac\"").await;
}

#[tokio::test]
async fn what_is_said_before_a_close_is_delivered() {
    let instance = Instance::start("");
    let mut sid = instance.connect("Sid").await;
    let mut sunil = Raw::connect(instance.app(), "Sunil").await;
    let send = br#"{"action":"send","to":"Sid","message":"last words"}"#;
    sunil.write(&[masked(FIN | TEXT, send), masked(FIN | CLOSE, b"\x03\xe8")].concat()).await;
    sid.expect("\"last words\"").await;
    // Without a goodbye too.
    let mut elon = Raw::connect(instance.app(), "Elon").await;
    elon.frame(FIN | TEXT, send).await;
    elon.half_close().await;
    sid.expect("\"last words\"").await;
    elon.expect_end().await;
}

#[tokio::test]
async fn garbage_in_place_of_http_harms_nobody() {
    let instance = Instance::start("");
    let mut sunil = instance.connect("Sunil").await;
    let endless = format!("GET /Dev HTTP/1.1\r\nX: {}", "x".repeat(64 * 1024));
    let many = format!("GET /Dev HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(1000));
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello"[..],
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET /Dev HTTP/9.9\r\n\r\n",
        endless.as_bytes(),
        many.as_bytes(),
    ] {
        for face in [instance.app(), instance.api(), instance.admin()] {
            let mut client = Raw::open(face).await;
            client.try_write(garbage).await;
            let _ = client.try_write(b"\r\n\r\n").await;
            let answer = client.rest().await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
    // As many that leave at once.
    for _ in 0..50 {
        drop(Raw::open(instance.app()).await);
    }
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
}
