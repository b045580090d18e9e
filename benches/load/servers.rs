//! The servers under load.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{client::Client, floor, subject::Subject, usage};

/// Users in the directory.
const USERS: usize = 6000;

/// What a fleet takes until its members know each other.
const SETTLE: Duration = Duration::from_secs(4);

/// One or two servers, and a Redis if there are two; all end with it.
pub struct Servers {
    processes: Vec<Child>,
    ports: Vec<u16>,
    dirs: Vec<TempDir>,
}

impl Servers {
    /// One server, a daemon on its embedded default.
    pub fn alone(subject: &Subject) -> Self {
        let mut servers = Self { processes: Vec::new(), ports: Vec::new(), dirs: Vec::new() };
        match subject {
            Subject::Daemon { binary, workers, .. } => servers.add_daemon(binary, *workers, ""),
            Subject::Floor => servers.add_floor(&[]),
        }
        servers
    }

    /// Two servers that know of each other, and the Redis they share.
    pub async fn fleet(subject: &Subject) -> Self {
        let mut servers = Self { processes: Vec::new(), ports: Vec::new(), dirs: Vec::new() };
        let port = free_port();
        let url = format!("redis://127.0.0.1:{port}/0");
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        servers.processes.push(command.stdout(Stdio::null()).spawn().expect("redis-server"));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let redis = format!("[redis]\nurl = \"{url}\"\n");
        for (own, peer) in [("a", "b"), ("b", "a")] {
            match subject {
                Subject::Daemon { binary, workers, .. } => {
                    servers.add_daemon(binary, *workers, &redis);
                }
                Subject::Floor => servers.add_floor(&[&url, own, peer]),
            }
        }
        tokio::time::sleep(SETTLE).await;
        servers
    }

    /// Connects user `u<number>` to server `at`.
    pub async fn connect(&self, at: usize, number: usize) -> Client {
        let address = ([127, 0, 0, 1], self.ports[at]).into();
        for _ in 0..50 {
            match Client::try_connect(address, "/ws", &format!("u{number}")).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("server {at} does not answer");
    }

    /// Seconds of user and system time of each process so far.
    pub fn cpu(&self) -> Vec<f64> {
        self.processes.iter().map(|process| usage::cpu(process.id())).collect()
    }

    /// Resident bytes of server `at`.
    pub fn resident(&self, at: usize) -> usize {
        let first = self.processes.len() - self.ports.len();
        usage::resident(self.processes[first + at].id())
    }

    fn add_floor(&mut self, fleet: &[&str]) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        self.start(command.arg("floor").args(fleet), |line| {
            line.strip_prefix(floor::READY)?.parse().ok()
        });
    }

    fn add_daemon(&mut self, binary: &Path, workers: usize, more: &str) {
        let dir = TempDir::new().expect("a temporary directory");
        let path = dir.path().display();
        let users: String = (0..USERS).map(|n| format!("u{n},,,,,\n")).collect();
        let header = "username,first_name,last_name,mobile,password_hash,disabled\n";
        fs::write(dir.path().join("users.csv"), format!("{header}{users}")).expect("users.csv");
        let config = format!(
            "[instance]\nworkers = {workers}\nstate_dir = \"{path}\"\nruntime_dir = \"{path}\"\n\
             [listen]\napp = \"127.0.0.1:0\"\napi = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [auth]\nmodes = [\"header\"]\n[users]\nfile = \"{path}/users.csv\"\n\
             [telemetry]\nlog = \"text\"\nlevel = \"info\"\n[limits]\n{}{more}",
            unlimited(binary)
        );
        let file = dir.path().join("wsfleetd.toml");
        fs::write(&file, config).expect("wsfleetd.toml");
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(file).env("AWS_EC2_METADATA_DISABLED", "true");
        self.dirs.push(dir);
        self.start(&mut command, |line| {
            let address = line.split_once(" serves app on ")?.1.split(',').next()?;
            address.rsplit(':').next()?.parse().ok()
        });
    }

    fn start(&mut self, command: &mut Command, port: impl Fn(&str) -> Option<u16>) {
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the server starts");
        self.ports.push(port_of(process.stderr.take().expect("a pipe"), port));
        self.processes.push(process);
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Rates that a bench exceeds, switched off; as far as this build knows them.
fn unlimited(binary: &Path) -> String {
    let keys = Command::new(binary).args(["check-config", "--print"]).output();
    let keys = String::from_utf8_lossy(&keys.expect("the daemon runs").stdout).into_owned();
    let known = ["accept_rate", "message_rate"].into_iter();
    let known = known.filter(|key| keys.contains(&format!("limits.{key} = ")));
    known.map(|key| format!("{key} = 0\n")).collect()
}

/// The port, from the line that says ready; the rest of the log is shown.
fn port_of(log: ChildStderr, port: impl Fn(&str) -> Option<u16>) -> u16 {
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let found = lines.by_ref().find_map(|line| port(&line));
    std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
    found.expect("the server is ready")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
