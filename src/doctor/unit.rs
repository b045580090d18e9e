//! What systemd has been told of the service.

use std::{
    collections::BTreeMap,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// systemd answers in milliseconds; where it is not the init, systemctl fails at once.
const BOUND: Duration = Duration::from_secs(2);

/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// The properties of `wsfleetd.service`; empty where there is none.
#[derive(Debug, Default)]
pub struct Unit(BTreeMap<String, String>);

impl Unit {
    /// Asks `systemctl`.
    pub async fn ask() -> Self {
        tokio::task::spawn_blocking(show).await.unwrap_or_default().unwrap_or_default()
    }

    pub(super) fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once('='));
        let all: BTreeMap<_, _> =
            fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        match all.get("LoadState").map(String::as_str) {
            Some("loaded") => Self(all),
            _ => Self::default(),
        }
    }

    /// `LimitNOFILE=`
    pub fn descriptors(&self) -> Option<u64> {
        match self.0.get("LimitNOFILE")?.as_str() {
            "infinity" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// `TimeoutStopSec=`; `None` also when it is unlimited.
    pub fn stop_timeout(&self) -> Option<Duration> {
        humantime::parse_duration(self.0.get("TimeoutStopUSec")?).ok()
    }
}

fn show() -> Option<Unit> {
    let mut child = Command::new("systemctl")
        .args(["show", "wsfleetd.service", "--property=LoadState,LimitNOFILE,TimeoutStopUSec"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let start = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if start.elapsed() > BOUND {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(LOOK);
    }
    // Three lines: they fit into the pipe, so that it did not have to wait for us.
    let mut text = String::new();
    child.stdout.take()?.read_to_string(&mut text).ok()?;
    Some(Unit::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_read_and_a_unit_that_is_not_there_is_none() {
        let unit = Unit::parse("LimitNOFILE=1048576\nTimeoutStopUSec=1min 30s\nLoadState=loaded\n");
        assert_eq!(unit.descriptors(), Some(1_048_576));
        assert_eq!(unit.stop_timeout(), Some(Duration::from_secs(90)));
        let unit = Unit::parse("TimeoutStopUSec=infinity\nLoadState=loaded\n");
        assert_eq!((unit.descriptors(), unit.stop_timeout()), (None, None));
        let unit = Unit::parse("LimitNOFILE=524288\nLoadState=not-found\n");
        assert_eq!(unit.descriptors(), None);
    }
}
