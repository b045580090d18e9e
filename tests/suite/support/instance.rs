//! The real daemon as a process of its own.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{client::Client, haproxy::Target, process::signal, systemd::Manager};

/// How long a daemon may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// The users every fleet of the tests knows: the original's, and some to spare.
pub const USERS: [&str; 8] = ["Sunil", "Elon", "Alok", "Smith", "Sid", "Ann", "Bob", "Zoë"];

/// What a command has answered.
#[derive(Debug)]
pub struct Asked {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

const HEADER_MODE: &str = r#"modes = ["header"]"#;

/// A running daemon; killed when dropped.
pub struct Instance {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    app: SocketAddr,
    api: SocketAddr,
    admin: SocketAddr,
    dir: Arc<TempDir>,
}

impl Instance {
    /// Starts one on free ports with `more` behind the test's own settings: header `username`,
    /// the CSV of [`USERS`], text log. Sections of `more` must not be `[listen]`, `[auth]`,
    /// `[users]` or `[instance]`.
    pub fn start(more: &str) -> Self {
        Self::start_with(HEADER_MODE, &everybody(), more)
    }

    /// Starts one with `variables` in its environment and `above` in its `conf.d`, where any
    /// section may stand.
    pub fn start_in(variables: &[(&str, &str)], above: &str) -> Self {
        let (dir, path) = Self::prepare(HEADER_MODE, &everybody(), "");
        write_above(dir.path(), above);
        let mut command = command(&path);
        command.envs(variables.iter().copied());
        Self::spawn(dir.into(), command)
    }

    /// The same as [`Self::start`] under `wrapper`: see [`Self::start_under`].
    pub fn start_wrapped(wrapper: &[&str], more: &str) -> Self {
        Self::start_under(wrapper, HEADER_MODE, &everybody(), more)
    }

    /// Starts one with the lines of its `[auth]` section and its users file given.
    pub fn start_with(auth: &str, users: &str, more: &str) -> Self {
        Self::start_under(&[], auth, users, more)
    }

    /// Starts one as the last arguments of `wrapper`, which becomes it, as `prlimit` does.
    pub fn start_under(wrapper: &[&str], auth: &str, users: &str, more: &str) -> Self {
        let (dir, path) = Self::prepare(auth, users, more);
        Self::spawn(dir.into(), wrapped(wrapper, &path))
    }

    fn prepare(auth: &str, users: &str, more: &str) -> (TempDir, PathBuf) {
        let dir = TempDir::with_prefix("wsfleetd-instance-").expect("a temporary directory");
        let file = dir.path().join("users.csv");
        fs::write(&file, users).expect("write users.csv");
        let config = configuration(dir.path(), &file, auth, more);
        let path = dir.path().join("wsfleetd.toml");
        fs::write(&path, config).expect("write wsfleetd.toml");
        (dir, path)
    }

    /// Runs the daemon on `config`, which it refuses: its exit code and what it says.
    pub fn refused(config: &str) -> (Option<i32>, String) {
        let dir = TempDir::with_prefix("wsfleetd-instance-").expect("a temporary directory");
        let path = dir.path().join("wsfleetd.toml");
        fs::write(&path, config).expect("write wsfleetd.toml");
        let output = command(&path).output().expect("wsfleetd runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs the command line with this instance's configuration, as an operator would.
    pub fn asks(&self, arguments: &[&str]) -> Asked {
        Self::ask(&self.dir().join("wsfleetd.toml"), arguments)
    }

    /// The same with another configuration.
    pub fn ask(config: &Path, arguments: &[&str]) -> Asked {
        Self::ask_under(&[], config, arguments)
    }

    /// As [`Self::asks`], under `wrapper`: see [`Self::start_under`].
    pub fn asks_under(&self, wrapper: &[&str], arguments: &[&str]) -> Asked {
        Self::ask_under(wrapper, &self.dir().join("wsfleetd.toml"), arguments)
    }

    fn ask_under(wrapper: &[&str], config: &Path, arguments: &[&str]) -> Asked {
        let mut command = under(wrapper);
        let output = command.args(arguments).arg("--config").arg(config).stdin(Stdio::null());
        let output = output.output().expect("wsfleetd runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Asked { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Starts one that `manager` manages, with `above` in its `conf.d`.
    pub fn start_managed(manager: &Manager, above: &str) -> Self {
        let (dir, path) = Self::prepare(HEADER_MODE, &everybody(), "");
        write_above(dir.path(), above);
        Self::spawn_managed(dir.into(), manager, &path)
    }

    /// Starts the next one on the same configuration, with what `manager` keeps for it.
    pub fn succeed(&self, manager: &Manager) -> Self {
        Self::spawn_managed(self.dir.clone(), manager, &self.dir().join("wsfleetd.toml"))
    }

    fn spawn_managed(dir: Arc<TempDir>, manager: &Manager, config: &Path) -> Self {
        let launch = manager.launch();
        let wrapper = launch.wrapper.iter().map(String::as_str).collect::<Vec<_>>();
        let mut command = wrapped(&wrapper, config);
        command.envs(launch.variables.iter().cloned());
        Self::spawn(dir, command)
    }

    /// Starts another daemon on this one's configuration, in its directory.
    pub fn another(&self) -> Self {
        self.another_under(&[])
    }

    /// The same under `wrapper`: see [`Self::start_under`].
    pub fn another_under(&self, wrapper: &[&str]) -> Self {
        Self::spawn(self.dir.clone(), wrapped(wrapper, &self.dir().join("wsfleetd.toml")))
    }

    /// Connects `user` to the `app` listener.
    pub async fn connect(&self, user: &str) -> Client {
        Client::connect(self.app, "/Dev", user).await
    }

    /// The `app` listener.
    pub fn app(&self) -> SocketAddr {
        self.app
    }

    /// The `api` listener.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// The `admin` listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// As a load balancer sees it.
    pub fn target(&self) -> Target {
        Target { app: self.app, api: self.api }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its directory, with `wsfleetd.toml` and `users.csv`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends it `SIG<name>`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// kill -9, without a chance to say goodbye.
    pub fn kill(&mut self) {
        self.process.kill().expect("kill the daemon");
        self.process.wait().expect("the daemon ends");
    }

    /// SIGTERM; how it ended, and how long that took.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal("TERM");
        (self.wait(), start.elapsed())
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait().expect("a child's state") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the daemon does not end; its log:\n{}", self.log());
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").join("\n")
    }

    /// Waits until it has logged a line that contains `words`.
    pub async fn logs(&self, words: &str) {
        let start = Instant::now();
        while !self.log().contains(words) {
            assert!(start.elapsed() < PATIENCE, "no {words:?} in the log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it has logged a line that contains `words`, the first `lines` aside.
    pub async fn logs_beyond(&self, lines: usize, words: &str) -> String {
        let start = Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.lines().skip(lines).find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(start.elapsed() < PATIENCE, "no {words:?} in the log:\n{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn spawn(dir: Arc<TempDir>, mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().expect("wsfleetd runs");
        let log = Arc::new(Mutex::new(Vec::new()));
        collect(process.stderr.take().expect("a pipe"), log.clone());
        let start = Instant::now();
        loop {
            let ready = log.lock().expect("the log").iter().find_map(|line| addresses(line));
            if let Some([app, api, admin]) = ready {
                return Self { process, log, app, api, admin, dir };
            }
            let ended = process.try_wait().expect("a child's state");
            let said = log.lock().expect("the log").join("\n");
            assert!(ended.is_none(), "the daemon ended with {ended:?}:\n{said}");
            assert!(start.elapsed() < PATIENCE, "the daemon is not ready:\n{said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- log of instance {}:\n{}", self.process.id(), self.log());
        }
    }
}

/// Settings in the `conf.d` of the daemon whose directory this is.
pub fn write_above(dir: &Path, above: &str) {
    fs::create_dir_all(dir.join("conf.d")).expect("a directory");
    fs::write(dir.join("conf.d/50-test.toml"), above).expect("write 50-test.toml");
}

/// A users' file with [`USERS`].
pub fn everybody() -> String {
    let users = USERS.map(|user| format!("{user},,,,,\n")).concat();
    format!("username,first_name,last_name,mobile,password_hash,disabled\n{users}")
}

/// The binary under test.
pub fn binary() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_wsfleetd").into();
    std::env::var_os("WSFLEETD_TEST_BINARY").map_or_else(built, PathBuf::from)
}

fn command(config: &Path) -> Command {
    wrapped(&[], config)
}

fn wrapped(wrapper: &[&str], config: &Path) -> Command {
    let mut command = under(wrapper);
    command.arg("run").arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.env_remove("NOTIFY_SOCKET").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

fn under(wrapper: &[&str]) -> Command {
    let binary = binary();
    let words = wrapper.iter().map(OsStr::new).chain([binary.as_os_str()]).collect::<Vec<_>>();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

fn configuration(dir: &Path, users: &Path, auth: &str, more: &str) -> String {
    let (dir, users) = (dir.display(), users.display());
    format!(
        r#"
[instance]
state_dir = "{dir}"
runtime_dir = "{dir}"
[listen]
app = "127.0.0.1:0"
api = "127.0.0.1:0"
admin = "127.0.0.1:0"
[users]
file = "{users}"
[telemetry]
log = "text"
level = "info,wsfleetd=debug"
[auth]
{auth}
{more}"#
    )
}

fn collect(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            log.lock().expect("the log").push(line);
        }
    });
}

/// From `… serves app on A, api on B and admin on C, …`.
fn addresses(line: &str) -> Option<[SocketAddr; 3]> {
    let after = |words: &str| {
        let rest = line.split_once(words)?.1;
        rest.split([' ', ',']).next()?.parse().ok()
    };
    Some([after("serves app on ")?, after(" api on ")?, after(" admin on ")?])
}
