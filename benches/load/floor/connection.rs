//! One connection: feeds what waits, flushes once, reads.

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{hub::Hub, relay::Relay};

/// The daemon's own default.
const READ_BUFFER: usize = 2 * 1024;

/// Messages that may wait for one client.
const OUTBOX: usize = 1024;

type Socket = WebSocketStream<TcpStream>;

#[derive(Deserialize)]
struct Send<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    to: Cow<'a, str>,
    #[serde(borrow)]
    message: &'a RawValue,
}

/// Serves a client until it leaves.
pub async fn run(stream: TcpStream, user: String, hub: Hub, relay: Option<Relay>) {
    let mut settings = WebSocketConfig::default();
    settings.read_buffer_size = READ_BUFFER;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(settings)).await;
    let (outbox, mut waiting) = mpsc::channel(OUTBOX);
    hub.insert(user.clone(), outbox);
    loop {
        let goes_on = tokio::select! {
            Some(text) = waiting.recv() => write(&mut socket, text, &mut waiting).await,
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    deliver(&text, &hub, relay.as_ref());
                    true
                }
                Some(Ok(_)) => true,
                _ => false,
            },
        };
        if !goes_on {
            return hub.remove(&user);
        }
    }
}

async fn write(socket: &mut Socket, first: Bytes, waiting: &mut mpsc::Receiver<Bytes>) -> bool {
    let mut next = Some(first);
    while let Some(text) = next {
        let text = Utf8Bytes::try_from(text).expect("text that was text");
        if socket.feed(Message::Text(text)).await.is_err() {
            return false;
        }
        next = waiting.try_recv().ok();
    }
    socket.flush().await.is_ok()
}

fn deliver(frame: &str, hub: &Hub, relay: Option<&Relay>) {
    let Ok(send) = serde_json::from_str::<Send<'_>>(frame) else { return };
    if send.action != "send" {
        return;
    }
    let text = Bytes::copy_from_slice(send.message.get().as_bytes());
    if !hub.deliver(&send.to, text.clone())
        && let Some(relay) = relay
    {
        relay.send(&send.to, &text);
    }
}
