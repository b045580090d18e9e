//! The socket of one session: writes what the outbox holds, reads what the client says.
//!
//! Both directions are one poll, so that a session waits for everything at once and a client
//! that does not read cannot keep its own session from noticing anything else. What is waiting
//! is fed into the write buffer first and flushed once it is full: one syscall for a burst, not one
//! per message, and of few messages nobody knows whether they have left.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        error::{CapacityError, ProtocolError},
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use crate::{
    hub::{Delivery, Outbox},
    protocol::close::Close,
};

/// Written out at once when this much has gathered; also what a session keeps after a burst.
const WRITE_BUFFER: usize = 8 * 1024;

/// What Python makes of one byte of JSON is six at most: U+007F becomes `\u007f`.
const GROWTH: usize = 6;

/// How long a close frame may take to leave, and then the peer's to come back.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// `websocket.max_message`
    pub max_message: usize,
    /// `websocket.max_frame`
    pub max_frame: usize,
    /// `websocket.read_buffer`
    pub read_buffer: usize,
}

/// A byte stream that can carry a WebSocket.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// What happened on the wire.
#[derive(Debug)]
pub enum Event {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary,
    /// A ping or pong.
    Control,
    /// Messages have been written.
    Wrote,
    /// The peer closes.
    PeerClosed,
    /// The peer broke a rule; close with this.
    Broken(Close),
    /// The stream is gone.
    Lost,
    /// The outbox orders the connection closed.
    Ordered(Close),
}

/// One connection's WebSocket and what is on its way out.
pub struct Wire<T> {
    socket: WebSocketStream<T>,
    waiting: VecDeque<Delivery>,
    /// So many of `waiting` are in the write buffer: nobody knows yet whether they left.
    fed: usize,
    /// Their bytes: beyond a write buffer no more are fed before these have left, so that few are
    /// handed on that have left after all.
    fed_bytes: usize,
    /// For this client alone, and for this connection: it is never handed on.
    reply: Option<String>,
    needs_flush: bool,
}

impl<T: Transport> Wire<T> {
    /// Takes over an upgraded stream; `read_ahead` is what came behind the handshake.
    pub async fn new(stream: T, read_ahead: Bytes, config: &Config) -> Self {
        let mut settings = WebSocketConfig::default();
        settings.read_buffer_size = config.read_buffer;
        settings.write_buffer_size = WRITE_BUFFER;
        // A message must fit behind what is not written out yet, or its receiver would be cut.
        settings.max_write_buffer_size = 2 * WRITE_BUFFER + config.max_message * GROWTH;
        settings.max_message_size = Some(config.max_message);
        settings.max_frame_size = Some(config.max_frame);
        let socket = if read_ahead.is_empty() {
            WebSocketStream::from_raw_socket(stream, Role::Server, Some(settings)).await
        } else {
            let part = read_ahead.to_vec();
            WebSocketStream::from_partially_read(stream, part, Role::Server, Some(settings)).await
        };
        Self {
            socket,
            waiting: VecDeque::new(),
            fed: 0,
            fed_bytes: 0,
            reply: None,
            needs_flush: false,
        }
    }

    /// Puts messages in front of all others.
    pub fn write_first(&mut self, deliveries: impl Iterator<Item = Delivery>) {
        self.waiting.extend(deliveries);
    }

    /// Answers the client itself, behind what is waiting. Nothing more is read from it before it
    /// takes the answer, so that one who only asks cannot fill the memory.
    pub fn say(&mut self, text: String) {
        self.reply = Some(text);
    }

    /// Sends a ping; it goes out with the next flush.
    pub fn ping(&mut self) -> Result<(), Close> {
        // A control frame does not wait behind data: tungstenite queues it by itself.
        let ping = Message::Ping(Bytes::new());
        self.needs_flush = true;
        Pin::new(&mut self.socket).start_send(ping).map_err(|_| Close::Internal)
    }

    /// Writes, and waits for what happens; reads only if `reading`. Cancel-safe.
    pub async fn event(&mut self, outbox: &Outbox, reading: bool) -> Event {
        std::future::poll_fn(|context| self.poll_event(outbox, reading, context)).await
    }

    /// Closes politely: the frame out, the peer's answer in, each within a bound.
    pub async fn close(&mut self, close: Close) {
        let frame = CloseFrame { code: close.code().into(), reason: close.reason().into() };
        if let Ok(Ok(())) = timeout(CLOSE_WAIT, self.socket.close(Some(frame))).await {
            // The frame went out, and so did all that was fed before it.
            let _ = self.forget_fed();
            let _ = timeout(CLOSE_WAIT, self.drain()).await;
        }
    }

    /// Answers the peer's own close frame.
    pub async fn answer_close(&mut self) {
        let _ = timeout(CLOSE_WAIT, self.drain()).await;
    }

    /// What nobody can say has reached the client, oldest first.
    pub fn unwritten(&mut self) -> Vec<Delivery> {
        (self.fed, self.fed_bytes) = (0, 0);
        std::mem::take(&mut self.waiting).into()
    }

    fn poll_event(
        &mut self,
        outbox: &Outbox,
        reading: bool,
        context: &mut Context<'_>,
    ) -> Poll<Event> {
        // The bound is the outbox's: nothing is taken from it before the last has left.
        let order = outbox.attend(context.waker(), &mut self.waiting);
        let wrote = match self.poll_write(context) {
            Poll::Ready(Ok(wrote)) => wrote,
            Poll::Ready(Err(_)) => return Poll::Ready(Event::Lost),
            Poll::Pending => false,
        };
        if let Some(close) = order {
            return Poll::Ready(Event::Ordered(close));
        }
        if wrote {
            return Poll::Ready(Event::Wrote);
        }
        if reading && self.reply.is_none() { self.poll_read(context) } else { Poll::Pending }
    }

    /// Feeds what waits and flushes, a write buffer at a time; whether anything was written.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        let mut wrote = false;
        loop {
            match self.poll_write_some(context)? {
                Poll::Ready(0) => return Poll::Ready(Ok(wrote)),
                Poll::Ready(_) => wrote = true,
                Poll::Pending if wrote => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Up to a write buffer, to the last byte: how many messages.
    fn poll_write_some(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        ready!(self.poll_feed(context))?;
        if self.needs_flush {
            ready!(Pin::new(&mut self.socket).poll_flush(context))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(self.forget_fed()))
    }

    fn poll_feed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut socket = Pin::new(&mut self.socket);
        while self.fed_bytes < WRITE_BUFFER
            && let Some(delivery) = self.waiting.get(self.fed)
        {
            ready!(socket.as_mut().poll_ready(context))?;
            // Whatever the fleet delivers was printed by it; garbage in Redis is no frame.
            let Ok(text) = Utf8Bytes::try_from(delivery.text.clone()) else {
                self.waiting.remove(self.fed);
                continue;
            };
            self.fed += 1;
            self.fed_bytes += text.len();
            self.needs_flush = true;
            socket.as_mut().start_send(Message::Text(text))?;
        }
        if self.waiting.len() == self.fed && self.reply.is_some() {
            ready!(socket.as_mut().poll_ready(context))?;
            if let Some(reply) = self.reply.take() {
                self.needs_flush = true;
                socket.as_mut().start_send(Message::text(reply))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What was fed has left: how many. Capacity is given back: an idle connection keeps nothing of
    /// a burst.
    fn forget_fed(&mut self) -> usize {
        self.fed_bytes = 0;
        let count = std::mem::take(&mut self.fed);
        self.waiting.drain(..count);
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        count
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let message = ready!(Pin::new(&mut self.socket).poll_next(context));
        Poll::Ready(match message {
            Some(Ok(Message::Text(text))) => Event::Text(text),
            Some(Ok(Message::Binary(_))) => Event::Binary,
            Some(Ok(Message::Close(_))) => Event::PeerClosed,
            Some(Ok(_)) => {
                // tungstenite has queued the pong; only a flush sends it.
                self.needs_flush = true;
                Event::Control
            }
            Some(Err(error)) => broken(&error),
            None => Event::Lost,
        })
    }

    /// Reads until the stream ends.
    async fn drain(&mut self) {
        let next = |socket: &mut WebSocketStream<T>, context: &mut Context<'_>| {
            Pin::new(socket).poll_next(context)
        };
        while let Some(Ok(_)) = std::future::poll_fn(|cx| next(&mut self.socket, cx)).await {}
    }
}

fn broken(error: &Error) -> Event {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Event::Broken(Close::TooLarge),
        Error::Utf8(_) => Event::Broken(Close::BadUtf8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Event::Lost,
        Error::Protocol(_) | Error::AttackAttempt => Event::Broken(Close::ProtocolError),
        _ => Event::Lost,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::hub::Pushed;

    /// Less than a message, so that a client that does not read stops the writer at once.
    const PIPE: usize = 1024;

    async fn wire() -> (Wire<DuplexStream>, DuplexStream) {
        let config = Config { max_message: 4096, max_frame: 4096, read_buffer: 1024 };
        let (ours, theirs) = duplex(PIPE);
        (Wire::new(ours, Bytes::new(), &config).await, theirs)
    }

    async fn poll(wire: &mut Wire<DuplexStream>, outbox: &Outbox) -> Option<Event> {
        timeout(Duration::from_millis(1), wire.event(outbox, true)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_at_its_outboxs_bound() {
        let ((mut wire, _silent), outbox) = (wire().await, Outbox::new(10_000));
        let message = || Delivery::unnamed(vec![b'x'; 1000].into());
        let mut queued = 0;
        while outbox.push(message()) == Pushed::Queued {
            queued += 1;
            assert!(queued < 50, "{queued} messages of 1000 bytes, and the bound is 10,000");
            if let Some(event) = poll(&mut wire, &outbox).await {
                assert!(matches!(event, Event::Wrote), "{event:?}");
            }
        }
        assert!(queued >= 10, "{queued} messages is less than the bound");
        let event = poll(&mut wire, &outbox).await;
        assert!(matches!(event, Some(Event::Ordered(Close::TryAgainLater))), "{event:?}");
        let mut unwritten = wire.unwritten();
        unwritten.extend(outbox.close());
        assert!(unwritten.len() >= 10, "and what it did not get is handed on");
    }

    #[tokio::test(start_paused = true)]
    async fn of_few_messages_nobody_knows_whether_they_have_left() {
        let ((mut wire, client), outbox) = (wire().await, Outbox::new(100_000));
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        for number in 0..20 {
            outbox.push(Delivery::unnamed(format!("{number:04000}").into()));
        }
        let mut read = 0;
        while read < 9 {
            let _ = poll(&mut wire, &outbox).await;
            while let Ok(Some(Ok(_))) = timeout(Duration::from_millis(1), client.next()).await {
                read += 1;
                let _ = poll(&mut wire, &outbox).await;
            }
        }
        let unwritten = wire.unwritten();
        let first: usize = std::str::from_utf8(&unwritten[0].text).unwrap().parse().unwrap();
        assert!(first <= read && read <= first + 3, "{read} were read, and {first} goes again");
        assert_eq!(unwritten.len(), 20 - first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_and_never_reads_is_not_read_from() {
        let ((mut wire, mut client), outbox) = (wire().await, Outbox::new(10_000));
        let question = [&[0x81, 0x81, 0, 0, 0, 0][..], b"?"].concat();
        let mut asked = 0;
        for _ in 0..1000 {
            if timeout(Duration::from_millis(1), client.write_all(&question)).await.is_err() {
                break;
            }
            asked += 1;
            if let Some(Event::Text(_)) = poll(&mut wire, &outbox).await {
                wire.say("Forbidden".repeat(100));
            }
        }
        assert!(asked < 1000, "all of {asked} questions were read");
        assert!(wire.waiting.is_empty(), "replies are never handed on");
    }
}
