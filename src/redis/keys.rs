//! How keys and channels are spelled: prefix, hash tag, kind, name.
//!
//! Everything about one user stands in one slot, so that a script can touch all of it. The tag
//! of partition K is chosen so that K's slot lies in the K-th of equal stripes of the slot
//! range: with random tags some shards of a cluster would own twice as many partitions as
//! others. In a cluster an epoch has an inbox in each partition, for a script may publish only in
//! the slot of its keys; elsewhere it has one.

use std::{fmt::Write, sync::Arc};

use crc::{CRC_16_XMODEM, Crc};

use crate::ids::{Epoch, UserHash};

/// Hash slots of a Redis Cluster.
pub(super) const SLOTS: u16 = 16_384;

/// Redis's own checksum for keys.
const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The fleet's names in Redis; cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Arc<str>,
    tags: Arc<[String]>,
    in_cluster: bool,
}

impl Keys {
    /// `partitions` between 1 and [`SLOTS`].
    pub fn new(prefix: &str, partitions: u16, in_cluster: bool) -> Self {
        let tags = (0..partitions).map(|k| tag(k, partitions)).collect();
        Self { prefix: prefix.into(), tags, in_cluster }
    }

    /// Slots the users are spread over.
    pub fn partitions(&self) -> u16 {
        self.tags.len() as u16
    }

    /// A key of the members' table: `{m}:hb` and its like.
    pub fn member(&self, kind: &str) -> String {
        format!("{}:{{m}}:{kind}", self.prefix)
    }

    /// A key of one user: kinds `u`, `q`, `r`.
    pub fn user(&self, kind: char, user: UserHash) -> String {
        let mut key = self.partition_prefix(user.partition(self.partitions()));
        let _ = write!(key, "{kind}:{user}");
        key
    }

    /// The index of an epoch's users in a partition.
    pub fn index(&self, partition: u16, epoch: Epoch) -> String {
        format!("{}o:{epoch}", self.partition_prefix(partition))
    }

    /// The epochs that ever wrote in a partition.
    pub fn epochs(&self, partition: u16) -> String {
        format!("{}b", self.partition_prefix(partition))
    }

    /// What every key of a partition starts with.
    pub fn partition_prefix(&self, partition: u16) -> String {
        format!("{}:{{{}}}:", self.prefix, self.tags[usize::from(partition)])
    }

    /// Whether this could be a key of the fleet's.
    pub fn is_ours(&self, key: &str) -> bool {
        key.strip_prefix(&*self.prefix).is_some_and(|rest| rest.starts_with(':'))
    }

    /// Whether inboxes are sharded channels.
    pub fn are_sharded(&self) -> bool {
        self.in_cluster
    }

    /// How many inboxes an epoch has: one, or in a cluster one in each partition.
    pub fn inboxes(&self) -> u16 {
        if self.in_cluster { self.partitions() } else { 1 }
    }

    /// The inbox of an epoch for what concerns users of a partition.
    pub fn inbox(&self, partition: u16, epoch: Epoch) -> String {
        format!("{}{epoch}", self.inbox_prefix(partition))
    }

    /// What the name of every inbox for a partition starts with. Scripts tell by the hash tag in
    /// it that they are in a cluster.
    pub fn inbox_prefix(&self, partition: u16) -> String {
        if self.in_cluster {
            format!("{}i:", self.partition_prefix(partition))
        } else {
            format!("{}:i:", self.prefix)
        }
    }
}

/// The slot of a key or a sharded channel, by what stands between its first braces.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    CRC.checksum(hashed.as_bytes()) % SLOTS
}

/// The first of `wK`, `wK.0`, `wK.1`, … whose slot lies in stripe `k`.
fn tag(k: u16, partitions: u16) -> String {
    let plain = format!("w{k}");
    let suffixed = (0u32..).map(|n| format!("w{k}.{n}"));
    let mut candidates = std::iter::once(plain.clone()).chain(suffixed);
    candidates.find(|tag| stripe(tag, partitions) == u32::from(k)).unwrap_or(plain)
}

fn stripe(tag: &str, partitions: u16) -> u32 {
    let slot = u32::from(CRC.checksum(tag.as_bytes()) % SLOTS);
    slot * u32::from(partitions) / u32::from(SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserHasher;

    #[test]
    fn each_partition_has_its_stripe_of_the_slots() {
        for partitions in [1, 16, 256, 1024] {
            let keys = Keys::new("p", partitions, true);
            for k in 0..partitions {
                assert_eq!(stripe(&keys.tags[usize::from(k)], partitions), u32::from(k));
            }
        }
    }

    #[test]
    fn all_keys_of_a_user_share_one_tag_and_carry_the_prefix() {
        let keys = Keys::new("chat", 256, false);
        let user = UserHasher::new(b"s").hash("Sid");
        let head = keys.partition_prefix(user.partition(256));
        for kind in ['u', 'q', 'r'] {
            assert!(keys.user(kind, user).starts_with(&head));
        }
        assert!(head.starts_with("chat:{w"));
        assert_eq!((keys.inboxes(), keys.inbox_prefix(17)), (1, "chat:i:".to_owned()));
    }

    #[test]
    fn in_a_cluster_an_inbox_stands_beside_the_keys() {
        let (keys, me) = (Keys::new("chat", 256, true), Epoch::random());
        assert_eq!(keys.inboxes(), 256);
        let mut slots = std::collections::HashSet::new();
        for partition in 0..256 {
            let home = slot(&keys.epochs(partition));
            assert_eq!(slot(&keys.inbox(partition, me)), home);
            assert_eq!(slot(&keys.index(partition, me)), home);
            slots.insert(home);
        }
        assert_eq!(slots.len(), 256);
        let table = ["hb", "inf", "conf", "origin", "dead"].map(|kind| slot(&keys.member(kind)));
        assert!(table.iter().all(|slot| *slot == table[0]));
        // As `CLUSTER KEYSLOT` of Redis 7.0 answers.
        assert_eq!([slot("foo"), slot("a{foo}b"), slot("{}foo")], [12182, 12182, 9500]);
    }
}
