//! The socket's file, its few callers at a time, and each caller's bound.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Desk;
use crate::lifecycle::Tasks;

/// The daemon and its group; others are kept out.
const MODE: u32 = 0o660;

/// Operators and their scripts; the rest wait in the kernel's queue.
const CALLERS: usize = 16;

/// A call is a look at memory, at most a round trip to Redis and PostgreSQL.
const CALL_WAIT: Duration = Duration::from_secs(10);

/// Bytes of one request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// Between tries to accept when the process is out of descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(500);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error(
        "another daemon answers at {0}: give each its own instance.runtime_dir, or stop the other"
    )]
    InUse(PathBuf),
    /// The file cannot be made.
    #[error("cannot open {path} (in instance.runtime_dir): {source}")]
    Io {
        /// Which.
        path: PathBuf,
        source: io::Error,
    },
}

/// The open socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Opens it at `path`, in the place of what a daemon that was killed has left there.
    pub async fn bind(path: PathBuf) -> Result<Self, BindError> {
        if timeout(CALL_WAIT, UnixStream::connect(&path)).await.is_ok_and(|it| it.is_ok()) {
            return Err(BindError::InUse(path));
        }
        match open(&path) {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(BindError::Io { path, source }),
        }
    }

    /// Answers until `stop`.
    pub async fn run(self, desk: Desk, tasks: Tasks, stop: CancellationToken) {
        let callers = Arc::new(Semaphore::new(CALLERS));
        loop {
            let call = tokio::select! {
                () = stop.cancelled() => return,
                call = self.accept(&callers) => call,
            };
            let Some((permit, stream)) = call else { return };
            let (desk, stop) = (desk.clone(), stop.clone());
            tasks.spawn("control", async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = timeout(CALL_WAIT, answer(stream, desk)) => {}
                }
                drop(permit);
            });
        }
    }

    /// `None` only if the callers' permits are closed.
    async fn accept(&self, callers: &Arc<Semaphore>) -> Option<(OwnedSemaphorePermit, UnixStream)> {
        let permit = callers.clone().acquire_owned().await.ok()?;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return Some((permit, stream)),
                Err(error) => {
                    warn!("cannot accept on {}: {error}; trying again", self.path.display());
                    sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Under another name first: whoever finds the file finds it with its mode.
fn open(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(MODE))?;
    fs::rename(&new, path)?;
    Ok(listener)
}

/// One request per call, as the subcommands make it.
async fn answer(stream: UnixStream, desk: Desk) {
    let caller = stream.peer_cred().ok().map(|cred| cred.uid());
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request, caller).await) }
    });
    // An error here is a caller that left.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
