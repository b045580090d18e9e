//! Clocks that are wrong: libfaketime around a daemon or Redis, never the machine's own.
//!
//! No lease, key or order may hang on an instance's clock; and of Redis's only that it mostly goes
//! forward. What measures intervals is left alone, as it is by a real step.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::support::chaos::{Check, Settings, Story};

const HOUR: &str = "3600";

/// A clock that can be set.
struct Clocks {
    dir: TempDir,
}

impl Clocks {
    fn new() -> Self {
        Self { dir: TempDir::with_prefix("wsfleetd-clock-").expect("a temporary directory") }
    }

    /// Sets one to so many seconds beside the truth.
    fn set(&self, name: &str, offset: &str) {
        // Moved into place: whoever reads it meanwhile must find one or the other.
        let (new, file) = (self.dir.path().join("new"), self.dir.path().join(name));
        fs::write(&new, offset).expect("write the clock");
        fs::rename(new, file).expect("put the clock in place");
    }

    /// What makes a process read the clock `name`.
    fn variables(&self, name: &str) -> Vec<(String, String)> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: needs faketime"]
async fn hours_apart_instances_agree() {
    let clocks = Clocks::new();
    for (name, offset) in [("0", "+0"), ("1", "+3600"), ("2", "-3600")] {
        clocks.set(name, offset);
    }
    let variables = clocks.variables("{n}");
    let mut story = Story::with(Settings { variables, ..Settings::of(3) }, 0).await;
    story.regulars().await;
    story.passers_by(6);
    story.passes(15.0).await;
    story.tell("the clocks are stepped");
    for (name, sign) in [("0", "-"), ("1", "-"), ("2", "+")] {
        clocks.set(name, &format!("{sign}{HOUR}"));
    }
    story.passes(25.0).await;
    let logged = story.instance(1).log();
    let (first, last) = (logged.lines().next(), logged.lines().last());
    let hour = |line: Option<&str>| line.and_then(|line| line.get(11..13)).map(str::to_owned);
    assert_ne!(hour(first), hour(last), "its clock was another's");
    story.ends(&[Check::Handover, Check::Outlives]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: needs faketime"]
async fn a_redis_whose_clock_goes_back_loses_nothing() {
    let clocks = Clocks::new();
    clocks.set("redis", "+0");
    let redis_variables = clocks.variables("redis");
    let mut story = Story::with(Settings { redis_variables, ..Settings::of(3) }, 0).await;
    story.regulars().await;
    story.passers_by(6);
    let second = || story.redis().ask(&["TIME"]).lines().next().and_then(|s| s.parse::<i64>().ok());
    story.passes(12.0).await;
    let before = second().expect("a time");
    clocks.set("redis", &format!("-{HOUR}"));
    assert!(second().expect("a time") < before - 3000, "its clock went back");
    story.passes(30.0).await;
    story.ends(&[Check::Handover, Check::Outlives]).await;
}
