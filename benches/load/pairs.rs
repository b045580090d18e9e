//! Pairs of clients that talk at the same time.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{client::Client, servers::Servers};

/// How many.
const PAIRS: usize = 100;

/// The text of a message: 100 bytes with its quotes.
const MESSAGE: usize = 98;

/// Before a turn: routes are found, buffers have their size.
const WARM: Duration = Duration::from_millis(200);

/// Senders and receivers.
pub struct Pairs(Vec<Pair>);

struct Pair {
    sender: Client,
    receiver: Client,
    frame: String,
}

impl Pairs {
    /// Connects senders to server `from` and receivers to server `to`.
    pub async fn connect(servers: &Servers, from: usize, to: usize) -> Self {
        let text = format!("\"{}\"", "x".repeat(MESSAGE));
        let pairs = (0..PAIRS).map(async |n| {
            let number = 2 * n;
            let sender = servers.connect(from, number).await;
            let receiver = servers.connect(to, number + 1).await;
            let frame = format!(r#"{{"action":"send","to":"u{}","message":{text}}}"#, number + 1);
            Pair { sender, receiver, frame }
        });
        Self(join_all(pairs).await)
    }

    /// Talks for a turn, each pair with `in_flight` messages on their way: CPU microseconds of each
    /// process per message.
    pub async fn cost(&mut self, servers: &Servers, in_flight: usize, turn: Duration) -> Vec<f64> {
        self.exchange(in_flight, WARM).await;
        let before = servers.cpu();
        let delivered = self.exchange(in_flight, turn).await as f64;
        let after = servers.cpu();
        let spent = after.iter().zip(&before).map(|(after, before)| (after - before) * 1e6);
        spent.map(|micros| micros / delivered).collect()
    }

    /// How many messages were heard.
    async fn exchange(&mut self, in_flight: usize, time: Duration) -> u64 {
        let end = Instant::now() + time;
        let work = self.0.iter_mut().map(async |pair| {
            let mut delivered = 0;
            while Instant::now() < end {
                for _ in 0..in_flight {
                    pair.sender.feed(pair.frame.clone()).await;
                }
                pair.sender.flush().await;
                for _ in 0..in_flight {
                    pair.receiver.hear().await;
                }
                delivered += in_flight as u64;
            }
            delivered
        });
        join_all(work).await.iter().sum()
    }
}
