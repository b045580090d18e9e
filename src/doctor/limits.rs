//! What the kernel lets the daemon have, against what it is set to need.

use std::fs;

use super::{daemon_here::Here, finding::Finding, unit::Unit};
use crate::{config::Settings, daemon::SPARE_DESCRIPTORS};

/// An idle connection takes some 6 KB and the kernel's part; with a message under way in each
/// direction about this.
const BYTES_PER_CONNECTION: u64 = 16 * 1024;

/// Fewer connections than this are hardly meant.
const FEW: u64 = 1024;

/// Of whom the limits are.
struct Bound {
    whose: &'static str,
    descriptors: u64,
    process: Option<i32>,
}

pub fn examine(settings: &Settings, unit: &Unit, here: &Here) -> Vec<Finding> {
    let bound = bound(unit, here);
    let limit = bound.process.and_then(memory_of);
    vec![descriptors(settings, &bound), memory(settings, bound.process, limit)]
}

/// The running daemon's, else those the unit will give, else those of this shell.
fn bound(unit: &Unit, here: &Here) -> Bound {
    if let Some(process) = here.process
        && let Some(descriptors) = descriptors_of(process)
    {
        return Bound { whose: "the daemon", descriptors, process: Some(process) };
    }
    if let Some(descriptors) = unit.descriptors() {
        return Bound { whose: "wsfleetd.service", descriptors, process: None };
    }
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    Bound { whose: "this shell", descriptors: own.unwrap_or(u64::MAX), process: None }
}

fn descriptors_of(process: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn descriptors(settings: &Settings, bound: &Bound) -> Finding {
    const CHECK: &str = "limits.descriptors";
    let spare = SPARE_DESCRIPTORS as u64;
    let possible = bound.descriptors.saturating_sub(spare);
    let wanted = settings.limits.max_connections as u64;
    let found = format!("{} may open {} files", bound.whose, bound.descriptors);
    let remedy = |needed: u64| {
        format!(
            "set LimitNOFILE={needed} (`systemctl edit wsfleetd`; in a shell: ulimit -n {needed})"
        )
    };
    if wanted > possible {
        let needed = wanted + spare;
        let found = format!("{found}, and limits.max_connections = {wanted} takes {needed}");
        return Finding::error(CHECK, found, remedy(needed));
    }
    let most = if wanted == 0 { possible } else { wanted };
    let found = format!("{found}: {most} connections");
    match wanted == 0 && possible < FEW {
        true => Finding::warning(CHECK, found, remedy(1_048_576)),
        false => Finding::ok(CHECK, found),
    }
}

/// Without `limits.max_connections` the number follows from the descriptors, and memory is looked
/// after by `limits.memory_admission` alone.
fn memory(settings: &Settings, process: Option<i32>, limit: Option<u64>) -> Finding {
    const CHECK: &str = "limits.memory";
    if process.is_none() {
        return Finding::skipped(CHECK, "no daemon runs whose control group could be read");
    }
    let Some(limit) = limit else {
        return Finding::ok(CHECK, "the daemon's control group sets no limit");
    };
    let wanted = settings.limits.max_connections as u64;
    let needed = wanted.saturating_mul(BYTES_PER_CONNECTION);
    let found = format!("{} MiB for the daemon", limit >> 20);
    match needed > limit {
        true => Finding::warning(
            CHECK,
            format!("{found}; limits.max_connections = {wanted} takes about {} MiB", needed >> 20),
            "lower limits.max_connections, or take larger instances",
        ),
        false => Finding::ok(CHECK, found),
    }
}

/// Of a process's control group, in bytes.
fn memory_of(process: i32) -> Option<u64> {
    limit_of(&fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?)
}

/// The nearest limit of the group and those above, in bytes.
fn limit_of(own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = std::path::Path::new("/sys/fs/cgroup");
    let own = root.join(path);
    let files = own
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .flat_map(|group| [group.join("memory.high"), group.join("memory.max")]);
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn look(wanted: usize, descriptors: u64) -> (Verdict, String) {
        let mut settings = Settings::default();
        settings.limits.max_connections = wanted;
        let bound = Bound { whose: "the daemon", descriptors, process: None };
        let finding = super::descriptors(&settings, &bound);
        (finding.verdict, finding.found)
    }

    #[test]
    fn connections_must_fit_into_the_descriptors() {
        assert_eq!(look(0, 1_048_576).0, Verdict::Ok);
        assert_eq!(look(0, 1024).0, Verdict::Warning);
        assert_eq!(look(50_000, 50_512).0, Verdict::Ok);
        let (verdict, found) = look(50_000, 50_511);
        assert_eq!(verdict, Verdict::Error);
        assert!(found.contains("takes 50512"), "{found}");
    }

    #[test]
    fn what_was_asked_for_must_fit_into_memory() {
        let look = |wanted: usize, process, limit| {
            let mut settings = Settings::default();
            settings.limits.max_connections = wanted;
            memory(&settings, process, limit).verdict
        };
        let mib = 1 << 20;
        assert_eq!(look(0, Some(1), Some(512 * mib)), Verdict::Ok);
        assert_eq!(look(30_000, Some(1), Some(512 * mib)), Verdict::Ok);
        assert_eq!(look(33_000, Some(1), Some(512 * mib)), Verdict::Warning);
        assert_eq!(look(33_000, Some(1), None), Verdict::Ok);
        assert_eq!(look(33_000, None, None), Verdict::Skipped);
    }

    #[test]
    fn the_limit_of_a_process_is_read_off_the_kernel() {
        let own = i32::try_from(std::process::id()).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        assert_eq!(descriptors_of(own), limit.or(Some(u64::MAX)));
        assert_eq!(descriptors_of(i32::MAX), None);
    }
}
