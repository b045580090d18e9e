//! The accept loop: it never dies, and it never spins.
//!
//! A permit comes first, so that a full process leaves the next client in the kernel's queue
//! instead of accepting what it cannot serve. An error of one connection is nothing; one of the
//! whole process (no descriptors, no memory) is waited out.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{lifecycle::Tasks, telemetry::events};

/// How long to let descriptors or memory come back before the next accept.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The right to hold one socket open; given back when the last who shares it lets go. A connection
/// keeps it when it becomes a WebSocket, for it keeps its descriptor too.
pub type Permit = Arc<OwnedSemaphorePermit>;

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (listen.{name}): {source}")]
pub struct BindError {
    /// Its key in `[listen]`.
    pub name: &'static str,
    /// Where.
    pub address: SocketAddr,
    source: io::Error,
}

/// An open listener.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Opens `listen.<name>`; `backlog` is how many connections may wait for `accept` (std's own
    /// 128 is too few for a reconnect storm).
    pub fn bind(name: &'static str, address: SocketAddr, backlog: u32) -> Result<Self, BindError> {
        let bound = bind(address, backlog).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = bound.map_err(|source| BindError { name, address, source })?;
        Ok(Self { name, socket, address })
    }

    /// Where it listens; the port is the kernel's if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`, one tracked task per connection, at most as many as `permits`.
    pub async fn run<F, W>(
        self,
        tasks: Tasks,
        permits: Arc<Semaphore>,
        stop: CancellationToken,
        serve: F,
    ) where
        F: Fn(TcpStream, SocketAddr, Permit) -> W,
        W: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.accept(&permits) => accepted,
            };
            let Some((permit, stream, peer)) = accepted else { return };
            tasks.spawn(self.name, serve(stream, peer, Arc::new(permit)));
        }
    }

    /// `None` only if the permits are closed.
    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
    ) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        let permit = permits.clone().acquire_owned().await.ok()?;
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    // Frames are small and each is wanted at once.
                    let _ = stream.set_nodelay(true);
                    return Some((permit, stream, peer));
                }
                Err(error) => self.endure(&error).await,
            }
        }
    }

    async fn endure(&self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        warn!(
            message_id = events::LIMIT_REACHED,
            "cannot accept on listen.{}: {error}; trying again", self.name
        );
        sleep(EXHAUSTED_PAUSE).await;
    }
}

/// Errors that say something about the client that was to be accepted, not about us (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}
