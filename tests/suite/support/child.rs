//! A process of its own for stories about signals, the environment and exit codes.
//!
//! The child is this test binary, told to run one ignored test: no second executable is needed,
//! and no test changes the environment it shares with its neighbours.

use std::{
    env,
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Longest a child may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Becomes `$0` with its arguments, but where `/run/systemd/journal` is `$JOURNAL_DIR`.
const OWN_JOURNAL: &str = r#"
mount -t tmpfs none /run
mkdir -p /run/systemd/journal
mount --bind "$JOURNAL_DIR" /run/systemd/journal
exec "$0" "$@"
"#;

/// A child running one ignored test; it is killed when dropped.
pub struct Role(Child);

impl Role {
    /// Starts `test` (its full name, as `module::test`) with `vars` added to the environment.
    pub fn start(test: &str, vars: &[(&str, &str)]) -> Self {
        Self::spawn(test, vars, Stdio::inherit())
    }

    /// The same with standard error in the file `log`.
    pub fn start_logging(test: &str, vars: &[(&str, &str)], log: &Path) -> Self {
        Self::spawn(test, vars, File::create(log).expect("a file for the log").into())
    }

    /// The same with the files of `dir` in place of `/run/systemd/journal`, in a mount namespace
    /// of the child's own.
    pub fn start_with_journal(
        test: &str,
        vars: &[(&str, &str)],
        log: impl Into<Stdio>,
        dir: &Path,
    ) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", OWN_JOURNAL]);
        command.arg(env::current_exe().expect("own path")).env("JOURNAL_DIR", dir);
        Self::run(command, test, vars, log.into())
    }

    fn spawn(test: &str, vars: &[(&str, &str)], stderr: Stdio) -> Self {
        Self::run(Command::new(env::current_exe().expect("own path")), test, vars, stderr)
    }

    fn run(mut command: Command, test: &str, vars: &[(&str, &str)], stderr: Stdio) -> Self {
        command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.envs(vars.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Self(command.spawn().expect("the child starts"))
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success(), "cannot send {name} to {pid}");
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the child does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
