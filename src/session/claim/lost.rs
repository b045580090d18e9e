//! Releases that the store has not answered, kept to be said again.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use crate::{
    hub::Delivery,
    ids::{Epoch, MessageId, UserHash},
    store::{Release, Tag},
};

/// Releases kept: more connections than one instance holds, 200 bytes each. What does not fit is
/// found by the sweep.
const MOST: usize = 100_000;

/// Bytes of their unwritten messages; of a release beyond them only the entry is released.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A connection that lets go.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    /// The epoch it was claimed for.
    pub epoch: Epoch,
    /// Whose it was.
    pub user: UserHash,
    /// What it was claimed for.
    pub device: String,
    /// What the claim answered.
    pub tag: Tag,
    /// What it has not written, oldest first, each with the name by which it is kept: the same
    /// whenever this is said again.
    pub unwritten: Vec<(MessageId, Delivery)>,
}

impl Leaving {
    /// As it is said to the store, without messages that are longer than `max_stored`.
    pub fn release(&self, max_stored: usize) -> Release {
        let fitting = self.unwritten.iter().filter(|(_, one)| one.text.len() <= max_stored);
        Release {
            user: self.user,
            device: self.device.clone(),
            tag: self.tag.clone(),
            unwritten: fitting.map(|(mid, one)| (*mid, one.text.clone())).collect(),
        }
    }

    /// The same, with nothing that it has not written.
    pub fn without_messages(&self) -> Self {
        let (device, tag) = (self.device.clone(), self.tag.clone());
        Self { epoch: self.epoch, user: self.user, device, tag, unwritten: Vec::new() }
    }

    fn bytes(&self) -> usize {
        self.unwritten.iter().map(|(_, one)| one.text.len()).sum()
    }
}

/// Oldest first.
#[derive(Default)]
pub(super) struct Lost(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    all: VecDeque<Leaving>,
    bytes: usize,
}

impl Lost {
    /// Keeps one; how many of its messages had to be dropped.
    pub fn push(&self, mut leaving: Leaving) -> u64 {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = 0;
        if queue.all.len() >= MOST {
            return leaving.unwritten.len() as u64;
        }
        if queue.bytes + leaving.bytes() > MOST_BYTES {
            dropped = std::mem::take(&mut leaving.unwritten).len() as u64;
        }
        queue.bytes += leaving.bytes();
        queue.all.push_back(leaving);
        dropped
    }

    /// Takes up to `count`.
    pub fn take(&self, count: usize) -> Vec<Leaving> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count.min(queue.all.len());
        let taken: Vec<_> = queue.all.drain(..count).collect();
        queue.bytes -= taken.iter().map(Leaving::bytes).sum::<usize>();
        if queue.all.is_empty() {
            // A crowd may have left: its room is not kept.
            queue.all = VecDeque::new();
        }
        taken
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::UserHasher;

    /// Connection `number`, with messages of these lengths.
    pub fn leaving(number: u64, lengths: &[usize]) -> Leaving {
        let epoch = Epoch::random();
        let message = |length: &usize| {
            (MessageId::random(), Delivery::unnamed(Bytes::from(vec![b'x'; *length])))
        };
        Leaving {
            epoch,
            user: UserHasher::new(b"test").hash("Sid"),
            device: format!("~{number}"),
            tag: Tag::new(epoch, number, 1),
            unwritten: lengths.iter().map(message).collect(),
        }
    }

    #[test]
    fn releases_are_kept_in_their_order_and_messages_within_their_bound() {
        let lost = Lost::default();
        assert_eq!(lost.push(leaving(1, &[MOST_BYTES / 2, 1])), 0);
        assert_eq!(lost.push(leaving(2, &[MOST_BYTES / 2, 1])), 2, "one byte too many");
        assert_eq!(lost.push(leaving(3, &[1])), 0);
        let numbers =
            |all: Vec<Leaving>| all.iter().map(|one| one.device.clone()).collect::<Vec<_>>();
        assert_eq!(numbers(lost.take(2)), ["~1", "~2"]);
        assert_eq!(lost.push(leaving(4, &[MOST_BYTES - 1])), 0, "there is room again");
        assert_eq!(numbers(lost.take(9)), ["~3", "~4"]);
        assert!(lost.take(1).is_empty());
    }

    #[test]
    fn what_is_too_long_for_the_mailbox_is_not_said_to_it() {
        let leaving = leaving(1, &[3, 4, 5]);
        let release = leaving.release(4);
        let lengths: Vec<_> = release.unwritten.iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lengths, [3, 4]);
        assert_eq!(release.unwritten[1].0, leaving.unwritten[1].0, "by the same name each time");
    }
}
