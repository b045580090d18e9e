//! One user as the plain model sees it.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use wsfleetd::{
    ids::{Epoch, MessageId},
    store::{Claim, Claimed, Tag},
};

use super::{LIMIT, bounds, sorted};

/// One user as the model sees it: no clock and no keys.
#[derive(Default)]
pub(super) struct User {
    pub(super) connections: BTreeMap<String, Tag>,
    /// Numbered 1, 2, 3, whatever places the store gives.
    pub(super) mailbox: Vec<(u64, MessageId, Bytes)>,
    pub(super) last: u64,
    pub(super) marker: Option<u64>,
    /// The highest place the store has answered.
    pub(super) place: u64,
    /// The epochs whose index lists the user.
    pub(super) listed: HashSet<Epoch>,
    pub(super) is_revoked: bool,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kept {
    No,
    Yes,
    Duplicate,
    Full,
}

impl User {
    /// What a claim is answered when it is not accepted.
    pub(super) fn refuses(
        &self,
        claim: &Claim,
        is_fenced: bool,
        displaces: bool,
    ) -> Option<Claimed> {
        if is_fenced {
            return Some(Claimed::Fenced);
        }
        if self.is_revoked {
            return Some(Claimed::Revoked);
        }
        match (self.connections.get(&claim.device), claim.since) {
            (Some(tag), Some(since)) if tag.since() > since => Some(Claimed::Displaced),
            (None, _) if self.connections.len() >= LIMIT && !displaces => {
                let tags = self.connections.values().cloned().collect();
                Some(sorted(Claimed::Limit(tags)))
            }
            _ => None,
        }
    }

    /// The oldest go until a new device fits.
    pub(super) fn make_room(&mut self, claim: &Claim) -> Vec<Tag> {
        let mut gone = Vec::new();
        while !self.connections.contains_key(&claim.device) && self.connections.len() >= LIMIT {
            let oldest = self.connections.iter().min_by_key(|(_, tag)| tag.since());
            let device = oldest.expect("a connection").0.clone();
            gone.extend(self.connections.remove(&device));
        }
        gone
    }

    pub(super) fn owners(&self) -> Vec<Epoch> {
        let mut owners: Vec<_> = self.connections.values().filter_map(Tag::epoch).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    pub(super) fn mark(&mut self) {
        self.marker.get_or_insert(self.last);
    }

    pub(super) fn read(&mut self) -> Vec<Bytes> {
        let Some(after) = self.marker.take() else { return Vec::new() };
        let unread = self.mailbox.iter().filter(|(number, ..)| *number > after);
        unread.map(|(.., payload)| payload.clone()).collect()
    }

    pub(super) fn append(&mut self, mid: MessageId, payload: Bytes) -> Kept {
        if self.mailbox.iter().any(|(_, other, _)| *other == mid) {
            return Kept::Duplicate;
        }
        self.mark();
        let after = self.marker.unwrap_or_default();
        while self.mailbox.len() > 1 && self.mailbox[0].0 <= after {
            self.mailbox.remove(0);
        }
        let unread = || self.mailbox.iter().filter(|(number, ..)| *number > after);
        let bytes: usize = unread().map(|(.., payload)| payload.len()).sum();
        let bounds = bounds();
        if unread().count() >= bounds.entries as usize
            || bytes + payload.len() > bounds.bytes as usize
        {
            return Kept::Full;
        }
        self.last += 1;
        self.mailbox.push((self.last, mid, payload));
        Kept::Yes
    }
}
