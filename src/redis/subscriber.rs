//! A connection that only listens.
//!
//! Ours rather than redis-rs's, because that one puts what it hears into an unbounded queue, and
//! its reconnecting cousin never came back from a Redis that was away for 18 seconds
//! (COORDINATION §10). This one has no queue at all: what is not read yet waits in the kernel,
//! and who loses it dials again. It is the same in a cluster, where redis-rs subscribes to all
//! of a server's sharded channels in one command, which is refused for more than one slot.

use std::{io, sync::Arc};

use combine::{
    parser::combinator::AnySendSyncPartialState,
    stream::{Decoder, PointerOffset},
};
use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, Value, cmd};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::link::{refuse_replica, run_id_of};

/// Enough for a few of the relay's largest batches in one read.
const READ_BUFFER: usize = 64 * 1024;

/// What the subscription heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// What was published, and on which of the channels.
    Message { channel: Vec<u8>, payload: Vec<u8> },
    /// This channel is listened to from now on.
    Subscribed(String),
    /// This one is no more: its slot has moved.
    Unsubscribed(String),
    /// Anything else Redis says on such a connection.
    Other,
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// redis-rs's incremental parser; it keeps what it has of a reply between reads.
type Parser = Decoder<AnySendSyncPartialState, PointerOffset<[u8]>>;

/// The half that hears.
pub(super) struct Ear {
    stream: BufReader<ReadHalf<Box<dyn Transport>>>,
    parser: Parser,
}

/// The half that says what to listen to.
pub(super) struct Mouth {
    stream: WriteHalf<Box<dyn Transport>>,
    verb: &'static str,
}

/// A new connection.
pub(super) struct Dialled {
    pub ear: Ear,
    pub mouth: Mouth,
    /// Which start of which server this is; `None`: it may not be asked.
    pub run_id: Option<String>,
}

/// Connects to a primary and logs in; not bounded in time, the caller does that. `verb` is what
/// subscribes.
pub(super) async fn dial(
    info: &ConnectionInfo,
    ca_pem: Option<&[u8]>,
    verb: &'static str,
) -> Result<Dialled, RedisError> {
    let (read, write) = split(connect(info, ca_pem).await?);
    let stream = BufReader::with_capacity(READ_BUFFER, read);
    let mut ear = Ear { stream, parser: Decoder::new() };
    let mut mouth = Mouth { stream: write, verb };
    if let Some(login) = login(info) {
        mouth.send(&login.get_packed_command()).await?;
        ear.answer().await?.extract_error()?;
    }
    mouth.send(&cmd("INFO").arg("server").get_packed_command()).await?;
    let run_id = String::from_redis_value(ear.answer().await?).ok();
    let run_id = run_id.as_deref().and_then(run_id_of);
    mouth.send(&cmd("ROLE").get_packed_command()).await?;
    refuse_replica(&ear.answer().await?)?;
    Ok(Dialled { ear, mouth, run_id })
}

impl Ear {
    /// The next thing heard, or what Redis refuses. Cancel-safe only in that a cancelled ear must
    /// be dropped.
    pub async fn next(&mut self) -> Result<Heard, RedisError> {
        match self.answer().await? {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(heard(value)),
        }
    }

    async fn answer(&mut self) -> Result<Value, RedisError> {
        redis::parse_redis_value_async(&mut self.parser, &mut self.stream).await
    }
}

impl Mouth {
    /// Subscribes to each channel by a command of its own: together they may be of different
    /// slots. The answers come to the ear.
    pub async fn subscribe(&mut self, channels: &[String]) -> Result<(), RedisError> {
        let verb = self.verb;
        let commands: Vec<u8> = channels
            .iter()
            .flat_map(|channel| cmd(verb).arg(channel).get_packed_command())
            .collect();
        self.send(&commands).await
    }

    /// The reverse: what was published before the answer comes to the ear before it.
    pub async fn unsubscribe(&mut self, channels: &[String]) -> Result<(), RedisError> {
        let verb = if self.verb == "SUBSCRIBE" { "UNSUBSCRIBE" } else { "SUNSUBSCRIBE" };
        let commands: Vec<u8> = channels
            .iter()
            .flat_map(|channel| cmd(verb).arg(channel).get_packed_command())
            .collect();
        self.send(&commands).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), RedisError> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }
}

fn login(info: &ConnectionInfo) -> Option<redis::Cmd> {
    let settings = info.redis_settings();
    let mut auth = cmd("AUTH");
    settings.username().map(|name| auth.arg(name));
    settings.password().map(|password| auth.arg(password).clone())
}

/// `["message", channel, payload]`, or `["subscribe", channel, count]`; sharded ones begin with s.
fn heard(value: Value) -> Heard {
    let (Value::Array(parts) | Value::Push { data: parts, .. }) = value else {
        return Heard::Other;
    };
    let mut parts = parts.into_iter();
    let (Some(Value::BulkString(kind)), Some(Value::BulkString(channel))) =
        (parts.next(), parts.next())
    else {
        return Heard::Other;
    };
    let name = || String::from_utf8_lossy(&channel).into_owned();
    match (kind.as_slice(), parts.next()) {
        (b"message" | b"smessage", Some(Value::BulkString(payload))) => {
            Heard::Message { channel, payload }
        }
        (b"subscribe" | b"ssubscribe", _) => Heard::Subscribed(name()),
        (b"unsubscribe" | b"sunsubscribe", _) => Heard::Unsubscribed(name()),
        _ => Heard::Other,
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
