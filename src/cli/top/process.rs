//! What a process uses, as the kernel tells everybody who may see it.

use std::fs;

/// Ticks a second in `/proc/PID/stat`: USER_HZ, which is 100 on every architecture that the package is
/// built for.
const TICKS: f64 = 100.0;

/// At one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Of all its threads, in user and system mode.
    ticks: u64,
    /// Resident, in bytes.
    pub memory: u64,
}

impl Usage {
    /// Of a process; `None` if it is not to be seen.
    pub fn of(process: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        Some(Self { ticks: ticks(&stat)?, memory: resident(&status)? })
    }

    /// Percent of one core since an earlier moment.
    pub fn since(self, earlier: Self, seconds: f64) -> f64 {
        self.ticks.saturating_sub(earlier.ticks) as f64 / TICKS / seconds * 100.0
    }
}

/// Fields 14 and 15; the name of the process, which may hold anything, ends with the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_whatever_the_process_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1000 200 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2048 * 1024));
        let own = Usage::of(i32::try_from(std::process::id()).unwrap()).expect("one sees oneself");
        assert!(own.memory > 1024 * 1024);
        let (before, now) = (Usage { ticks: 100, memory: 0 }, Usage { ticks: 250, memory: 0 });
        assert_eq!(now.since(before, 3.0), 50.0);
    }
}
