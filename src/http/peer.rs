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

/// Says to a peer how this instance stands.
pub(super) fn write(health: PeerHealth, headers: &mut HeaderMap) {
    let word = if health.redis_is_up { "up" } else { "down" };
    headers.insert(REDIS, HeaderValue::from_static(word));
    headers.insert(SILENT, HeaderValue::from(health.silent));
}

fn read(headers: &HeaderMap) -> Option<PeerHealth> {
    let redis_is_up = match headers.get(REDIS)?.as_bytes() {
        b"up" => true,
        b"down" => false,
        _ => return None,
    };
    let silent = headers.get(SILENT)?.to_str().ok()?.parse().ok()?;
    Some(PeerHealth { redis_is_up, silent })
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
            PeerHealth { redis_is_up: true, silent: 0 },
            PeerHealth { redis_is_up: false, silent: 17 },
        ] {
            let mut headers = HeaderMap::new();
            write(health, &mut headers);
            assert_eq!(read(&headers), Some(health));
        }
        assert_eq!(read(&HeaderMap::new()), None);
    }
}
