//! What instances ask each other over HTTP: whether Redis is well there.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::fleet::isolation::{PeerHealth, Peers};

/// Where it is asked.
const PATH: &str = "/api/healthz";

/// `up` or `down`: whether the instance that answers holds its lease.
const REDIS: HeaderName = HeaderName::from_static("x-wsfleetd-redis");

/// How many members have fallen silent lately, as that instance sees it.
const SILENT: HeaderName = HeaderName::from_static("x-wsfleetd-silent");

/// How many connections it holds. Not for the world: only who asks without a proxy between, as
/// peers do and nobody who comes through the load balancer, is told.
const CONNECTIONS: HeaderName = HeaderName::from_static("x-wsfleetd-connections");

/// Every load balancer writes it.
const PROXIED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A peer in the same group that does not answer within this is no witness.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks over plain HTTP, as load balancers do.
pub struct HttpPeers;

#[async_trait]
impl Peers for HttpPeers {
    async fn ask(&self, address: &str) -> Option<PeerHealth> {
        let headers = timeout(PATIENCE, head_of(address)).await.ok()??;
        read(&headers)
    }
}

/// Says to a peer, who asked with these headers, how this instance stands.
pub(super) fn write(health: PeerHealth, asked: &HeaderMap, headers: &mut HeaderMap) {
    let word = if health.redis_is_up { "up" } else { "down" };
    headers.insert(REDIS, HeaderValue::from_static(word));
    headers.insert(SILENT, HeaderValue::from(health.silent));
    if let Some(connections) = health.connections.filter(|_| !asked.contains_key(PROXIED)) {
        headers.insert(CONNECTIONS, HeaderValue::from(connections));
    }
}

fn read(headers: &HeaderMap) -> Option<PeerHealth> {
    let redis_is_up = match headers.get(REDIS)?.as_bytes() {
        b"up" => true,
        b"down" => false,
        _ => return None,
    };
    let number = |name| headers.get(name)?.to_str().ok()?.parse::<u32>().ok();
    Some(PeerHealth { redis_is_up, silent: number(&SILENT)?, connections: number(&CONNECTIONS) })
}

async fn head_of(address: &str) -> Option<HeaderMap> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(PATH).header(http::header::HOST, address);
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    tokio::pin!(connection);
    tokio::select! {
        answer = sender.send_request(request) => answer.ok().map(Response::into_parts).map(|(head, _)| head.headers),
        _ = &mut connection => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        for health in [
            PeerHealth { redis_is_up: true, silent: 0, connections: Some(7) },
            PeerHealth { redis_is_up: false, silent: 17, connections: None },
        ] {
            let mut headers = HeaderMap::new();
            write(health, &HeaderMap::new(), &mut headers);
            assert_eq!(read(&headers), Some(health));
        }
        let (mut headers, mut proxied) = (HeaderMap::new(), HeaderMap::new());
        proxied.insert(PROXIED, HeaderValue::from_static("198.51.100.7"));
        let health = PeerHealth { redis_is_up: true, silent: 0, connections: Some(7) };
        write(health, &proxied, &mut headers);
        assert_eq!(read(&headers), Some(PeerHealth { connections: None, ..health }));
        assert_eq!(read(&HeaderMap::new()), None);
    }
}
