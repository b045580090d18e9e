//! The epochs that this instance believes alive.
//!
//! Membership writes it after each heartbeat; whoever reads ownership reads it beside this, so
//! that what a dead instance left counts for nothing even before it is reaped. Not to be listed
//! is no death: an instance that has just joined, or is about to, owns connections before the
//! next heartbeat here tells of it. Dead is who was listed and is no more, or was killed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::Instant;

use crate::{clock, ids::Epoch};

/// The dead are remembered for this long, as Redis does: far longer than it takes to reap them.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Who lives; cheap to clone.
#[derive(Clone, Default)]
pub struct View(Arc<Shared>);

#[derive(Default)]
struct Shared {
    seen: ArcSwap<Seen>,
    /// An epoch of this instance that some write was refused for.
    fenced: ArcSwapOption<Epoch>,
    /// Milliseconds of [`clock::since_boot`] up to which what is known may be believed.
    current_until: AtomicU64,
}

#[derive(Default)]
struct Seen {
    members: HashSet<Epoch>,
    gone: HashMap<Epoch, Instant>,
}

impl View {
    /// Whether `epoch` may be alive: nobody knows that it is dead.
    pub fn lives(&self, epoch: Epoch) -> bool {
        !self.0.seen.load().gone.contains_key(&epoch)
    }

    /// Whether `epoch` was a member at the last heartbeat.
    pub fn is_member(&self, epoch: Epoch) -> bool {
        self.0.seen.load().members.contains(&epoch)
    }

    /// Takes the members of the last heartbeat, and who was killed lately.
    pub fn set(&self, members: HashSet<Epoch>, dead: &[Epoch]) {
        let (before, now) = (self.0.seen.load(), Instant::now());
        let left = before.members.iter().chain(dead).map(|epoch| (*epoch, now));
        let remembered = before.gone.iter().map(|(epoch, at)| (*epoch, *at));
        let gone = left
            .chain(remembered)
            .filter(|(epoch, at)| !members.contains(epoch) && at.elapsed() < REMEMBERED)
            .collect();
        self.0.seen.store(Arc::new(Seen { members, gone }));
    }

    /// What is known may be believed up to this moment of [`clock::since_boot`]: for as long the
    /// others wait before they give this instance's users to somebody else.
    pub fn renew(&self, until: Duration) {
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.0.current_until.store(until, Ordering::Relaxed);
    }

    /// Whether what is known of this instance's own users may be believed: whoever has stood still
    /// for longer may have been told of nothing.
    pub fn is_current(&self) -> bool {
        let until = self.0.current_until.load(Ordering::Relaxed);
        clock::since_boot() <= Duration::from_millis(until)
    }

    /// Notes that the store has refused to write for `epoch`: it was reaped, though its lease may
    /// still be good.
    pub fn fence(&self, epoch: Epoch) {
        self.0.fenced.store(Some(Arc::new(epoch)));
    }

    /// Whether `epoch` was refused.
    pub fn is_fenced(&self, epoch: Epoch) -> bool {
        self.0.fenced.load().as_ref().is_some_and(|fenced| **fenced == epoch)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.seen.load().members.len()
    }

    /// Whether none is known yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_was_never_listed_may_live_and_who_is_listed_no_more_does_not() {
        let (view, [stays, leaves, killed, comes]) =
            (View::default(), std::array::from_fn(|_| Epoch::random()));
        assert!(view.lives(leaves), "nothing is known yet");
        view.set([stays, leaves].into(), &[]);
        assert!(view.lives(comes) && !view.is_member(comes), "it may be joining now");
        view.set([stays].into(), &[killed]);
        assert_eq!(
            [stays, leaves, killed, comes].map(|e| view.lives(e)),
            [true, false, false, true]
        );
        tokio::time::advance(REMEMBERED).await;
        view.set([stays].into(), &[]);
        assert!(view.lives(leaves), "the dead are forgotten, in bounded room");
    }
}
