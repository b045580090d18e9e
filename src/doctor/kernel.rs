//! The kernel's settings for many connections, against those the package brings.

use std::fs;

use super::finding::Finding;
use crate::config::Settings;

const CHECK: &str = "kernel";

/// The package's, with the reason for each.
const SHIPPED: &str = include_str!("../../packaging/sysctl/50-wsfleetd.conf");

pub fn examine(settings: &Settings) -> Finding {
    let current = |name: &str| {
        let file = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::read_to_string(file).ok().map(|value| value.trim().to_owned())
    };
    judge(settings, current)
}

fn judge(settings: &Settings, current: impl Fn(&str) -> Option<String>) -> Finding {
    let remedy = "`sysctl --system` applies /usr/lib/sysctl.d/50-wsfleetd.conf, which says why";
    let backlog = u64::from(settings.listen.backlog);
    let somaxconn = current("net.core.somaxconn").and_then(|value| value.parse::<u64>().ok());
    if let Some(somaxconn) = somaxconn.filter(|somaxconn| *somaxconn < backlog) {
        let found =
            format!("net.core.somaxconn = {somaxconn} cuts listen.backlog = {backlog} down");
        return Finding::warning(CHECK, found, remedy);
    }
    let others: Vec<_> = shipped()
        .filter_map(|(name, value)| {
            let now = current(name).filter(|now| now != value)?;
            // More room than the package makes is none of our business.
            let is_more =
                now.parse::<u64>().ok() > value.parse().ok() && name.ends_with("somaxconn");
            (!is_more).then(|| format!("{name} = {now} instead of {value}"))
        })
        .collect();
    match others.is_empty() {
        true => Finding::ok(CHECK, "as the package sets it"),
        false => Finding::warning(CHECK, others.join(", "), remedy),
    }
}

fn shipped() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = SHIPPED.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" = "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn with(somaxconn: &str, slow_start: &str) -> Finding {
        judge(&Settings::default(), |name| match name {
            "net.core.somaxconn" => Some(somaxconn.to_owned()),
            "net.ipv4.tcp_slow_start_after_idle" => Some(slow_start.to_owned()),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn what_differs_from_the_package_is_named() {
        assert_eq!(shipped().count(), 2);
        assert_eq!(with("16384", "0").verdict, Verdict::Ok);
        assert_eq!(with("65535", "0").verdict, Verdict::Ok);
        let found = with("128", "0").found;
        assert!(found.contains("128 cuts listen.backlog = 4096 down"), "{found}");
        let found = with("4096", "1").found;
        assert!(found.contains("somaxconn = 4096 instead of 16384"), "{found}");
        assert!(found.contains("tcp_slow_start_after_idle = 1 instead of 0"), "{found}");
        assert_eq!(judge(&Settings::default(), |_| None).verdict, Verdict::Ok);
    }
}
