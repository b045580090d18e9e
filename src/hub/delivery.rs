//! One message on its way to the connections of a user here, and who else was given it.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{Epoch, MessageId};

/// One frame for one client.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Set when the message has crossed instances, where a second copy could meet the first.
    pub mid: Option<MessageId>,
    /// The frame's text.
    pub text: Bytes,
    /// Its place among what the connections of its user here were given together; 0: it was given
    /// to one alone.
    place: u64,
    /// The other epochs it was sent to; `None` where there are none, as nearly always.
    also: Option<Arc<[Epoch]>>,
    /// It was read from the mailbox, which knows it as read by its name.
    is_held: bool,
    /// Whoever was given it was noted to have had it; not whoever was leaving already.
    is_noted: bool,
}

impl Delivery {
    /// A message that never left this instance.
    pub fn unnamed(text: Bytes) -> Self {
        Self { mid: None, text, place: 0, also: None, is_held: false, is_noted: false }
    }

    /// A message of which there may be copies.
    pub fn named(mid: MessageId, text: Bytes) -> Self {
        Self { mid: Some(mid), ..Self::unnamed(text) }
    }

    /// A message out of the mailbox.
    pub fn held(mid: MessageId, text: Bytes) -> Self {
        Self { is_held: true, ..Self::named(mid, text) }
    }

    /// The same, which was sent to these epochs too.
    pub fn also_to(mut self, others: impl Iterator<Item = Epoch>) -> Self {
        self.add_also(others);
        self
    }

    pub(super) fn at(self, place: u64) -> Self {
        Self { place, is_noted: true, ..self }
    }

    pub(super) fn place(&self) -> u64 {
        self.place
    }

    pub(super) fn add_also(&mut self, others: impl Iterator<Item = Epoch>) {
        let known = self.also();
        let mut new = others.filter(|epoch| !known.contains(epoch)).peekable();
        if new.peek().is_some() {
            self.also = Some(known.iter().copied().chain(new).collect());
        }
    }

    /// The other epochs it was sent to.
    pub fn also(&self) -> &[Epoch] {
        self.also.as_deref().unwrap_or_default()
    }

    /// By what name it may be kept: by a new one if the mailbox would take the old one for a
    /// message that was read.
    pub fn name_to_keep(&self) -> MessageId {
        self.mid.filter(|_| !self.is_held).unwrap_or_else(MessageId::random)
    }

    /// The same by another name.
    pub fn renamed(self, mid: MessageId) -> Self {
        Self { mid: Some(mid), is_held: false, ..self }
    }

    /// By what name the user may be said not to have had it after all. Another connection may have had
    /// a copy of what this one was given as it left.
    pub(super) fn name_to_forget(&self) -> Option<MessageId> {
        self.mid.filter(|_| !self.is_held && self.is_noted)
    }
}
