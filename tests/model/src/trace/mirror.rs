//! The commands that scripts were seen to run, done literally to a copy of the store.

use super::names::{Key, Names};
use crate::{
    ids::{Epoch, User},
    redis::Redis,
};

/// An envelope that was published: to whom, and its kind.
pub type Told = (Epoch, char);

/// Does one command; answers what it published.
pub fn execute(redis: &mut Redis, names: &mut Names, command: &[String]) -> Vec<Told> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let Some((name, rest)) = words.split_first() else { return Vec::new() };
    let name = name.to_uppercase();
    if name == "PUBLISH" || name == "SPUBLISH" {
        return published(names, rest).into_iter().map(|(to, kind, _)| (to, kind)).collect();
    }
    let Some((key, rest)) = rest.split_first() else { return Vec::new() };
    let (key, partition) = names.key(key);
    match (name.as_str(), key, rest) {
        ("HSET", Key::Entries(user), [device, tag]) => {
            let tag = names.tag(device, tag);
            let device = names.device(device);
            if let Some(tag) = tag {
                redis.entries.set((user, device), tag);
            }
        }
        ("HDEL", Key::Entries(user), devices) => {
            for device in devices {
                redis.entries.take((user, names.device(device)));
            }
        }
        ("HSET", Key::Index(_, epoch), ["!", _]) => drop(redis.tombstones.add((epoch, partition))),
        ("HSET", Key::Index(_, epoch), [user, _]) => {
            redis.index.add((epoch, names.user(user)));
        }
        ("HDEL", Key::Index(_, epoch), users) => {
            for user in users {
                redis.index.remove((epoch, names.user(user)));
            }
        }
        ("HSET", Key::Seen(_), [epoch, _]) => drop(redis.seen.add((partition, names.epoch(epoch)))),
        ("HDEL", Key::Seen(_), [epoch]) => {
            redis.seen.remove((partition, names.epoch(epoch)));
        }
        ("HSETNX", Key::Members, [epoch, _]) => redis.join(names.epoch(epoch)),
        ("HINCRBY", Key::Members, [epoch, _]) => {
            *redis.members.or_default(names.epoch(epoch)) += 1;
        }
        ("HDEL", Key::Members, [epoch]) => drop(redis.members.take(names.epoch(epoch))),
        ("HSET", Key::Dead, [epoch, _]) => drop(redis.dead.add(names.epoch(epoch))),
        ("HDEL", Key::Dead, [epoch]) => {
            redis.dead.remove(names.epoch(epoch));
        }
        ("SET", Key::Marker(user), [seq, ..]) if !redis.markers.has(user) => {
            redis.markers.set(user, seq.parse().unwrap_or(0));
        }
        ("GETDEL" | "DEL", Key::Marker(user), _) => drop(redis.markers.take(user)),
        ("RPUSH", Key::Mailbox(user), [entry]) => push(redis, names, user, entry),
        ("LPOP", Key::Mailbox(user), _) => {
            let mailbox = redis.mailboxes.or_default(user);
            if !mailbox.entries.is_empty() {
                mailbox.entries.remove(0);
            }
        }
        _ => {}
    }
    Vec::new()
}

/// `seq prev mid acc payload`
fn push(redis: &mut Redis, names: &mut Names, user: User, entry: &str) {
    let mut parts = entry.split(' ');
    let seq = parts.next().and_then(|seq| seq.parse().ok()).unwrap_or(0);
    let mid = names.mid(parts.nth(1).unwrap_or_default());
    redis.mailboxes.or_default(user).entries.push((seq, mid));
}

/// The envelopes of a PUBLISH: to whom, the kind, the body.
pub fn published(names: &mut Names, words: &[&str]) -> Vec<(Epoch, char, String)> {
    let [channel, payload] = words else { return Vec::new() };
    let Some(to) = channel.rsplit_once(":i:").map(|(_, epoch)| names.epoch(epoch)) else {
        return Vec::new();
    };
    let mut rest = payload.get(1..).unwrap_or_default();
    let mut envelopes = Vec::new();
    while let Some((kind, length, behind)) = head(rest) {
        let Some(body) = behind.get(..length) else { break };
        envelopes.push((to, kind, body.to_owned()));
        rest = &behind[length..];
    }
    envelopes
}

fn head(text: &str) -> Option<(char, usize, &str)> {
    let kind = text.chars().next()?;
    let (length, behind) = text[kind.len_utf8()..].split_once(':')?;
    Some((kind, length.parse().ok()?, behind))
}
