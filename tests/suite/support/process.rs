//! Signals to processes the test has started.

use std::process::Command;

/// Sends `SIG<name>` to one process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success(), "SIG{name} to {pid}");
}
