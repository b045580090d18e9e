//! Thousands of connections leave together, and Redis holds none of them soon after.
//!
//! `WSFLEETD_LEAVING=32000` asks for more than the few thousand that fit into a quick test.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::net::TcpSocket;

use crate::support::{
    fleet::eventually,
    instance::{Instance, everybody},
    raw::Raw,
    redis::RedisServer,
};

/// In a quick test.
const CONNECTIONS: usize = 3000;

/// Opened at a time.
const BATCH: usize = 100;

/// From one address: fewer than there are ports.
const EACH_ADDRESS: usize = 16_000;

/// Connections of one user.
const DEVICES: usize = 10;

/// No entry outlives its owner by more (COORDINATION §4.3), counted while Redis answers.
const T: Duration = Duration::from_secs(12);

fn connections() -> usize {
    let asked = std::env::var("WSFLEETD_LEAVING").ok();
    asked.map_or(CONNECTIONS, |count| count.parse().expect("a number"))
}

async fn connect(app: SocketAddr, number: usize) -> Raw {
    let last = (1 + number / EACH_ADDRESS) as u8;
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    socket.bind((from, 0).into()).expect("a port");
    let stream = socket.connect(app).await.expect("the listener accepts");
    Raw::over(stream).upgraded(&format!("u{}", number / DEVICES)).await
}

/// An instance with that many connections, and their clients.
async fn crowd(redis: &RedisServer, count: usize) -> (Instance, Vec<Raw>) {
    let rows: String = (0..count.div_ceil(DEVICES)).map(|n| format!("u{n},,,,,\n")).collect();
    let limits = "[limits]\naccept_rate = 0\naccept_rate_per_address = 0\n";
    let settings = format!("[redis]\nurl = \"{}\"\n{limits}", redis.url());
    let quiet = ["env", "WSFLEETD__TELEMETRY__LEVEL=info"];
    let users = everybody() + &rows;
    let instance = Instance::start_under(&quiet, r#"modes = ["header"]"#, &users, &settings);
    let mut clients = Vec::with_capacity(count);
    for first in (0..count).step_by(BATCH) {
        let some = first..(first + BATCH).min(count);
        let some = join_all(some.map(|number| connect(instance.app(), number)));
        clients.extend(some.await);
    }
    assert_eq!(entries(redis), count);
    (instance, clients)
}

/// All entries, counted by Redis.
fn entries(redis: &RedisServer) -> usize {
    let count = "local n = 0 for _, key in ipairs(redis.call('KEYS', 'wsfleetd:{w*}:u:*')) do \
                 n = n + redis.call('HLEN', key) end return n";
    redis.ask(&["EVAL", count, "0"]).parse().expect("a count")
}

/// How long it takes from now until Redis holds nobody.
async fn until_gone(redis: &RedisServer) -> Duration {
    let start = Instant::now();
    eventually("Redis holds nobody", T * 8, async || entries(redis) == 0).await;
    start.elapsed()
}

#[tokio::test]
async fn who_leave_together_are_gone_within_seconds() {
    let (redis, count) = (RedisServer::start(), connections());
    let (_instance, clients) = crowd(&redis, count).await;
    drop(clients);
    let took = until_gone(&redis).await;
    println!("{count} connections that left together were gone after {took:.1?}");
    assert!(took < T / 2, "{took:?} for {count}");
}

#[tokio::test]
async fn who_left_while_redis_did_not_answer_are_gone_within_seconds_of_its_return() {
    let (redis, count) = (RedisServer::start(), connections());
    let (instance, clients) = crowd(&redis, count).await;
    redis.freeze();
    drop(clients);
    instance.logs("lost the connection to Redis").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.thaw();
    let took = until_gone(&redis).await;
    println!(
        "{count} connections whose releases were lost were gone {took:.1?} after Redis was back"
    );
    assert!(took < T, "{took:?} for {count}");
}
