//! What the store in memory knows of one user: connections, mailbox, and where replay starts.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    ids::{Epoch, MessageId},
    store::{Held, Tag},
};

#[derive(Default)]
pub(super) struct User {
    pub(super) connections: Vec<(String, Tag)>,
    pub(super) mailbox: VecDeque<Entry>,
    pub(super) last_seq: u64,
    pub(super) marker: Option<Marker>,
}

pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) mid: MessageId,
    pub(super) payload: Bytes,
    pub(super) expires: Instant,
}

pub(super) struct Marker {
    pub(super) after: u64,
    pub(super) expires: Instant,
}

impl User {
    pub(super) fn owners(&self) -> Vec<Epoch> {
        let mut owners: Vec<_> =
            self.connections.iter().filter_map(|(_, tag)| tag.epoch()).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Removes the oldest until there is room for one more.
    pub(super) fn make_room(&mut self, most: usize) -> Vec<Tag> {
        self.connections
            .sort_by(|(a, one), (b, other)| one.since().cmp(&other.since()).then_with(|| a.cmp(b)));
        let too_many = (self.connections.len() + 1).saturating_sub(most);
        let oldest = self.connections.drain(..too_many.min(self.connections.len()));
        oldest.map(|(_, tag)| tag).collect()
    }

    pub(super) fn live_marker(&self) -> Option<u64> {
        self.marker.as_ref().filter(|m| m.expires > Instant::now()).map(|m| m.after)
    }

    /// Drops what everyone has read, except the last entry, by which a late retry is known.
    pub(super) fn drop_read(&mut self, after: u64) {
        while self.mailbox.len() > 1 && self.mailbox.front().is_some_and(|one| one.seq <= after) {
            self.mailbox.pop_front();
        }
    }

    pub(super) fn take_held(&mut self) -> Vec<Held> {
        self.expire();
        let after = self.live_marker();
        self.marker = None;
        let Some(after) = after else { return Vec::new() };
        let entries = self.mailbox.iter().filter(|entry| entry.seq > after);
        let held = |one: &Entry| Held { seq: one.seq, mid: one.mid, payload: one.payload.clone() };
        entries.map(held).collect()
    }

    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        self.mailbox.retain(|entry| entry.expires > now);
    }

    pub(super) fn is_worth_keeping(&mut self) -> bool {
        self.expire();
        if self.live_marker().is_none() {
            self.marker = None;
        }
        !self.connections.is_empty() || self.marker.is_some() || !self.mailbox.is_empty()
    }
}
