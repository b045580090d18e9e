//! HTTP/1.1 over hyper, and one route table per listener, to be read aloud.

mod health;
mod peer;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use self::{
    health::{Check, Health},
    peer::HttpPeers,
};
use crate::{
    listener::{Permit, tls::Tls},
    session::Socket,
    upgrade::{Arrival, Peer, Upgrader},
    web::Page,
};

/// A load balancer's idle connection must outlive the load balancer's own timeout (60 s by
/// default), or it answers 502 for a request it sent into a closing connection.
const KEEP_ALIVE: Duration = Duration::from_secs(200);

/// More headers than any client of ours sends. More are answered with 431.
const MAX_HEADERS: usize = 64;

/// Bytes of one request's head; also what a connection keeps while it is HTTP. A longer head, or a
/// longer first line, is answered with 431.
const HEAD_BYTES: usize = 16 * 1024;

/// Which table a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// WebSockets, and the demo's page.
    App,
    /// WebSockets, and what peers ask each other.
    Api,
    /// The operator's.
    Admin,
}

/// Serves connections of one listener; cheap to clone.
#[derive(Clone)]
pub struct Service {
    face: Face,
    tls: Tls,
    upgrader: Upgrader,
    health: Health,
    page: Option<Arc<Page>>,
    trusted_proxies: Arc<[IpNet]>,
    handshake_timeout: Duration,
}

impl Service {
    /// `handshake_timeout` is `websocket.handshake_timeout`.
    pub fn new(
        face: Face,
        tls: Tls,
        upgrader: Upgrader,
        health: Health,
        page: Option<Arc<Page>>,
        trusted_proxies: Arc<[IpNet]>,
        handshake_timeout: Duration,
    ) -> Self {
        Self { face, tls, upgrader, health, page, trusted_proxies, handshake_timeout }
    }

    /// Serves one connection until it ends or becomes a WebSocket. After `stop` it answers what it
    /// was asked and closes: a load balancer keeps its connections open for minutes.
    pub async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Permit,
        stop: CancellationToken,
    ) {
        let (within, is_first) = (self.handshake_timeout, Arc::new(AtomicBool::new(true)));
        // TLS' own handshake counts: whoever stalls in it holds a socket just the same.
        let first_deadline = Instant::now() + within;
        let established = tokio::select! {
            established = self.establish(stream, peer, first_deadline) => established,
            () = stop.cancelled() => None,
        };
        let Some(stream) = established else { return };
        let (socket, still_first) = (permit.clone(), is_first.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            // The first handshake is timed from the accept, a later one from its own beginning.
            let is_first = still_first.swap(false, Ordering::Relaxed);
            let deadline = if is_first { first_deadline } else { Instant::now() + within };
            let peer = Peer::of(peer.ip(), request.headers(), &self.trusted_proxies);
            let arrival = Arrival { peer, socket: socket.clone(), deadline };
            let service = self.clone();
            async move { Ok::<_, Infallible>(service.route(request, arrival).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(KEEP_ALIVE)
            .max_headers(MAX_HEADERS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let mut look = first_deadline;
        loop {
            tokio::select! {
                // An error here is a client that left or spoke no HTTP: hyper has answered it.
                _ = connection.as_mut() => return,
                () = stop.cancelled() => {}
                () = sleep_until(look) => look += within,
            }
            if is_first.load(Ordering::Relaxed) {
                return;
            }
            // Keeping alive is a favour: it ends where others wait for a place.
            if stop.is_cancelled() || permit.is_scarce() {
                break;
            }
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(within, connection).await;
    }

    /// `None`: there was no agreement on TLS, or not in time. rustls has told the client why.
    async fn establish(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Option<Socket> {
        match timeout_at(deadline, self.tls.accept(stream)).await {
            Ok(Ok(socket)) => Some(socket),
            Ok(Err(error)) => {
                debug!(peer.ip = %peer.ip(), "no TLS with {peer}: {error}");
                None
            }
            Err(_) => {
                debug!(peer.ip = %peer.ip(), "no TLS with {peer} in time");
                None
            }
        }
    }

    async fn route(&self, request: Request<Incoming>, arrival: Arrival) -> Response<Full<Bytes>> {
        match self.face {
            Face::App => self.app(request, arrival).await,
            Face::Api => self.api(request, arrival).await,
            Face::Admin => self.admin(&request).await,
        }
    }

    async fn app(&self, request: Request<Incoming>, arrival: Arrival) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => self.healthz(request.headers()),
            (_, path) if self.wants_socket(&request, path) => {
                self.upgrader.upgrade(request, arrival).await
            }
            (&Method::GET, "/") => match &self.page {
                Some(page) => html(page),
                None => plain(StatusCode::NOT_FOUND, "Not Found\n"),
            },
            _ => plain(StatusCode::NOT_FOUND, "Not Found\n"),
        }
    }

    async fn api(&self, request: Request<Incoming>, arrival: Arrival) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz" | "/api/healthz") => self.healthz(request.headers()),
            (_, path) if self.wants_socket(&request, path) => {
                self.upgrader.upgrade(request, arrival).await
            }
            _ => plain(StatusCode::NOT_FOUND, "Not Found\n"),
        }
    }

    async fn admin(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => plain(StatusCode::OK, "ok\n"),
            (&Method::GET, "/readyz") => {
                let report = self.health.report().await;
                let status =
                    if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                json(status, &report)
            }
            _ => plain(StatusCode::NOT_FOUND, "Not Found\n"),
        }
    }

    /// For the load balancer, and for peers that want to know whether Redis is well.
    fn healthz(&self, asked: &HeaderMap) -> Response<Full<Bytes>> {
        let Some(standing) = self.health.standing() else { return plain(StatusCode::OK, "ok\n") };
        let mut response = if standing.is_cut_off() {
            plain(StatusCode::SERVICE_UNAVAILABLE, "cut off from Redis\n")
        } else {
            plain(StatusCode::OK, "ok\n")
        };
        peer::write(standing.health(), asked, response.headers_mut());
        response
    }

    /// A path of ours always, and any path when the client asks to upgrade: then the refusal can
    /// say what is wrong.
    fn wants_socket(&self, request: &Request<Incoming>, path: &str) -> bool {
        self.upgrader.serves(path) || request.headers().contains_key(header::UPGRADE)
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    respond(status, "application/json", body.into())
}

fn html(page: &Page) -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", page.body());
    let policy = HeaderValue::from_static(Page::CONTENT_SECURITY_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
