//! Each script's arguments as the model's transition.

use super::Replay;
use crate::{
    ids::{Epoch, User},
    map::Set,
    redis::{Claim, Claimed, Fate, HoldRequest, Release},
    trace::{monitor::Step, names::Key},
};

type Outcome = Result<bool, String>;

impl Replay {
    /// Does what the model does; false for a script that it does not know.
    pub(super) fn transition(&mut self, step: &Step) -> Outcome {
        match step.name.as_str() {
            "connect" => self.connect(step),
            "assert" => self.assert(step),
            "disconnect" => self.disconnect(step),
            "hold" => self.hold(step),
            "reap" => self.reap(step),
            "prune" => self.prune(step),
            "member" => self.member(step),
            "sweep" | "kick" => Ok(true),
            _ => Ok(false),
        }
    }

    /// ARGV: user epoch number device since limit channel
    fn connect(&mut self, step: &Step) -> Outcome {
        let [user, epoch, number, device, since] = words(step)?;
        let claim = self.claim(user, epoch, number, device, since)?;
        self.model_inboxes(claim.user);
        if self.is_refused_otherwise(step, claim.user) {
            return Ok(true);
        }
        let now = self.since_written(step, device, since.is_empty())?;
        let rules = self.rules.clone().ok_or("no rules")?;
        let claimed = self.model.connect(&rules, &claim, now);
        self.judge(&claim, &claimed, wrote(step))?;
        self.delivered.retain(|(epoch, _)| *epoch != claim.epoch);
        Ok(true)
    }

    /// ARGV: epoch limit channel, then user number device since
    fn assert(&mut self, step: &Step) -> Outcome {
        let [epoch] = words(step)?;
        let rules = self.rules.clone().ok_or("no rules")?;
        for one in step.args.get(3..).unwrap_or_default().chunks_exact(4) {
            let [user, number, device, since] = [0, 1, 2, 3].map(|at| one[at].as_str());
            let claim = self.claim(user, epoch, number, device, since)?;
            self.model_inboxes(claim.user);
            if self.is_refused_otherwise(step, claim.user) {
                continue;
            }
            let now = self.since_written(step, device, since.is_empty())?;
            let claimed = self.model.assert(&rules, &claim, now);
            self.judge(&claim, &claimed, wrote(step))?;
        }
        Ok(true)
    }

    fn claim(
        &mut self,
        user: &str,
        epoch: &str,
        number: &str,
        device: &str,
        since: &str,
    ) -> Result<Claim, String> {
        let since = match since {
            "" => None,
            since => Some(since.parse().map_err(|_| "`since` is no number".to_owned())?),
        };
        Ok(Claim {
            user: self.names.user(user),
            epoch: self.names.epoch(epoch),
            number: self.names.number(device, number),
            device: self.names.device(device),
            since,
        })
    }

    /// Revocation and the limit are not modelled: a look at either that ends the claim refuses it.
    fn is_refused_otherwise(&mut self, step: &Step, user: User) -> bool {
        let of_user = |key: &str, names: &mut crate::trace::names::Names| matches!(names.key(key).0, Key::Entries(other) if other == user);
        let mut looked = false;
        for words in &step.inner {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words.as_slice() {
                ["HGET" | "HSET", key, ..] if of_user(key, &mut self.names) => looked = true,
                ["HLEN", key] if of_user(key, &mut self.names) => {
                    let wrote = |inner: &Vec<String>| {
                        inner[0] == "HSET"
                            && matches!(self.names.key(&inner[1]).0, Key::Entries(other) if other == user)
                    };
                    return !step.inner.iter().any(wrote);
                }
                _ => {}
            }
        }
        let is_fenced = step.inner.len() == 1;
        !looked && !is_fenced
    }

    /// The `since` of a tag that was written for a device; it grows, for Redis has one clock.
    fn since_written(&mut self, step: &Step, device: &str, is_new: bool) -> Result<u64, String> {
        let written = step.inner.iter().find(|words| words[0] == "HSET" && words[2] == device);
        let Some(tag) = written.and_then(|words| self.names.tag(device, words.get(3)?)) else {
            return Ok(0);
        };
        if is_new && tag.since <= self.last_since {
            return Err("a new connection is not younger than the one before it".to_owned());
        }
        if is_new {
            self.last_since = tag.since;
        }
        Ok(tag.since)
    }

    fn judge(&mut self, claim: &Claim, claimed: &Claimed, wrote: bool) -> Result<(), String> {
        match claimed {
            Claimed::Fenced => {
                self.refused.insert(claim.epoch);
                self.counts.add("late write refused");
                if wrote {
                    return Err("it wrote behind the tombstone of its epoch".to_owned());
                }
            }
            Claimed::Displaced => self.counts.add("displaced"),
            Claimed::Registered(_) => {}
        }
        let broken = &self.model.broken;
        if broken.late_write || broken.younger_displaced {
            return Err(format!("it breaks a promise: {broken:?}"));
        }
        Ok(())
    }

    /// ARGV: user device tag epoch channel window ttl entries bytes keeps, then mid and payload
    fn disconnect(&mut self, step: &Step) -> Outcome {
        let [user, device, tag, epoch] = words(step)?;
        let user = self.names.user(user);
        let tag = self.names.tag(device, tag).ok_or("no tag")?;
        let (device, epoch) = (self.names.device(device), self.names.epoch(epoch));
        if tag.epoch != epoch || !self.owned.contains(&(user, epoch)) {
            return Err("it releases what was not claimed under that epoch".to_owned());
        }
        if !self.claimed.contains(&tag) {
            return Err("it releases a connection with a tag that no claim answered".to_owned());
        }
        let pairs = step.args.get(10..).unwrap_or_default().chunks_exact(2);
        let unwritten = pairs.map(|pair| (self.names.mid(&pair[0]), true)).collect();
        self.model_inboxes(user);
        let rules = self.rules.clone().ok_or("no rules")?;
        let release = Release { user, device, tag, unwritten };
        self.model.disconnect(&rules, epoch, &release);
        if self.model.broken.wrong_release {
            return Err("it removed another connection".to_owned());
        }
        self.delivered.retain(|(other, _)| *other != epoch);
        Ok(true)
    }

    /// ARGV: user sender mid payload channel tried deaf window …
    fn hold(&mut self, step: &Step) -> Outcome {
        let [user, from, mid, _payload, _channel, tried, deaf, window] = words(step)?;
        let (user, from) = (self.names.user(user), self.names.epoch(from));
        let mid = self.names.mid(mid);
        let tried = self.epochs(tried);
        let deaf = self.epochs(deaf);
        let keep = window != "0";
        // Who hears is not in the recording: what was done about it is.
        let is_kept = step.inner.iter().any(|words| words[0] == "RPUSH" || words[0] == "LRANGE");
        self.model_inboxes(user);
        let owners = self.model.owners(user);
        let asked: Vec<Epoch> =
            owners.keys().filter(|owner| !tried.has(*owner) && !deaf.has(*owner)).collect();
        let request = HoldRequest { user, from, mid, is_named: true, tried, deaf, keep };
        if is_kept {
            asked.iter().for_each(|owner| drop(self.model.inboxes.take(*owner)));
        }
        let answer = self.model.hold(&request);
        let is_kept_here = answer.fate != Fate::NotKept;
        if is_kept_here != is_kept && !self.is_full(step) {
            let (did, does) = (is_kept, is_kept_here);
            return Err(format!("kept: {did}, in the model: {does}"));
        }
        // What nobody heard was said all the same.
        for owner in asked.into_iter().filter(|_| is_kept) {
            let letter = crate::envelope::Letter { user, mid, from, epochs: Set::default() };
            let said = vec![crate::envelope::Envelope::Deliver(letter)];
            self.model.inboxes.set(owner, said);
        }
        Ok(true)
    }

    /// The mailbox had no room: not modelled.
    fn is_full(&self, step: &Step) -> bool {
        !step.inner.iter().any(|words| words[0] == "RPUSH")
    }

    /// KEYS: index, epochs seen
    fn reap(&mut self, step: &Step) -> Outcome {
        let (key, partition) = self.names.key(step.keys.first().ok_or("no key")?);
        let Key::Index(_, epoch) = key else { return Err("it reaps no index".to_owned()) };
        let has_tombstone = self.model.tombstones.keys().any(|(other, _)| other == epoch);
        // A server that has lost the end of an epoch lists it again; who has seen it reaps it.
        let has_ended = has_tombstone || self.ended.contains(&epoch);
        if self.model.members.has(epoch) && !has_ended {
            return Err("it reaps a member".to_owned());
        }
        for user in self
            .model
            .index
            .keys()
            .filter(|(other, _)| *other == epoch)
            .map(|(_, u)| u)
            .collect::<Vec<_>>()
        {
            self.model_inboxes(user);
        }
        let rules = self.rules.clone().ok_or("no rules")?;
        self.model.reap(&rules, epoch, partition);
        self.model.seen.remove((partition, epoch));
        Ok(true)
    }

    /// KEYS: entries, then an index for each epoch; ARGV: user channel, then epochs, then tags
    fn prune(&mut self, step: &Step) -> Outcome {
        let [user, _channel] = words(step)?;
        let user = self.names.user(user);
        let count = step.keys.len().saturating_sub(1);
        let rest = step.args.get(2..).unwrap_or_default();
        let (epochs, tags) = rest.split_at_checked(count).ok_or("too few epochs")?;
        let epochs: Vec<Epoch> = epochs.iter().map(|name| self.names.epoch(name)).collect();
        let devices: Vec<_> = self.model.entries_of(user).map(|(device, _)| device).collect();
        let mut pruned = Vec::new();
        for device in devices {
            let device = self.names.device_name(device).to_owned();
            pruned.extend(tags.iter().filter_map(|tag| self.names.tag(&device, tag)));
        }
        self.model_inboxes(user);
        let rules = self.rules.clone().ok_or("no rules")?;
        self.model.prune(&rules, user, &epochs, &pruned);
        Ok(true)
    }

    /// ARGV: join | beat | list | leave | kill, epoch, …
    fn member(&mut self, step: &Step) -> Outcome {
        let [verb, epoch] = words(step)?;
        let epoch = self.names.epoch(epoch);
        let did = |name: &str| step.inner.iter().any(|words| words[0] == name);
        match verb {
            "join" if did("HSETNX") => {
                if self.refused.contains(&epoch) {
                    return Err("an epoch that was refused joins again".to_owned());
                }
                self.model.join(epoch);
            }
            "beat" => {
                let is_fenced = self.model.beat(epoch, true).is_none();
                if is_fenced == did("HINCRBY") {
                    return Err(format!("fenced in the model: {is_fenced}"));
                }
                if is_fenced {
                    self.refused.insert(epoch);
                    self.ended.insert(epoch);
                    self.counts.add("fenced");
                }
                let forgotten = |words: &&Vec<String>| words[0] == "HDEL";
                for words in step.inner.iter().filter(forgotten) {
                    let old = self.names.epoch(&words[2]);
                    self.model.dead.remove(old);
                }
            }
            "leave" => {
                self.ended.insert(epoch);
                self.model.leave(epoch);
            }
            "kill" => {
                let counter = step.args.get(2).and_then(|counter| counter.parse().ok());
                let counter = counter.ok_or("no counter")?;
                let rules = self.rules.clone().ok_or("no rules")?;
                let is_killed = self.model.kill(&rules, epoch, counter);
                if is_killed != did("HDEL") {
                    return Err(format!("killed in the model: {is_killed}"));
                }
                self.ended.extend(is_killed.then_some(epoch));
                self.counts.add(if is_killed { "killed" } else { "alive after all" });
            }
            _ => {}
        }
        Ok(true)
    }

    fn epochs(&mut self, list: &str) -> Set<Epoch> {
        list.split(',').filter(|name| !name.is_empty()).map(|name| self.names.epoch(name)).collect()
    }

    /// Whoever may be told has an inbox for this step.
    fn model_inboxes(&mut self, user: User) {
        for owner in self.model.owners(user).keys() {
            self.model.inboxes.or_default(owner);
        }
    }
}

fn wrote(step: &Step) -> bool {
    step.inner.iter().any(|words| words[0] == "HSET")
}

fn words<const N: usize>(step: &Step) -> Result<[&str; N], String> {
    let words: Vec<&str> = step.args.iter().take(N).map(String::as_str).collect();
    words.try_into().map_err(|_| "too few arguments".to_owned())
}
