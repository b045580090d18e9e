//! A Redis of the test's own, which can be stopped, frozen, emptied and asked.

pub mod cluster;

use std::{
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::process::signal;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A redis-server without persistence, on loopback; stopped when dropped.
pub struct RedisServer {
    process: Option<Child>,
    port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    tls: bool,
}

impl RedisServer {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::with_arguments(&[])
    }

    /// Starts one with more arguments, as `--maxmemory 100mb`.
    pub fn with_arguments(arguments: &[&str]) -> Self {
        Self::with_environment(arguments, &[])
    }

    /// The same with these variables in its environment.
    pub fn with_environment(arguments: &[&str], variables: &[(String, String)]) -> Self {
        let dir = TempDir::with_prefix("wsfleetd-redis-").expect("a temporary directory");
        let arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
        let variables = variables.to_vec();
        Self::launch(Self { process: None, port: 0, dir, arguments, variables, tls: false })
    }

    /// Starts one on a port that was chosen for it.
    fn at(port: u16, dir: TempDir, arguments: Vec<String>) -> Self {
        let mut server =
            Self { process: None, port, dir, arguments, variables: Vec::new(), tls: false };
        server.process = Some(server.spawn());
        assert!(server.answers(), "redis-server did not start on port {port}");
        server
    }

    /// Starts one that speaks TLS only, with a certificate for 127.0.0.1; and where its root is.
    pub fn with_tls() -> (Self, std::path::PathBuf) {
        let dir = TempDir::with_prefix("wsfleetd-redis-").expect("a temporary directory");
        let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]);
        let signed = signed.expect("a certificate");
        let (root, key) = (dir.path().join("root.pem"), dir.path().join("key.pem"));
        std::fs::write(&root, signed.cert.pem()).expect("write the certificate");
        std::fs::write(&key, signed.signing_key.serialize_pem()).expect("write the key");
        let path = |path: &std::path::Path| path.display().to_string();
        let arguments = ["--tls-auth-clients", "no", "--tls-cert-file", &path(&root)]
            .into_iter()
            .chain(["--tls-key-file", &path(&key), "--tls-ca-cert-file", &path(&root)])
            .map(str::to_owned)
            .collect();
        let server =
            Self { process: None, port: 0, dir, arguments, variables: Vec::new(), tls: true };
        (Self::launch(server), root)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}/0", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it; what it knew is gone, unless it was started with `--appendonly yes`.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("kill redis-server");
            process.wait().expect("redis-server ends");
        }
    }

    /// Forgets what it has written to disk; to be called while it is stopped.
    pub fn forget(&self) {
        assert!(self.process.is_none(), "it runs");
        for file in std::fs::read_dir(self.dir.path()).expect("its directory").flatten() {
            let path = file.path();
            let gone = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
            gone.expect("remove what it has written");
        }
    }

    /// Starts it again on the same port, with what it has written to disk, if anything.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.process = Some(self.spawn());
        assert!(self.answers(), "redis-server did not come back");
    }

    /// Stops it with SIGSTOP: connections stay, nothing answers.
    pub fn freeze(&self) {
        signal(self.pid(), "STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(self.pid(), "CONT");
    }

    /// Becomes the replica of another, until it is started again.
    pub fn follow(&self, primary: &Self) {
        let answer = self.ask(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
        assert!(answer.starts_with("OK"), "{answer}");
    }

    /// Runs a command in redis-cli; its answer, without the last line break.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = self.cli().args(command).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs commands in one step (MULTI and EXEC), and answers the lines of their answers.
    pub fn at_once(&self, commands: &[&[&str]]) -> Vec<String> {
        let quoted = |word: &&str| format!("{word:?}");
        let line = |words: &&[&str]| words.iter().map(quoted).collect::<Vec<_>>().join(" ") + "\n";
        let commands: Vec<String> = commands.iter().map(line).collect();
        let mut cli =
            self.cli().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("redis-cli");
        let input = format!("MULTI\n{}EXEC\n", commands.concat());
        let mut stdin = cli.stdin.take().expect("its input");
        stdin.write_all(input.as_bytes()).expect("redis-cli reads");
        drop(stdin);
        let output = cli.wait_with_output().expect("redis-cli ends").stdout;
        let output = String::from_utf8_lossy(&output);
        let (said, answers) =
            output.trim_end().split_at("OK\n".len() + "QUEUED\n".len() * commands.len());
        assert!(said.starts_with("OK\nQUEUED\n"), "{output}");
        answers.lines().map(str::to_owned).collect()
    }

    /// Writes every command down that clients give from now on.
    pub fn monitor(&self) -> Monitor {
        let path = self.dir.path().join("monitor");
        let file = File::create(&path).expect("a file for what is heard");
        let process = self.cli().arg("MONITOR").stdout(file).spawn().expect("redis-cli runs");
        let monitor = Monitor { process, path };
        monitor.wait_for("OK");
        monitor
    }

    fn launch(mut self) -> Self {
        for _ in 0..20 {
            self.port = free_port();
            let mut process = self.spawn();
            if self.answers() && process.try_wait().expect("a child's state").is_none() {
                self.process = Some(process);
                return self;
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("redis-server did not start; is it installed?");
    }

    fn spawn(&self) -> Child {
        let port = self.port.to_string();
        let ports =
            if self.tls { ["0", "--tls-port", &port].to_vec() } else { vec![port.as_str()] };
        Command::new("redis-server")
            .arg("--port")
            .args(ports)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (tests/run does that)")
    }

    fn answers(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.ask(&["PING"]) == "PONG" {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn cli(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if self.tls {
            command.args(["--tls", "--insecure"]);
        }
        command.stderr(Stdio::null());
        command
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A client of Redis that hears what all others say.
pub struct Monitor {
    process: Child,
    path: PathBuf,
}

impl Monitor {
    /// All that was said to `server`, the inside of scripts left out.
    pub fn stop(self, server: &RedisServer) -> Vec<String> {
        const END: &str = "the end of what is monitored";
        server.ask(&["ECHO", END]);
        let heard = self.wait_for(END);
        let from_clients = |line: &&str| !line.contains(" lua] ") && !line.contains(END);
        heard.lines().skip(1).filter(from_clients).map(str::to_owned).collect()
    }

    fn wait_for(&self, words: &str) -> String {
        let start = Instant::now();
        loop {
            let heard = fs::read_to_string(&self.path).expect("what was heard");
            if heard.contains(words) {
                return heard;
            }
            assert!(start.elapsed() < PATIENCE, "MONITOR does not hear {words:?}:\n{heard}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
