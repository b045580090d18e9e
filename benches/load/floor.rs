//! The floor: what the bare stack costs, to measure the daemon against.
//!
//! hyper, tokio-tungstenite, a JSON parse, a sharded map, one task and one channel for each
//! connection, feed then flush, and all waiting envelopes in one PUBLISH, on one thread. It has no
//! authentication, no limits, no heartbeats and no directory of who is where: a user who is not
//! here is at the one peer. Nothing real can cost less on this stack; how much more the daemon
//! costs is the price of what it promises.

mod connection;
mod hub;
mod relay;

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use self::{hub::Hub, relay::Relay};

/// What the floor's line begins with that says on which port it serves.
pub const READY: &str = "floor serves on ";

/// Serves until it is killed. `fleet` is the URL of Redis, its own channel and the peer's.
pub fn run(fleet: Option<[&str; 3]>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let hub = Hub::default();
        let relay = match fleet {
            Some(fleet) => Some(relay::start(fleet, hub.clone()).await),
            None => None,
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        eprintln!("{READY}{}", listener.local_addr().expect("its address").port());
        loop {
            let (stream, _) = listener.accept().await.expect("a client");
            stream.set_nodelay(true).expect("a TCP socket");
            tokio::spawn(serve(stream, hub.clone(), relay.clone()));
        }
    });
}

async fn serve(stream: TcpStream, hub: Hub, relay: Option<Relay>) {
    let service = service_fn(move |request| {
        let response = upgrade(request, &hub, relay.as_ref());
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.with_upgrades().await;
}

/// The 101, or a 400 for anything that is no upgrade of a named user.
fn upgrade(
    mut request: Request<Incoming>,
    hub: &Hub,
    relay: Option<&Relay>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let on_upgrade = hyper::upgrade::on(&mut request);
    let headers = request.headers();
    let (Some(user), Some(key)) = (headers.get("username"), headers.get("sec-websocket-key"))
    else {
        return response;
    };
    let accept = derive_accept_key(key.as_bytes());
    let user = user.to_str().expect("a name in ASCII").to_owned();
    tokio::spawn(begin(on_upgrade, user, hub.clone(), relay.cloned()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.parse().expect("base64"));
    response
}

async fn begin(on_upgrade: OnUpgrade, user: String, hub: Hub, relay: Option<Relay>) {
    let Ok(upgraded) = on_upgrade.await else { return };
    // Only the stream: hyper's read buffer must not live as long as the connection.
    let stream = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => parts.io.into_inner(),
        Err(_) => return,
    };
    connection::run(stream, user, hub, relay).await;
}
