//! The connections on this instance, by user.
//!
//! A lookup and a push are all that a local message costs, so both happen under one short lock
//! of one of many shards. The hub holds handles, never sessions: a push goes into the
//! connection's outbox and the session's task is woken; nobody waits for anybody here.

mod connection;
mod delivery;
mod outbox;
mod seen;
#[cfg(test)]
mod tests;
mod user;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use smallvec::SmallVec;

use self::user::User;
pub use self::{
    connection::{About, Connection, Registration},
    delivery::Delivery,
    outbox::{Outbox, Pushed},
};
use crate::{
    ids::{Epoch, MessageId, UserHash},
    protocol::close::Close,
};

/// Locks the users are spread over: many more than there are cores.
const SHARDS: usize = 64;

/// The other epochs that have connections of a user; nearly always none or one.
pub type Siblings = SmallVec<[Epoch; 1]>;

/// What became of a message for a user of this instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalDelivery {
    /// Connections that took it.
    pub delivered: usize,
    /// Connections that had no room for it.
    pub full: usize,
    /// Epochs that have connections of this user too; empty when `known` is false.
    pub siblings: Siblings,
    /// Whether the user has any connection here.
    pub known: bool,
    /// Whether they have had it before.
    pub had: bool,
    /// The name by which it was given; it has one wherever there are siblings.
    pub mid: Option<MessageId>,
}

impl LocalDelivery {
    /// Whether the user has a connection here that is not leaving.
    pub fn is_open(&self) -> bool {
        self.delivered + self.full > 0
    }
}

/// The connections on this instance; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    /// Std locks: held for a few map operations, never across an await.
    shards: [Mutex<HashMap<UserHash, User>>; SHARDS],
    connections: AtomicUsize,
}

impl Default for Hub {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shared: Arc::new(Shared { shards, connections: AtomicUsize::new(0) }) }
    }
}

impl Hub {
    /// Adds a connection; from now on what comes for its user waits in its outbox.
    pub fn insert(&self, connection: Arc<Connection>) {
        self.shard(connection.user()).entry(connection.user()).or_default().enter(connection);
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a connection whose outbox is empty; otherwise answers what is in it, and keeps it.
    ///
    /// One step, so that no message can fall between the last look and the removal.
    pub fn remove_if_drained(&self, connection: &Arc<Connection>) -> Vec<Delivery> {
        let mut shard = self.shard(connection.user());
        let rest = connection.outbox().close();
        if rest.is_empty() {
            self.remove_from(&mut shard, connection);
        }
        rest
    }

    /// Removes a connection; answers what stood in its outbox.
    pub fn remove(&self, connection: &Arc<Connection>) -> Vec<Delivery> {
        let mut shard = self.shard(connection.user());
        self.remove_from(&mut shard, connection);
        connection.outbox().close()
    }

    /// Gives a message to every connection `user` has here, unless they have had it.
    pub fn deliver(&self, user: UserHash, delivery: &Delivery) -> LocalDelivery {
        self.deliver_if(user, delivery, |_| true)
    }

    /// The same for a sender on this instance: a user whose first connection here is still being
    /// claimed counts as absent. Its siblings are not known yet, and the store, which is asked
    /// about who is absent, knows both.
    pub fn deliver_from_here(&self, user: UserHash, delivery: &Delivery) -> LocalDelivery {
        self.deliver_if(user, delivery, User::is_claimed)
    }

    fn deliver_if(
        &self,
        user: UserHash,
        delivery: &Delivery,
        is_here: impl Fn(&User) -> bool,
    ) -> LocalDelivery {
        let mut shard = self.shard(user);
        let Some(entry) = shard.get_mut(&user).filter(|entry| is_here(entry)) else {
            return LocalDelivery::default();
        };
        let mut local = LocalDelivery {
            siblings: entry.siblings.clone(),
            known: !entry.connections.is_empty(),
            ..LocalDelivery::default()
        };
        if entry.has_seen(delivery) {
            local.had = true;
            return local;
        }
        // What siblings are told of has one name everywhere.
        let named = (delivery.mid.is_none() && !local.siblings.is_empty())
            .then(|| Delivery::named(MessageId::random(), delivery.text.clone()));
        let delivery = named.as_ref().unwrap_or(delivery);
        local.mid = delivery.mid;
        (local.delivered, local.full) = entry.give(delivery);
        // Also if there are siblings: theirs may be leaving, too, and the last that lets go keeps it.
        if !local.is_open() {
            entry.give_to_leaving(delivery);
        }
        local
    }

    /// Gives a message to every open connection `user` has here; how many answer for it, or have had it.
    pub fn deliver_to_open(&self, user: UserHash, delivery: &Delivery) -> usize {
        self.deliver_to_open_if(user, delivery, |_| true)
    }

    /// The same for what comes back to a sender here: a user whose first connection is still being
    /// claimed counts as absent, for what the claim reads goes first, and may be newer.
    pub fn deliver_to_claimed(&self, user: UserHash, delivery: &Delivery) -> usize {
        self.deliver_to_open_if(user, delivery, User::is_claimed)
    }

    fn deliver_to_open_if(
        &self,
        user: UserHash,
        delivery: &Delivery,
        is_here: impl Fn(&User) -> bool,
    ) -> usize {
        let mut shard = self.shard(user);
        let Some(entry) = shard.get_mut(&user).filter(|entry| is_here(entry)) else { return 0 };
        if entry.has_seen(delivery) {
            return entry.connections.len();
        }
        let (taken, full) = entry.give(delivery);
        taken + full
    }

    /// Notes that `user` has this message without the hub: a copy must not follow it. False if one
    /// has come before.
    pub fn note_seen(&self, user: UserHash, mid: MessageId) -> bool {
        let mut shard = self.shard(user);
        let Some(entry) = shard.get_mut(&user) else { return true };
        let is_first = !entry.seen.has(mid);
        if is_first {
            entry.seen.note(mid);
        }
        is_first
    }

    /// A connection lets go of what it has not written: answers what of it no other connection here
    /// was given, and notes that the user has not had that after all.
    ///
    /// One step for all connections of a user: of those that let go together, the last has it.
    pub fn let_go(&self, connection: &Connection, unwritten: Vec<Delivery>) -> Vec<Delivery> {
        match self.shard(connection.user()).get_mut(&connection.user()) {
            Some(entry) => entry.let_go(connection, unwritten),
            None => unwritten,
        }
    }

    /// Gives open connections of `user` here what another was given and has not written, unless
    /// they were given it too; how many have it now, or will see to it.
    pub fn hand_on(&self, user: UserHash, delivery: &Delivery) -> usize {
        self.shard(user).get_mut(&user).map_or(0, |entry| entry.hand_on(delivery))
    }

    /// Notes that `epoch` has connections of `user` too.
    pub fn add_sibling(&self, user: UserHash, epoch: Epoch) {
        if let Some(entry) = self.shard(user).get_mut(&user)
            && !entry.siblings.contains(&epoch)
        {
            entry.siblings.push(epoch);
        }
    }

    /// Notes that `epoch` has none of `user` any more.
    pub fn remove_sibling(&self, user: UserHash, epoch: Epoch) {
        if let Some(entry) = self.shard(user).get_mut(&user) {
            entry.siblings.retain(|sibling| *sibling != epoch);
        }
    }

    /// Forgets siblings that do not live any more.
    pub fn retain_siblings(&self, lives: impl Fn(Epoch) -> bool) {
        for shard in &self.shared.shards {
            for entry in lock(shard).values_mut() {
                entry.siblings.retain(|sibling| lives(*sibling));
            }
        }
    }

    /// Epochs that have connections of `user` too, as far as is known here.
    pub fn siblings(&self, user: UserHash) -> Siblings {
        self.shard(user).get(&user).map(|entry| entry.siblings.clone()).unwrap_or_default()
    }

    /// The connections `user` has here.
    pub fn of_user(&self, user: UserHash) -> Vec<Arc<Connection>> {
        let shard = self.shard(user);
        shard.get(&user).map(|entry| entry.connections.to_vec()).unwrap_or_default()
    }

    /// Everyone who has a connection here.
    pub fn users(&self) -> Vec<UserHash> {
        self.shared
            .shards
            .iter()
            .flat_map(|shard| lock(shard).keys().copied().collect::<Vec<_>>())
            .collect()
    }

    /// Every connection for which `wanted` holds. Looks at all: not for the hot path.
    pub fn select(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<Arc<Connection>> {
        let mut found = Vec::new();
        for shard in &self.shared.shards {
            let shard = lock(shard);
            let all = shard.values().flat_map(|entry| entry.connections.iter());
            found.extend(all.filter(|connection| wanted(connection)).cloned());
        }
        found
    }

    /// Asks every connection to close.
    pub fn close_all(&self, close: Close) {
        for connection in self.select(|_| true) {
            connection.outbox().order(close);
        }
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn remove_from(&self, shard: &mut HashMap<UserHash, User>, connection: &Arc<Connection>) {
        let Some(entry) = shard.get_mut(&connection.user()) else { return };
        let before = entry.connections.len();
        entry.connections.retain(|other| !Arc::ptr_eq(other, connection));
        let removed = before - entry.connections.len();
        if entry.connections.is_empty() {
            shard.remove(&connection.user());
        }
        self.shared.connections.fetch_sub(removed, Ordering::Relaxed);
    }

    fn shard(&self, user: UserHash) -> MutexGuard<'_, HashMap<UserHash, User>> {
        lock(&self.shared.shards[usize::from(user.spread(SHARDS as u16))])
    }
}

fn lock(shard: &Mutex<HashMap<UserHash, User>>) -> MutexGuard<'_, HashMap<UserHash, User>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
