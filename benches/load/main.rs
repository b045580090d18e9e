//! What a connection and a message cost, beside the bare stack:
//! `cargo bench --bench load -- [--before BINARY] [--workers N,N] [--seconds S]`.
//!
//! Real daemons, a real Redis, clients in this process; and the same with the floor of
//! `floor.rs` in the daemons' place. Reported are figures that hold on a noisy machine: bytes
//! of resident memory per idle connection, and CPU microseconds per delivered message, user and
//! system time of all servers and Redis together divided by the messages delivered. Daemon and
//! floor take turns, second by second, so that whatever else the machine does meets both; shown is
//! the median of the rounds, and in brackets how many times the floor's it is. `--before` adds a
//! column for another build of the daemon, `--workers` one for each number of threads. Rates depend on what else the machine does and are not reported.

#![allow(clippy::disallowed_methods, reason = "the floor's tasks end with its process")]

#[path = "../../tests/suite/support/client.rs"]
#[allow(dead_code, reason = "shared with the suite, of which this needs a part")]
mod client;
mod floor;
mod pairs;
mod report;
mod servers;
mod subject;
mod usage;

use std::time::Duration;

use futures_util::future::join_all;
use pairs::Pairs;
use report::Row;
use servers::Servers;
use subject::Subject;

/// Connections whose memory is measured, and those that are open before: what the first need is
/// not each one's.
const IDLE: usize = 5000;
const WARM: usize = 200;

/// Turns of each row.
const ROUNDS: usize = 5;

/// Messages each pair has on its way.
const IN_FLIGHT: [usize; 2] = [1, 16];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["floor"] => floor::run(None),
        ["floor", url, own, peer] => floor::run(Some([url, own, peer])),
        _ => {
            let at = words.iter().position(|word| *word == "--seconds");
            let seconds = at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(1.0);
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let turn = Duration::from_secs_f64(seconds);
            runtime.block_on(measure(&Subject::of(&words), turn));
        }
    }
}

async fn measure(subjects: &[Subject], turn: Duration) {
    println!("{}, {ROUNDS} rounds of {turn:?}", usage::machine());
    println!("{}", Row::head(subjects));
    println!("{}", idle(subjects).await);
    talk(subjects, turn).await;
}

/// Bytes of resident memory per connection that does nothing.
async fn idle(subjects: &[Subject]) -> Row {
    let mut row = Row::new("idle connection, bytes".to_owned(), subjects.len());
    for _ in 0..ROUNDS.div_ceil(2) {
        for (at, subject) in subjects.iter().enumerate() {
            let servers = Servers::alone(subject);
            let _warm = connect(&servers, 0..WARM).await;
            let before = servers.resident(0);
            let _idle = connect(&servers, WARM..WARM + IDLE).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let grown = servers.resident(0) - before;
            row.add(at, vec![grown as f64 / IDLE as f64]);
        }
    }
    row
}

async fn connect(servers: &Servers, numbers: std::ops::Range<usize>) -> Vec<client::Client> {
    let mut clients = Vec::with_capacity(numbers.len());
    for first in numbers.step_by(WARM) {
        clients.extend(join_all((first..first + WARM).map(|n| servers.connect(0, n))).await);
    }
    clients
}

/// CPU per delivered message, for each place of the recipient and each number in flight.
async fn talk(subjects: &[Subject], turn: Duration) {
    for (place, is_fleet, to) in
        [("local, alone", false, 0), ("local, in a fleet", true, 0), ("across", true, 1)]
    {
        let mut conversations = Vec::new();
        for subject in subjects {
            let servers =
                if is_fleet { Servers::fleet(subject).await } else { Servers::alone(subject) };
            let pairs = Pairs::connect(&servers, 0, to).await;
            conversations.push((servers, pairs));
        }
        for in_flight in IN_FLIGHT {
            let mut row = Row::new(format!("{place}, {in_flight} in flight, µs"), subjects.len());
            for _ in 0..ROUNDS {
                for (at, (servers, pairs)) in conversations.iter_mut().enumerate() {
                    row.add(at, pairs.cost(servers, in_flight, turn).await);
                }
            }
            println!("{row}");
        }
    }
}
