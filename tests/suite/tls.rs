//! TLS on the public listeners: handshakes that succeed, fail and stall, and certificates that are
//! replaced under open connections.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};
use wsfleetd::telemetry::events;

use crate::{
    reload::{hang_up, reload},
    support::{
        client::{Client, PATIENCE},
        fleet::get,
        instance::{Instance, binary},
        tls::Issued,
    },
};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An instance with a certificate; both gone with the directory.
fn with_tls() -> (TempDir, Issued, Instance) {
    let dir = TempDir::new().expect("a directory");
    let issued = Issued::new(dir.path(), "first");
    let instance = Instance::start_in(&[], &issued.settings());
    (dir, issued, instance)
}

async fn say<S>(socket: &mut WebSocketStream<S>, to: &str, message: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let text = format!(r#"{{"action":"send","to":"{to}","message":{message}}}"#);
    socket.send(Message::text(text)).await.expect("it is sent");
}

async fn hear<S>(socket: &mut WebSocketStream<S>) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let next = timeout(PATIENCE, socket.next()).await.expect("a message in time");
        match next.expect("the connection lives").expect("a frame") {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) => {}
            other => panic!("{other:?} instead of a message"),
        }
    }
}

#[tokio::test]
async fn both_public_listeners_speak_tls_and_the_admins_does_not() {
    let (_dir, issued, instance) = with_tls();
    let mut sid = issued.socket(instance.app(), "Sid").await;
    let mut elon = issued.socket(instance.api(), "Elon").await;
    say(&mut elon, "Sid", "\"over TLS\"").await;
    assert_eq!(hear(&mut sid).await, "\"over TLS\"");
    // More than a record holds, both ways.
    let long = format!("\"{}\"", "x".repeat(30_000));
    say(&mut sid, "Elon", &long).await;
    assert_eq!(hear(&mut elon).await, long);

    assert_eq!(get(instance.admin(), "/healthz").await.0, 200);
    sid.close(None).await.expect("it is closed");
    while let Some(Ok(_)) = sid.next().await {}
    // The end of TLS is said, so that nobody takes it for a connection that was cut.
    let end = sid.get_mut().read(&mut [0; 16]).await;
    assert!(matches!(end, Ok(0)), "{end:?}");
}

#[tokio::test]
async fn http_1_1_is_all_that_is_agreed_on() {
    let (_dir, issued, instance) = with_tls();
    for (offered, agreed) in [
        (&["http/1.1"][..], Some("http/1.1")),
        (&["h2", "http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut stream = issued.connect(instance.app(), offered).await.expect("a handshake");
        let protocol = stream.get_ref().1.alpn_protocol().map(String::from_utf8_lossy);
        assert_eq!(protocol.as_deref(), agreed, "{offered:?}");
        stream.write_all(GET).await.expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer and its end");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let refused = issued.connect(instance.app(), &["h2"]).await.expect_err("nothing in common");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[test]
fn openssl_agrees() {
    let (_dir, issued, instance) = with_tls();
    let s_client = |version: &str| {
        let mut openssl = Command::new("openssl");
        let chain = issued.chain.to_str().expect("a plain path");
        openssl.args(["s_client", "-connect", &instance.app().to_string(), version]);
        openssl.args(["-CAfile", chain, "-verify_return_error", "-verify_hostname", "localhost"]);
        openssl.args(["-ign_eof"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut openssl = openssl.stderr(Stdio::piped()).spawn().expect("openssl runs");
        let mut stdin = openssl.stdin.take().expect("a pipe");
        // It may have given up already.
        let _ = std::io::Write::write_all(&mut stdin, GET);
        let output = openssl.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
    };
    for version in ["-tls1_3", "-tls1_2"] {
        let (success, said) = s_client(version);
        assert!(success && said.contains("Verify return code: 0 (ok)"), "{version}: {said}");
        assert!(said.contains("HTTP/1.1 200 OK"), "{version}: {said}");
    }
    let (success, said) = s_client("-tls1_1");
    assert!(!success && !said.contains("HTTP/1.1"), "{said}");
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_is_turned_away_at_once() {
    let (_dir, issued, instance) = with_tls();
    let mut plain = TcpStream::connect(instance.app()).await.expect("a connection");
    plain.write_all(GET).await.expect("it is sent");
    let mut answer = Vec::new();
    let end = timeout(PATIENCE / 2, plain.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "it is left waiting");
    // An alert at most, never HTTP.
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    instance.logs("no TLS with 127.0.0.1").await;
    issued.socket(instance.app(), "Sid").await;
}

#[tokio::test]
async fn a_client_that_stalls_in_the_handshake_is_let_go_in_time() {
    const WITHIN: Duration = Duration::from_millis(700);
    let dir = TempDir::new().expect("a directory");
    let issued = Issued::new(dir.path(), "first");
    let settings = format!("{}websocket.handshake_timeout = \"700ms\"\n", issued.settings());
    let instance = Instance::start_in(&[], &settings);
    // Nothing; the head of a record that never comes; and one that is through TLS and asks nothing.
    let silent = TcpStream::connect(instance.app()).await.expect("a connection");
    let mut half = TcpStream::connect(instance.app()).await.expect("a connection");
    half.write_all(b"\x16\x03\x01\x01\x00\x01").await.expect("it is sent");
    let start = Instant::now();
    let mut mute = issued.connect(instance.app(), &[]).await.expect("a handshake");
    for mut stalled in [silent, half] {
        let end = timeout(PATIENCE, stalled.read(&mut [0; 64])).await.expect("it is let go");
        assert!(!matches!(end, Ok(1..)), "{end:?}");
    }
    let end = timeout(PATIENCE, mute.read(&mut [0; 64])).await.expect("it is let go");
    assert!(!matches!(end, Ok(1..)), "{end:?}");
    // All of them have one and the same time, not one for TLS and another for HTTP.
    let took = start.elapsed();
    assert!((WITHIN / 2..WITHIN * 2).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_certificate_is_replaced_under_open_connections() {
    let (dir, first, instance) = with_tls();
    let mut sid = first.socket(instance.app(), "Sid").await;

    let second = Issued::new(dir.path(), "second");
    fs::copy(&second.chain, &first.chain).expect("a new certificate in its place");
    fs::copy(&second.key, &first.key).expect("a new key in its place");
    reload(&instance, "").await;
    instance.logs("new connections get a new certificate, good until ").await;
    let mut elon = second.socket(instance.api(), "Elon").await;
    say(&mut elon, "Sid", "1").await;
    assert_eq!(hear(&mut sid).await, "1");

    // The same again is no news.
    reload(&instance, "").await;
    assert_eq!(instance.log().matches("new connections get").count(), 1);

    // Half of a pair, then garbage: the one that works stays, and what is wrong is told.
    let third = Issued::new(dir.path(), "third");
    fs::copy(&third.chain, &first.chain).expect("a new certificate in its place");
    hang_up(&instance, "", "configuration is rejected").await;
    assert!(instance.log().contains("the key is not that of the certificate"));
    fs::write(&first.chain, "-----BEGIN CERTIFICATE-----\nAAAA\n").expect("write");
    hang_up(&instance, "", "configuration is rejected").await;
    assert!(instance.log().contains("which is not valid PEM"), "{}", instance.log());
    second.socket(instance.app(), "Ann").await;

    // Off: who comes now speaks plainly, who is here goes on.
    let off = "listen.tls_certificate = \"\"\nlisten.tls_key = \"\"\n";
    reload(&instance, off).await;
    let mut bob = Client::connect(instance.app(), "/Dev", "Bob").await;
    bob.send("Sid", "2").await;
    assert_eq!(hear(&mut sid).await, "2");
    say(&mut sid, "Bob", "3").await;
    bob.expect("3").await;
}

#[tokio::test]
async fn a_certificate_that_is_about_to_expire_is_told_of_in_time() {
    let dir = TempDir::new().expect("a directory");
    let json = [("WSFLEETD__TELEMETRY__LOG", "json")];
    let in_days =
        |name, days| Issued::expiring(dir.path(), name, SystemTime::now() + DAY * days + DAY / 2);
    let instance = Instance::start_in(&json, &in_days("soon", 13).settings());
    instance.logs("expires in 13 days, at ").await;
    let log = instance.log();
    let record = log.lines().find(|line| line.contains("expires in 13 days")).expect("a line");
    let record: serde_json::Value = serde_json::from_str(record).expect("JSON");
    assert_eq!(record["message_id"], events::CERTIFICATE_EXPIRING);
    assert_eq!(record["level"], "WARN");

    reload(&instance, &in_days("later", 15).settings()).await;
    assert!(!instance.log().contains("expires in 15"));
    let past = Issued::expiring(dir.path(), "past", SystemTime::now() - DAY);
    reload(&instance, &past.settings()).await;
    instance.logs("expired at ").await;
}

#[test]
fn a_key_of_another_certificate_is_refused_with_key_value_and_remedy() {
    let dir = TempDir::new().expect("a directory");
    let (one, other) = (Issued::new(dir.path(), "one"), Issued::new(dir.path(), "other"));
    let mixed = Issued { chain: one.chain, key: other.key };
    let file = dir.path().join("wsfleetd.toml");
    fs::write(&file, mixed.settings()).expect("write wsfleetd.toml");
    let check = Command::new(binary()).args(["check-config", "--config"]).arg(&file).output();
    let check = check.expect("wsfleetd runs");
    assert_eq!(check.status.code(), Some(78));
    let expected = format!(
        "{}:2: listen.tls_key = \"{}\"\n  problem: the key is not that of the certificate\n  \
         remedy:  name the unencrypted PEM key",
        file.display(),
        mixed.key.display()
    );
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.ends_with("1 mistake in the configuration\n"), "{said}");
}

/// What TLS adds to an idle connection, measured in the daemon's resident memory.
#[tokio::test]
#[ignore = "long: a thousand handshakes in a build without optimization"]
async fn an_idle_connection_costs_little_more_with_tls() {
    const COUNT: usize = 1000;
    let dir = TempDir::new().expect("a directory");
    let issued = Issued::new(dir.path(), "first");
    let settings = format!("{}limits.connections_per_user = 1000\n", issued.settings());
    let instance = Instance::start_in(&[], &settings);
    // The allocator's and the log's own memory first.
    let warm = futures_util::future::join_all(
        (0..COUNT / 4).map(|_| issued.connect(instance.app(), &["http/1.1"])),
    );
    drop(warm.await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = resident(instance.pid());
    let mut sockets = Vec::new();
    for number in 0..COUNT {
        let user = crate::support::instance::USERS[number % 8];
        sockets.push(issued.socket(instance.app(), user).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = (resident(instance.pid()) - before) / COUNT;
    println!("{each} bytes per idle connection over TLS");
    assert!(each < 24 * 1024, "{each} bytes");
}

fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon's status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("KiB") * 1024
}
