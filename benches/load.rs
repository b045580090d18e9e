//! What a connection and a message cost: `cargo bench --bench load [SECONDS]`.
//!
//! Real daemons, a real Redis, clients in this process. Reported are figures that hold on a noisy
//! machine: bytes per idle connection, and CPU microseconds per delivered message, user and
//! system time of all servers together divided by the messages delivered. Rates depend on what
//! else the machine does and are not reported.

#[path = "../tests/suite/support/client.rs"]
#[allow(dead_code, reason = "shared with the suite, of which this needs a part")]
mod client;
#[path = "load/servers.rs"]
mod servers;

use std::time::{Duration, Instant};

use client::Client;
use futures_util::future::join_all;
use servers::Servers;

/// Connections whose memory is measured.
const IDLE: usize = 5000;

/// Pairs that talk at the same time.
const PAIRS: usize = 100;

/// The text of a message: 100 bytes with its quotes.
const MESSAGE: usize = 98;

fn main() {
    let seconds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(5);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(Duration::from_secs(seconds)));
}

async fn measure(time: Duration) {
    for _ in 0..3 {
        println!("idle connection, alone: {} bytes", idle(&Servers::alone()).await);
    }
    for in_flight in [1, 16] {
        let (alone, fleet) = (Servers::alone(), Servers::fleet());
        fleet.settle().await;
        let rows = [
            ("local, alone", talk(&alone, 0, 0, in_flight, time).await),
            ("local, in a fleet", talk(&fleet, 0, 0, in_flight, time).await),
            ("across", talk(&fleet, 0, 1, in_flight, time).await),
        ];
        for (name, row) in rows {
            println!("{name}, {in_flight} in flight: {row}");
        }
    }
}

/// Bytes of resident memory per connection that does nothing.
async fn idle(servers: &Servers) -> usize {
    let before = servers.resident(0);
    let mut clients = Vec::with_capacity(IDLE);
    for first in (0..IDLE).step_by(200) {
        let batch = (first..first + 200).map(|n| servers.connect(0, n));
        clients.extend(join_all(batch).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    (servers.resident(0) - before) / clients.len()
}

/// Pairs talk for `time`, each with `in_flight` messages on their way; the cost of one.
async fn talk(
    servers: &Servers,
    from: usize,
    to: usize,
    in_flight: usize,
    time: Duration,
) -> String {
    let pairs = (0..PAIRS).map(async |n| {
        let sender = servers.connect(from, 2 * n).await;
        (sender, servers.connect(to, 2 * n + 1).await, format!("u{}", 2 * n + 1))
    });
    let mut pairs = join_all(pairs).await;
    exchange(&mut pairs, in_flight, Duration::from_millis(500)).await;
    let before = servers.cpu();
    let delivered = exchange(&mut pairs, in_flight, time).await;
    let spent: Vec<f64> = servers
        .cpu()
        .iter()
        .zip(&before)
        .map(|(after, before)| (after - before) * 1e6 / delivered as f64)
        .collect();
    let parts: Vec<_> = spent.iter().map(|part| format!("{part:.1}")).collect();
    let sum: f64 = spent.iter().sum();
    format!("{sum:.1} µs per message ({}), {delivered} messages", parts.join(" + "))
}

async fn exchange(pairs: &mut [(Client, Client, String)], in_flight: usize, time: Duration) -> u64 {
    let text = format!("\"{}\"", "x".repeat(MESSAGE));
    let end = Instant::now() + time;
    let work = pairs.iter_mut().map(async |(sender, receiver, to)| {
        let frame = format!(r#"{{"action":"send","to":"{to}","message":{text}}}"#);
        let mut delivered = 0;
        while Instant::now() < end {
            for _ in 0..in_flight {
                sender.feed(frame.clone()).await;
            }
            sender.flush().await;
            for _ in 0..in_flight {
                receiver.hear().await;
            }
            delivered += in_flight as u64;
        }
        delivered
    });
    join_all(work).await.iter().sum()
}
