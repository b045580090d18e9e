//! The handshake on one instance: every refusal by its row, and every form that is accepted.

mod keys;
mod refusals;
mod tokens;

use std::{net::SocketAddr, time::Duration};

use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually},
    instance::Instance,
    raw::{Answer, FIN, Raw, TEXT, ask, handshake, masked},
};

/// The original's way to say who one is.
pub const SUNIL: (&str, &str) = ("username", "Sunil");

/// Both listeners that accept WebSockets.
pub fn faces(instance: &Instance) -> [SocketAddr; 2] {
    [instance.app(), instance.api()]
}

/// A refusal by its row of the table: status and `message`, with ids of API Gateway's shape.
#[track_caller]
pub fn assert_refused(answer: &Answer, status: u16, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let body = answer.body.as_str();
    let rest = body.strip_prefix(&format!(r#"{{"message": "{message}", "connectionId":""#));
    let ids = rest.and_then(|rest| rest.strip_suffix(r#""}"#)).unwrap_or_else(|| panic!("{body}"));
    let (connection, request) = ids.split_once(r#"", "requestId":""#).expect("two ids");
    for id in [connection, request] {
        assert!(id.len() == 16 && id.ends_with('='), "{id} in {body}");
    }
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

/// Whole seconds that a client can act upon.
#[track_caller]
pub fn assert_retry_after(answer: &Answer) {
    let seconds = answer.header("retry-after").and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{answer:?}");
}

#[tokio::test]
async fn each_path_is_accepted_with_a_slash_and_a_query_on_both_listeners() {
    let instance = Instance::start("");
    for face in faces(&instance) {
        for path in ["/Dev", "/ws", "/api", "/Dev/", "/api/", "/ws?x=1", "/Dev/?x=1&y=/nowhere"] {
            let mut client = Client::connect(face, path, "Sunil").await;
            client.send("Sunil", "1").await;
            client.expect("1").await;
            client.close().await;
        }
    }
}

#[tokio::test]
async fn a_handshake_may_be_written_as_clients_and_proxies_do() {
    let instance = Instance::start("");
    let good = handshake("/Dev", &[SUNIL]);
    for (from, to) in [
        ("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        ("Connection: Upgrade", "connection: keep-alive\r\nConnection: upgrade"),
        ("Upgrade: websocket", "upgrade: WebSocket"),
        ("Host: test", "Host: test\r\nSec-WebSocket-Extensions: permessage-deflate"),
        ("Host: test", "Host: test\r\nX-Forwarded-For: 192.0.2.1\r\nOrigin: https://any.where"),
    ] {
        let mut client = Raw::open(instance.app()).await;
        client.write(good.replace(from, to).as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 101, "{to}: {answer:?}");
        // RFC 6455 §1.3 has this key and what it gives.
        let accept = answer.header("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(answer.header("sec-websocket-extensions"), None, "none was taken");
        client.say(r#"{"action":"send","to":"Sunil","message":1}"#).await;
        client.expect("1").await;
    }
}

#[tokio::test]
async fn what_a_client_says_in_one_breath_with_its_handshake_is_heard() {
    let instance = Instance::start("");
    let mut client = Raw::open(instance.app()).await;
    let mut bytes = handshake("/Dev", &[SUNIL]).into_bytes();
    let send = br#"{"action":"send","to":"Sunil","message":"early"}"#;
    bytes.extend(masked(FIN | TEXT, send));
    client.write(&bytes).await;
    assert_eq!(client.answer().await.status, 101);
    client.expect("\"early\"").await;
}

#[tokio::test]
async fn refused_claims_leave_nothing_and_a_freed_place_is_usable_again() {
    let fleet = TestFleet::with_settings(2, "[limits]\nconnections_per_user = 2\n").await;
    let (first, _second) = (fleet.connect(0, "Sid").await, fleet.connect(1, "Sid").await);
    for at in [0, 1] {
        for face in faces(&fleet[at]) {
            let answer = ask(face, "/Dev", &[("username", "Sid")]).await;
            assert_refused(&answer, 403, "Too many connections");
        }
    }
    assert_eq!(fleet.entries(), 2, "refused claims are not registered");
    // Another user is not concerned, and is not registered for long either.
    fleet.connect(0, "Ann").await.close().await;
    first.close().await;
    eventually("the place is free", PATIENCE, async || fleet.entries() == 1).await;
    let _third = fleet.connect(1, "Sid").await;
    assert_eq!(fleet.entries(), 2);
}

#[tokio::test]
async fn a_client_that_vanishes_while_it_is_claimed_leaves_nothing() {
    let fleet = TestFleet::start(1).await;
    for round in 0..6 {
        // Redis answers late, but well before it counts as away.
        fleet.redis.freeze();
        let mut clients = Vec::new();
        for user in ["Sunil", "Elon", "Alok", "Sid"] {
            let mut client = Raw::open(fleet[0].app()).await;
            client.write(handshake("/Dev", &[("username", user)]).as_bytes()).await;
            clients.push(client);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Some close, some are gone as if their machine had crashed.
        let leave = if round % 2 == 0 { Raw::reset } else { drop };
        clients.into_iter().for_each(leave);
        tokio::time::sleep(Duration::from_millis(200)).await;
        fleet.redis.thaw();
    }
    eventually("nobody is registered", PATIENCE, async || fleet.entries() == 0).await;
    let mut sid = fleet.connect(0, "Sid").await;
    sid.send("Sid", "\"still well\"").await;
    sid.expect("\"still well\"").await;
    assert_eq!(fleet.entries(), 1);
}
