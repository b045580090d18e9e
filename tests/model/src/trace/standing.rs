//! What a server was seen to hold.

use std::collections::HashMap;

use super::{
    Snapshot, mirror,
    names::{Key, Names},
};
use crate::{ids::User, redis::Redis};

/// A marker that ends so close to a look (in microseconds) may be there or not.
const SLACK: u64 = 100_000;

/// Everything that the model knows of, as a snapshot says.
#[derive(Default)]
pub struct Standing {
    /// What stands.
    pub redis: Redis,
    /// When a marker ends by itself, in microseconds.
    pub marker_ends: HashMap<User, u64>,
    /// When it was looked at.
    at: u64,
}

impl Standing {
    /// Reads a snapshot that was taken at this time.
    pub fn read(snapshot: &Snapshot, at: u64, names: &mut Names) -> Result<Self, String> {
        let mut standing = Self { at, ..Self::default() };
        for line in snapshot {
            let mut words = line.splitn(3, ' ');
            let (Some(key), Some(field), Some(value)) = (words.next(), words.next(), words.next())
            else {
                return Err(format!("a line of the snapshot without a value: {line}"));
            };
            standing.note(key, field, value, names);
        }
        Ok(standing)
    }

    fn note(&mut self, key: &str, field: &str, value: &str, names: &mut Names) {
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        let (name, rest) = match names.key(key).0 {
            Key::Members => {
                self.redis.members.set(names.epoch(field), number(value));
                return;
            }
            Key::Marker(user) => {
                self.marker_ends.insert(user, self.at + 1000 * number(field));
                self.redis.markers.set(user, number(value));
                return;
            }
            Key::Mailbox(_) => ("RPUSH", vec![value]),
            _ => ("HSET", vec![field, value]),
        };
        let words = [name, key].into_iter().chain(rest).map(str::to_owned).collect::<Vec<_>>();
        mirror::execute(&mut self.redis, names, &words);
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.redis == Redis::default()
    }

    /// Whether this is what `redis` holds, whose markers end then; otherwise what is not.
    pub fn differs(&self, redis: &Redis, ends: &HashMap<User, u64>) -> Option<&'static str> {
        // What changes most is compared first.
        let all = [
            ("members", self.redis.members == redis.members),
            ("entries", self.redis.entries == redis.entries),
            ("indexes", self.redis.index == redis.index),
            ("tombstones", self.redis.tombstones == redis.tombstones),
            ("epochs seen", self.redis.seen == redis.seen),
            ("dead", self.redis.dead == redis.dead),
        ];
        if let Some((what, _)) = all.into_iter().find(|(_, is_same)| !is_same) {
            return Some(what);
        }
        let mailboxes = |redis: &Redis| {
            let all = redis.mailboxes.iter().filter(|(_, mailbox)| !mailbox.entries.is_empty());
            all.map(|(user, mailbox)| (user, mailbox.entries.clone())).collect::<Vec<_>>()
        };
        if mailboxes(&self.redis) != mailboxes(redis) {
            return Some("mailboxes");
        }
        (self.markers(&self.redis, ends) != self.markers(redis, ends)).then_some("markers")
    }

    /// The markers whose time was not up, by either's account.
    fn markers(&self, redis: &Redis, ends: &HashMap<User, u64>) -> Vec<(User, u64)> {
        let end = |user: User| ends.get(&user).or(self.marker_ends.get(&user));
        let lasts = |user: User| end(user).is_none_or(|end| *end > self.at + SLACK);
        redis.markers.iter().filter(|(user, _)| lasts(*user)).map(|(u, seq)| (u, *seq)).collect()
    }
}
