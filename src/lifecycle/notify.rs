//! What systemd is told about this process, in one place.
//!
//! Without `NOTIFY_SOCKET`, that is outside a `Type=notify` unit, each call does nothing. A message
//! that cannot be delivered is logged and otherwise ignored: serving clients matters more than
//! saying so.

use std::time::Duration;

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

/// A sign of life; only [`super::watchdog`] knows when it is deserved.
pub(super) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How long systemd waits for a sign of life; `None` when it does not watch this process.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        let sent = states.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        warn!(%error, "cannot tell systemd {sent}: {error}");
    }
}
