//! TLS on the public listeners, with a certificate that can be replaced while connections are open.
//!
//! A handshake uses the certificate that is current when it begins; what is open lives on with the
//! one it began with. Turning TLS on or off is a replacement like any other.

mod certificate;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use humantime::format_rfc3339_seconds;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::certificate::{Certificate, Fault, check_chain, check_pair};
use crate::{clock, session::Socket, telemetry::events};

/// A certificate with less than this before it is spoken of: time to get another.
const NEAR: Duration = Duration::from_secs(14 * DAY);

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(DAY);

const DAY: u64 = 24 * 3600;

/// What one connection may hold encrypted for a client that does not read, beside its outbox: one
/// record.
const BUFFER_BYTES: usize = 16 * 1024;

/// The certificate of the listeners that have one; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    current: Arc<ArcSwapOption<Certificate>>,
}

impl Tls {
    /// `None`: without TLS.
    pub fn new(certificate: Option<Certificate>) -> Self {
        Self { current: Arc::new(ArcSwapOption::from_pointee(certificate)) }
    }

    /// Uses this from the next handshake on, and says so, unless it is the same one. Sessions
    /// that were begun with another are not resumed.
    pub fn replace(&self, certificate: Option<Certificate>) {
        let old = self.current.load();
        if old.as_deref() == certificate.as_ref() {
            return;
        }
        let until = certificate.as_ref().map(|new| format_rfc3339_seconds(new.expires()));
        match until {
            Some(until) => info!(
                message_id = events::CERTIFICATE_RELOADED,
                "new connections get a new certificate, good until {until}"
            ),
            None => info!(
                message_id = events::CERTIFICATE_RELOADED,
                "new connections get no certificate: TLS is off"
            ),
        }
        self.current.store(certificate.map(Arc::new));
        self.look();
    }

    /// Shakes hands, if there is a certificate. Takes as long as the client does: bound it.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Socket> {
        let Some(certificate) = self.current.load_full() else {
            return Ok(Socket::Plain(stream));
        };
        let acceptor = TlsAcceptor::from(certificate.config());
        // Boxed: what only the handshake needs is not kept by everyone who is connected.
        let handshake = Box::pin(acceptor.accept_with(stream, |session| {
            session.set_buffer_limit(Some(BUFFER_BYTES));
        }));
        Ok(Socket::Tls(Box::new(handshake.await?)))
    }

    /// Tells each day of a certificate that is about to expire, until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        loop {
            self.look();
            if timeout(LOOK, stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    fn look(&self) {
        let current = self.current.load();
        if let Some(certificate) = current.as_deref() {
            warn_before(certificate.expires(), clock::now());
        }
    }
}

fn warn_before(expires: SystemTime, now: SystemTime) {
    let until = format_rfc3339_seconds(expires);
    match expires.duration_since(now) {
        Ok(left) if left >= NEAR => {}
        Ok(left) => warn!(
            message_id = events::CERTIFICATE_EXPIRING,
            "the certificate of listen.tls_certificate expires in {} days, at {until}; put \
             another in its place and reload",
            left.as_secs() / DAY
        ),
        Err(_) => error!(
            message_id = events::CERTIFICATE_EXPIRING,
            "the certificate of listen.tls_certificate expired at {until}: clients refuse it; put \
             another in its place and reload"
        ),
    }
}
