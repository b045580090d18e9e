//! A request read as a WebSocket handshake (RFC 6455 §4.2.1).

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, Method, Request, Version, header};

use super::Refusal;

/// What the rest of the handshake looks at.
#[derive(Debug)]
pub struct Handshake<'a> {
    /// Without query.
    pub path: &'a str,
    /// Undecoded.
    pub query: Option<&'a str>,
    /// All of them.
    pub headers: &'a HeaderMap,
    /// The other end of the TCP connection: a client's, or its proxy's.
    pub peer: IpAddr,
    /// `Sec-WebSocket-Key`
    pub key: &'a [u8],
}

impl<'a> Handshake<'a> {
    /// Refuses whatever is no handshake.
    pub fn read<B>(request: &'a Request<B>, peer: IpAddr) -> Result<Self, Refusal> {
        let headers = request.headers();
        if request.method() != Method::GET {
            return Err(Refusal::NotAnUpgrade("not a GET"));
        }
        if request.version() != Version::HTTP_11 {
            return Err(Refusal::NotAnUpgrade("not HTTP/1.1"));
        }
        if !names(headers, &header::UPGRADE, "websocket") {
            return Err(Refusal::NotAnUpgrade("no Upgrade: websocket"));
        }
        if !names(headers, &header::CONNECTION, "upgrade") {
            return Err(Refusal::NotAnUpgrade("no Connection: upgrade"));
        }
        check_version(headers)?;
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| key.as_bytes());
        let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
        let key = key.ok_or(Refusal::NotAnUpgrade("no valid Sec-WebSocket-Key"))?;
        let uri = request.uri();
        Ok(Self { path: uri.path(), query: uri.query(), headers, peer, key })
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(header::SEC_WEBSOCKET_VERSION).map(|version| version.as_bytes()) {
        Some(b"13") => Ok(()),
        Some(_) => Err(Refusal::Version),
        None => Err(Refusal::NotAnUpgrade("no Sec-WebSocket-Version")),
    }
}

/// Whether a header that is a list of tokens, perhaps over several lines, holds `token`.
fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn handshake() -> http::request::Builder {
        Request::get("/Dev/?x=1")
            .header("Connection", "keep-alive, Upgrade")
            .header("Upgrade", "WebSocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    #[test]
    fn a_handshake_is_read() {
        let request = handshake().body(()).unwrap();
        let read = Handshake::read(&request, PEER).unwrap();
        assert_eq!((read.path, read.query), ("/Dev/", Some("x=1")));
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let with = |name: &'static str, value: &'static str| {
            let mut request = handshake().body(()).unwrap();
            match value {
                "" => drop(request.headers_mut().remove(name)),
                value => drop(request.headers_mut().insert(name, value.parse().unwrap())),
            }
            Handshake::read(&request, PEER).map(|_| ()).unwrap_err().status().as_u16()
        };
        assert_eq!(with("Upgrade", ""), 400);
        assert_eq!(with("Upgrade", "h2c"), 400);
        assert_eq!(with("Connection", "close"), 400);
        assert_eq!(with("Sec-WebSocket-Key", ""), 400);
        assert_eq!(with("Sec-WebSocket-Key", "c2hvcnQ="), 400);
        assert_eq!(with("Sec-WebSocket-Version", ""), 400);
        assert_eq!(with("Sec-WebSocket-Version", "8"), 426);
        let post = handshake().method("POST").body(()).unwrap();
        assert!(Handshake::read(&post, PEER).is_err());
    }
}
