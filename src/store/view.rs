//! The epochs that this instance believes alive.
//!
//! Membership writes it after each heartbeat; whoever reads ownership reads it beside this, so
//! that what a dead instance left counts for nothing even before it is reaped.

use std::{collections::HashSet, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::ids::Epoch;

/// Who lives; cheap to clone.
#[derive(Clone, Default)]
pub struct View(Arc<Shared>);

#[derive(Default)]
struct Shared {
    members: ArcSwap<HashSet<Epoch>>,
    /// An epoch of this instance that some write was refused for.
    fenced: ArcSwapOption<Epoch>,
}

impl View {
    /// Whether `epoch` may be alive. Before the first heartbeat nobody is known to be dead.
    pub fn lives(&self, epoch: Epoch) -> bool {
        let members = self.0.members.load();
        members.is_empty() || members.contains(&epoch)
    }

    /// Takes the members of the last heartbeat.
    pub fn set(&self, members: HashSet<Epoch>) {
        self.0.members.store(Arc::new(members));
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
        self.0.members.load().len()
    }

    /// Whether none is known yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
