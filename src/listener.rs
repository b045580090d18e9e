//! The accept loop: it never dies, and it never spins.
//!
//! A place comes first, so that a full process leaves the next client in the kernel's queue
//! instead of accepting what it cannot serve. An error of one connection is nothing; one of the
//! whole process (no descriptors, no memory) is waited out.

pub mod handover;
pub mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::handover::Inherited;
use crate::{
    lifecycle::{Heart, Tasks},
    limit::{Place, Places, Reached, Reporter, Subject},
};

/// How long to let descriptors or memory come back before the next accept.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The right to hold one socket open; given back when the last who shares it lets go. A connection
/// keeps it when it becomes a WebSocket, for it keeps its descriptor too.
pub type Permit = Arc<Place>;

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): {source}")]
pub struct BindError {
    /// Its key, such as `listen.app`.
    pub key: &'static str,
    /// Where.
    pub address: SocketAddr,
    source: io::Error,
}

/// An open listener.
#[derive(Debug)]
pub struct Listener {
    key: &'static str,
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Opens the listener of `key`, such as `listen.app`, or takes it over from the process before,
    /// and leaves a copy for the process after; `backlog` is how many connections may wait for
    /// `accept` (std's own 128 is too few for a reconnect storm).
    pub fn open(
        key: &'static str,
        address: SocketAddr,
        backlog: u32,
        inherited: &mut Inherited,
    ) -> Result<Self, BindError> {
        let opened = match inherited.claim(key) {
            Some(socket) => take_over(key, socket, backlog),
            None => bind(address, backlog).inspect(|socket| handover::leave(key, socket)),
        };
        let opened = opened.and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = opened.map_err(|source| BindError { key, address, source })?;
        Ok(Self { key, socket, address })
    }

    /// Its key, such as `listen.app`.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// Where it listens; the port is the kernel's if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`, one tracked task per connection, at most as many as `sockets`; `heart`
    /// is beaten meanwhile.
    pub async fn run<F, W>(
        &self,
        tasks: Tasks,
        sockets: Places,
        reporter: Reporter,
        stop: CancellationToken,
        heart: Heart,
        serve: F,
    ) where
        F: Fn(TcpStream, SocketAddr, Permit) -> W,
        W: Future<Output = ()> + Send + 'static,
    {
        let exhausted = reporter.limit(self.key);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                () = heart.rest() => continue,
                accepted = self.accept(&sockets, &exhausted) => accepted,
            };
            heart.beat();
            let (permit, stream, peer) = accepted;
            tasks.spawn(self.key, serve(stream, peer, Arc::new(permit)));
        }
    }

    /// Nobody follows: from now on clients are refused, also by the copy that was left.
    pub fn withdraw(&self) {
        handover::withdraw(self.key, &self.socket);
    }

    async fn accept(
        &self,
        sockets: &Places,
        exhausted: &Reached,
    ) -> (Place, TcpStream, SocketAddr) {
        let permit = sockets.take().await;
        let (stream, peer) = persist(exhausted, || self.socket.accept()).await;
        // Frames are small and each is wanted at once.
        let _ = stream.set_nodelay(true);
        (permit, stream, peer)
    }
}

/// Accepts until it succeeds. Cancel-safe if `accept` is.
async fn persist<T, W>(exhausted: &Reached, accept: impl Fn() -> W) -> T
where
    W: Future<Output = io::Result<T>>,
{
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let nobody = Subject::default();
                exhausted.hit(&nobody, format_args!("cannot accept: {error}; trying again"));
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Errors that say something about the client that was to be accepted, not about us: accept(2)
/// passes on what the network has against a connection that waits.
fn is_of_one_connection(error: &io::Error) -> bool {
    const NETWORK: [Errno; 11] = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    // A firewall's verdict.
    let is_forbidden = error.kind() == io::ErrorKind::PermissionDenied;
    is_forbidden || Errno::from_io_error(error).is_some_and(|errno| NETWORK.contains(&errno))
}

/// Whoever has connected since the process before stopped accepting waits in it.
fn take_over(key: &str, socket: Socket, backlog: u32) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    // Again, because the setting may have changed.
    listen(&socket, backlog)?;
    info!("took {key} over from the process before");
    TcpListener::from_std(socket.into())
}

fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    listen(&socket, backlog)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    /// What accept(2) answers, one after the other; then a connection.
    async fn accept_after(errors: &[Errno]) -> Duration {
        let reporter = Reporter::new(Tasks::new(), CancellationToken::new());
        let (start, next) = (Instant::now(), RefCell::new(errors.iter()));
        let accept = async || next.borrow_mut().next().map_or(Ok(()), |errno| Err((*errno).into()));
        persist(&reporter.limit("listen.test"), accept).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_process_lacks_is_waited_for_without_spinning() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::PERM] {
            let pause = if errno == Errno::PERM { Duration::ZERO } else { EXHAUSTED_PAUSE };
            assert_eq!(accept_after(&[errno; 50]).await, pause * 50, "{errno}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_client_did_delays_nobody() {
        let errors = [Errno::CONNABORTED, Errno::CONNRESET, Errno::INTR, Errno::PROTO];
        assert_eq!(accept_after(&errors).await, Duration::ZERO);
        assert_eq!(accept_after(&[Errno::NETUNREACH, Errno::HOSTUNREACH]).await, Duration::ZERO);
        assert_eq!(accept_after(&[Errno::BADF]).await, EXHAUSTED_PAUSE, "unknown: not spun on");
    }
}
