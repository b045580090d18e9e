//! Which messages the connections of a user have had, lately.
//!
//! A sender cannot always know who has had a message: an instance that was thought dead may have
//! delivered it, and what comes back over one way may go out again over another. The copies carry
//! the same id, so the receiving end drops those that come again. Nothing is kept for a user to
//! whom nothing came from elsewhere.

use std::collections::VecDeque;

use crate::ids::MessageId;

/// Ids remembered per user, 4 KiB: what a busy conversation says in the seconds for which a copy may be
/// under way, and what it says at once when instances wake up that have stood still for half a
/// minute.
const REMEMBERED: usize = 512;

/// The last ids, oldest first.
#[derive(Default)]
pub(super) struct Seen(VecDeque<u64>);

impl Seen {
    /// Whether the message has been here.
    pub(super) fn has(&self, mid: MessageId) -> bool {
        self.0.contains(&short(mid))
    }

    /// The message is here.
    pub(super) fn note(&mut self, mid: MessageId) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(short(mid));
    }

    /// The message has not been written after all, and is on its way to somebody else.
    pub(super) fn forget(&mut self, mid: MessageId) {
        let id = short(mid);
        self.0.retain(|one| *one != id);
    }
}

/// Half of an id: 48 of its 96 random bits, enough to tell the few of one user apart.
fn short(mid: MessageId) -> u64 {
    let text = mid.as_str().as_bytes();
    text.first_chunk().map_or(0, |half| u64::from_ne_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_remembered_until_they_are_forgotten() {
        let mut seen = Seen::default();
        let ids: Vec<_> = (0..=REMEMBERED).map(|_| MessageId::random()).collect();
        for mid in &ids {
            assert!(!seen.has(*mid));
            seen.note(*mid);
            assert!(seen.has(*mid));
        }
        assert!(!seen.has(ids[0]), "no more than the bound");
        seen.forget(ids[5]);
        assert!(!seen.has(ids[5]) && seen.has(ids[4]) && seen.has(ids[6]));
    }
}
