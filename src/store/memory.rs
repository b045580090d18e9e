//! The store of an instance that is alone: the same verbs over one mutex.
//!
//! The embedded default, and the plain reading of what the scripts do. It knows epochs, indexes
//! and tombstones like the real one, so that both pass the same suite. Two things differ, because
//! there is nobody else: no inbox is heard, so an owner that is not deaf is told by the router
//! that asks; and no setting of another instance can contradict this one's.

mod user;

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use self::user::{Entry, Marker, User};
use super::{
    Beat, Claim, Claimed, Dismissed, Fate, HoldAnswer, HoldPolicy, HoldRequest, Joined, Keep,
    Limit, Member, MemberRow, Reaped, Release, Released, Store, StoreError, Swept, Tag,
};
use crate::{
    clock,
    ids::{Epoch, MessageId, Origin, UserHash},
};

/// How long a killed epoch is named to the others, as in Redis.
const DEAD: Duration = Duration::from_secs(60);

/// How often what has expired is thrown away; Redis does that by itself.
const TIDY: Duration = Duration::from_secs(60);

/// State in this process's memory.
pub struct MemoryStore {
    policy: HoldPolicy,
    /// A std lock: held for a few map operations, never across an await.
    state: Mutex<State>,
}

struct State {
    members: HashMap<Epoch, u64>,
    infos: HashMap<Epoch, String>,
    origins: HashMap<Origin, Epoch>,
    dead: HashMap<Epoch, Instant>,
    /// Reaped epochs; one that comes back takes another, so there are few.
    tombs: HashSet<Epoch>,
    /// Whom each epoch has; an epoch that ever wrote stays until it is reaped.
    index: HashMap<Epoch, HashSet<UserHash>>,
    users: HashMap<UserHash, User>,
    /// Who is shut out, and until when.
    revoked: HashMap<UserHash, Instant>,
    tidy_at: Instant,
}

impl MemoryStore {
    /// Empty.
    pub fn new(policy: HoldPolicy) -> Self {
        Self { policy, state: Mutex::new(State::new()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tidy();
        state
    }

    fn mark(&self, user: &mut User) {
        let Some(window) = self.policy.window else { return };
        if user.live_marker().is_none() {
            let expires = Instant::now() + window;
            user.marker = Some(Marker { after: user.last_seq, expires });
        }
    }

    fn append(&self, user: &mut User, mid: MessageId, payload: &Bytes) -> Fate {
        user.expire();
        if user.mailbox.iter().any(|entry| entry.mid == mid) {
            return Fate::Duplicate;
        }
        self.mark(user);
        let after = user.live_marker().unwrap_or(0);
        user.drop_read(after);
        let unread = || user.mailbox.iter().filter(|entry| entry.seq > after);
        let bytes: usize = unread().map(|entry| entry.payload.len()).sum();
        let fits = unread().count() < self.policy.entries as usize
            && bytes + payload.len() <= self.policy.bytes as usize;
        if !fits {
            return Fate::Full;
        }
        let seq = clock::micros().max(user.last_seq + 1);
        user.last_seq = seq;
        let expires = Instant::now() + self.policy.ttl;
        user.mailbox.push_back(Entry { seq, mid, payload: payload.clone(), expires });
        if let Some(marker) = user.marker.as_mut().filter(|_| self.policy.keeps) {
            marker.expires = expires;
        }
        Fate::Kept(seq)
    }
}

impl State {
    fn new() -> Self {
        Self {
            members: HashMap::new(),
            infos: HashMap::new(),
            origins: HashMap::new(),
            dead: HashMap::new(),
            tombs: HashSet::new(),
            index: HashMap::new(),
            users: HashMap::new(),
            revoked: HashMap::new(),
            tidy_at: Instant::now() + TIDY,
        }
    }

    /// Looks at every user, so rarely: otherwise each who was ever here would stay for ever.
    fn tidy(&mut self) {
        let now = Instant::now();
        if now < self.tidy_at {
            return;
        }
        self.tidy_at = now + TIDY;
        self.users.retain(|_, user| user.is_worth_keeping());
        self.dead.retain(|_, since| now - *since < DEAD);
        self.revoked.retain(|_, until| *until > now);
    }

    /// Nobody listens to inboxes here: whoever asks closes what it has itself.
    fn dismiss(&self, user: UserHash) -> Dismissed {
        let owners = self.users.get(&user).map(User::owners).unwrap_or_default();
        Dismissed { owners, heard: Vec::new() }
    }

    fn claim(&mut self, epoch: Epoch, claim: &Claim, limit: Limit) -> Claimed {
        if self.tombs.contains(&epoch) {
            return Claimed::Fenced;
        }
        if self.revoked.get(&claim.user).is_some_and(|until| *until > Instant::now()) {
            return Claimed::Revoked;
        }
        let user = self.users.entry(claim.user).or_default();
        let old = user.connections.iter().position(|(device, _)| *device == claim.device);
        if let (Some(at), Some(since)) = (old, claim.since)
            && user.connections[at].1.since() > since
        {
            return Claimed::Displaced;
        }
        let mut displaced = Vec::new();
        if old.is_none() && user.connections.len() >= limit.most as usize {
            if claim.since.is_some() || !limit.displaces {
                let tags = user.connections.iter().map(|(_, tag)| tag.clone());
                return Claimed::Limit(tags.collect());
            }
            displaced = user.make_room(limit.most as usize);
        }
        let tag = Tag::new(epoch, claim.number, claim.since.unwrap_or_else(clock::micros));
        match old {
            Some(at) => user.connections[at].1 = tag.clone(),
            None => user.connections.push((claim.device.clone(), tag.clone())),
        }
        self.index.entry(epoch).or_default().insert(claim.user);
        let siblings = user.owners().into_iter().filter(|owner| *owner != epoch).collect();
        Claimed::Registered { tag, siblings, displaced, held: Vec::new(), more_held: false }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn join(&self, member: &Member) -> Result<Joined, StoreError> {
        let mut state = self.state();
        let holder = state.origins.get(&member.origin).copied();
        let taken = holder.is_some_and(|epoch| {
            let ours = epoch == member.epoch || Some(epoch) == member.before;
            !ours && state.members.contains_key(&epoch)
        });
        if taken {
            return Ok(Joined::OriginTaken);
        }
        state.origins.insert(member.origin, member.epoch);
        state.members.entry(member.epoch).or_insert(0);
        state.infos.insert(member.epoch, member.info.clone());
        Ok(Joined::Member)
    }

    async fn heartbeat(&self, epoch: Epoch) -> Result<Beat, StoreError> {
        let mut state = self.state();
        let Some(counter) = state.members.get_mut(&epoch) else { return Ok(Beat::Fenced) };
        *counter += 1;
        let counters = state.members.iter().map(|(epoch, counter)| (*epoch, *counter)).collect();
        let now = Instant::now();
        let dead = state.dead.iter().filter(|(_, since)| now - **since < DEAD);
        Ok(Beat::Alive { counters, dead: dead.map(|(epoch, _)| *epoch).collect() })
    }

    async fn members(&self) -> Result<Vec<Epoch>, StoreError> {
        Ok(self.state().members.keys().copied().collect())
    }

    async fn table(&self) -> Result<Vec<MemberRow>, StoreError> {
        let state = self.state();
        let row = |(epoch, counter): (&Epoch, &u64)| MemberRow {
            epoch: *epoch,
            counter: *counter,
            info: state.infos.get(epoch).cloned().unwrap_or_default(),
        };
        Ok(state.members.iter().map(row).collect())
    }

    async fn was_killed(&self, epoch: Epoch) -> Result<bool, StoreError> {
        Ok(self.state().dead.contains_key(&epoch))
    }

    async fn leave(&self, epoch: Epoch, origin: Origin) -> Result<(), StoreError> {
        let mut state = self.state();
        state.members.remove(&epoch);
        state.infos.remove(&epoch);
        if state.origins.get(&origin) == Some(&epoch) {
            state.origins.remove(&origin);
        }
        Ok(())
    }

    async fn kill(&self, epoch: Epoch, counter: u64) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.members.get(&epoch) != Some(&counter) {
            return Ok(false);
        }
        state.members.remove(&epoch);
        state.infos.remove(&epoch);
        state.origins.retain(|_, holder| *holder != epoch);
        state.dead.insert(epoch, Instant::now());
        Ok(true)
    }

    async fn connect(
        &self,
        epoch: Epoch,
        claim: &Claim,
        limit: Limit,
    ) -> Result<Claimed, StoreError> {
        let mut state = self.state();
        let mut claimed = state.claim(epoch, claim, limit);
        if let Claimed::Registered { held, .. } = &mut claimed {
            *held = state.users.get_mut(&claim.user).map(User::take_held).unwrap_or_default();
        }
        Ok(claimed)
    }

    async fn assert(
        &self,
        epoch: Epoch,
        _partition: u16,
        claims: &[Claim],
        limit: u32,
    ) -> Result<Vec<Claimed>, StoreError> {
        let mut state = self.state();
        let mut answers = Vec::with_capacity(claims.len());
        for claim in claims {
            let mut claimed = state.claim(epoch, claim, limit.into());
            if let Claimed::Registered { more_held, .. } = &mut claimed {
                *more_held =
                    state.users.get(&claim.user).is_some_and(|u| u.live_marker().is_some());
            }
            answers.push(claimed);
        }
        Ok(answers)
    }

    async fn disconnect(&self, epoch: Epoch, release: &Release) -> Result<Released, StoreError> {
        let mut state = self.state();
        let State { users, index, .. } = &mut *state;
        let user = users.entry(release.user).or_default();
        let before = user.connections.len();
        user.connections.retain(|(device, tag)| (device, tag) != (&release.device, &release.tag));
        let removed = user.connections.len() < before;
        if !user.owners().contains(&epoch)
            && let Some(listed) = index.get_mut(&epoch)
        {
            listed.remove(&release.user);
        }
        let left = user.connections.len() as u64;
        if left > 0 || self.policy.window.is_none() {
            return Ok(Released { removed, left, kept: 0 });
        }
        if removed {
            self.mark(user);
        }
        let fates = release.unwritten.iter().map(|(mid, payload)| self.append(user, *mid, payload));
        let kept = fates.filter(|fate| *fate != Fate::Full).count() as u64;
        Ok(Released { removed, left, kept })
    }

    async fn locate(&self, user: UserHash) -> Result<Vec<Tag>, StoreError> {
        let state = self.state();
        let connections = state.users.get(&user).map(|user| user.connections.iter());
        Ok(connections.into_iter().flatten().map(|(_, tag)| tag.clone()).collect())
    }

    async fn hold(&self, request: &HoldRequest) -> Result<HoldAnswer, StoreError> {
        let mut state = self.state();
        let user = state.users.entry(request.user).or_default();
        let owners = user.owners();
        // Nobody listens to inboxes here: an owner that is not deaf is told by its own router.
        let waiting = owners.iter().any(|owner| !request.deaf.contains(owner));
        let nobody = owners.is_empty() && user.live_marker().is_none();
        let nobody = nobody && request.keep != Keep::Always;
        let never = request.keep == Keep::No || self.policy.window.is_none();
        let fate = if waiting || nobody || never {
            Fate::NotKept
        } else {
            self.append(user, request.mid, &request.payload)
        };
        if user.connections.is_empty() && user.marker.is_none() && user.mailbox.is_empty() {
            state.users.remove(&request.user);
        }
        Ok(HoldAnswer { heard: 0, owners, fate })
    }

    async fn revoke(&self, user: UserHash, ttl: Duration) -> Result<Dismissed, StoreError> {
        let mut state = self.state();
        state.revoked.insert(user, Instant::now() + ttl);
        Ok(state.dismiss(user))
    }

    async fn lift(&self, user: UserHash) -> Result<(), StoreError> {
        self.state().revoked.remove(&user);
        Ok(())
    }

    async fn kick(&self, user: UserHash) -> Result<Dismissed, StoreError> {
        Ok(self.state().dismiss(user))
    }

    async fn prune(
        &self,
        user: UserHash,
        epochs: &[Epoch],
        tags: &[Tag],
    ) -> Result<u64, StoreError> {
        let mut state = self.state();
        let State { users, index, .. } = &mut *state;
        let Some(entry) = users.get_mut(&user) else { return Ok(0) };
        let before = entry.connections.len();
        entry.connections.retain(|(_, tag)| !tags.contains(tag));
        let owners = entry.owners();
        for epoch in epochs.iter().filter(|epoch| !owners.contains(epoch)) {
            if let Some(listed) = index.get_mut(epoch) {
                listed.remove(&user);
            }
        }
        Ok((before - entry.connections.len()) as u64)
    }

    async fn reap(&self, epoch: Epoch, _partition: u16, _: u64) -> Result<Reaped, StoreError> {
        let mut state = self.state();
        state.tombs.insert(epoch);
        let listed = state.index.remove(&epoch).unwrap_or_default();
        let mut removed = 0;
        for uh in listed {
            let user = state.users.entry(uh).or_default();
            let before = user.connections.len();
            user.connections.retain(|(_, tag)| tag.epoch() != Some(epoch));
            removed += (before - user.connections.len()) as u64;
            if user.connections.is_empty() {
                self.mark(user);
            }
        }
        Ok(Reaped { left: 0, removed, cursor: 0 })
    }

    async fn sweep(&self, epoch: Epoch, _partition: u16) -> Result<Swept, StoreError> {
        let state = self.state();
        if state.tombs.contains(&epoch) {
            return Ok(Swept::Fenced);
        }
        let users = state.index.get(&epoch).into_iter().flatten().copied().collect();
        Ok(Swept::Alive { heard: 1, users, epochs: state.index.keys().copied().collect() })
    }

    /// One mutex needs no partitions.
    fn partitions(&self) -> u16 {
        1
    }
}
