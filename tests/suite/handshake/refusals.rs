//! The table of refusals, row by row and in its order.

use std::time::{Duration, Instant};

use wsfleetd::{config::settings::Users, users};

use super::{SUNIL, assert_refused, assert_retry_after, faces};
use crate::{
    support::{
        client::Client,
        fleet::{PATIENCE, TestFleet, eventually},
        instance::Instance,
        postgres::Postgres,
        raw::{Raw, ask, ask_with, handshake},
    },
    users::{migrated, new_user},
};

/// What stands first in a file of users.
pub const COLUMNS: &str = "username,first_name,last_name,mobile,password_hash,disabled\n";

#[tokio::test]
async fn what_is_no_upgrade_by_rfc_6455_is_a_bad_request() {
    let instance = Instance::start("");
    let good = handshake("/Dev", &[SUNIL]);
    for face in faces(&instance) {
        for (from, to) in [
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("Connection: Upgrade\r\n", ""),
            ("Connection: Upgrade", "Connection: close"),
            ("Upgrade: websocket\r\n", ""),
            ("Upgrade: websocket", "Upgrade: h2c"),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dG9vIHNob3J0"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "not base64"),
            ("Sec-WebSocket-Version: 13\r\n", ""),
        ] {
            let answer = ask_with(face, &good.replacen(from, to, 1)).await;
            assert_refused(&answer, 400, "Bad Request");
        }
        // The refusal comes before that of a path: it is the cheaper one to check.
        let answer = ask_with(face, &good.replace("/Dev", "/x").replace("GET", "PUT")).await;
        assert_refused(&answer, 400, "Bad Request");
    }
}

#[tokio::test]
async fn another_version_is_told_the_right_one() {
    let instance = Instance::start("");
    for face in faces(&instance) {
        for version in ["8", "0", "14", "13, 8", ""] {
            let version = format!("Sec-WebSocket-Version: {version}");
            let request = handshake("/Dev", &[]).replace("Sec-WebSocket-Version: 13", &version);
            let answer = ask_with(face, &request).await;
            assert_refused(&answer, 426, "Upgrade Required");
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        }
    }
}

#[tokio::test]
async fn refusals_come_in_the_order_of_the_table() {
    let websocket = "[websocket]\nallowed_origins = [\"https://app.com\"]\n";
    let limits = "[limits]\nmax_connections = 1\n";
    let instance = Instance::start(&format!("{websocket}{limits}"));
    let stranger = ("Origin", "https://evil.example");
    let guest = ("Origin", "https://app.com");
    let nobody = ("username", "Nobody");
    for face in faces(&instance) {
        for path in ["/", "/dev", "/Dev2", "/Dev/x", "/api/v1", "/ws//", "//ws", "/%44ev"] {
            let answer = ask(face, path, &[stranger]).await;
            assert_refused(&answer, 404, "Not Found");
        }
        assert_refused(&ask(face, "/Dev", &[stranger]).await, 403, "Forbidden");
        for origin in ["https://app.com.evil.example", "http://app.com", "null", ""] {
            let answer = ask(face, "/Dev", &[("Origin", origin), SUNIL]).await;
            assert_refused(&answer, 403, "Forbidden");
        }
        assert_refused(&ask(face, "/Dev", &[guest]).await, 401, "Unauthorized");
        assert_refused(&ask(face, "/Dev", &[guest, nobody]).await, 401, "Cannot identify user.");
    }
    let only =
        Client::try_with_headers(instance.app(), "/Dev", &[guest, SUNIL]).await.expect("a seat");
    for face in faces(&instance) {
        // A full instance says so before it asks who is there, and after where from.
        let answer = ask(face, "/Dev", &[guest]).await;
        assert_refused(&answer, 503, "Service Unavailable");
        assert_retry_after(&answer);
        assert_refused(&ask(face, "/Dev", &[stranger]).await, 403, "Forbidden");
        assert_refused(&ask(face, "/x", &[guest, SUNIL]).await, 404, "Not Found");
    }
    only.close().await;
    eventually("the seat is free", PATIENCE, async || {
        ask(instance.api(), "/Dev", &[guest, SUNIL]).await.status == 101
    })
    .await;
}

#[tokio::test]
async fn refused_handshakes_keep_no_seat() {
    let instance = Instance::start("[limits]\nmax_connections = 1\n");
    for _ in 0..5 {
        let answer = ask(instance.app(), "/Dev", &[("username", "Nobody")]).await;
        assert_refused(&answer, 401, "Cannot identify user.");
    }
    let mut sunil = instance.connect("Sunil").await;
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
}

#[tokio::test]
async fn the_unregistered_and_the_disabled_are_refused_each_in_its_words() {
    let users = format!("{COLUMNS}Sunil,,,,,\nEve,,,,,true\n");
    let instance = Instance::start_with(r#"modes = ["header"]"#, &users, "");
    for face in faces(&instance) {
        for name in ["Nobody", "sunil", "Sunil Kumar", ""] {
            let answer = ask(face, "/Dev", &[("username", name)]).await;
            assert_refused(&answer, 401, "Cannot identify user.");
        }
        assert_refused(&ask(face, "/Dev", &[("username", "Eve")]).await, 403, "Forbidden");
        assert_refused(&ask(face, "/Dev", &[]).await, 401, "Unauthorized");
        assert_eq!(ask(face, "/Dev", &[SUNIL]).await.status, 101);
    }
}

#[tokio::test]
async fn without_the_directory_only_those_it_has_named_are_let_in() {
    let mut postgres = Postgres::start();
    let database = migrated(&postgres).await;
    let directory = users::open(&database, &Users::default()).await.expect("a directory");
    for name in ["Sunil", "Sid"] {
        directory.add(new_user(name)).await.expect("a new user");
    }
    let instance = Instance::start(&format!("[database]\nurl = \"{}\"\n", postgres.url()));
    instance.connect("Sunil").await.close().await;
    postgres.stop();
    for face in faces(&instance) {
        let answer = ask(face, "/Dev", &[("username", "Sid")]).await;
        assert_refused(&answer, 503, "Service Unavailable");
        assert_retry_after(&answer);
        assert_eq!(ask(face, "/Dev", &[SUNIL]).await.status, 101, "Sunil is cached");
    }
    postgres.start_again();
    eventually("the directory is asked again", PATIENCE, async || {
        ask(instance.app(), "/Dev", &[("username", "Sid")]).await.status == 101
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_is_kept_waiting_is_refused_in_its_time_and_leaves_nothing() {
    let more = "command_timeout = \"10s\"\n[websocket]\nhandshake_timeout = \"1s\"\n";
    let fleet = TestFleet::with_settings(1, more).await;
    fleet.redis.freeze();
    for face in faces(&fleet[0]) {
        let start = Instant::now();
        let mut client = Raw::open(face).await;
        // What the client itself takes of its time is not given back.
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.write(handshake("/Dev", &[SUNIL]).as_bytes()).await;
        let answer = client.answer().await;
        assert_refused(&answer, 503, "Service Unavailable");
        assert_retry_after(&answer);
        let bounds = Duration::from_millis(900)..Duration::from_millis(3000);
        assert!(bounds.contains(&start.elapsed()), "{:?}", start.elapsed());
    }
    fleet.redis.thaw();
    eventually("nothing is left", PATIENCE, async || fleet.entries() == 0).await;
    fleet[0].connect("Sunil").await.close().await;
}

#[tokio::test]
async fn a_handshake_on_a_connection_that_was_used_before_has_a_time_of_its_own() {
    let instance = Instance::start("[websocket]\nhandshake_timeout = \"1s\"\n");
    let mut proxy = Raw::open(instance.app()).await;
    proxy.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(proxy.answer().await.status, 200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut sunil = proxy.upgraded("Sunil").await;
    sunil.say(r#"{"action":"send","to":"Sunil","message":1}"#).await;
    sunil.expect("1").await;
}

#[test]
fn the_header_is_for_loopback_or_proxies_only() {
    let config = |listen: &str| {
        format!("[listen]\n{listen}\nadmin = \"127.0.0.1:0\"\n[auth]\nmodes = [\"header\"]\n")
    };
    for listen in
        ["app = \"0.0.0.0:0\"\napi = \"127.0.0.1:0\"", "app = \"127.0.0.1:0\"\napi = \"[::]:0\""]
    {
        let (code, said) = Instance::refused(&config(listen));
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("auth.header.trusted_proxies"), "names the remedy: {said}");
    }
}
