//! Random stories of three instances, told to each store and to a plain model: all agree.
//!
//! A failure prints the seed; `WSFLEETD_SEED=<seed>` tells the same story again.

mod user;

use std::collections::HashSet;

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use wsfleetd::{
    ids::{Epoch, MessageId, UserHash},
    store::{Claim, Claimed, Fate, HoldPolicy, HoldRequest, Keep, Limit, Release, Swept, Tag},
};

use self::user::{Kept, User};
use super::{Desk, PATIENCE, policy};

const STEPS: usize = 1500;
const USERS: usize = 4;
const DEVICES: u32 = 4;
/// One less than there are devices, so that it is met.
const LIMIT: usize = 3;

#[tokio::test]
async fn the_store_in_memory_agrees_with_the_model() {
    for seed in seeds() {
        tell(Desk::memory(bounds()), seed).await;
    }
}

#[tokio::test]
async fn the_store_in_redis_agrees_with_the_model() {
    for seed in seeds() {
        tell(Desk::redis(bounds()).await, seed).await;
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("WSFLEETD_SEED") {
        Ok(seed) => vec![seed.parse().expect("WSFLEETD_SEED is a number")],
        Err(_) => vec![1, 2, rand::rng().random()],
    }
}

fn bounds() -> HoldPolicy {
    HoldPolicy { entries: 3, bytes: 40, ..policy() }
}

/// A connection some instance believes, or believed, to have.
#[derive(Clone)]
struct Known {
    user: usize,
    claim: Claim,
    tag: Tag,
    epoch: Epoch,
}

struct Story {
    desk: Desk,
    seed: u64,
    random: StdRng,
    names: Vec<UserHash>,
    users: Vec<User>,
    epochs: Vec<Epoch>,
    fenced: HashSet<Epoch>,
    known: Vec<Known>,
    mids: Vec<MessageId>,
    number: u64,
    checked: usize,
}

async fn tell(desk: Desk, seed: u64) {
    let names = (0..USERS).map(|n| desk.user(&format!("user{n}"))).collect();
    let mut story = Story {
        desk,
        seed,
        random: StdRng::seed_from_u64(seed),
        names,
        users: (0..USERS).map(|_| User::default()).collect(),
        epochs: Vec::new(),
        fenced: HashSet::new(),
        known: Vec::new(),
        mids: Vec::new(),
        number: 0,
        checked: 0,
    };
    for _ in 0..3 {
        story.start_instance().await;
    }
    for _ in 0..STEPS {
        story.step().await;
    }
    println!("seed {seed}: checked {} answers in {STEPS} steps", story.checked);
    assert!(story.checked > STEPS, "a story that checks nothing proves nothing");
}

impl Story {
    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.connect().await,
            30..55 => self.disconnect().await,
            55..65 => self.assert().await,
            65..92 => self.hold().await,
            92..94 => self.sweep().await,
            94..97 => self.dismiss().await,
            97 => self.prune().await,
            _ => self.reap().await,
        }
        for user in 0..USERS {
            let located: HashSet<Tag> =
                self.desk.store.locate(self.names[user]).await.unwrap().into_iter().collect();
            let expected = self.users[user].connections.values().cloned().collect();
            self.check("locate", located, expected);
        }
    }

    async fn start_instance(&mut self) {
        let epoch = Epoch::random();
        self.desk.listen(epoch).await;
        self.epochs.push(epoch);
    }

    async fn connect(&mut self) {
        let (user, epoch) = (self.random.random_range(0..USERS), self.an_epoch());
        self.number += 1;
        let device = format!("d{}", self.random.random_range(0..DEVICES));
        let claim = Claim { user: self.names[user], number: self.number, device, since: None };
        let limit = Limit { most: LIMIT as u32, displaces: self.random.random_bool(0.5) };
        let answer = self.desk.store.connect(epoch, &claim, limit).await.unwrap();
        let is_fenced = self.fenced.contains(&epoch);
        let expected = self.users[user].refuses(&claim, is_fenced, limit.displaces);
        let Claimed::Registered { tag, siblings, displaced, held, .. } = answer else {
            return self.check("connect", Some(sorted(answer)), expected);
        };
        self.check("connect", None, expected);
        let expected = self.users[user].make_room(&claim);
        self.check("displaced", displaced, expected);
        let in_order = held.is_sorted_by(|one, next| one.seq < next.seq);
        self.check("order", in_order, true);
        let read: Vec<_> = held.into_iter().map(|held| held.payload).collect();
        let unread = self.users[user].read();
        self.check("held", read, unread);
        self.note(user, claim, epoch, tag, siblings);
    }

    async fn assert(&mut self) {
        let Some(known) = self.known.choose(&mut self.random).cloned() else { return };
        let epoch = self.an_epoch();
        let claim = Claim { since: Some(known.tag.since()), ..known.claim };
        let partition = claim.user.partition(self.desk.store.partitions());
        let batch = std::slice::from_ref(&claim);
        let answers = self.desk.store.assert(epoch, partition, batch, LIMIT as u32).await;
        let answer = answers.unwrap().remove(0);
        let expected = self.users[known.user].refuses(&claim, self.fenced.contains(&epoch), false);
        let Claimed::Registered { tag, siblings, more_held, .. } = answer else {
            return self.check("assert", Some(sorted(answer)), expected);
        };
        self.check("assert", None, expected);
        let expected = self.users[known.user].marker.is_some();
        self.check("more held", more_held, expected);
        self.check("tag", tag.clone(), Tag::new(epoch, claim.number, known.tag.since()));
        self.note(known.user, claim, epoch, tag, siblings);
    }

    /// Of any connection there ever was, most of them long gone.
    async fn disconnect(&mut self) {
        let latest = self.known.len().saturating_sub(12);
        let Some(known) = self.known[latest..].choose(&mut self.random).cloned() else { return };
        let unwritten: Vec<_> =
            (0..self.random.random_range(0..3)).map(|_| self.message()).collect();
        let release = Release {
            user: known.claim.user,
            device: known.claim.device.clone(),
            tag: known.tag.clone(),
            unwritten: unwritten.clone(),
        };
        let answer = self.desk.store.disconnect(known.epoch, &release).await.unwrap();
        let user = &mut self.users[known.user];
        let removed = user.connections.get(&known.claim.device) == Some(&known.tag);
        if removed {
            user.connections.remove(&known.claim.device);
        }
        let left = user.connections.len() as u64;
        let mut kept = 0;
        if left == 0 {
            if removed {
                user.mark();
            }
            for (mid, payload) in unwritten {
                kept += u64::from(user.append(mid, payload) != Kept::Full);
            }
        }
        if !user.owners().contains(&known.epoch) {
            user.listed.remove(&known.epoch);
        }
        self.check("disconnect", (answer.removed, answer.left, answer.kept), (removed, left, kept));
    }

    async fn hold(&mut self) {
        let user = self.random.random_range(0..USERS);
        let (mid, payload) = self.message();
        let owners = self.users[user].owners();
        let is_deaf = |epoch: &&Epoch| self.fenced.contains(epoch);
        let mut deaf: Vec<_> = owners.iter().filter(is_deaf).copied().collect();
        if self.random.random_bool(0.3) {
            deaf.clone_from(&owners);
        }
        let tried = if self.random.random_bool(0.3) { owners.clone() } else { Vec::new() };
        let keep = *[Keep::No, Keep::Awaited, Keep::Awaited, Keep::Awaited, Keep::Always]
            .choose(&mut self.random)
            .expect("some");
        let (from, waits) = (self.epochs[0], owners.iter().any(|epoch| !deaf.contains(epoch)));
        let request = HoldRequest {
            user: self.names[user],
            from,
            mid,
            payload: payload.clone(),
            tried,
            deaf,
            keep,
        };
        let mut answer = self.desk.store.hold(&request).await.unwrap();
        answer.owners.sort_unstable();
        self.check("owners", answer.owners, owners.clone());
        let entry = &mut self.users[user];
        let is_expected = keep == Keep::Always || !owners.is_empty() || entry.marker.is_some();
        let expected = if waits || !is_expected || keep == Keep::No {
            Kept::No
        } else {
            entry.append(mid, payload)
        };
        let kept = match answer.fate {
            Fate::NotKept => Kept::No,
            Fate::Duplicate => Kept::Duplicate,
            Fate::Full => Kept::Full,
            Fate::Kept(place) => {
                let before = std::mem::replace(&mut entry.place, place);
                assert!(place > before, "places only grow: {place} after {before}");
                Kept::Yes
            }
        };
        self.check("fate", kept, expected);
    }

    async fn sweep(&mut self) {
        let epoch = self.an_epoch();
        for partition in 0..self.desk.store.partitions() {
            let answer = self.desk.store.sweep(epoch, partition).await.unwrap();
            let is_here = |user: &usize| {
                self.names[*user].partition(self.desk.store.partitions()) == partition
                    && self.users[*user].listed.contains(&epoch)
            };
            let here: HashSet<_> =
                (0..USERS).filter(is_here).map(|user| self.names[user]).collect();
            match answer {
                Swept::Fenced => self.check("fence", self.fenced.contains(&epoch), true),
                Swept::Alive { users, .. } => {
                    self.check("fence", self.fenced.contains(&epoch), false);
                    // It may name who was displaced here: its own release will say so.
                    self.check("index", users.into_iter().collect(), here);
                }
            }
        }
    }

    async fn prune(&mut self) {
        let Some(known) = self.known.choose(&mut self.random).cloned() else { return };
        let tags = std::slice::from_ref(&known.tag);
        let gone = self.desk.store.prune(known.claim.user, &[known.epoch], tags).await.unwrap();
        let user = &mut self.users[known.user];
        let before = user.connections.len();
        user.connections.retain(|_, tag| *tag != known.tag);
        let expected = (before - user.connections.len()) as u64;
        if !user.owners().contains(&known.epoch) {
            user.listed.remove(&known.epoch);
        }
        self.check("prune", gone, expected);
    }

    /// A user is shut out, let in again, or kicked.
    async fn dismiss(&mut self) {
        let user = self.random.random_range(0..USERS);
        let (name, verdict) = (self.names[user], self.random.random_range(0..6));
        let told = match verdict {
            0 => self.desk.store.kick(name).await.unwrap(),
            1 => self.desk.store.revoke(name, PATIENCE * 60).await.unwrap(),
            _ => {
                self.users[user].is_revoked = false;
                return self.desk.store.lift(name).await.unwrap();
            }
        };
        self.users[user].is_revoked |= verdict == 1;
        let mut owners = told.owners;
        owners.sort_unstable();
        let expected = self.users[user].owners();
        self.check("told", owners, expected);
    }

    /// An instance is reaped, and another takes its place; the old one goes on trying.
    async fn reap(&mut self) {
        let epoch = self.an_epoch();
        let removed = self.desk.reap(epoch).await;
        let mut expected = 0;
        for user in &mut self.users {
            let before = user.connections.len();
            user.connections.retain(|_, tag| tag.epoch() != Some(epoch));
            expected += (before - user.connections.len()) as u64;
            if user.listed.remove(&epoch) && user.connections.is_empty() {
                user.mark();
            }
        }
        self.check("reap", removed, expected);
        if self.fenced.insert(epoch) {
            self.start_instance().await;
        }
    }

    fn note(&mut self, user: usize, claim: Claim, epoch: Epoch, tag: Tag, siblings: Vec<Epoch>) {
        let entry = &mut self.users[user];
        entry.connections.insert(claim.device.clone(), tag.clone());
        entry.listed.insert(epoch);
        let others = entry.owners().into_iter().filter(|owner| *owner != epoch).collect::<Vec<_>>();
        let mut siblings = siblings;
        siblings.sort_unstable();
        self.check("siblings", siblings, others);
        self.known.push(Known { user, claim, tag, epoch });
    }

    /// Mostly one of the living.
    fn an_epoch(&mut self) -> Epoch {
        let latest = self.epochs.len().saturating_sub(3);
        let from = if self.random.random_bool(0.1) { 0 } else { latest };
        self.epochs[self.random.random_range(from..self.epochs.len())]
    }

    /// Sometimes one that was sent before.
    fn message(&mut self) -> (MessageId, Bytes) {
        let again = self.random.random_bool(0.1);
        let old = self.mids.choose(&mut self.random).filter(|_| again).copied();
        let mid = old.unwrap_or_else(MessageId::random);
        self.mids.push(mid);
        (mid, Bytes::from(vec![b' '; self.random.random_range(0..20)]))
    }

    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, answer: T, expected: T) {
        self.checked += 1;
        let (seed, nth) = (self.seed, self.checked);
        assert_eq!(answer, expected, "{what}, check {nth} of WSFLEETD_SEED={seed}");
    }
}

/// With the tags in one order.
fn sorted(claimed: Claimed) -> Claimed {
    match claimed {
        Claimed::Limit(mut tags) => {
            tags.sort_by_key(|tag| tag.as_str().to_owned());
            Claimed::Limit(tags)
        }
        other => other,
    }
}
