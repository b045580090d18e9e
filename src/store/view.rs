//! The epochs that this instance believes alive.
//!
//! Membership writes it after each heartbeat; whoever reads ownership reads it beside this, so
//! that what a dead instance left counts for nothing even before it is reaped.

use std::{collections::HashSet, sync::Arc};

use arc_swap::ArcSwap;

use crate::ids::Epoch;

/// Who lives; cheap to clone.
#[derive(Clone, Default)]
pub struct View(Arc<ArcSwap<HashSet<Epoch>>>);

impl View {
    /// Whether `epoch` may be alive. Before the first heartbeat nobody is known to be dead.
    pub fn lives(&self, epoch: Epoch) -> bool {
        let members = self.0.load();
        members.is_empty() || members.contains(&epoch)
    }

    /// Takes the members of the last heartbeat.
    pub fn set(&self, members: HashSet<Epoch>) {
        self.0.store(Arc::new(members));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// Whether none is known yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
