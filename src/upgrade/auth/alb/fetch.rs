//! A region's public keys, asked for by name and remembered.
//!
//! Whoever reaches a listener can name a key that does not exist, so what is asked for is bounded
//! in rate, and many who wait for the same key wait for one answer. hyper and rustls are here
//! anyway, so this needs no AWS SDK and works in every build.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, DecodingKey};
use moka::future::Cache;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::super::keys;
use crate::limit::{Rate, SharedBucket};

/// Keys remembered: a region has a handful.
const KEYS: u64 = 64;

/// A key's name is never given to another key.
const KEY_TTL: Duration = Duration::from_secs(24 * 3600);

/// Fetches per second, and at once: far more than the keys there are, far less than a flood.
const FETCHES: (u32, u32) = (2, 10);

/// One fetch, all included; a handshake waits for it.
const FETCH_WAIT: Duration = Duration::from_secs(3);

/// A public key in PEM has 178 bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// How often it is said again that keys cannot be had.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// The endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no http:// or https:// URL without a query")]
pub struct BadEndpoint(String);

/// Asks one endpoint.
pub struct Fetcher {
    endpoint: Uri,
    tls: TlsConnector,
    known: Cache<String, Arc<DecodingKey>>,
    rate: Rate,
    bucket: SharedBucket,
    /// When somebody was told; a std lock, held to look and to set.
    told: Mutex<Option<Instant>>,
}

/// Why there is no key; for the log.
#[derive(Clone, Debug, thiserror::Error)]
enum FetchError {
    #[error("too many keys were asked for lately")]
    TooMany,
    #[error("no answer within {} s", FETCH_WAIT.as_secs())]
    Silent,
    #[error("{0}")]
    Failed(String),
    #[error("the endpoint answers {0}")]
    Status(StatusCode),
    #[error("what the endpoint answers is no public key")]
    NoKey,
}

impl Fetcher {
    /// Asks `<endpoint>/<name>`.
    pub fn new(endpoint: &str) -> Result<Self, BadEndpoint> {
        let bad = || BadEndpoint(endpoint.to_owned());
        let uri: Uri = endpoint.trim_end_matches('/').parse().map_err(|_| bad())?;
        let is_http = [Scheme::HTTP, Scheme::HTTPS].iter().any(|s| uri.scheme() == Some(s));
        if !is_http || uri.host().is_none() || uri.query().is_some() {
            return Err(bad());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self {
            endpoint: uri,
            tls: TlsConnector::from(Arc::new(tls)),
            known: Cache::builder().max_capacity(KEYS).time_to_live(KEY_TTL).build(),
            rate: Rate::new(FETCHES.0, FETCHES.1),
            bucket: SharedBucket::default(),
            told: Mutex::default(),
        })
    }

    /// The key of this name, which is fit for a URL; `None` when it cannot be had now.
    pub async fn key(&self, id: &str) -> Option<Arc<DecodingKey>> {
        let fetched = self.known.try_get_with_by_ref(id, self.fetch(id)).await;
        fetched.inspect_err(|error| self.complain(id, error)).ok()
    }

    fn complain(&self, id: &str, error: &FetchError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= COMPLAINTS) {
            *told = Some(Instant::now());
            warn!(
                "who has logged in at the load balancer is kept out, for its key {id} cannot be had from {}: {error}",
                self.endpoint
            );
        }
    }

    async fn fetch(&self, id: &str) -> Result<Arc<DecodingKey>, FetchError> {
        if !self.rate.admits_shared(&self.bucket, Instant::now()) {
            return Err(FetchError::TooMany);
        }
        let pem = timeout(FETCH_WAIT, self.get(id)).await.map_err(|_| FetchError::Silent)??;
        match keys::public_key(&pem) {
            Ok((Algorithm::ES256, key)) => Ok(Arc::new(key)),
            _ => Err(FetchError::NoKey),
        }
    }

    async fn get(&self, id: &str) -> Result<Bytes, FetchError> {
        let host = self.endpoint.host().unwrap_or_default();
        let is_tls = self.endpoint.scheme() == Some(&Scheme::HTTPS);
        let port = self.endpoint.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await.map_err(failed)?;
        if !is_tls {
            return self.ask(stream, id).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(failed)?;
        self.ask(self.tls.connect(name, stream).await.map_err(failed)?, id).await
    }

    async fn ask<S>(&self, stream: S, id: &str) -> Result<Bytes, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let authority = self.endpoint.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(format!("{}/{id}", self.endpoint.path().trim_end_matches('/')))
            .header(header::HOST, authority)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(failed)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(failed)?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(FetchError::Status(status)) }
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            // The endpoint closes behind its answer, which may still have to be read.
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(failed(error)),
            },
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

fn failed(error: impl fmt::Display) -> FetchError {
    FetchError::Failed(error.to_string())
}
