//! The store in Redis: a typed wrapper around one script per verb.
//!
//! Verbs that stand between a user and a message go over the hot connection; membership, sweep
//! and reap go through the pool, where being slow delays nobody.

mod answer;

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use self::answer::{
    asserted, claimed, dismissed, entry, epochs, fate_of, list, rows, status, tags, text, value,
};
use super::{
    Beat, Claim, Claimed, Dismissed, HoldAnswer, HoldPolicy, HoldRequest, Joined, Keep, Limit,
    Member, MemberRow, Reaped, Release, Released, Store, StoreError, Swept, Tag,
};
use crate::{
    ids::{Epoch, Origin, UserHash},
    redis::{Redis, Script},
};

/// Users looked at by one call of `reap`: some 50 µs of Redis's time.
const REAP_STEP: &str = "64";

/// How long a tombstone keeps a reaped epoch from writing: longer than any machine that is
/// hibernated and comes back is still thought of as the same.
const TOMBSTONE_TTL_S: &str = "86400";

/// Removal must work when Redis is full, or it would never become less so.
macro_rules! script {
    ($($file:literal),+) => {
        Script::new(concat!($(include_str!($file)),+))
    };
    (allow_oom: $($file:literal),+) => {
        Script::new(concat!("#!lua flags=allow-oom\n", $(include_str!($file)),+))
    };
}

struct Scripts {
    connect: Script,
    assert: Script,
    disconnect: Script,
    hold: Script,
    revoke: Script,
    lift: Script,
    kick: Script,
    prune: Script,
    reap: Script,
    sweep: Script,
    member: Script,
}

impl Scripts {
    fn new() -> Self {
        Self {
            connect: script!("common.lua", "claim.lua", "connect.lua"),
            assert: script!("common.lua", "claim.lua", "assert.lua"),
            disconnect: script!(allow_oom: "common.lua", "mailbox.lua", "disconnect.lua"),
            hold: script!("common.lua", "mailbox.lua", "hold.lua"),
            revoke: script!(allow_oom: "common.lua", "dismiss.lua", "revoke.lua"),
            lift: Script::new("return redis.call('DEL', KEYS[1])"),
            kick: script!(allow_oom: "common.lua", "dismiss.lua", "kick.lua"),
            prune: script!(allow_oom: "common.lua", "prune.lua"),
            reap: script!(allow_oom: "common.lua", "mailbox.lua", "reap.lua"),
            sweep: script!(allow_oom: "common.lua", "sweep.lua"),
            member: script!(allow_oom: "member.lua"),
        }
    }
}

/// The policy as the scripts take it.
struct Bounds {
    window: String,
    ttl: String,
    entries: String,
    bytes: String,
    keeps: &'static str,
}

/// The store that a fleet shares.
pub struct SharedState {
    redis: Redis,
    scripts: Scripts,
    bounds: Bounds,
}

impl SharedState {
    /// Over an open [`Redis`].
    pub fn new(redis: Redis, policy: &HoldPolicy) -> Self {
        let bounds = Bounds {
            window: policy.window.map_or_else(|| "0".to_owned(), seconds),
            ttl: seconds(policy.ttl),
            entries: policy.entries.to_string(),
            bytes: policy.bytes.to_string(),
            keeps: flag(policy.keeps),
        };
        Self { redis, scripts: Scripts::new(), bounds }
    }

    /// What the inboxes in which a user is spoken of begin with.
    fn inbox_prefix(&self, user: UserHash) -> String {
        let at = self.redis.keys();
        at.inbox_prefix(user.partition(at.partitions()))
    }

    async fn member(&self, args: &[&[u8]]) -> Result<Vec<Value>, StoreError> {
        let keys = ["hb", "inf", "conf", "origin", "dead"].map(|k| self.redis.keys().member(k));
        list(self.redis.call_rarely(&self.scripts.member, &keys, args).await?)
    }

    /// The heartbeat goes over the hot connection: it is also what tells that one is dead.
    async fn beat(&self, args: &[&[u8]]) -> Result<Vec<Value>, StoreError> {
        let keys = ["hb", "inf", "conf", "origin", "dead"].map(|k| self.redis.keys().member(k));
        list(self.redis.call(&self.scripts.member, &keys, args).await?)
    }
}

#[async_trait]
impl Store for SharedState {
    async fn join(&self, member: &Member) -> Result<Joined, StoreError> {
        let before = member.before.map(|epoch| epoch.to_string()).unwrap_or_default();
        let partitions = self.partitions().to_string();
        let origin = member.origin.to_string();
        let schemas = [member.schemas.oldest, member.schemas.newest].map(|one| one.to_string());
        let conf = [("partitions", partitions.as_str()), ("secret", member.secret_check.as_str())];
        let [oldest, newest] = &schemas;
        let head = ["join", member.epoch.as_str(), &origin, &member.info, &before, oldest, newest];
        let pairs = conf.iter().flat_map(|(key, value)| [*key, *value]);
        let args: Vec<&[u8]> = head.into_iter().chain(pairs).map(str::as_bytes).collect();
        let answer = self.member(&args).await?;
        match status(&answer)?.as_str() {
            "OK" => Ok(Joined::Member),
            "TAKEN" => Ok(Joined::OriginTaken),
            "MISMATCH" => {
                Ok(Joined::Mismatch { key: text(answer.get(1))?, theirs: text(answer.get(2))? })
            }
            other => Err(StoreError::Answer(other.to_owned())),
        }
    }

    async fn heartbeat(&self, epoch: Epoch) -> Result<Beat, StoreError> {
        let answer = self.beat(&[b"beat", epoch.as_str().as_bytes()]).await?;
        if status(&answer)? == "FENCED" {
            return Ok(Beat::Fenced);
        }
        let flat: Vec<String> = value(answer.get(1))?;
        let counters = flat
            .chunks_exact(2)
            .filter_map(|pair| Some((Epoch::parse(pair[0].as_bytes())?, pair[1].parse().ok()?)));
        Ok(Beat::Alive { counters: counters.collect(), dead: epochs(value(answer.get(2))?) })
    }

    async fn members(&self) -> Result<Vec<Epoch>, StoreError> {
        let answer = self.member(&[b"list", b""]).await?;
        Ok(epochs(value(answer.get(1))?))
    }

    async fn table(&self) -> Result<Vec<MemberRow>, StoreError> {
        let answer = self.member(&[b"table", b""]).await?;
        rows(value(answer.get(1))?, value(answer.get(2))?)
    }

    async fn was_killed(&self, epoch: Epoch) -> Result<bool, StoreError> {
        let answer = self.member(&[b"killed", epoch.as_str().as_bytes()]).await?;
        Ok(value::<u64>(answer.get(1))? == 1)
    }

    async fn leave(&self, epoch: Epoch, origin: Origin) -> Result<(), StoreError> {
        let origin = origin.to_string();
        self.member(&[b"leave", epoch.as_str().as_bytes(), origin.as_bytes()]).await?;
        Ok(())
    }

    async fn kill(&self, epoch: Epoch, counter: u64) -> Result<bool, StoreError> {
        let counter = counter.to_string();
        let args: [&[u8]; 3] = [b"kill", epoch.as_str().as_bytes(), counter.as_bytes()];
        Ok(status(&self.member(&args).await?)? == "OK")
    }

    async fn connect(
        &self,
        epoch: Epoch,
        claim: &Claim,
        limit: Limit,
    ) -> Result<Claimed, StoreError> {
        let at = self.redis.keys();
        let partition = claim.user.partition(at.partitions());
        let keys = [
            at.user('u', claim.user),
            at.user('q', claim.user),
            at.user('r', claim.user),
            at.index(partition, epoch),
            at.epochs(partition),
            at.user('x', claim.user),
        ];
        let (number, since) = (claim.number.to_string(), since(claim));
        let (most, channel) = (limit.most.to_string(), at.inbox_prefix(partition));
        let args = [
            claim.user.as_str(),
            epoch.as_str(),
            &number,
            &claim.device,
            &since,
            &most,
            &channel,
            flag(limit.displaces),
            &self.bounds.ttl,
        ];
        let answer =
            self.redis.call(&self.scripts.connect, &keys, &args.map(str::as_bytes)).await?;
        let answer = list(answer)?;
        let mut claimed = claimed(&answer)?;
        if let Claimed::Registered { held, displaced, .. } = &mut claimed {
            *displaced = tags(&text(answer.get(3))?);
            *held = answer.into_iter().skip(4).filter_map(entry).collect();
        }
        Ok(claimed)
    }

    async fn assert(
        &self,
        epoch: Epoch,
        partition: u16,
        claims: &[Claim],
        limit: u32,
    ) -> Result<Vec<Claimed>, StoreError> {
        let at = self.redis.keys();
        let mut keys = vec![at.index(partition, epoch), at.epochs(partition)];
        let mut args = vec![epoch.to_string(), limit.to_string(), at.inbox_prefix(partition)];
        for claim in claims {
            keys.extend(['u', 'r', 'x'].map(|kind| at.user(kind, claim.user)));
            let user = claim.user.to_string();
            args.extend([user, claim.number.to_string(), claim.device.clone(), since(claim)]);
        }
        let args: Vec<&[u8]> = args.iter().map(String::as_bytes).collect();
        let answer = list(self.redis.call(&self.scripts.assert, &keys, &args).await?)?;
        if status(&answer)? == "FENCED" {
            return Ok(vec![Claimed::Fenced; claims.len()]);
        }
        answer.into_iter().skip(1).map(asserted).collect()
    }

    async fn disconnect(&self, epoch: Epoch, release: &Release) -> Result<Released, StoreError> {
        let at = self.redis.keys();
        let partition = release.user.partition(at.partitions());
        let keys = [
            at.user('u', release.user),
            at.user('q', release.user),
            at.user('r', release.user),
            at.index(partition, epoch),
        ];
        let (channel, bounds) = (at.inbox_prefix(partition), &self.bounds);
        let head = [
            release.user.as_str(),
            &release.device,
            release.tag.as_str(),
            epoch.as_str(),
            &channel,
            &bounds.window,
            &bounds.ttl,
            &bounds.entries,
            &bounds.bytes,
            bounds.keeps,
        ];
        let mut args: Vec<&[u8]> = head.map(str::as_bytes).to_vec();
        for (mid, payload) in &release.unwritten {
            args.extend([mid.as_str().as_bytes(), payload]);
        }
        let answer = self.redis.call(&self.scripts.disconnect, &keys, &args).await?;
        let (removed, left, kept): (u64, u64, u64) = value(Some(&answer))?;
        Ok(Released { removed: removed == 1, left, kept })
    }

    async fn locate(&self, user: UserHash) -> Result<Vec<Tag>, StoreError> {
        let key = self.redis.keys().user('u', user);
        let tags: Vec<String> = value(Some(&self.redis.values(&key).await?))?;
        Ok(tags.iter().filter_map(|tag| Tag::parse(tag)).collect())
    }

    async fn hold(&self, request: &HoldRequest) -> Result<HoldAnswer, StoreError> {
        let at = self.redis.keys();
        let keys = ['u', 'q', 'r'].map(|kind| at.user(kind, request.user));
        let (channel, bounds) = (self.inbox_prefix(request.user), &self.bounds);
        let (tried, deaf) = (joined(&request.tried), joined(&request.deaf));
        let window = if request.keep == Keep::No { "0" } else { bounds.window.as_str() };
        let args: [&[u8]; 13] = [
            request.user.as_str().as_bytes(),
            request.from.as_str().as_bytes(),
            request.mid.as_str().as_bytes(),
            &request.payload,
            channel.as_bytes(),
            tried.as_bytes(),
            deaf.as_bytes(),
            window.as_bytes(),
            bounds.ttl.as_bytes(),
            bounds.entries.as_bytes(),
            bounds.bytes.as_bytes(),
            bounds.keeps.as_bytes(),
            flag(request.keep == Keep::Always).as_bytes(),
        ];
        let answer = self.redis.call(&self.scripts.hold, &keys, &args).await?;
        let (heard, owners, fate): (u64, String, String) = value(Some(&answer))?;
        let owners = owners.split(',').filter_map(|e| Epoch::parse(e.as_bytes())).collect();
        Ok(HoldAnswer { heard, owners, fate: fate_of(&fate)? })
    }

    async fn revoke(&self, user: UserHash, ttl: Duration) -> Result<Dismissed, StoreError> {
        let keys = ['u', 'x'].map(|kind| self.redis.keys().user(kind, user));
        let (channel, ttl) = (self.inbox_prefix(user), seconds(ttl));
        let args = [user.as_str(), &channel, &ttl].map(str::as_bytes);
        dismissed(&self.redis.call(&self.scripts.revoke, &keys, &args).await?)
    }

    async fn lift(&self, user: UserHash) -> Result<(), StoreError> {
        let keys = [self.redis.keys().user('x', user)];
        self.redis.call(&self.scripts.lift, &keys, &[]).await?;
        Ok(())
    }

    async fn kick(&self, user: UserHash) -> Result<Dismissed, StoreError> {
        let keys = [self.redis.keys().user('u', user)];
        let channel = self.inbox_prefix(user);
        let args = [user.as_str(), &channel].map(str::as_bytes);
        dismissed(&self.redis.call(&self.scripts.kick, &keys, &args).await?)
    }

    async fn prune(
        &self,
        user: UserHash,
        epochs: &[Epoch],
        tags: &[Tag],
    ) -> Result<u64, StoreError> {
        let at = self.redis.keys();
        let partition = user.partition(at.partitions());
        let indexes = epochs.iter().map(|epoch| at.index(partition, *epoch));
        let keys: Vec<_> = [at.user('u', user)].into_iter().chain(indexes).collect();
        let channel = self.inbox_prefix(user);
        let named = epochs.iter().map(Epoch::as_str).chain(tags.iter().map(Tag::as_str));
        let args: Vec<&[u8]> =
            [user.as_str(), &channel].into_iter().chain(named).map(str::as_bytes).collect();
        value(Some(&self.redis.call(&self.scripts.prune, &keys, &args).await?))
    }

    async fn reap(&self, epoch: Epoch, partition: u16, cursor: u64) -> Result<Reaped, StoreError> {
        let at = self.redis.keys();
        let keys = [at.index(partition, epoch), at.epochs(partition)];
        let (cursor, prefix) = (cursor.to_string(), at.partition_prefix(partition));
        let channel = at.inbox_prefix(partition);
        let args = [
            epoch.as_str(),
            &cursor,
            REAP_STEP,
            &prefix,
            TOMBSTONE_TTL_S,
            &self.bounds.window,
            &channel,
        ];
        let answer =
            self.redis.call_rarely(&self.scripts.reap, &keys, &args.map(str::as_bytes)).await?;
        let (left, removed, cursor): (u64, u64, u64) = value(Some(&answer))?;
        Ok(Reaped { left, removed, cursor })
    }

    async fn sweep(&self, epoch: Epoch, partition: u16) -> Result<Swept, StoreError> {
        let at = self.redis.keys();
        let keys = [at.index(partition, epoch), at.epochs(partition)];
        let channel = at.inbox_prefix(partition);
        let args = [epoch.as_str(), channel.as_str(), "sweep"].map(str::as_bytes);
        let answer = list(self.redis.call_rarely(&self.scripts.sweep, &keys, &args).await?)?;
        if status(&answer)? == "FENCED" {
            return Ok(Swept::Fenced);
        }
        let users: Vec<String> = value(answer.get(2))?;
        Ok(Swept::Alive {
            heard: value(answer.get(1))?,
            users: users.iter().filter_map(|uh| UserHash::parse(uh.as_bytes())).collect(),
            epochs: epochs(value(answer.get(3))?),
        })
    }

    fn partitions(&self) -> u16 {
        self.redis.keys().partitions()
    }
}

/// At least one: Redis knows no shorter life.
pub(super) fn seconds(span: Duration) -> String {
    span.as_secs().max(1).to_string()
}

fn since(claim: &Claim) -> String {
    claim.since.map(|since| since.to_string()).unwrap_or_default()
}

fn flag(holds: bool) -> &'static str {
    if holds { "1" } else { "0" }
}

fn joined(epochs: &[Epoch]) -> String {
    epochs.iter().map(Epoch::as_str).collect::<Vec<_>>().join(",")
}
