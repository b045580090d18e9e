//! A WebSocket client, as strict as a test wants one to be.

use std::{net::SocketAddr, time::Duration};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderName, HeaderValue, Response},
        protocol::WebSocketConfig,
    },
};

/// How long a client waits for what it expects.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing must come for it to count as silence.
pub const SILENCE: Duration = Duration::from_millis(300);

/// tungstenite's own is 128 KiB, and thousands of clients live in one process.
const READ_BUFFER: usize = 4096;

/// One connection.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    /// Connects as `user` by the header `username`.
    pub async fn connect(address: SocketAddr, path: &str, user: &str) -> Self {
        match Self::try_connect(address, path, user).await {
            Ok(client) => client,
            Err(error) => panic!("{user} cannot connect to {address}{path}: {error}"),
        }
    }

    /// The same; what went wrong.
    pub async fn try_connect(address: SocketAddr, path: &str, user: &str) -> Result<Self, Error> {
        Self::try_with_headers(address, path, &[("username", user)]).await
    }

    /// Connects with these headers.
    pub async fn try_with_headers(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = request(address, path, headers);
        let mut settings = WebSocketConfig::default();
        settings.read_buffer_size = READ_BUFFER;
        let dial = client_async_with_config(request, stream, Some(settings));
        let dial = timeout(PATIENCE, dial).await;
        let (socket, _) = dial.expect("the handshake ends")?;
        Ok(Self { socket })
    }

    /// Sends a classic `send` with `message` as JSON text.
    pub async fn send(&mut self, to: &str, message: &str) {
        let to = serde_json::to_string(to).expect("a JSON string");
        self.say(&format!(r#"{{"action":"send","to":{to},"message":{message}}}"#)).await;
    }

    /// Sends a text frame.
    pub async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the frame is sent");
    }

    /// Queues a text frame without waiting for it to leave.
    #[allow(dead_code, reason = "benches/load.rs shares this file")]
    pub async fn feed(&mut self, text: String) {
        self.socket.feed(Message::text(text)).await.expect("the frame is queued");
    }

    /// Sends what is queued.
    #[allow(dead_code, reason = "benches/load.rs shares this file")]
    pub async fn flush(&mut self) {
        self.socket.flush().await.expect("the frames leave");
    }

    /// The next text frame.
    pub async fn hear(&mut self) -> String {
        loop {
            match timeout(PATIENCE, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return text.to_string(),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(other) => panic!("expected a text frame, got {other:?}"),
                Err(_) => panic!("expected a text frame, and none came for {PATIENCE:?}"),
            }
        }
    }

    /// The next text frame; `None` when the server has closed.
    #[allow(dead_code, reason = "benches/load.rs shares this file")]
    pub async fn hear_until_close(&mut self) -> Option<String> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Some(text.to_string()),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(_) => return None,
                Err(_) => panic!("expected a text frame or a close, and none came"),
            }
        }
    }

    /// The next text frame must be this.
    pub async fn expect(&mut self, text: &str) {
        assert_eq!(self.hear().await, text);
    }

    /// Nothing comes for a while.
    pub async fn expect_silence(&mut self) {
        match timeout(SILENCE, self.socket.next()).await {
            Err(_) | Ok(Some(Ok(Message::Ping(_)))) => {}
            Ok(other) => panic!("expected silence, got {other:?}"),
        }
    }

    /// The server closes: its code and reason; 1006 when it left without a word.
    pub async fn expect_close(&mut self) -> (u16, String) {
        loop {
            match timeout(PATIENCE, self.socket.next()).await {
                Ok(Some(Ok(Message::Close(Some(frame))))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Ok(Some(Ok(Message::Close(None)))) => return (1005, String::new()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return (1006, String::new()),
                Err(_) => panic!("expected a close, and none came for {PATIENCE:?}"),
            }
        }
    }

    /// Closes politely and waits for the answer.
    pub async fn close(mut self) {
        self.socket.close(None).await.expect("the close frame is sent");
        while let Ok(Some(Ok(_))) = timeout(PATIENCE, self.socket.next()).await {}
    }

    /// The same; every text that still came before the server's own close.
    pub async fn close_hearing(mut self) -> Vec<String> {
        self.socket.close(None).await.expect("the close frame is sent");
        let mut heard = Vec::new();
        while let Ok(Some(Ok(message))) = timeout(PATIENCE, self.socket.next()).await {
            if let Message::Text(text) = message {
                heard.push(text.to_string());
            }
        }
        heard
    }

    /// Its id, as the server calls it; nothing else may be under way.
    #[allow(dead_code, reason = "benches/load.rs shares this file")]
    pub async fn ask_id(&mut self) -> String {
        self.say("{}").await;
        let frame = self.hear().await;
        let (_, rest) = frame.split_once(r#""connectionId":""#).expect("an error frame");
        rest.split('"').next().expect("an id").to_owned()
    }

    /// What came already, up to a silence.
    pub async fn hear_until_silence(&mut self) -> Vec<String> {
        self.hear_until_silence_for(SILENCE).await
    }

    /// The same, nothing for `silence` being one.
    pub async fn hear_until_silence_for(&mut self, silence: Duration) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            match timeout(silence, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => heard.push(text.to_string()),
                Ok(Some(Ok(_))) => {}
                Ok(other) => panic!("expected an open connection, got {other:?}"),
                Err(_) => return heard,
            }
        }
    }

    /// Two halves, to speak and to hear at the same time.
    pub fn split(self) -> (Mouth, Ear) {
        let (mouth, ear) = self.socket.split();
        (Mouth(mouth), Ear(ear))
    }

    /// The TCP stream, to misbehave on.
    pub fn into_stream(self) -> TcpStream {
        self.socket.into_inner()
    }
}

/// The half of a client that speaks.
pub struct Mouth(SplitSink<WebSocketStream<TcpStream>, Message>);

impl Mouth {
    /// Sends a classic `send`, `message` being JSON.
    pub async fn send(&mut self, to: &str, message: &str) {
        let text = format!(r#"{{"action":"send","to":"{to}","message":{message}}}"#);
        self.0.send(Message::text(text)).await.expect("the frame is sent");
    }
}

/// The half of a client that hears.
pub struct Ear(SplitStream<WebSocketStream<TcpStream>>);

impl Ear {
    /// The next text frame.
    pub async fn hear(&mut self) -> String {
        loop {
            match timeout(PATIENCE, self.0.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return text.to_string(),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                other => panic!("expected a text frame, got {other:?}"),
            }
        }
    }
}

/// A refused handshake: status, body and headers.
pub async fn refusal(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Response<Option<Vec<u8>>> {
    match Client::try_with_headers(address, path, headers).await {
        Err(Error::Http(response)) => *response,
        Err(error) => panic!("expected a refusal, got {error}"),
        Ok(_) => panic!("expected a refusal, got a connection"),
    }
}

/// A handshake with these headers.
pub fn request(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Request {
    let url = format!("ws://{address}{path}");
    let mut request = url.into_client_request().expect("a valid URL");
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a header name");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
        request.headers_mut().insert(name, value);
    }
    request
}
