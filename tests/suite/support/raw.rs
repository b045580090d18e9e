//! A client down to the byte, for stories about bad manners that a WebSocket library prevents.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::client::PATIENCE;

/// Opcodes of RFC 6455 §5.2.
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The bit that ends a message.
pub const FIN: u8 = 0x80;

/// The headers of a handshake, the version aside.
const UPGRADE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Any mask is as good as another.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A TCP connection and what has come over it.
pub struct Raw {
    stream: TcpStream,
    seen: Vec<u8>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: [`FIN`], reserved bits and opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Raw {
    /// A TCP connection.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the listener accepts");
        Self { stream, seen: Vec::new() }
    }

    /// One whose kernel buffers next to nothing of what it does not read.
    pub async fn open_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = socket.connect(address).await.expect("the listener accepts");
        Self { stream, seen: Vec::new() }
    }

    /// Over a connection that the test has made.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, seen: Vec::new() }
    }

    /// A WebSocket of `user`, by the header `username`.
    pub async fn connect(address: SocketAddr, user: &str) -> Self {
        Self::open(address).await.upgraded(user).await
    }

    /// Turns a TCP connection into a WebSocket of `user`.
    pub async fn upgraded(mut self, user: &str) -> Self {
        self.write(handshake("/Dev", &[("username", user)]).as_bytes()).await;
        let answer = self.answer().await;
        assert_eq!(answer.status, 101, "{answer:?}");
        self
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the bytes leave");
    }

    /// Sends bytes that the server may no longer want.
    pub async fn try_write(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await;
    }

    /// Sends a masked frame with this first byte.
    pub async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.write(&masked(first, payload)).await;
    }

    /// Sends a text message in one frame.
    pub async fn say(&mut self, text: &str) {
        self.frame(FIN | TEXT, text.as_bytes()).await;
    }

    /// Sends bytes; whether the server takes them all within `bound`.
    pub async fn write_for(&mut self, bytes: &[u8], bound: Duration) -> bool {
        matches!(timeout(bound, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Says that nothing more will be sent, and goes on listening.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("half of the connection closes");
    }

    /// Leaves without a goodbye of any kind: the server gets a RST.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("the socket is open");
    }

    /// The answer to a request.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let length = answer.header("content-length").map_or(0, |text| text.parse().expect("bytes"));
        while self.seen.len() < length {
            assert!(self.read_more().await, "a whole body, not {:?}", self.seen_text());
        }
        let body = self.seen.drain(..length).collect();
        answer.body = String::from_utf8(body).expect("a readable body");
        answer
    }

    /// The answer to a `HEAD`, which has no body.
    pub async fn head(&mut self) -> Answer {
        while find(&self.seen, b"\r\n\r\n").is_none() {
            assert!(self.read_more().await, "an answer, not {:?}", self.seen_text());
        }
        let end = find(&self.seen, b"\r\n\r\n").expect("just seen") + 4;
        let head: Vec<u8> = self.seen.drain(..end).collect();
        let head = String::from_utf8(head).expect("a readable head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer { status: status.expect("a status line"), head, body: String::new() }
    }

    /// The TCP connection; what was read ahead is lost.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// All that comes until the connection ends.
    pub async fn rest(&mut self) -> String {
        while self.read_more().await {}
        self.seen_text()
    }

    /// The next frame that is no ping; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.next_with_pings().await {
                Some(frame) if frame.first == FIN | PING => {}
                other => return other,
            }
        }
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next_with_pings(&mut self) -> Option<Frame> {
        loop {
            match self.take_frame() {
                Some(frame) => return Some(frame),
                None if self.read_more().await => {}
                None => return None,
            }
        }
    }

    /// The next frame must be this text.
    pub async fn expect(&mut self, text: &str) {
        let want = Frame { first: FIN | TEXT, payload: text.as_bytes().to_vec() };
        assert_eq!(self.next().await, Some(want));
    }

    /// The next frame must be a close frame: its code and reason. The code is 1005 if it has none.
    pub async fn expect_close(&mut self) -> (u16, String) {
        let frame = self.next().await.expect("a close frame, not the end of the connection");
        assert_eq!(frame.first, FIN | CLOSE, "{frame:?}");
        let Some((code, reason)) = frame.payload.split_first_chunk() else {
            return (1005, String::new());
        };
        (u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned())
    }

    /// The server must end the TCP connection now, having said nothing more.
    pub async fn expect_end(&mut self) {
        assert_eq!(self.next().await, None);
    }

    /// Reads until the connection ends: all text messages, and the close code if one came.
    pub async fn drain(&mut self) -> (Vec<String>, Option<u16>) {
        let mut texts = Vec::new();
        while let Some(Frame { first, payload }) = self.next().await {
            if first == FIN | CLOSE {
                return (texts, Some(u16::from_be_bytes([payload[0], payload[1]])));
            }
            texts.push(String::from_utf8(payload).expect("text"));
        }
        (texts, None)
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let (&first, &second) = (self.seen.first()?, self.seen.get(1)?);
        let (start, length) = match second {
            126 => (4, u64::from(u16::from_be_bytes(*self.seen.get(2..)?.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*self.seen.get(2..)?.first_chunk()?)),
            short => (2, u64::from(short)),
        };
        let end = start + usize::try_from(length).expect("a sane length");
        let payload = self.seen.get(start..end)?.to_vec();
        self.seen.drain(..end);
        Some(Frame { first, payload })
    }

    /// `false` at the end of the connection, however it came.
    async fn read_more(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut chunk)).await;
        let length = read.expect("the server neither speaks nor leaves").unwrap_or(0);
        self.seen.extend_from_slice(&chunk[..length]);
        length > 0
    }

    fn seen_text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

impl Answer {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// Asks for a WebSocket and says what came back; a 101 is closed again at once.
pub async fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask_with(address, &handshake(path, headers)).await
}

/// The same with any request.
pub async fn ask_with(address: SocketAddr, request: &str) -> Answer {
    let mut client = Raw::open(address).await;
    client.write(request.as_bytes()).await;
    client.answer().await
}

/// A good handshake.
pub fn handshake(path: &str, headers: &[(&str, &str)]) -> String {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n{more}\r\n")
}

/// A frame as a client sends it.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, 0x80, payload.len());
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame as only a server may send it.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, 0, payload.len());
    frame.extend(payload);
    frame
}

fn head(first: u8, mask_bit: u8, length: usize) -> Vec<u8> {
    match length {
        0..126 => vec![first, mask_bit | length as u8],
        126..0x1_0000 => [&[first, mask_bit | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, mask_bit | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
