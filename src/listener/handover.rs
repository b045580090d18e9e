//! Listeners that outlive the process: systemd keeps a copy of each in its FD store and hands it to
//! the next process, so that a restart, an upgrade or a crash refuses no client.
//!
//! What no longer fits the configuration is shut down, not only closed: that ends the listening of
//! every copy at once, also of the one systemd still holds.

use std::{
    env, io,
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
};

use listenfd::ListenFd;
use socket2::Socket;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::lifecycle::notify;

/// The names of the descriptors in `LISTEN_FDS`, as `sd_listen_fds_with_names(3)` has it.
const NAMES: &str = "LISTEN_FDNAMES";

/// What the process before has left with systemd.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, Socket)>);

impl Inherited {
    /// Takes it out of the environment. Call it before there are threads: it also removes the
    /// variables that it has read.
    pub fn take() -> Self {
        let names = env::var(NAMES).unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let sockets = names.split(':').take(passed.len()).enumerate().filter_map(|(at, name)| {
            let listener = passed.take_tcp_listener(at).ok().flatten();
            // What is no TCP socket is of another version, which knew more than this one.
            listener.map(|listener| (name.to_owned(), listener.into()))
        });
        let inherited = Self(sockets.collect());
        for name in names.split(':').filter(|name| !name.is_empty() && !inherited.holds(name)) {
            notify::forget(name);
        }
        inherited
    }

    /// Keeps for each name what listens at its address, and lets go of everything else. Comes
    /// before anything is bound: an address may have moved from one name to another.
    pub fn sort_out(&mut self, wanted: &[(&str, SocketAddr)]) {
        let mut kept: Vec<(String, Socket)> = Vec::new();
        let mut stale = Vec::new();
        for (name, socket) in self.0.drain(..) {
            let is_wanted = wanted.iter().any(|(key, at)| *key == name && listens(&socket, *at));
            if is_wanted && kept.iter().all(|(key, _)| *key != name) {
                kept.push((name, socket));
            } else {
                stale.push((name, socket));
            }
        }
        self.0 = kept;
        for (name, socket) in stale {
            info!("the listener {name} of the process before is not wanted any more: closed");
            end(&socket, &name);
            // systemd drops a dead one by itself; by its name also what should live would go.
            if !self.holds(&name) {
                notify::forget(&name);
            }
        }
    }

    /// The listener of that name, if there is one.
    pub(super) fn claim(&mut self, name: &str) -> Option<Socket> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn holds(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }
}

/// Leaves a copy of `listener` for the next process.
pub(super) fn leave(name: &str, listener: &TcpListener) {
    notify::store(name, listener.as_fd());
}

/// There will be no next process: whoever connects from now on is refused.
pub(super) fn withdraw(name: &str, listener: &TcpListener) {
    end(&socket2::SockRef::from(listener), name);
    notify::forget(name);
}

fn end(socket: &Socket, name: &str) {
    match socket.shutdown(Shutdown::Both) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => {
            warn!(%error, "cannot shut {name} down: {error}");
        }
        _ => {}
    }
}

/// Port 0 means any.
fn listens(socket: &Socket, wanted: SocketAddr) -> bool {
    let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
    let is_there = bound.is_some_and(|bound| {
        bound.ip() == wanted.ip() && (wanted.port() == 0 || bound.port() == wanted.port())
    });
    is_there && socket.is_listener().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn listener() -> (Socket, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener.into(), address)
    }

    fn inherited(sockets: impl IntoIterator<Item = (&'static str, Socket)>) -> Inherited {
        Inherited(sockets.into_iter().map(|(name, socket)| (name.to_owned(), socket)).collect())
    }

    #[test]
    fn what_still_fits_is_kept_and_the_rest_stops_listening_in_every_copy() {
        let ((app, app_at), (api, api_at)) = (listener(), listener());
        let (copy, any) = (api.try_clone().unwrap(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut passed = inherited([("app", app), ("api", api)]);
        passed.sort_out(&[("app", any), ("api", app_at)]);
        assert!(passed.claim("app").is_some() && passed.claim("api").is_none());
        assert!(!copy.is_listener().unwrap());
        assert!(TcpStream::connect(api_at).is_err());
        // Its address can be had again though a copy is still open.
        let next = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        next.set_reuse_address(true).unwrap();
        next.bind(&api_at.into()).unwrap();
        next.listen(1).unwrap();
    }

    #[test]
    fn of_two_of_one_name_one_is_kept() {
        let ((one, at), (other, _)) = (listener(), listener());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut passed = inherited([("app", one), ("app", other)]);
        passed.sort_out(&[("app", any)]);
        let kept = passed.claim("app").unwrap();
        assert_eq!(kept.local_addr().unwrap().as_socket(), Some(at));
        assert!(passed.claim("app").is_none());
    }

    #[test]
    fn what_does_not_listen_is_not_taken() {
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&at.into()).unwrap();
        let mut passed = inherited([("app", socket)]);
        passed.sort_out(&[("app", at)]);
        assert!(passed.claim("app").is_none());
    }
}
