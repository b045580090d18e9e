//! The bad network of the other tests does what it says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    proxy::{Command, Line, Meddler, Proxy},
    redis::RedisServer,
};

/// Long enough for an answer over loopback, also on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Nothing for this long is silence.
const SILENCE: Duration = Duration::from_millis(200);

struct Desk {
    server: RedisServer,
    proxy: Proxy,
}

impl Desk {
    fn new() -> Self {
        let server = RedisServer::start();
        let proxy = Proxy::to_port(server.port());
        Self { server, proxy }
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.expect("the proxy accepts")
    }
}

async fn say(stream: &mut TcpStream, words: &[&str]) {
    let mut text = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| text += &format!("${}\r\n{word}\r\n", word.len()));
    stream.write_all(text.as_bytes()).await.expect("it is open");
}

/// What comes within `bound`: a text, "" for an end, `None` for silence.
async fn hear(stream: &mut TcpStream, bound: Duration) -> Option<String> {
    let mut answer = [0; 1024];
    let length = timeout(bound, stream.read(&mut answer)).await.ok()?.unwrap_or(0);
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[tokio::test]
async fn an_open_line_passes_and_a_cut_one_resets_old_and_new() {
    let desk = Desk::new();
    let mut old = desk.dial().await;
    say(&mut old, &["SET", "a", "1"]).await;
    assert_eq!(hear(&mut old, SOON).await.as_deref(), Some("+OK\r\n"));
    desk.proxy.set(Line::Cut);
    assert_eq!(hear(&mut old, SOON).await.as_deref(), Some(""));
    // The reset may come before the connect is even done.
    if let Ok(mut new) = TcpStream::connect(desk.proxy.address()).await {
        assert_eq!(hear(&mut new, SOON).await.as_deref(), Some(""));
    }
    desk.proxy.set(Line::Open);
    let mut new = desk.dial().await;
    say(&mut new, &["GET", "a"]).await;
    assert_eq!(hear(&mut new, SOON).await.as_deref(), Some("$1\r\n1\r\n"));
}

#[tokio::test]
async fn a_blackhole_swallows_and_resets_who_lost_something_when_it_ends() {
    let desk = Desk::new();
    let (mut loser, mut quiet) = (desk.dial().await, desk.dial().await);
    for stream in [&mut loser, &mut quiet] {
        say(stream, &["PING"]).await;
        assert_eq!(hear(stream, SOON).await.as_deref(), Some("+PONG\r\n"));
    }
    desk.proxy.set(Line::Blackhole);
    say(&mut loser, &["SET", "a", "1"]).await;
    let mut late = desk.dial().await;
    say(&mut late, &["SET", "a", "2"]).await;
    assert_eq!(hear(&mut loser, SILENCE).await, None);
    assert_eq!(hear(&mut late, SILENCE).await, None);
    desk.proxy.set(Line::Open);
    assert_eq!(hear(&mut loser, SOON).await.as_deref(), Some(""));
    assert_eq!(hear(&mut late, SOON).await.as_deref(), Some(""));
    say(&mut quiet, &["PING"]).await;
    assert_eq!(hear(&mut quiet, SOON).await.as_deref(), Some("+PONG\r\n"));
    assert_eq!(desk.server.ask(&["GET", "a"]), "");
}

#[tokio::test]
async fn a_deaf_line_does_what_it_is_told_and_never_answers() {
    let desk = Desk::new();
    let mut stream = desk.dial().await;
    desk.proxy.set(Line::Deaf);
    say(&mut stream, &["SET", "a", "1"]).await;
    assert_eq!(hear(&mut stream, SILENCE).await, None);
    assert_eq!(desk.server.ask(&["GET", "a"]), "1");
    desk.proxy.set(Line::Open);
    assert_eq!(hear(&mut stream, SOON).await.as_deref(), Some(""));
}

#[tokio::test]
async fn a_stalled_line_delivers_late_also_what_a_closed_connection_had_said() {
    let desk = Desk::new();
    let (mut gone, mut here) = (desk.dial().await, desk.dial().await);
    for stream in [&mut gone, &mut here] {
        say(stream, &["PING"]).await;
        assert_eq!(hear(stream, SOON).await.as_deref(), Some("+PONG\r\n"));
    }
    desk.proxy.set(Line::Stalled);
    say(&mut here, &["INCR", "a"]).await;
    say(&mut gone, &["INCR", "a"]).await;
    drop(gone);
    assert_eq!(hear(&mut here, SILENCE).await, None);
    assert_eq!(desk.server.ask(&["GET", "a"]), "");
    desk.proxy.set(Line::Open);
    assert!(hear(&mut here, SOON).await.is_some_and(|answer| answer.starts_with(':')));
    let start = Instant::now();
    while desk.server.ask(&["GET", "a"]) != "2" {
        assert!(start.elapsed() < SOON, "the late write did not arrive");
    }
}

#[tokio::test]
async fn a_slow_line_takes_its_time_and_another_server_answers_when_it_is_led_there() {
    let (desk, other) = (Desk::new(), RedisServer::start());
    let mut stream = desk.dial().await;
    desk.proxy.slow_down(Duration::from_millis(100));
    let start = Instant::now();
    for _ in 0..5 {
        say(&mut stream, &["PING"]).await;
        assert_eq!(hear(&mut stream, SOON).await.as_deref(), Some("+PONG\r\n"));
    }
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    desk.proxy.slow_down(Duration::ZERO);
    desk.proxy.lead_to(other.port());
    say(&mut stream, &["SET", "a", "old"]).await;
    hear(&mut stream, SOON).await;
    let mut new = desk.dial().await;
    say(&mut new, &["SET", "a", "new"]).await;
    hear(&mut new, SOON).await;
    assert_eq!(
        (desk.server.ask(&["GET", "a"]), other.ask(&["GET", "a"])),
        ("old".into(), "new".into())
    );
    desk.proxy.reset();
    assert_eq!(hear(&mut stream, SOON).await.as_deref(), Some(""));
}

/// Makes every `SET` a `GET`.
struct Reader(AtomicU64);

impl Meddler for Reader {
    fn meddle(&self, command: &mut Command) {
        if command[0] == b"SET" {
            self.0.fetch_add(1, Ordering::Relaxed);
            command.truncate(2);
            command[0] = b"GET".to_vec();
        }
    }
}

#[tokio::test]
async fn a_meddler_rewrites_commands_and_keeps_the_answers_in_order() {
    let desk = Desk::new();
    let reader = Arc::new(Reader(AtomicU64::new(0)));
    desk.proxy.meddle(reader.clone());
    let mut stream = desk.dial().await;
    say(&mut stream, &["SET", "a", "1"]).await;
    say(&mut stream, &["PING"]).await;
    let mut heard = String::new();
    while !heard.contains("PONG") {
        heard += &hear(&mut stream, SOON).await.expect("an answer");
    }
    assert_eq!(heard, "$-1\r\n+PONG\r\n");
    assert_eq!((reader.0.load(Ordering::Relaxed), desk.proxy.commands()), (1, 2));
    assert!(desk.proxy.accepted() > 0);
}
