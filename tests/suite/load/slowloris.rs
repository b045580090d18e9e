//! Clients by the thousand that take a socket and give nothing for it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{
    client::Client,
    fleet::{eventually, get},
    instance::Instance,
    process::descriptors,
    raw::{Raw, handshake},
};

/// Of each kind of bad client.
const THOUSAND: usize = 1000;

/// Longest a real client may take from its first packet to its first message back while all of
/// them are there, on a busy machine.
const BOUND: Duration = Duration::from_secs(3);

/// Until nobody is left who said too little: the timeout, and how late a busy machine may be.
const CUT: Duration = Duration::from_secs(20);

/// Everything a handshake needs, its end aside.
fn half() -> String {
    handshake("/Dev", &[("username", "Sid")]).trim_end().to_owned()
}

/// Opens a thousand, a hundred at a time, and says `start` on each.
async fn crowd(instance: &Instance, start: &str) -> Vec<Raw> {
    let mut crowd = Vec::with_capacity(THOUSAND);
    for _ in 0..THOUSAND / 100 {
        let some = (0..100).map(async |_| {
            let mut client = Raw::open(instance.app()).await;
            client.write(start.as_bytes()).await;
            client
        });
        crowd.extend(join_all(some).await);
    }
    crowd
}

/// Connects, says something to itself, hears it; how long that took.
async fn real_client(instance: &Instance) -> Duration {
    let start = Instant::now();
    let mut client = instance.connect("Ann").await;
    client.send("Ann", "1").await;
    while client.hear().await != "1" {}
    client.close().await;
    start.elapsed()
}

#[tokio::test]
async fn real_clients_get_in_while_thousands_dawdle_and_those_are_cut() {
    let more = "[websocket]\nhandshake_timeout = \"8s\"\n";
    let instance = Instance::start_wrapped(&["env", "WSFLEETD__TELEMETRY__LEVEL=info"], more);
    let before = descriptors(instance.pid());
    let silent = crowd(&instance, "").await;
    let halfway = crowd(&instance, &half()).await;
    let mut dribbling = crowd(&instance, "GET /Dev HTTP/1.1\r\n").await;
    eventually("most of them are accepted", BOUND, async || {
        descriptors(instance.pid()) - before >= 2 * THOUSAND
    })
    .await;
    let opened = descriptors(instance.pid());
    let header = b"X-Endless: 1\r\n";
    let dribble = async {
        for byte in header.chunks(1).cycle().take(60) {
            join_all(dribbling.iter_mut().map(|client| client.try_write(byte))).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let real = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            slowest = slowest.max(real_client(&instance).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        slowest
    };
    let ((), slowest) = tokio::join!(dribble, real);
    println!("{opened} descriptors; the slowest real client took {slowest:?}");
    assert!(slowest < BOUND, "a real client took {slowest:?}");
    eventually("whoever said too little is cut", CUT, async || {
        descriptors(instance.pid()) <= before + 1
    })
    .await;
    drop((silent, halfway, dribbling));
}

#[tokio::test]
async fn sockets_that_are_only_kept_alive_do_not_keep_real_clients_out() {
    let more = "[limits]\nmax_connections = 50\n[websocket]\nhandshake_timeout = \"1s\"\n";
    let instance = Instance::start_wrapped(&["env", "WSFLEETD__TELEMETRY__LEVEL=info"], more);
    // More than there are places, each within its rights: it asked, and was answered.
    let asked = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let idle = crowd(&instance, asked).await;
    let start = Instant::now();
    while Client::try_connect(instance.app(), "/Dev", "Ann").await.is_err() {
        assert!(start.elapsed() < CUT, "nobody gets in");
    }
    println!("a real client got in after {:?}", start.elapsed());
    assert_eq!(get(instance.admin(), "/healthz").await.0, 200, "the operator has places apart");
    drop(idle);
}
