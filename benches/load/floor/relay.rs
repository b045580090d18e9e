//! Envelopes to the one peer and from it: two lengths, a name, a text.

use bytes::Bytes;
use futures_util::StreamExt;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio::sync::mpsc;

use super::hub::Hub;

/// Envelopes that may wait for their PUBLISH.
const WAITING: usize = 64 * 1024;

/// The way to the peer; cheap to clone.
#[derive(Clone)]
pub struct Relay {
    envelopes: mpsc::Sender<Vec<u8>>,
}

impl Relay {
    /// Puts an envelope on its way; what does not fit is dropped.
    pub fn send(&self, user: &str, text: &[u8]) {
        let mut envelope = Vec::with_capacity(8 + user.len() + text.len());
        envelope.extend((user.len() as u32).to_be_bytes());
        envelope.extend((text.len() as u32).to_be_bytes());
        envelope.extend(user.as_bytes());
        envelope.extend(text);
        let _ = self.envelopes.try_send(envelope);
    }
}

/// Subscribes and starts to publish.
pub async fn start([url, own, peer]: [&str; 3], hub: Hub) -> Relay {
    let client = redis::Client::open(url).expect("a URL");
    let mut inbox = client.get_async_pubsub().await.expect("Redis answers");
    inbox.subscribe(own).await.expect("a subscription");
    tokio::spawn(async move {
        let mut payloads = inbox.on_message();
        while let Some(message) = payloads.next().await {
            open(message.get_payload::<Vec<u8>>().expect("bytes").into(), &hub);
        }
    });
    let connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let (envelopes, waiting) = mpsc::channel(WAITING);
    tokio::spawn(publish(connection, peer.to_owned(), waiting));
    Relay { envelopes }
}

/// All that waits in one PUBLISH.
async fn publish(
    mut connection: MultiplexedConnection,
    peer: String,
    mut waiting: mpsc::Receiver<Vec<u8>>,
) {
    while let Some(mut payload) = waiting.recv().await {
        while let Ok(envelope) = waiting.try_recv() {
            payload.extend(envelope);
        }
        let _: i64 = connection.publish(&peer, payload).await.expect("Redis answers");
    }
}

fn open(mut payload: Bytes, hub: &Hub) {
    while !payload.is_empty() {
        let lengths = payload.split_to(8);
        let length = |at: usize| u32::from_be_bytes(lengths[at..at + 4].try_into().expect("4"));
        let user = payload.split_to(length(0) as usize);
        let text = payload.split_to(length(4) as usize);
        hub.deliver(std::str::from_utf8(&user).expect("a name"), text);
    }
}
