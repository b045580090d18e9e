//! A bad network between one instance and its Redis, on demand.
//!
//! A TCP proxy on loopback whose line can be cut, stalled, made to swallow one or both directions,
//! slowed, led to another server, or made to rewrite commands. It runs on a thread of its own, so
//! that a test which blocks (a daemon that starts, redis-cli) never slows the line it stands on.
//! Who keeps Redis Cluster behind such proxies lets each node announce its proxy's port.

pub mod bugs;
mod line;
mod resp;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a line does with what is put on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Passes everything.
    Open,
    /// Connections are reset, new ones too.
    Cut,
    /// Connections are accepted and stay; what is sent either way is swallowed.
    Blackhole,
    /// Half-open: commands arrive and are done, and no answer ever comes back.
    Deaf,
    /// Nothing moves, and all of it arrives late, when the line is open again.
    Stalled,
}

/// One command on its way to Redis, name and arguments.
pub type Command = Vec<Vec<u8>>;

/// Rewrites commands on their way to Redis. The number of answers must stay the same: to swallow
/// a command, put a harmless one in its place.
pub trait Meddler: Send + Sync {
    /// Changes the command, or leaves it.
    fn meddle(&self, command: &mut Command);
}

/// A proxy; its connections end when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    upstream: Mutex<SocketAddr>,
    line: watch::Sender<Line>,
    /// Connections older than this number are reset.
    resets: watch::Sender<u64>,
    delay_ms: AtomicU64,
    meddler: Mutex<Option<Arc<dyn Meddler>>>,
    commands: AtomicU64,
    accepted: AtomicU64,
}

impl Proxy {
    /// Opens a line to the server on this port of loopback.
    pub fn to_port(port: u16) -> Self {
        Self::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Opens a line to `upstream`.
    pub fn to(upstream: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            line: watch::Sender::new(Line::Open),
            resets: watch::Sender::new(0),
            delay_ms: AtomicU64::new(0),
            meddler: Mutex::new(None),
            commands: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let thread = std::thread::spawn({
            let (shared, stop) = (shared.clone(), stop.clone());
            move || run(listener, shared, stop)
        });
        Self { address, shared, stop, thread: Some(thread) }
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As `redis.url` wants it.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Changes the line. Connections that have lost bytes are reset when it opens again, as a real
    /// peer would reset them.
    pub fn set(&self, line: Line) {
        self.shared.line.send_replace(line);
    }

    /// Each command arrives this much later; zero: at once.
    pub fn slow_down(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// New connections go to this port; those that are open stay where they are.
    pub fn lead_to(&self, port: u16) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Resets every connection that is open; new ones are welcome.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|number| *number += 1);
    }

    /// Commands of connections made from now on pass through `meddler`.
    pub fn meddle(&self, meddler: Arc<dyn Meddler>) {
        *self.shared.meddler.lock().unwrap_or_else(PoisonError::into_inner) = Some(meddler);
        self.reset();
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Commands that were read one by one, for a [`Meddler`].
    pub fn commands(&self) -> u64 {
        self.shared.commands.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn upstream(&self) -> SocketAddr {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meddler(&self) -> Option<Arc<dyn Meddler>> {
        self.meddler.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }
}

fn run(listener: std::net::TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let serve = async {
        let listener = TcpListener::from_std(listener).expect("a listener");
        let tasks = TaskTracker::new();
        let accept = async {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let (shared, stop) = (shared.clone(), stop.clone());
                tasks.spawn_local(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = line::serve(client, &shared) => {}
                    }
                });
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept => {}
        }
        tasks.close();
        tasks.wait().await;
    };
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), serve);
}
