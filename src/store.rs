//! The fleet's shared state: who owns which connection, and what is held for whom.
//!
//! Ownership and mailbox live in one module because the scripts that keep them right span both.
//! Each verb is atomic, and each that writes ownership is fenced by the epoch it writes for: an
//! epoch that was reaped can never write again, because its tombstone stands in the same slot as
//! what it would write.
//!
//! The key schema, which is documented here and nowhere else. `uh` is the user's keyed hash, `wK`
//! the tag of its partition; every key and channel starts with `redis.prefix`.
//!
//! - `{m}:conf` hash: schema, partitions, check value of the fleet's secret. `join` refuses an
//!   instance that differs, or does not know the schema (see [`Schemas`]).
//! - `{m}:hb` hash, epoch → counter: one heartbeat per instance, none per connection.
//! - `{m}:inf` hash, epoch → JSON: instance id, zone, address, version, origin.
//! - `{m}:origin` hash, origin → epoch: finds the owner of a connection id without a look-up per
//!   connection.
//! - `{m}:dead` hash, killed epoch → second, for 60 s: who is to be reaped.
//! - `{wK}:u:<uh>` hash, device → tag `@<epoch>.<number>.<since>`: one field per connection, so
//!   that release is an exact match and an old owner can never remove a new one's entry.
//! - `{wK}:o:<epoch>` hash, uh → 1: the epoch's users in this partition; the field `!` is its
//!   tombstone (24 h).
//! - `{wK}:b` hash, epoch → 1: epochs that ever wrote here; finds orphans even when `{m}` is lost.
//! - `{wK}:q:<uh>` list of `seq prev mid acc payload`: the mailbox, bounded in entries, bytes, age.
//! - `{wK}:r:<uh>` string, a seq: where the next connect's replay starts. Lives for the hand-over
//!   window, or, when everything is kept, as long as the youngest message.
//! - `{wK}:x:<uh>` string, microseconds of Redis's clock, for as long as an instance may still believe
//!   an older answer of the directory: the user is shut out.
//! - `<user's name>` string, a connection id, outside the prefix: what the old back ends read, if
//!   `compat.legacy_key_mirror` is on (see [`LegacyKeys`]).
//! - channel `i:<epoch>`: the inbox of an instance (see [`crate::relay`]); in a Redis Cluster
//!   sharded channels `{wK}:i:<epoch>`, one in each partition.

mod legacy;
pub mod memory;
mod schema;
pub mod shared;
mod view;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::{legacy::LegacyKeys, schema::Schemas, view::View};
use crate::ids::{Epoch, MessageId, Origin, UserHash};

/// A store shared by everyone who needs it.
pub type SharedStore = Arc<dyn Store>;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached now; nothing was done.
    #[error("the store cannot be reached")]
    Unreachable,
    /// It was asked, and it is unknown whether it did.
    #[error("the store did not answer: {0}")]
    Unknown(String),
    /// An answer this version does not understand.
    #[error("unexpected answer from the store: {0}")]
    Answer(String),
}

/// How long and how much is held for a user who has just left.
#[derive(Clone, Debug)]
pub struct HoldPolicy {
    /// How long after the last connection ended; `None`: nothing is ever held.
    pub window: Option<Duration>,
    /// Whether what is held waits until it is read or too old, however long ago the last connection
    /// ended: each message begins the window anew.
    pub keeps: bool,
    /// How long an entry may stay.
    pub ttl: Duration,
    /// Most entries per user.
    pub entries: u32,
    /// Most bytes per user.
    pub bytes: u32,
}

/// How many connections a user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// That many.
    pub most: u32,
    /// Whether a new one that is one too many displaces the oldest, instead of being refused.
    pub displaces: bool,
}

impl Limit {
    /// The same, refusing whoever is one too many.
    pub fn refusing(self) -> Self {
        Self { displaces: false, ..self }
    }
}

impl From<u32> for Limit {
    /// Refuses whoever is one too many.
    fn from(most: u32) -> Self {
        Self { most, displaces: false }
    }
}

/// `@<epoch>.<number>.<since>`: which connection owns a device, and since when.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl Tag {
    /// Reads a field's value.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('@')?.split('.');
        Epoch::parse(parts.next()?.as_bytes())?;
        parts.next()?.parse::<u64>().ok()?;
        parts.next()?.parse::<u64>().ok()?;
        parts.next().is_none().then(|| Self(text.to_owned()))
    }

    /// Builds a field's value.
    pub fn new(epoch: Epoch, number: u64, since: u64) -> Self {
        Self(format!("@{epoch}.{number}.{since}"))
    }

    /// Whose it is.
    pub fn epoch(&self) -> Option<Epoch> {
        Epoch::parse(self.0.get(1..=Epoch::LEN)?.as_bytes())
    }

    /// Which of its connections.
    pub fn number(&self) -> Option<u64> {
        self.0.split('.').nth(1)?.parse().ok()
    }

    /// Microseconds of the store's clock at the first registration.
    pub fn since(&self) -> u64 {
        self.0.rsplit('.').next().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// As it stands in the field.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One connection that wants to be known to the fleet.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose it is.
    pub user: UserHash,
    /// Its number in this process.
    pub number: u64,
    /// The client's stable id, or one made from the connection's id.
    pub device: String,
    /// When it was first registered; `None` for a new one.
    pub since: Option<u64>,
}

/// The answer to a [`Claim`].
#[derive(Clone, Debug, PartialEq)]
pub enum Claimed {
    /// It is this epoch's.
    Registered {
        /// What to release it with.
        tag: Tag,
        /// The other epochs that have connections of this user.
        siblings: Vec<Epoch>,
        /// Connections that had to make room; their owners are told (only from `connect`).
        displaced: Vec<Tag>,
        /// What was held while the user was away, oldest first (only from `connect`).
        held: Vec<Held>,
        /// Whether something is held (only from `assert`).
        more_held: bool,
    },
    /// The user has as many connections as allowed: these.
    Limit(Vec<Tag>),
    /// A younger connection has this device.
    Displaced,
    /// The user is shut out.
    Revoked,
    /// The epoch has been reaped.
    Fenced,
}

/// A message out of a mailbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Its place; grows strictly per mailbox.
    pub seq: u64,
    /// Tells a copy that came another way.
    pub mid: MessageId,
    /// The frame to write.
    pub payload: Bytes,
}

/// One connection that lets go.
#[derive(Clone, Debug)]
pub struct Release {
    /// Whose it is.
    pub user: UserHash,
    /// The device it was claimed for.
    pub device: String,
    /// What the claim answered.
    pub tag: Tag,
    /// What could not be written any more, oldest first.
    pub unwritten: Vec<(MessageId, Bytes)>,
}

/// The answer to a [`Release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Whether the entry was still this connection's.
    pub removed: bool,
    /// Connections the user has left in the fleet.
    pub left: u64,
    /// Unwritten messages that were kept.
    pub kept: u64,
}

/// A message that needs the slow path.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    /// The recipient.
    pub user: UserHash,
    /// The instance that sends.
    pub from: Epoch,
    /// Tells a retry from a second message.
    pub mid: MessageId,
    /// The frame to deliver.
    pub payload: Bytes,
    /// Epochs that have it and will answer for themselves.
    pub tried: Vec<Epoch>,
    /// Epochs that said no, or whose inbox nobody hears.
    pub deaf: Vec<Epoch>,
    /// When it may be kept.
    pub keep: Keep,
}

/// When a message may be kept that nobody will answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Never.
    No,
    /// For a user who was here within the window, or whose owners are deaf.
    Awaited,
    /// In any case: the user is known to exist.
    Always,
}

/// What became of a message on the slow path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Owners were told, or will answer, or nobody has the user and nothing is held.
    NotKept,
    /// It waits for the user's next connect.
    Kept(u64),
    /// It was there already.
    Duplicate,
    /// The mailbox has no room.
    Full,
}

/// The answer to a [`HoldRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct HoldAnswer {
    /// Inboxes that heard it.
    pub heard: u64,
    /// Every epoch that owns a connection of the user: the route.
    pub owners: Vec<Epoch>,
    /// What became of the message itself.
    pub fate: Fate,
}

/// Who was told to close a user's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dismissed {
    /// Every epoch that has connections of the user.
    pub owners: Vec<Epoch>,
    /// Those whose inbox heard it.
    pub heard: Vec<Epoch>,
}

/// An instance that wants to be a member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its present epoch.
    pub epoch: Epoch,
    /// Its process.
    pub origin: Origin,
    /// The epoch it had before, when it comes back after a fence.
    pub before: Option<Epoch>,
    /// JSON for people and peers; must hold `origin`.
    pub info: String,
    /// Check value of the fleet's secret.
    pub secret_check: String,
    /// What it can read and write.
    pub schemas: Schemas,
}

/// A member as it stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// Its present epoch.
    pub epoch: Epoch,
    /// Its heartbeats.
    pub counter: u64,
    /// What it said of itself when it joined; empty if that is lost.
    pub info: String,
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A member now.
    Member,
    /// Another live instance has this origin: draw another.
    OriginTaken,
    /// The fleet was set up differently.
    Mismatch {
        /// Which setting.
        key: String,
        /// The fleet's value.
        theirs: String,
    },
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Not a member any more.
    Fenced,
    /// A member, among these.
    Alive {
        /// Every member's counter.
        counters: Vec<(Epoch, u64)>,
        /// Epochs killed within the last minute.
        dead: Vec<Epoch>,
    },
}

/// The answer to one step of reaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Users still to look at in this partition.
    pub left: u64,
    /// Connections removed by this step.
    pub removed: u64,
    /// Where the next step goes on; 0: from the start.
    pub cursor: u64,
}

/// The answer to a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swept {
    /// The epoch has been reaped.
    Fenced,
    /// What stands in the partition.
    Alive {
        /// Inboxes that heard the probe: must be 1.
        heard: u64,
        /// Users the index lists for this epoch.
        users: Vec<UserHash>,
        /// Epochs that ever wrote here.
        epochs: Vec<Epoch>,
    },
}

/// The verbs. All are safe to repeat.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes an instance a member, or says why not.
    async fn join(&self, member: &Member) -> Result<Joined, StoreError>;

    /// Says that an epoch lives; answers who else does.
    async fn heartbeat(&self, epoch: Epoch) -> Result<Beat, StoreError>;

    /// Who is a member now, for decisions that no view of a moment ago may take.
    async fn members(&self) -> Result<Vec<Epoch>, StoreError>;

    /// All that is known of the members, for people and for who must find a peer.
    async fn table(&self) -> Result<Vec<MemberRow>, StoreError>;

    /// Whether somebody killed an epoch within the last minute. One that is no member, and was not,
    /// says that the table was lost.
    async fn was_killed(&self, epoch: Epoch) -> Result<bool, StoreError>;

    /// Takes an epoch off the table in good order.
    async fn leave(&self, epoch: Epoch, origin: Origin) -> Result<(), StoreError>;

    /// Takes a silent epoch off the table, unless its counter has moved; whether it was.
    async fn kill(&self, epoch: Epoch, counter: u64) -> Result<bool, StoreError>;

    /// Registers one connection and reads what was held, in one step.
    async fn connect(
        &self,
        epoch: Epoch,
        claim: &Claim,
        limit: Limit,
    ) -> Result<Claimed, StoreError>;

    /// Registers connections of one partition again; answers in their order. Never displaces.
    async fn assert(
        &self,
        epoch: Epoch,
        partition: u16,
        claims: &[Claim],
        limit: u32,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Releases one connection, if it still is this one's.
    async fn disconnect(&self, epoch: Epoch, release: &Release) -> Result<Released, StoreError>;

    /// Every connection a user has in the fleet.
    async fn locate(&self, user: UserHash) -> Result<Vec<Tag>, StoreError>;

    /// Finds the owners, tells those not yet tried, keeps the message if none is left.
    async fn hold(&self, request: &HoldRequest) -> Result<HoldAnswer, StoreError>;

    /// Shuts a user out for `ttl` (at least a second): claims are refused from now on, and every
    /// owner is told to close what it has.
    async fn revoke(&self, user: UserHash, ttl: Duration) -> Result<Dismissed, StoreError>;

    /// Lets a user in again.
    async fn lift(&self, user: UserHash) -> Result<(), StoreError>;

    /// Tells every owner to close what it has of a user now.
    async fn kick(&self, user: UserHash) -> Result<Dismissed, StoreError>;

    /// Removes connections of a user that nobody stands behind, and what says that those of
    /// `epochs` have the user that have none left; how many went.
    async fn prune(
        &self,
        user: UserHash,
        epochs: &[Epoch],
        tags: &[Tag],
    ) -> Result<u64, StoreError>;

    /// Fences an epoch in one partition and removes a bounded part of what it left.
    async fn reap(&self, epoch: Epoch, partition: u16, cursor: u64) -> Result<Reaped, StoreError>;

    /// What one partition knows of an epoch, and whether its inbox is heard.
    async fn sweep(&self, epoch: Epoch, partition: u16) -> Result<Swept, StoreError>;

    /// Slots the users are spread over.
    fn partitions(&self) -> u16;
}
