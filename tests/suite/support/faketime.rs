//! Clocks that are wrong: libfaketime around a process, never the machine's own.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

/// Clocks that can be set.
pub struct Clocks {
    dir: TempDir,
}

impl Clocks {
    /// None yet.
    pub fn new() -> Self {
        Self { dir: TempDir::with_prefix("wsfleetd-clock-").expect("a temporary directory") }
    }

    /// Sets one to so many seconds beside the truth.
    pub fn set(&self, name: &str, offset: &str) {
        // Moved into place: whoever reads it meanwhile must find one or the other.
        let (new, file) = (self.dir.path().join("new"), self.dir.path().join(name));
        fs::write(&new, offset).expect("write the clock");
        fs::rename(new, file).expect("put the clock in place");
    }

    /// What makes a process read the clock `name`.
    pub fn variables(&self, name: &str) -> Vec<(String, String)> {
        let file = self.dir.path().join(name).display().to_string();
        // Redis's own allocator asks for the time before faketime is ready: it gets libc's.
        let preload = format!("{} libc.so.6", library().display());
        [
            ("LD_PRELOAD", preload.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

/// Debian's package `faketime` has it where the machine's own libraries are.
fn library() -> PathBuf {
    let homes = fs::read_dir("/usr/lib").expect("libraries").flatten();
    let mut found = homes.map(|home| home.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("faketime is installed (tests/run --all does that)")
}
