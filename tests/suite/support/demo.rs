//! `wsfleetd demo` as a newcomer starts it.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use super::instance::binary;

/// The last line of what it says when it is ready.
const READY: &str = "Ctrl-C ends the demo.";

/// Tries to find three ports in a row that nobody takes meanwhile.
const TRIES: usize = 20;

/// A running demo; ended when dropped.
pub struct Demo {
    process: Child,
    app: SocketAddr,
    said: Vec<String>,
}

impl Demo {
    /// Starts one on free ports and waits until it has said all it says.
    pub fn start() -> Self {
        (0..TRIES).find_map(|_| Self::try_start(free_ports())).expect("the demo starts")
    }

    /// Where its page is.
    pub fn app(&self) -> SocketAddr {
        self.app
    }

    /// What it has said on the terminal.
    pub fn said(&self) -> &[String] {
        &self.said
    }

    fn try_start(port: u16) -> Option<Self> {
        let mut process = Command::new(binary())
            .args(["demo", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("wsfleetd runs");
        let mut said = Vec::new();
        for line in BufReader::new(process.stdout.take().expect("a pipe")).lines() {
            said.push(line.expect("text"));
            if said.last().is_some_and(|line| line.ends_with(READY)) {
                let app = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                return Some(Self { process, app, said });
            }
        }
        let _ = process.wait();
        None
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first of three free ports, below those that outgoing connections take.
fn free_ports() -> u16 {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    loop {
        let port = rand::random_range(20_000..32_000);
        if [port, port + 1, port + 2].iter().all(is_free) {
            return port;
        }
    }
}
