//! A connection that only listens.
//!
//! Ours rather than redis-rs's, because that one puts what it hears into an unbounded queue, and
//! its reconnecting cousin never came back from a Redis that was away for 18 seconds
//! (COORDINATION §10). This one has no queue at all: what is not read yet waits in the kernel,
//! and who loses it dials again.

use std::{io, sync::Arc};

use combine::{
    parser::combinator::AnySendSyncPartialState,
    stream::{Decoder, PointerOffset},
};
use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, Value, cmd};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// Enough for a few of the relay's largest batches in one read.
const READ_BUFFER: usize = 64 * 1024;

/// What the subscription heard.
#[derive(Debug)]
pub enum SubscriberEvent {
    /// A payload published on one of the channels.
    Message(Vec<u8>),
    /// Anything else Redis says on such a connection.
    Other,
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// redis-rs's incremental parser; it keeps what it has of a reply between reads.
type Parser = Decoder<AnySendSyncPartialState, PointerOffset<[u8]>>;

/// An open subscription.
pub struct Subscriber {
    stream: BufReader<Box<dyn Transport>>,
    parser: Parser,
}

impl Subscriber {
    /// Connects, logs in and subscribes; not bounded in time, the caller does that.
    pub(super) async fn dial(
        info: &ConnectionInfo,
        ca_pem: Option<&[u8]>,
        channels: &[String],
    ) -> Result<Self, RedisError> {
        let stream = BufReader::with_capacity(READ_BUFFER, connect(info, ca_pem).await?);
        let mut subscriber = Self { stream, parser: Decoder::new() };
        subscriber.log_in(info).await?;
        for channel in channels {
            subscriber.send(cmd("SUBSCRIBE").arg(channel)).await?;
            subscriber.expect().await?;
        }
        Ok(subscriber)
    }

    /// The next thing heard. Cancel-safe only in that a cancelled subscriber must be dropped.
    pub async fn next(&mut self) -> Result<SubscriberEvent, RedisError> {
        let value = redis::parse_redis_value_async(&mut self.parser, &mut self.stream).await?;
        Ok(message(value).map_or(SubscriberEvent::Other, SubscriberEvent::Message))
    }

    async fn log_in(&mut self, info: &ConnectionInfo) -> Result<(), RedisError> {
        let settings = info.redis_settings();
        if let Some(password) = settings.password() {
            let mut auth = cmd("AUTH");
            settings.username().map(|name| auth.arg(name));
            self.send(auth.arg(password)).await?;
            self.expect().await?;
        }
        Ok(())
    }

    async fn send(&mut self, command: &redis::Cmd) -> Result<(), RedisError> {
        self.stream.get_mut().write_all(&command.get_packed_command()).await?;
        Ok(self.stream.get_mut().flush().await?)
    }

    async fn expect(&mut self) -> Result<(), RedisError> {
        match redis::parse_redis_value_async(&mut self.parser, &mut self.stream).await? {
            Value::ServerError(error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The payload of `["message", channel, payload]`.
fn message(value: Value) -> Option<Vec<u8>> {
    let (Value::Array(parts) | Value::Push { data: parts, .. }) = value else { return None };
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Value::BulkString(kind)), Some(_), Some(Value::BulkString(payload)))
            if kind == b"message" =>
        {
            Some(payload)
        }
        _ => None,
    }
}

async fn connect(
    info: &ConnectionInfo,
    ca_pem: Option<&[u8]>,
) -> Result<Box<dyn Transport>, RedisError> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(info, host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| client_error("the host of redis.url is no name for TLS"))?;
            let stream = tcp(info, host, *port).await?;
            Ok(Box::new(TlsConnector::from(tls_config(ca_pem)?).connect(name, stream).await?))
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err(client_error("redis.url names a transport this build does not have")),
    }
}

async fn tcp(info: &ConnectionInfo, host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    if let Some(keepalive) = info.tcp_settings().keepalive() {
        socket2::SockRef::from(&stream).set_tcp_keepalive(keepalive)?;
    }
    Ok(stream)
}

fn tls_config(ca_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, RedisError> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|_| client_error("redis.ca_file is no PEM"))?;
                roots
                    .add(certificate)
                    .map_err(|_| client_error("redis.ca_file holds a bad certificate"))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| client_error("no TLS version in common"))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn client_error(text: &'static str) -> RedisError {
    (ErrorKind::InvalidClientConfig, text).into()
}
