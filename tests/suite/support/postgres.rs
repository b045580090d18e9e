//! A real PostgreSQL for one test: its own data, its own port, gone when the test ends.
//!
//! `initdb` takes seconds, so it runs once per version; every server starts from a copy of
//! that. PostgreSQL refuses to run as root, so root hands it to the user `postgres`.

mod template;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// The superuser `initdb` makes, who logs in with [`PASSWORD`].
const USER: &str = "wsfleetd";
const PASSWORD: &str = "only for tests";

/// Starting takes a fraction of a second, and many times that on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; dropping it kills it and removes its data.
pub struct Postgres {
    /// Removed last, when the server no longer writes.
    folder: TempDir,
    binaries: PathBuf,
    port: u16,
    tls: bool,
    server: Option<Child>,
}

impl Postgres {
    /// Starts a server without TLS, as most tests want it.
    pub fn start() -> Self {
        let mut postgres = Self::prepare();
        postgres.run();
        postgres
    }

    /// Starts a server that speaks TLS under a certificate for 127.0.0.1 of its own CA.
    pub fn start_with_tls() -> Self {
        let mut postgres = Self::prepare();
        postgres.make_certificates();
        postgres.tls = true;
        postgres.run();
        postgres
    }

    /// Where clients connect over TCP, password included.
    pub fn url(&self) -> String {
        self.url_with("sslmode=disable")
    }

    /// The same with other parameters behind the question mark.
    pub fn url_with(&self, query: &str) -> String {
        let password = PASSWORD.replace(' ', "%20");
        format!("postgres://{USER}:{password}@127.0.0.1:{}/postgres?{query}", self.port)
    }

    /// The same without the password, for who has it in a file.
    pub fn url_without_password(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// The password of [`url`](Self::url).
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The CA whose certificate the server shows.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Shuts down as `systemctl stop` would: open connections are cut.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        signal(&server, "-INT");
        server.wait().expect("PostgreSQL was started by this test");
    }

    /// Starts again on the same port with the same data.
    pub fn start_again(&mut self) {
        assert!(self.server.is_none(), "stop it first");
        self.run();
    }

    /// Stops and starts.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Stops answering without closing anything, as a machine that hangs.
    pub fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// Undoes [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal_all("-CONT");
    }

    /// Runs SQL as the superuser and returns what it printed, without headers.
    pub fn sql(&self, statement: &str) -> String {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement])
            .arg(self.url());
        let done = psql.output().expect("psql stands beside postgres");
        succeeded("psql", &done);
        String::from_utf8(done.stdout).expect("the database is UTF-8").trim().to_owned()
    }

    /// Starts a streaming standby of this server.
    pub fn start_standby(&self) -> Self {
        let folder = new_folder();
        let mut copy = as_server(self.binaries.join("pg_basebackup"));
        copy.args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--pgdata"]);
        copy.arg(folder.path().join("data")).arg("--dbname").arg(self.url());
        succeeded("pg_basebackup", &copy.current_dir(folder.path()).output().expect("it runs"));
        let binaries = self.binaries.clone();
        let mut standby = Self { folder, binaries, port: free_port(), tls: false, server: None };
        standby.run();
        standby
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        let mut promote = as_server(self.binaries.join("pg_ctl"));
        promote.arg("promote").arg("-D").arg(self.folder.path().join("data"));
        succeeded("pg_ctl", &promote.current_dir(self.folder.path()).output().expect("it runs"));
    }

    /// Goes where another server was, as a name that is pointed elsewhere.
    pub fn move_to_address_of(&mut self, other: &Self) {
        self.stop();
        self.port = other.port;
        self.start_again();
    }

    /// Where clients connect that take whichever of both servers is the primary.
    pub fn url_with_other(&self, other: &Self) -> String {
        let (here, there) =
            (format!("127.0.0.1:{}", self.port), format!("127.0.0.1:{}", other.port));
        self.url().replace(&here, &format!("{here},{there}"))
    }

    fn prepare() -> Self {
        let binaries = find_binaries();
        let folder = new_folder();
        let template = template::of(&binaries);
        let data = folder.path().join("data");
        let copied =
            Command::new("cp").args(["-a", "--reflink=auto"]).args([&template, &data]).output();
        succeeded("cp", &copied.expect("cp is everywhere"));
        Self { folder, binaries, port: free_port(), tls: false, server: None }
    }

    fn run(&mut self) {
        let folder = self.folder.path();
        let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut server = as_server(self.binaries.join("postgres"));
        server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
        server.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        // Nothing here must survive a power cut.
        for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
            server.args(["-c", setting]);
        }
        if self.tls {
            server.args(["-c", "ssl=on", "-c", "ssl_cert_file=../server.pem"]);
            server.args(["-c", "ssl_key_file=../server.key"]);
        }
        let errors = log.try_clone().unwrap();
        let child =
            server.current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.server = Some(child.expect("postgres can be run"));
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        let port = self.port.to_string();
        while started.elapsed() < PATIENCE {
            let asked = Command::new(self.binaries.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status();
            if asked.is_ok_and(|status| status.success()) {
                return;
            }
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            assert!(ended.is_none(), "PostgreSQL ended ({ended:?}):\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
        panic!("PostgreSQL is not ready after {PATIENCE:?}:\n{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn make_certificates(&self) {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&key, &ca).unwrap();
        let folder = self.folder.path();
        fs::write(self.ca_file(), ca.pem()).unwrap();
        fs::write(folder.join("server.pem"), server.pem()).unwrap();
        write_secret(&folder.join("server.key"), &key.serialize_pem());
        give_to_server(folder);
    }

    /// The server and the processes that serve its connections.
    fn signal_all(&self, signal_name: &str) {
        let Some(server) = &self.server else { return };
        let id = server.id().to_string();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &id]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let all = std::iter::once(id.as_str()).chain(children.split_whitespace());
        let done = Command::new("kill").arg(signal_name).args(all).stderr(Stdio::null()).status();
        done.expect("kill is everywhere");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // QUIT ends the server and its children at once; a frozen one must hear it.
            signal(&server, "-QUIT");
            signal(&server, "-CONT");
            let _ = server.wait();
        }
    }
}

fn new_folder() -> TempDir {
    let folder = TempDir::with_prefix("wsfleetd-postgres-").expect("a folder in the temp dir");
    give_to_server(folder.path());
    folder
}

/// A CA nobody's certificate is signed by.
pub fn foreign_ca(folder: &Path) -> PathBuf {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let path = folder.join("foreign-ca.pem");
    fs::write(&path, ca.pem()).unwrap();
    path
}

fn find_binaries() -> PathBuf {
    let mut installed: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|folder| folder.join("postgres").exists())
        .collect();
    installed.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|folder| folder.join("postgres").exists());
    installed.pop().or(on_path).expect(
        "these tests need PostgreSQL: `apt-get install postgresql`, or put `postgres` on the PATH",
    )
}

/// Runs a program as whoever may run PostgreSQL.
fn as_server(program: impl AsRef<OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}

fn give_to_server(folder: &Path) {
    if is_root() {
        let done = Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder).output();
        succeeded("chown", &done.expect("chown is everywhere"));
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Below the ephemeral range, so that no outgoing connection takes it while the server is down.
fn free_port() -> u16 {
    std::iter::repeat_with(|| rand::random_range(15_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("some port of 17,000 is free")
}

fn signal(server: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &server.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {name} failed");
}

fn succeeded(what: &str, done: &Output) {
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{what} failed: {errors}");
}
