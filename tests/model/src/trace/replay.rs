//! The replay itself: each recorded step as a transition, refused when the model would not do it.

mod scripts;
mod switch;

use std::collections::{HashMap, HashSet};

use self::switch::Ahead;
use super::{
    Snapshot,
    counts::Counts,
    local::LocalEvent,
    mirror::{self, Told},
    monitor::Step,
    names::{Key, Names},
    standing::Standing,
};
use crate::{
    envelope::Envelope,
    ids::{Epoch, Mid, User},
    redis::{Redis, Tag},
    rules::{Partitions, Rules},
};

/// A step that the model does not allow.
#[derive(Debug, thiserror::Error)]
#[error("step {number}, {event}\n  is not enabled: {why}\n  the model's state: {state}")]
pub struct Refused {
    /// Its place in the recording.
    pub number: usize,
    /// What it was.
    pub event: String,
    /// Why not.
    pub why: String,
    /// What the model holds of whom it is about.
    pub state: String,
}

/// The state of a replay.
#[derive(Default)]
pub struct Replay {
    rules: Option<Rules>,
    /// What the model says.
    model: Redis,
    /// What the commands did.
    mirror: Redis,
    names: Names,
    /// When a marker ends by itself, in microseconds.
    marker_ends: HashMap<User, u64>,
    /// Who has ever owned whom.
    owned: HashSet<(User, Epoch)>,
    /// To whom each message was published.
    sent: HashMap<Mid, HashSet<Epoch>>,
    /// What each inbox has been seen to deliver since its user's connections last changed.
    delivered: HashSet<(Epoch, Mid)>,
    /// Epochs that were refused, by a beat or by a tombstone.
    refused: HashSet<Epoch>,
    /// Epochs that have once been members no more: a server that has lost that may list them again.
    ended: HashSet<Epoch>,
    /// Every tag that was ever written.
    claimed: HashSet<Tag>,
    /// The server that will stand here next.
    ahead: Option<Ahead>,
    last_since: u64,
    number: usize,
    counts: Counts,
}

impl Replay {
    /// Replays all; what the daemons said comes behind what caused it.
    pub fn run(
        steps: &[Step],
        locals: &[LocalEvent],
        snapshot: &Snapshot,
    ) -> Result<Counts, Box<Refused>> {
        let mut replay = Self::default();
        replay.all(steps)?;
        for local in locals {
            replay.number += 1;
            replay.local(local).map_err(|why| replay.refused(format!("{local:?}"), why, None))?;
        }
        replay
            .at_the_end(snapshot)
            .map_err(|why| replay.refused("the end".to_owned(), why, None))?;
        Ok(replay.counts)
    }

    fn all(&mut self, steps: &[Step]) -> Result<(), Box<Refused>> {
        let mut is_next_unknown = true;
        for (at, step) in steps.iter().enumerate() {
            if std::mem::replace(&mut is_next_unknown, step.loss.is_some()) {
                self.look_ahead(&steps[at..]).map_err(|why| self.refused_step(step, why))?;
            }
            self.number += 1;
            self.step(step).map_err(|why| self.refused_step(step, why))?;
            if step.is_judged() {
                self.counts.step();
            }
            self.compare_ahead();
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some(loss) = step.loss {
            return self.switch(loss);
        }
        if step.is_script {
            return self.script(step);
        }
        match step.name.as_str() {
            "PUBLISH" | "SPUBLISH" => self.publish(step),
            "FLUSHALL" | "FLUSHDB" => {
                self.ended.extend(self.model.members.keys());
                self.model.flush();
                self.mirror.flush();
                self.marker_ends.clear();
                self.counts.add("flush");
                Ok(())
            }
            // Asking changes nothing.
            _ => Ok(()),
        }
    }

    /// A script: the model's transition, the commands it ran, and whether they agree.
    fn script(&mut self, step: &Step) -> Result<(), String> {
        self.learn_partitions(step);
        let users = self.users_of(step);
        self.end_markers(&users, step.at);
        self.model.inboxes.clear();
        let is_modelled = self.transition(step)?;
        let mut told: Vec<Told> = Vec::new();
        for command in &step.inner {
            told.extend(mirror::execute(&mut self.mirror, &mut self.names, command));
            self.note_inner(step, command);
        }
        self.counts.add(&step.name);
        if !is_modelled {
            let inboxes = std::mem::take(&mut self.model.inboxes);
            self.model = self.mirror.clone();
            self.model.inboxes = inboxes;
            return Ok(());
        }
        self.compare_told(told)?;
        users.into_iter().try_for_each(|user| self.compare(user))
    }

    /// What was published, in the model and in fact.
    fn compare_told(&mut self, mut told: Vec<Told>) -> Result<(), String> {
        let inboxes = std::mem::take(&mut self.model.inboxes);
        let mut expected: Vec<Told> = inboxes
            .iter()
            .flat_map(|(to, inbox)| inbox.iter().map(move |one| (to, kind(one))))
            .collect();
        told.retain(|(_, kind)| "ENROoD".contains(*kind));
        expected.sort_unstable();
        told.sort_unstable();
        let name = |told: &[Told]| {
            let all =
                told.iter().map(|(to, kind)| format!("{kind} to {}", self.names.epoch_name(*to)));
            all.collect::<Vec<_>>().join(", ")
        };
        if expected == told {
            return Ok(());
        }
        Err(format!("it told [{}], the model tells [{}]", name(&told), name(&expected)))
    }

    /// What stands of a user, in the model and in fact.
    fn compare(&self, user: User) -> Result<(), String> {
        let entries = |redis: &Redis| redis.entries_of(user).collect::<Vec<_>>();
        if entries(&self.model) != entries(&self.mirror) {
            return Err(format!("the entries differ: {}", self.state_of(user)));
        }
        let owners = |redis: &Redis| {
            let all = redis.index.keys().filter(|(_, indexed)| *indexed == user);
            all.map(|(epoch, _)| epoch).collect::<Vec<_>>()
        };
        if owners(&self.model) != owners(&self.mirror) {
            return Err(format!("the indexes differ: {}", self.state_of(user)));
        }
        if held(&self.model, user) != held(&self.mirror, user) {
            return Err(format!("what is held differs: {}", self.state_of(user)));
        }
        Ok(())
    }

    /// What the model holds in the end is what stands in Redis.
    fn at_the_end(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        let found = Standing::read(snapshot, 0, &mut self.names)?.redis;
        for (what, is_same) in [
            ("entries", self.model.entries == found.entries),
            ("indexes", self.model.index == found.index),
            ("tombstones", self.model.tombstones == found.tombstones),
            ("members", self.model.members == found.members),
        ] {
            if !is_same {
                return Err(format!("the {what} are not those that stand in Redis"));
            }
        }
        let compared = found.entries.len() + found.index.len() + found.members.len();
        (compared > 0).then_some(()).ok_or_else(|| "the snapshot is empty".to_owned())
    }

    /// Envelopes that instances publish themselves.
    fn publish(&mut self, step: &Step) -> Result<(), String> {
        let words: Vec<&str> = step.args.iter().map(String::as_str).collect();
        for (to, kind, body) in mirror::published(&mut self.names, &words) {
            self.counts.add(&format!("publish {kind}"));
            self.envelope(to, kind, &body)?;
        }
        Ok(())
    }

    /// E only to an epoch that has owned the user; N and R only for what was sent there.
    fn envelope(&mut self, to: Epoch, kind: char, body: &str) -> Result<(), String> {
        if !matches!(kind, 'E' | 'N' | 'R') {
            return Ok(());
        }
        let mut parts = body.splitn(5, ' ');
        let (Some(user), Some(mid), Some(from)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("an envelope without user, mid and sender".to_owned());
        };
        let (user, mid) = (self.names.user(user), self.names.mid(mid));
        let from = self.names.epoch(from);
        if kind == 'E' {
            if !self.owned.contains(&(user, to)) {
                return Err(format!("{} never owned the user", self.names.epoch_name(to)));
            }
            self.sent.entry(mid).or_default().insert(to);
        } else if !self.sent.get(&mid).is_some_and(|sent| sent.contains(&from)) {
            return Err(format!("{} was never sent this", self.names.epoch_name(from)));
        }
        Ok(())
    }

    fn local(&mut self, event: &LocalEvent) -> Result<(), String> {
        match event {
            LocalEvent::Deliver { epoch, user, mid, taken } => {
                let (epoch, user) = (self.names.epoch(epoch), self.names.user(user));
                let mid = self.names.mid(mid);
                if !self.sent.get(&mid).is_some_and(|sent| sent.contains(&epoch)) {
                    return Err("it was never published there".to_owned());
                }
                if *taken > 0 && !self.owned.contains(&(user, epoch)) {
                    return Err("that epoch never owned the user".to_owned());
                }
                if *taken > 0 && !self.delivered.insert((epoch, mid)) {
                    return Err("it was delivered there before".to_owned());
                }
                self.counts.add("deliver");
            }
            LocalEvent::HandOn { epoch, mid } => {
                self.delivered.remove(&(self.names.epoch(epoch), self.names.mid(mid)));
                self.counts.add("hand on");
            }
            LocalEvent::Fence { old, new } => {
                let (old, new) = (self.names.epoch(old), self.names.epoch(new));
                if !self.refused.contains(&old) {
                    return Err("no beat and no claim of that epoch was refused".to_owned());
                }
                if old == new {
                    return Err("it goes on under the same epoch".to_owned());
                }
                self.counts.add("fence");
            }
        }
        Ok(())
    }

    /// What the commands tell beside what they do.
    fn note_inner(&mut self, step: &Step, command: &[String]) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["HSET", key, device, tag] => {
                if let (Key::Entries(user), _) = self.names.key(key)
                    && let Some(tag) = self.names.tag(device, tag)
                {
                    self.owned.insert((user, tag.epoch));
                    self.claimed.insert(tag);
                }
            }
            ["SET", key, _, "NX", "EX", window] => {
                if let (Key::Marker(user), _) = self.names.key(key) {
                    let window = window.parse::<u64>().unwrap_or(0) * 1_000_000;
                    self.marker_ends.entry(user).or_insert(step.at + window);
                }
            }
            ["GETDEL", key] => {
                if let (Key::Marker(user), _) = self.names.key(key) {
                    self.marker_ends.remove(&user);
                }
            }
            ["PUBLISH" | "SPUBLISH", rest @ ..] => {
                for (to, kind, body) in mirror::published(&mut self.names, rest) {
                    if kind == 'E' {
                        let mid = body.split(' ').nth(1).unwrap_or_default();
                        let mid = self.names.mid(mid);
                        self.sent.entry(mid).or_default().insert(to);
                    }
                }
            }
            _ => {}
        }
    }

    /// A marker's time is up: nobody is told.
    fn end_markers(&mut self, users: &[User], now: u64) {
        for user in users {
            if self.marker_ends.get(user).is_some_and(|end| *end <= now) {
                self.marker_ends.remove(user);
                self.model.markers.take(*user);
                self.mirror.markers.take(*user);
            }
        }
    }

    fn users_of(&mut self, step: &Step) -> Vec<User> {
        let keys: Vec<&String> =
            step.keys.iter().chain(step.inner.iter().filter_map(|words| words.get(1))).collect();
        let mut users: Vec<User> = Vec::new();
        for key in keys {
            if let (Key::Entries(user) | Key::Mailbox(user) | Key::Marker(user), _) =
                self.names.key(key)
            {
                users.push(user);
            }
        }
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Which user lives where is learnt from the keys.
    fn learn_partitions(&mut self, step: &Step) {
        let rules = self.rules.get_or_insert_with(|| Rules::new(Partitions::Table(Vec::new())));
        let Partitions::Table(table) = &mut rules.partitions else { return };
        let inner = step.inner.iter().filter_map(|words| words.get(1));
        for key in step.keys.iter().chain(inner) {
            let (key, partition) = self.names.key(key);
            if let Key::Entries(user) | Key::Mailbox(user) | Key::Marker(user) = key {
                let at = user.0 as usize;
                if table.len() <= at {
                    table.resize(at + 1, partition);
                }
                table[at] = partition;
            }
        }
    }

    fn refused_step(&self, step: &Step, why: String) -> Box<Refused> {
        let inner: Vec<_> = step.inner.iter().map(|words| words.join(" ")).collect();
        let event = format!(
            "{} at {} with {} | {}, which did: {}",
            step.name,
            step.at,
            step.keys.join(" "),
            step.args.join(" "),
            inner.join("; ")
        );
        self.refused(event, why, None)
    }

    fn refused(&self, event: String, why: String, user: Option<User>) -> Box<Refused> {
        let state = user.map_or_else(
            || format!("members {:?}, dead {:?}", self.model.members, self.model.dead),
            |user| self.state_of(user),
        );
        Box::new(Refused { number: self.number, event, why, state })
    }

    fn state_of(&self, user: User) -> String {
        let state = |redis: &Redis| {
            let entries: Vec<_> = redis.entries_of(user).collect();
            let index: Vec<_> = redis.index.keys().filter(|(_, other)| *other == user).collect();
            format!("{entries:?}, index {index:?}, held {:?}", held(redis, user))
        };
        format!(
            "user {}: model {}; in fact {}",
            self.names.user_name(user),
            state(&self.model),
            state(&self.mirror)
        )
    }
}

/// What the next connect of a user would read; `None` without a marker.
fn held(redis: &Redis, user: User) -> Option<Vec<Mid>> {
    let marker = redis.markers.get(user)?;
    let mailbox = redis.mailboxes.get(user).map(|mailbox| mailbox.entries.iter());
    let unread = mailbox.into_iter().flatten().filter(|(seq, _)| seq > marker);
    Some(unread.map(|(_, mid)| *mid).collect())
}

fn kind(envelope: &Envelope) -> char {
    match envelope {
        Envelope::Deliver(_) => 'E',
        Envelope::NotMine(_) => 'N',
        Envelope::AlsoOwned(_) => 'R',
        Envelope::OwnerAdded(..) => 'O',
        Envelope::OwnerGone(..) => 'o',
        Envelope::Displaced(..) => 'D',
        Envelope::Confirm(..) => 'T',
        Envelope::Confirmed(..) => 't',
    }
}
