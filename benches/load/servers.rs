//! The servers under load, and what they have used.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::client::Client;

/// Users in the directory.
const USERS: usize = 5000;

/// `USER_HZ`, the unit of `/proc/PID/stat`, is 100 on every Linux we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// One or two daemons, and a Redis if there are two; all end with it.
pub struct Servers {
    processes: Vec<Child>,
    ports: Vec<u16>,
    _dirs: Vec<TempDir>,
}

impl Servers {
    /// One daemon on its embedded default.
    pub fn alone() -> Self {
        let mut servers = Self { processes: Vec::new(), ports: Vec::new(), _dirs: Vec::new() };
        servers.add_daemon("");
        servers
    }

    /// Two daemons and the Redis they share.
    pub fn fleet() -> Self {
        let mut servers = Self { processes: Vec::new(), ports: Vec::new(), _dirs: Vec::new() };
        let port = free_port();
        let redis = format!("[redis]\nurl = \"redis://127.0.0.1:{port}/0\"\n");
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        servers.processes.push(command.stdout(Stdio::null()).spawn().expect("redis-server"));
        servers.add_daemon(&redis);
        servers.add_daemon(&redis);
        servers
    }

    /// Waits until all serve.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(4)).await;
    }

    /// Connects user `u<number>` to daemon `at`.
    pub async fn connect(&self, at: usize, number: usize) -> Client {
        let address = ([127, 0, 0, 1], self.ports[at]).into();
        for _ in 0..50 {
            match Client::try_connect(address, "/ws", &format!("u{number}")).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("daemon {at} does not answer");
    }

    /// Seconds of user and system time of each process so far.
    pub fn cpu(&self) -> Vec<f64> {
        self.processes.iter().map(|process| cpu(process.id())).collect()
    }

    /// Resident bytes of daemon `at`.
    pub fn resident(&self, at: usize) -> usize {
        let pid = self.processes[self.processes.len() - self.ports.len() + at].id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<usize>().ok());
        kib.expect("its resident memory") * 1024
    }

    fn add_daemon(&mut self, more: &str) {
        let dir = TempDir::new().expect("a temporary directory");
        let path = dir.path().display();
        let users: String = (0..USERS).map(|n| format!("u{n},,,,,\n")).collect();
        let header = "username,first_name,last_name,mobile,password_hash,disabled\n";
        fs::write(dir.path().join("users.csv"), format!("{header}{users}")).expect("users.csv");
        let config = format!(
            "[instance]\nstate_dir = \"{path}\"\nruntime_dir = \"{path}\"\n\
             [listen]\napp = \"127.0.0.1:0\"\napi = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [auth]\nmodes = [\"header\"]\n[users]\nfile = \"{path}/users.csv\"\n\
             [telemetry]\nlog = \"text\"\nlevel = \"info\"\n{more}"
        );
        let file = dir.path().join("wsfleetd.toml");
        fs::write(&file, config).expect("wsfleetd.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsfleetd"));
        command.arg("run").arg("--config").arg(file).env("AWS_EC2_METADATA_DISABLED", "true");
        let mut process = command.stderr(Stdio::piped()).spawn().expect("wsfleetd");
        self.ports.push(app_port(process.stderr.take().expect("a pipe")));
        self.processes.push(process);
        self._dirs.push(dir);
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

fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its times");
    // Behind the name, which may hold anything but ends with the last parenthesis.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// The port of the `app` listener, from the line that says ready; the rest of the log is shown.
fn app_port(log: ChildStderr) -> u16 {
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let port = lines.by_ref().find_map(|line| {
        let address = line.split_once(" serves app on ")?.1.split(',').next()?.to_owned();
        address.rsplit(':').next()?.parse().ok()
    });
    std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
    port.expect("the daemon is ready")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
