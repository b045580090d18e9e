//! The real `wscat` on a terminal: what its user types and what they see.
//!
//! It only behaves as in the original's transcript when it believes it sits on a terminal, so
//! `script` gives it one, and what it paints there is reduced to the lines that remain.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How long it may take to show what is expected: Node.js starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it shows when it is connected.
const CONNECTED: &str = "Connected (press CTRL+C to quit)";

/// A terminal in which `wscat` runs; both end when dropped.
pub struct Wscat {
    terminal: Child,
    keyboard: ChildStdin,
    painted: Arc<Mutex<Vec<u8>>>,
}

impl Wscat {
    /// Connects to `url` as the original's users did, by the header `username`.
    pub fn connect(url: &str, user: &str) -> Self {
        Self::run(&format!("wscat -c {url} -H \"username:{user}\""))
    }

    /// Runs a command line of `wscat` and waits until it is connected.
    pub fn run(line: &str) -> Self {
        let wscat = Self::start(line);
        wscat.shows(CONNECTED);
        wscat
    }

    /// Runs a command line of `wscat`.
    pub fn start(line: &str) -> Self {
        assert_installed();
        let mut terminal = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs (Debian's bsdutils)");
        let keyboard = terminal.stdin.take().expect("a pipe");
        let painted = Arc::new(Mutex::new(Vec::new()));
        collect(terminal.stdout.take().expect("a pipe"), painted.clone());
        Self { terminal, keyboard, painted }
    }

    /// Types a line.
    pub fn types(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").expect("wscat still runs");
    }

    /// Waits until a line of the screen is `line`.
    pub fn shows(&self, line: &str) {
        let start = Instant::now();
        while !self.screen().iter().any(|shown| shown == line) {
            assert!(start.elapsed() < PATIENCE, "no {line:?} on the screen: {:#?}", self.screen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The lines of the screen; the last is the prompt.
    pub fn screen(&self) -> Vec<String> {
        let painted = self.painted.lock().expect("the screen").clone();
        String::from_utf8_lossy(&painted).split('\n').map(remaining).collect()
    }
}

impl Drop for Wscat {
    fn drop(&mut self) {
        // The terminal goes with `script`, and takes wscat along.
        let _ = self.terminal.kill();
        let _ = self.terminal.wait();
    }
}

fn assert_installed() {
    let found = Command::new("wscat").arg("--version").stdin(Stdio::null()).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "wscat is not on the PATH: `tests/run` installs it and puts it there"
    );
}

fn collect(mut stdout: ChildStdout, painted: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut chunk) {
            painted.lock().expect("the screen").extend_from_slice(&chunk[..length]);
        }
    });
}

/// What remains of a line after its control sequences: those that clear it or what is to the
/// right of its start, and those that only colour or move.
fn remaining(painted: &str) -> String {
    const CLEARS: [&str; 2] = ["\x1b[2K", "\x1b[0J"];
    let starts = CLEARS.iter().filter_map(|clear| Some(painted.rfind(clear)? + clear.len()));
    let mut rest = &painted[starts.max().unwrap_or(0)..];
    let mut line = String::new();
    while let Some((text, sequence)) = rest.split_once("\x1b[") {
        line.push_str(text);
        rest = sequence.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.get(1..).unwrap_or_default();
    }
    line.push_str(rest);
    line.trim_end_matches('\r').to_owned()
}

#[test]
fn what_was_cleared_does_not_remain() {
    let painted = "\x1b[1G\x1b[0J> \x1b[3G\r\x1b[2K\x1b[3D\x1b[34m< \"Hey!!\"\x1b[39m\r";
    assert_eq!(remaining(painted), "< \"Hey!!\"");
    assert_eq!(remaining("\x1b[1G\x1b[0J> \x1b[3Ghello\r\r"), "> hello");
}
