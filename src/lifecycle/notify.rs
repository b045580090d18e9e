//! What systemd is told about this process, in one place.
//!
//! Without `NOTIFY_SOCKET`, that is outside a `Type=notify` unit, each call does nothing. A message
//! that cannot be delivered is logged and otherwise ignored: serving clients matters more than
//! saying so.

use std::{io, os::fd::BorrowedFd, time::Duration};

use sd_notify::NotifyState;
use tracing::warn;

/// The daemon serves; `systemctl start` returns.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon reads its configuration again; [`ready`] must follow, whatever comes of it.
///
/// The time tells a `Type=notify-reload` unit that this answers its own signal and no earlier one.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot tell systemd of a reload: no monotonic clock: {error}"),
    }
}

/// The `Status:` line of `systemctl status`.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// The daemon is on its way out.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// The present phase may take `by` longer than `TimeoutStopSec=` or `TimeoutStartSec=` allows,
/// counted from now. Repeat it while there is progress.
pub fn extend_timeout(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// systemd keeps a copy of `fd` under `name`, open from now on until it is forgotten or the unit
/// stops, and hands it to the next process. Needs `FileDescriptorStoreMax=`.
pub fn store(name: &str, fd: BorrowedFd<'_>) {
    let states = [NotifyState::FdStore, NotifyState::FdName(name)];
    report(&states, sd_notify::notify_with_fds(&states, &[fd]));
}

/// systemd lets go of what it keeps under `name`.
pub fn forget(name: &str) {
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// A sign of life; only [`super::watchdog`] knows when it is deserved.
pub(super) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How long systemd waits for a sign of life; `None` when it does not watch this process.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

fn send(states: &[NotifyState<'_>]) {
    report(states, sd_notify::notify(states));
}

fn report(states: &[NotifyState<'_>], sent: io::Result<()>) {
    if let Err(error) = sent {
        let sent = states.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        warn!(%error, "cannot tell systemd {sent}: {error}");
    }
}
