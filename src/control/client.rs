//! The other end: one call of a subcommand to the daemon of this machine.

use std::{io, path::Path, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

use super::Problem;

/// Longer than the daemon takes for any call.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// Far more than the largest page.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens.
    #[error(
        "no daemon answers at {path} ({source}); is it running? See: systemctl status wsfleetd"
    )]
    NotRunning {
        /// Where one was looked for.
        path: String,
        source: io::Error,
    },
    /// The file's mode keeps this user out.
    #[error("{0} may be used by root and by members of the daemon's group (wsfleetd) only")]
    Denied(String),
    /// It listens, and says nothing.
    #[error("the daemon does not answer within {} s", ANSWER_WAIT.as_secs())]
    Silent,
    /// The connection failed, or what came is no answer of a daemon.
    #[error("the daemon's answer cannot be read: {0}")]
    Garbled(String),
    /// It refuses, and says why.
    #[error("{0}")]
    Refused(String),
}

/// Asks the daemon whose socket is at `path`.
pub async fn call<T: DeserializeOwned>(
    path: &Path,
    method: Method,
    target: &str,
    body: Option<&impl Serialize>,
) -> Result<T, CallError> {
    let stream = UnixStream::connect(path).await.map_err(|source| unreachable_at(path, source))?;
    let request = request(method, target, body)?;
    match timeout(ANSWER_WAIT, exchange(stream, request)).await {
        Ok(answer) => read(answer?),
        Err(_) => Err(CallError::Silent),
    }
}

/// The process id of the daemon whose socket is at `path`, as the kernel tells it.
pub async fn process_id(path: &Path) -> Option<i32> {
    UnixStream::connect(path).await.ok()?.peer_cred().ok()?.pid()
}

fn unreachable_at(path: &Path, source: io::Error) -> CallError {
    let path = path.display().to_string();
    match source.kind() {
        io::ErrorKind::PermissionDenied => CallError::Denied(path),
        _ => CallError::NotRunning { path, source },
    }
}

fn request(
    method: Method,
    target: &str,
    body: Option<&impl Serialize>,
) -> Result<Request<Full<Bytes>>, CallError> {
    let body = match body {
        Some(body) => serde_json::to_vec(body).map_err(garbled)?,
        None => Vec::new(),
    };
    let request = Request::builder().method(method).uri(target).header(header::HOST, "wsfleetd");
    request.body(Full::from(body)).map_err(garbled)
}

async fn exchange(
    stream: UnixStream,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), CallError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(garbled)?;
    let ask = async {
        let response = sender.send_request(request).await.map_err(garbled)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(garbled)?.to_bytes()))
    };
    tokio::pin!(ask, connection);
    tokio::select! {
        answer = &mut ask => answer,
        // The daemon closes behind its answer, which may still have to be read.
        ended = &mut connection => match ended {
            Ok(()) => ask.await,
            Err(error) => Err(garbled(error)),
        },
    }
}

fn read<T: DeserializeOwned>((status, body): (StatusCode, Bytes)) -> Result<T, CallError> {
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(garbled);
    }
    let problem: Problem = serde_json::from_slice(&body).map_err(garbled)?;
    Err(CallError::Refused(problem.error))
}

fn garbled(error: impl std::fmt::Display) -> CallError {
    CallError::Garbled(error.to_string())
}
