//! What comes over a socket: the wire and a second reading of RFC 6455 see the same.
//!
//! The second reading takes the whole input at once and knows nothing of buffers; the wire gets it
//! in pieces. Neither was written after the other.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsfleetd::{
    hub::Outbox,
    protocol::close::Close,
    session::wire::{Config, Event, Wire},
};

/// Small, so that a fuzzer reaches the bounds.
const MAX_FRAME: usize = 300;
const MAX_MESSAGE: usize = 500;

/// Panics where a property does not hold. The first byte says in what pieces the rest comes.
pub fn check(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let expected = second_reading(bytes);
    let mut client = Client { bytes, at: 0, piece: usize::from(*piece).max(1), heard: Vec::new() };
    let seen = first_reading(&mut client);
    assert_eq!(seen, expected, "in pieces of {piece}");
    assert!(client.heard.len() <= bytes.len() + 200, "answers are no longer than what is said");
}

/// What happens, without the words of the library.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary,
    Control,
    PeerClosed,
    Broken(Close),
    Lost,
}

fn first_reading(client: &mut Client<'_>) -> Vec<Seen> {
    let config = Config { max_message: MAX_MESSAGE, max_frame: MAX_FRAME, read_buffer: 64 };
    let wire = Wire::new(client, Bytes::new(), &config).now_or_never();
    let (mut wire, outbox) = (wire.expect("nothing to wait for"), Outbox::new(1024));
    let mut seen = Vec::new();
    loop {
        // The client never makes anybody wait.
        let event = wire.event(&outbox, true).now_or_never().expect("an event");
        seen.push(match event {
            Event::Text(text) => Seen::Text(text.to_string()),
            Event::Binary => Seen::Binary,
            Event::Control => Seen::Control,
            Event::PeerClosed => Seen::PeerClosed,
            Event::Broken(close) => Seen::Broken(close),
            Event::Lost => Seen::Lost,
            Event::Wrote | Event::Ordered(_) => panic!("{event:?} without a cause"),
        });
        if !matches!(seen.last(), Some(Seen::Text(_) | Seen::Binary | Seen::Control)) {
            return seen;
        }
    }
}

/// RFC 6455 §5 and the contract's bounds, on all the bytes at once.
fn second_reading(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut message: Option<(u8, Vec<u8>)> = None;
    let end = loop {
        let frame = match Frame::read(&mut bytes) {
            Ok(frame) => frame,
            Err(end) => break end,
        };
        match frame.opcode {
            8 => break frame.closes(),
            9 | 10 => {
                if !frame.fin || frame.payload.len() > 125 {
                    break Seen::Broken(Close::ProtocolError);
                }
                seen.push(Seen::Control);
                continue;
            }
            0 if message.is_none() => break Seen::Broken(Close::ProtocolError),
            1 | 2 if message.is_some() => break Seen::Broken(Close::ProtocolError),
            _ => {}
        }
        let (kind, gathered) = message.get_or_insert((frame.opcode, Vec::new()));
        if gathered.len() + frame.payload.len() > MAX_MESSAGE {
            break Seen::Broken(Close::TooLarge);
        }
        gathered.extend(frame.payload);
        // A character may go on in the next frame, nonsense may not.
        let text = std::str::from_utf8(gathered);
        let is_cut = text.is_err_and(|error| error.error_len().is_none());
        if *kind == 1 && text.is_err() && (frame.fin || !is_cut) {
            break Seen::Broken(Close::BadUtf8);
        }
        if frame.fin {
            seen.push(match (*kind, text) {
                (1, Ok(text)) => Seen::Text(text.to_owned()),
                _ => Seen::Binary,
            });
            message = None;
        }
    };
    seen.push(end);
    seen
}

struct Frame {
    fin: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// The next frame, or how the connection ends instead.
    fn read(bytes: &mut &[u8]) -> Result<Self, Seen> {
        let ([first, second], rest) = bytes.split_first_chunk().ok_or(Seen::Lost)?;
        let (first, second, mut rest) = (*first, *second, rest);
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(take(&mut rest)?)),
            127 => u64::from_be_bytes(take(&mut rest)?),
            short => u64::from(short),
        };
        let mask: [u8; 4] = if second & 0x80 == 0 { [0; 4] } else { take(&mut rest)? };
        let opcode = first & 0x0f;
        if !matches!(opcode, 0..=2 | 8..=10) {
            return Err(Seen::Broken(Close::ProtocolError));
        }
        if length > MAX_FRAME as u64 {
            return Err(Seen::Broken(Close::TooLarge));
        }
        let (payload, rest) = rest.split_at_checked(length as usize).ok_or(Seen::Lost)?;
        if second & 0x80 == 0 || first & 0x70 != 0 {
            return Err(Seen::Broken(Close::ProtocolError));
        }
        *bytes = rest;
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        Ok(Self { fin: first & 0x80 != 0, opcode, payload })
    }

    fn closes(&self) -> Seen {
        if !self.fin || self.payload.len() > 125 || self.payload.len() == 1 {
            return Seen::Broken(Close::ProtocolError);
        }
        match std::str::from_utf8(self.payload.get(2..).unwrap_or_default()) {
            Ok(_) => Seen::PeerClosed,
            Err(_) => Seen::Broken(Close::BadUtf8),
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Seen> {
    let (head, rest) = bytes.split_first_chunk().ok_or(Seen::Lost)?;
    *bytes = rest;
    Ok(*head)
}

/// A client that says `bytes` in pieces and then ends the connection; it hears everything at once.
struct Client<'a> {
    bytes: &'a [u8],
    at: usize,
    piece: usize,
    heard: Vec<u8>,
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.bytes[self.at..];
        let length = rest.len().min(self.piece).min(into.remaining());
        into.put_slice(&rest[..length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
