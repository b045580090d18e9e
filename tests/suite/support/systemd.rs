//! PID 1's side of a service: hears what it says of itself, keeps its descriptors, hands them on.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use tempfile::TempDir;

use super::child::PATIENCE;

/// How often the ear looks whether the test is over.
const LOOK: Duration = Duration::from_millis(50);

/// Descriptors for the next process are copied to numbers from here on, out of the way of those
/// that it gets them as.
const ASIDE: i32 = 100;

/// Becomes `$0` with its arguments, `LISTEN_PID` being itself and the descriptors moved to where
/// the protocol wants them.
const BECOME: &str = r#"export LISTEN_PID=$$; exec "$0" "$@""#;

/// The manager of one service.
pub struct Manager {
    dir: TempDir,
    state: Arc<State>,
    ear: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    heard: Mutex<Vec<String>>,
    store: Mutex<Vec<(String, OwnedFd)>>,
    over: AtomicBool,
}

/// What to put in front of a command, and into its environment.
pub struct Launch {
    pub wrapper: Vec<String>,
    pub variables: Vec<(String, String)>,
    /// Open until the command has started.
    _passed: Vec<OwnedFd>,
}

impl Manager {
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("wsfleetd-notify-").expect("a temporary directory");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(LOOK)).expect("a timeout");
        let state = Arc::<State>::default();
        let listening = state.clone();
        let ear = thread::spawn(move || listening.hear(&socket));
        Self { dir, state, ear: Some(ear) }
    }

    /// How to start the service with what is kept for it.
    pub fn launch(&self) -> Launch {
        let store = self.state.store.lock().expect("the store");
        let mut script = BECOME.to_owned();
        let (mut names, mut passed) = (Vec::new(), Vec::new());
        for (at, (name, fd)) in store.iter().enumerate() {
            let copy = fcntl_dupfd_cloexec(fd, ASIDE).expect("a copy");
            fcntl_setfd(&copy, FdFlags::empty()).expect("it survives the exec");
            script.push_str(&format!(" {}<&{}", 3 + at, copy.as_raw_fd()));
            names.push(name.clone());
            passed.push(copy);
        }
        let socket = self.dir.path().join("notify").display().to_string();
        let mut variables = vec![("NOTIFY_SOCKET".to_owned(), socket)];
        if !passed.is_empty() {
            variables.push(("LISTEN_FDS".to_owned(), passed.len().to_string()));
            variables.push(("LISTEN_FDNAMES".to_owned(), names.join(":")));
        }
        let wrapper = ["bash".to_owned(), "-c".to_owned(), script].to_vec();
        Launch { wrapper, variables, _passed: passed }
    }

    /// The names of what is kept, in order.
    pub fn kept(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .state
            .store
            .lock()
            .expect("the store")
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        names.sort();
        names
    }

    /// Puts something into the store that no process has asked for.
    pub fn plant(&self, name: &str, fd: OwnedFd) {
        self.state.store.lock().expect("the store").push((name.to_owned(), fd));
    }

    /// Every message so far; its lines are the assignments.
    pub fn heard(&self) -> Vec<String> {
        self.state.heard.lock().expect("what was heard").clone()
    }

    /// Waits until a message contains `words`, and gives it.
    pub async fn hears(&self, words: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(message) = self.heard().into_iter().find(|text| text.contains(words)) {
                return message;
            }
            assert!(start.elapsed() < PATIENCE, "no {words:?} in {:#?}", self.heard());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        if let Some(ear) = self.ear.take() {
            let _ = ear.join();
        }
    }
}

impl State {
    fn hear(&self, socket: &UnixDatagram) {
        while !self.over.load(Ordering::Relaxed) {
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
            let Ok(received) = received else { continue };
            let fds = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            let fds = fds.flatten().collect();
            self.obey(String::from_utf8_lossy(&bytes[..received.bytes]).trim_end(), fds);
        }
    }

    fn obey(&self, message: &str, fds: Vec<OwnedFd>) {
        let name = message.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let mut store = self.store.lock().expect("the store");
        if message.lines().any(|line| line == "FDSTORE=1") {
            let name = name.unwrap_or("stored").to_owned();
            store.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
        } else if message.lines().any(|line| line == "FDSTOREREMOVE=1") {
            store.retain(|(kept, _)| Some(kept.as_str()) != name);
        }
        self.heard.lock().expect("what was heard").push(message.to_owned());
    }
}
