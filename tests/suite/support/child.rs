//! A process of its own for stories about signals, the environment and exit codes.
//!
//! The child is this test binary, told to run one ignored test: no second executable is needed,
//! and no test changes the environment it shares with its neighbours.

use std::{
    env,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Longest a child may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A child running one ignored test; it is killed when dropped.
pub struct Role(Child);

impl Role {
    /// Starts `test` (its full name, as `module::test`) with `vars` added to the environment.
    pub fn start(test: &str, vars: &[(&str, &str)]) -> Self {
        Self::of(Command::new(env::current_exe().expect("own path")), test, vars)
    }

    fn of(mut command: Command, test: &str, vars: &[(&str, &str)]) -> Self {
        command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.envs(vars.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
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
