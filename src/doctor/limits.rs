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
    let (descriptors, most) = descriptors(settings, &bound);
    vec![descriptors, memory(most, &bound)]
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

/// Also how many connections there will be.
fn descriptors(settings: &Settings, bound: &Bound) -> (Finding, u64) {
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
        return (Finding::error(CHECK, found, remedy(needed)), possible);
    }
    let most = if wanted == 0 { possible } else { wanted };
    let found = format!("{found}: {most} connections");
    match wanted == 0 && possible < FEW {
        true => (Finding::warning(CHECK, found, remedy(1_048_576)), most),
        false => (Finding::ok(CHECK, found), most),
    }
}

/// Where everything is swept into one group by the kernel: cgroup v2.
fn memory(most: u64, bound: &Bound) -> Finding {
    const CHECK: &str = "limits.memory";
    let group = match bound.process {
        Some(process) => format!("/proc/{process}/cgroup"),
        None => return Finding::skipped(CHECK, "no daemon runs whose control group could be read"),
    };
    let Some(limit) = fs::read_to_string(group).ok().and_then(|own| limit_of(&own)) else {
        return Finding::ok(CHECK, "the daemon's control group sets no limit");
    };
    let needed = most.saturating_mul(BYTES_PER_CONNECTION);
    let found = format!("{} MiB", limit >> 20);
    // Without max_connections the number follows from LimitNOFILE, which memory need not fit:
    // limits.memory_admission refuses before it is short.
    match needed > limit {
        true => Finding::warning(
            CHECK,
            format!("{found}; {most} connections take about {} MiB", needed >> 20),
            "set limits.max_connections to what fits, or take larger instances; \
             limits.memory_admission refuses new connections before memory is short",
        ),
        false => Finding::ok(CHECK, found),
    }
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
        let (finding, _) = super::descriptors(&settings, &bound);
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
    fn the_limit_of_a_process_is_read_off_the_kernel() {
        let own = i32::try_from(std::process::id()).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        assert_eq!(descriptors_of(own), limit.or(Some(u64::MAX)));
        assert_eq!(descriptors_of(i32::MAX), None);
    }
}
