//! Whether this process's control group has memory for one more connection.
//!
//! A client that is refused goes to another instance; one that is let in when there is nothing
//! left takes all the others with it. What counts is what the kernel counts (cgroup v2): the use
//! of the group and of each group it stands in, against the nearer of `memory.high` (from which
//! the kernel slows the process down) and `memory.max` (from which it kills). The page cache is
//! taken off, because the kernel gives it up first.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Where every distribution with cgroup v2 has it.
const ROOT: &str = "/sys/fs/cgroup";

/// Names this process's group.
const OWN_GROUP: &str = "/proc/self/cgroup";

/// How long one look is believed. At the default rate of new connections that is 200 of them, a
/// few megabytes.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Groups above ours that are looked at; systemd's are some four deep.
const DEEPEST: usize = 32;

/// The control groups this process stands in.
#[derive(Debug)]
pub struct Memory {
    /// From the process's own upwards; empty where there is no cgroup v2.
    groups: Vec<PathBuf>,
    /// Percent of a limit that may be used; 0: not looked at.
    admission: AtomicU8,
    /// A std lock: files of the kernel are read under it, ten times a second at most.
    look: Mutex<Look>,
}

#[derive(Debug, Default)]
struct Look {
    at: Option<Instant>,
    found: Option<Shortage>,
}

/// A group that is near its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    group: PathBuf,
    used: u64,
    limit: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, used, limit } = self;
        write!(f, "{} uses {used} of {limit} bytes of memory", group.display())
    }
}

impl Memory {
    /// Of this process.
    pub fn of_this_process() -> Self {
        let own = fs::read_to_string(OWN_GROUP).unwrap_or_default();
        Self::below(Path::new(ROOT), &own)
    }

    /// Of nobody: never short.
    #[cfg(test)]
    pub fn unbounded() -> Self {
        Self::below(Path::new(ROOT), "")
    }

    /// `own` is the text of `/proc/self/cgroup`: its line `0::/a/b` is the one of cgroup v2.
    fn below(root: &Path, own: &str) -> Self {
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = own.map(|path| root.join(path));
        let up = own.iter().flat_map(|own| own.ancestors());
        let groups = up.take_while(|path| path.starts_with(root)).take(DEEPEST);
        // The root of the machine and groups without the controller have no such file.
        let groups = groups.filter(|path| path.join("memory.current").exists());
        let groups = groups.map(Path::to_owned).collect();
        Self { groups, admission: AtomicU8::new(0), look: Mutex::default() }
    }

    /// How much of a limit may be used before nobody is let in, in percent; `None`: all.
    pub fn set(&self, admission: Option<u8>) {
        self.admission.store(admission.unwrap_or(0), Ordering::Relaxed);
    }

    /// The group that is short of memory, if one is.
    pub fn shortage(&self, now: Instant) -> Option<Shortage> {
        let admission = self.admission.load(Ordering::Relaxed);
        if admission == 0 || self.groups.is_empty() {
            return None;
        }
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        if look.at.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_AGAIN) {
            let short = self.groups.iter().find_map(|group| shortage_of(group, admission));
            *look = Look { at: Some(now), found: short };
        }
        look.found.clone()
    }
}

/// `None` also where nothing can be read: not knowing is no reason to refuse.
fn shortage_of(group: &Path, admission: u8) -> Option<Shortage> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    // Neither is a number when there is no limit: it reads "max".
    let limit = [number("memory.max"), number("memory.high")].into_iter().flatten().min()?;
    let bound = limit / 100 * u64::from(admission);
    let used = number("memory.current")?;
    if used <= bound {
        return None;
    }
    // Summing this file up costs the kernel more than the others together.
    let used = used.saturating_sub(page_cache(group));
    (used > bound).then(|| Shortage { group: group.to_owned(), used, limit })
}

/// Bytes of files the kernel can drop. Those of a tmpfs are not among them.
fn page_cache(group: &Path) -> u64 {
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let counted = |line: &str| {
        let (name, bytes) = line.split_once(' ')?;
        ["active_file", "inactive_file"].contains(&name).then(|| bytes.parse::<u64>().ok())?
    };
    stat.lines().filter_map(counted).sum()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// A tree of control groups as the kernel shows them.
    struct Tree(TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(TempDir::new().expect("a directory"));
            fs::create_dir_all(tree.0.path().join("a.slice/b.service")).expect("the groups");
            tree
        }

        fn group(&self, path: &str, files: &[(&str, String)]) {
            for (name, text) in files {
                fs::write(self.0.path().join(path).join(name), text).expect("a file");
            }
        }

        /// Use, page cache, high and max, in MiB; 0: no limit.
        fn fill(&self, path: &str, [used, cache, high, max]: [u64; 4]) {
            let limit = |mib: u64| match mib {
                0 => "max\n".to_owned(),
                mib => format!("{}\n", mib * MIB),
            };
            let (active, inactive) = (cache * MIB / 2, cache * MIB / 2);
            let stat = format!("anon 1\nactive_file {active}\ninactive_file {inactive}\nslab 7\n");
            self.group(
                path,
                &[
                    ("memory.current", format!("{}\n", used * MIB)),
                    ("memory.stat", stat),
                    ("memory.high", limit(high)),
                    ("memory.max", limit(max)),
                ],
            );
        }

        fn memory(&self) -> Memory {
            let own = "4:memory:/elsewhere\n0::/a.slice/b.service\n";
            let memory = Memory::below(self.0.path(), own);
            memory.set(Some(90));
            memory
        }

        /// The last part of the name of the group that is short.
        fn short(&self) -> Option<String> {
            let short = self.memory().shortage(Instant::now())?;
            short.group.file_name().map(|name| name.to_string_lossy().into_owned())
        }
    }

    #[test]
    fn the_nearer_limit_counts_and_the_page_cache_does_not() {
        let tree = Tree::new();
        for (group, is_short) in [
            ([89, 0, 0, 100], false),
            ([91, 0, 0, 100], true),
            ([91, 2, 0, 100], false),
            ([91, 0, 100, 200], true),
            ([180, 80, 120, 200], false),
            ([180, 60, 120, 200], true),
            ([10_000, 0, 0, 0], false),
        ] {
            tree.fill("a.slice/b.service", group);
            assert_eq!(tree.short().is_some(), is_short, "{group:?}");
        }
    }

    #[test]
    fn a_group_above_can_be_short_too() {
        let tree = Tree::new();
        tree.fill("a.slice/b.service", [10, 0, 0, 100]);
        assert_eq!(tree.short(), None);
        tree.fill("a.slice", [950, 0, 0, 1000]);
        assert_eq!(tree.short().as_deref(), Some("a.slice"));
        tree.fill("a.slice", [950, 0, 0, 0]);
        tree.fill("", [95, 0, 100, 0]);
        assert!(tree.short().is_some(), "a container's own root has limits");
    }

    #[test]
    fn what_cannot_be_known_refuses_nobody() {
        let tree = Tree::new();
        assert_eq!(tree.short(), None, "no files at all");
        tree.fill("a.slice/b.service", [99, 0, 0, 100]);
        assert!(tree.short().is_some());
        tree.group("a.slice/b.service", &[("memory.current", "garbage".into())]);
        assert_eq!(tree.short(), None);
        tree.fill("a.slice/b.service", [99, 0, 0, 100]);
        let memory = tree.memory();
        memory.set(None);
        assert_eq!(memory.shortage(Instant::now()), None);
        for own in ["", "4:memory:/a.slice/b.service\n", "0::/../../etc\n"] {
            assert!(Memory::below(tree.0.path(), own).groups.is_empty(), "{own:?}");
        }
    }

    #[test]
    fn one_look_is_believed_for_a_moment() {
        let tree = Tree::new();
        tree.fill("a.slice/b.service", [99, 0, 0, 100]);
        let (memory, now) = (tree.memory(), Instant::now());
        assert!(memory.shortage(now).is_some());
        tree.fill("a.slice/b.service", [9, 0, 0, 100]);
        assert!(memory.shortage(now + LOOK_AGAIN / 2).is_some());
        assert_eq!(memory.shortage(now + LOOK_AGAIN), None);
        tree.fill("a.slice/b.service", [99, 0, 0, 100]);
        assert_eq!(memory.shortage(now + LOOK_AGAIN), None);
        assert!(memory.shortage(now + LOOK_AGAIN * 2).is_some(), "and that for as long");
    }
}
