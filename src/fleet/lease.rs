//! Whether the fleet takes this instance for alive, as far as it can know.
//!
//! The lease counts from the moment a heartbeat was sent, not from its answer, and by a clock that
//! goes on while the machine is suspended: who wakes up from hibernation has none until it has
//! asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clock;

/// A lease; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    span: Duration,
    /// Milliseconds of [`clock::since_boot`] at which the last heartbeat was sent that was answered,
    /// however; 0: never.
    answered: AtomicU64,
    /// The same for the last that was granted.
    granted: AtomicU64,
}

impl Lease {
    /// One that is not held.
    pub fn new(span: Duration) -> Self {
        Self(Arc::new(Shared { span, answered: AtomicU64::new(0), granted: AtomicU64::new(0) }))
    }

    /// Whether it is held.
    pub fn is_held(&self) -> bool {
        age(&self.0.granted).is_some_and(|age| age <= self.0.span)
    }

    /// How long Redis has answered no heartbeat; `None` if it never did.
    pub fn silence(&self) -> Option<Duration> {
        age(&self.0.answered)
    }

    /// A heartbeat that was sent at `sent`, by [`clock::since_boot`], was granted.
    pub(super) fn renew(&self, sent: Duration) {
        self.0.answered.store(millis(sent), Ordering::Relaxed);
        self.0.granted.store(millis(sent), Ordering::Relaxed);
    }

    /// One that was sent at `sent` was refused: the fleet does not know this instance any more.
    pub(super) fn end(&self, sent: Duration) {
        self.0.answered.store(millis(sent), Ordering::Relaxed);
        self.0.granted.store(0, Ordering::Relaxed);
    }
}

fn millis(moment: Duration) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn age(moment: &AtomicU64) -> Option<Duration> {
    match moment.load(Ordering::Relaxed) {
        0 => None,
        at => Some(clock::since_boot().saturating_sub(Duration::from_millis(at))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_when_its_heartbeat_was_sent() {
        let lease = Lease::new(Duration::from_secs(5));
        assert_eq!((lease.is_held(), lease.silence()), (false, None));
        lease.renew(clock::since_boot().saturating_sub(Duration::from_secs(4)));
        assert!(lease.is_held() && lease.silence() >= Some(Duration::from_secs(4)));
        lease.renew(clock::since_boot().saturating_sub(Duration::from_secs(6)));
        assert!(!lease.is_held(), "the answer came late");
        lease.renew(clock::since_boot());
        lease.end(clock::since_boot());
        assert!(!lease.is_held() && lease.silence().is_some());
    }
}
