//! A directory in the place of a machine with the package: `/etc` is below it, `sudo` changes
//! nobody, and `wsfleetd` is the binary under test.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::support::instance::binary;

/// Gone when dropped.
pub struct Machine(TempDir);

impl Machine {
    /// With the shipped configuration and nothing else.
    pub fn new() -> Self {
        let machine = Self(TempDir::with_prefix("wsfleetd-machine-").expect("a directory"));
        fs::create_dir_all(machine.path("/etc/wsfleetd/conf.d")).expect("make directories");
        fs::create_dir_all(machine.path("/bin")).expect("make a directory");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/wsfleetd.toml");
        let config = machine.path("/etc/wsfleetd/wsfleetd.toml");
        fs::copy(shipped, &config).expect("copy the configuration");
        let users = machine.path("/etc/wsfleetd/users.csv");
        let own = format!("[users]\nfile = {users:?}\n");
        fs::write(machine.path("/etc/wsfleetd/conf.d/00-machine.toml"), own).expect("write it");
        let wsfleetd = format!("exec {:?} \"$@\" --config {config:?}", binary());
        // What root reads at /etc/credstore on a machine of its own.
        let credstore = machine.path("/etc/credstore");
        let sudo = format!("exec env CREDENTIALS_DIRECTORY={credstore:?} \"$@\"");
        for (name, script) in
            [("sudo", &sudo), ("npx", &"exec \"$@\"".to_owned()), ("wsfleetd", &wsfleetd)]
        {
            let file = machine.path("/bin").join(name);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("write a script");
            fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("set its mode");
        }
        machine
    }

    /// Where an absolute path of the machine is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// Runs a script that must succeed, with more environment; what it said.
    pub fn run(&self, script: &str, environment: &[(&str, &str)]) -> String {
        let output = Command::new("sh")
            .args(["-ec", &self.localized(script)])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("sh runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}{complained}");
        said
    }

    /// The script as another shell can run it here.
    pub fn localized(&self, script: &str) -> String {
        let (root, path) = (self.0.path().display(), env::var("PATH").unwrap_or_default());
        let script = script.replace("/etc/", &format!("{root}/etc/"));
        format!("export PATH='{root}/bin:{path}'\n{script}")
    }
}
