//! Compares what stands in Redis with who is really connected, several times a second.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use wsfleetd::ids::UserHasher;

use super::{
    ledger::{Guest, Ledger},
    snapshot::{Entry, Snapshot},
    timeline::{T, Timeline},
    verdict::{Check, Verdict},
};

/// Between two looks, and how much later than it came to be a thing may be seen.
const PERIOD: Duration = Duration::from_millis(250);
const BLUR: Duration = Duration::from_millis(750);

/// Characters of an id that name the process which issued it.
const ORIGIN: usize = 8;

/// The watcher of Redis.
pub struct Census {
    ledger: Ledger,
    timeline: Arc<Timeline>,
    verdict: Arc<Verdict>,
    hasher: UserHasher,
    /// Where the primary is.
    port: watch::Receiver<u16>,
    before: Option<(Instant, Snapshot)>,
    /// Who has left, by number, and was seen to have left nothing.
    cleared: HashSet<usize>,
    /// Since when entries stand there that no known connection explains.
    strangers: Since<Entry>,
    /// Since when index and entries differ.
    unequal: Since<(String, String)>,
}

impl Census {
    /// One that looks at the Redis on `port`.
    pub fn new(
        ledger: Ledger,
        timeline: Arc<Timeline>,
        verdict: Arc<Verdict>,
        port: watch::Receiver<u16>,
    ) -> Self {
        let hasher = UserHasher::new(b"wsfleetd");
        let (strangers, unequal) = (Since::default(), Since::default());
        let (before, cleared) = (None, HashSet::new());
        Self { ledger, timeline, verdict, hasher, port, before, cleared, strangers, unequal }
    }

    /// Looks until `stop`; judges messages on the way.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.ledger.judge();
            if self.port.has_changed().unwrap_or(false) {
                (connection, self.before) = (None, None);
            }
            let port = *self.port.borrow_and_update();
            if connection.is_none() {
                connection = Snapshot::dial(port).await;
            }
            let began = Instant::now();
            let snapshot = match &mut connection {
                Some(connection) => Snapshot::take(connection).await,
                None => None,
            };
            self.timeline.hear_redis(snapshot.is_some());
            match snapshot {
                Some(snapshot) => self.compare(began, snapshot),
                None => (connection, self.before) = (None, None),
            }
        }
    }

    fn compare(&mut self, began: Instant, snapshot: Snapshot) {
        let now = Instant::now();
        self.check_registered(&snapshot, began, now);
        self.check_entries(&snapshot, now);
        self.check_departed(&snapshot, began);
        self.check_index(&snapshot, now);
        self.check_owner(&snapshot);
        self.check_mailboxes(&snapshot);
        if let Some((then, before)) = &self.before {
            self.check_tombstones(before, &snapshot);
            self.check_epochs(before, &snapshot, *then, now);
        }
        self.before = Some((now, snapshot));
    }

    /// Who is connected, and has been all the while, must be listed.
    fn check_registered(&self, snapshot: &Snapshot, began: Instant, now: Instant) {
        self.ledger.look(|guests| {
            for guest in
                guests.iter().filter(|guest| guest.closed.is_none() && guest.opened < began)
            {
                if !self.timeline.is_calm(&[guest.instance], began, now) {
                    continue;
                }
                let origin = &guest.id[..ORIGIN];
                let epoch = snapshot.origins.get(origin);
                if epoch.is_some_and(|epoch| snapshot.members.contains(epoch)) {
                    self.verdict.count(Check::Origins, 1);
                } else {
                    let what = format!("{} leads to no live epoch: {epoch:?}", guest.id);
                    self.verdict.blame(Check::Origins, what);
                    continue;
                }
                let (user, device) = (self.user(guest.user), format!("~{}", guest.id));
                let is_its = |entry: &&Entry| entry.user == user && entry.device == device;
                let found = snapshot.entries.iter().find(is_its);
                if found.is_some_and(|entry| Some(&entry.epoch) == epoch) {
                    self.verdict.count(Check::Registered, 1);
                } else {
                    let what = format!(
                        "{} of {} on instance {} has the entry {found:?}, its epoch is {epoch:?}",
                        guest.id, guest.user, guest.instance
                    );
                    self.verdict.blame(Check::Registered, what);
                }
            }
        });
    }

    /// Who is listed must be connected, or have been a short while ago.
    fn check_entries(&mut self, snapshot: &Snapshot, now: Instant) {
        let ledger = self.ledger.clone();
        let unknown = ledger.look(|guests| {
            let by_id: HashMap<&str, &Guest> = guests.iter().map(|g| (g.id.as_str(), g)).collect();
            let mut unknown = BTreeSet::new();
            for entry in &snapshot.entries {
                match by_id.get(&entry.device[1..]) {
                    Some(guest) => self.check_entry(entry, guest, now),
                    // The client may not have been told its id yet.
                    None => drop(unknown.insert(entry.clone())),
                }
            }
            unknown
        });
        for (entry, since) in self.strangers.keep(unknown, now) {
            let due = self.timeline.due_from(usize::MAX, since, now);
            // Whose instance broke before they knew their id are cleaned up after like its others.
            let more = if self.timeline.is_any_troubled(since, now) { T } else { Duration::ZERO };
            if self.timeline.answered(due, now) > T + more + BLUR {
                let what = format!("an entry of nobody's known: {entry:?}");
                self.verdict.blame(Check::Outlives, what);
            }
        }
    }

    fn check_entry(&self, entry: &Entry, guest: &Guest, now: Instant) {
        let over = match (guest.closed, self.timeline.silent_since(guest.instance)) {
            (Some((at, _)), _) => at,
            // Open, but its instance does not tell anybody any more.
            (None, Some(silent)) => silent,
            (None, None) => return,
        };
        let due = self.timeline.due_from(guest.instance, over, now);
        let outlived = self.timeline.answered(due, now);
        self.verdict.time("longest an entry outlived its owner", outlived);
        if outlived > self.timeline.allowance(due, now) + BLUR {
            let what = format!(
                "the entry of {} of {} has outlived its owner by {outlived:.2?} (instance {}, {:?}, epoch {})",
                guest.id,
                guest.user,
                guest.instance,
                guest.closed.map(|(_, how)| how),
                entry.epoch
            );
            self.verdict.blame(Check::Outlives, what);
        } else {
            self.verdict.count(Check::Outlives, 1);
        }
    }

    /// Whoever left before this look and has no entry any more has been cleaned up after in time:
    /// later than that, [`Self::check_entry`] would have complained.
    fn check_departed(&mut self, snapshot: &Snapshot, began: Instant) {
        let listed: HashSet<&str> = snapshot.entries.iter().map(|e| &e.device[1..]).collect();
        let cleared = &mut self.cleared;
        let newly = self.ledger.look(|guests| {
            let has_left = |guest: &Guest| guest.closed.is_some_and(|(at, _)| at < began);
            let all = guests.iter().enumerate();
            all.filter(|(_, guest)| has_left(guest) && !listed.contains(guest.id.as_str()))
                .filter(|(number, _)| cleared.insert(*number))
                .count()
        });
        self.verdict.count(Check::Outlives, newly as u64);
    }

    fn check_index(&mut self, snapshot: &Snapshot, now: Instant) {
        let listed = |entry: &Entry| (entry.epoch.clone(), entry.user.clone());
        let entries: BTreeSet<_> = snapshot.entries.iter().map(listed).collect();
        let unequal = entries.symmetric_difference(&snapshot.index).cloned().collect();
        self.verdict.count(Check::Index, entries.intersection(&snapshot.index).count() as u64);
        for (pair, since) in self.unequal.keep(unequal, now) {
            let due = self.timeline.due_from(usize::MAX, since, now);
            let lasted = self.timeline.answered(due, now);
            if lasted > self.timeline.allowance(due, now) + BLUR {
                let is_listed = snapshot.index.contains(&pair);
                let what = format!(
                    "index and entries differ for {lasted:.2?}: {pair:?}, listed: {is_listed}"
                );
                self.verdict.blame(Check::Index, what);
            }
        }
    }

    /// The id says which process owns it, and so must the epoch, while that is a member's.
    fn check_owner(&self, snapshot: &Snapshot) {
        let mut owners: HashMap<&str, &Entry> = HashMap::new();
        for entry in &snapshot.entries {
            if let Some(other) = owners.insert(&entry.device, entry) {
                self.verdict.blame(Check::Owner, format!("two owners: {entry:?} and {other:?}"));
            }
            let Some(process) = snapshot.processes.get(&entry.epoch) else { continue };
            if entry.device.get(1..=ORIGIN) == Some(process) {
                self.verdict.count(Check::Owner, 1);
            } else {
                let what = format!("{entry:?} belongs to the process of origin {process}");
                self.verdict.blame(Check::Owner, what);
            }
        }
    }

    /// No message is held twice, and their numbers grow.
    fn check_mailboxes(&self, snapshot: &Snapshot) {
        for (user, messages) in &snapshot.mailboxes {
            let distinct: HashSet<_> = messages.iter().map(|(_, mid)| mid).collect();
            if distinct.len() < messages.len() {
                let what = format!("a message is held twice for {user}: {messages:?}");
                self.verdict.blame(Check::Mailbox, what);
            } else if messages.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
                let what = format!("the numbers do not grow for {user}: {messages:?}");
                self.verdict.blame(Check::Mailbox, what);
            } else {
                self.verdict.count(Check::Mailbox, messages.len() as u64);
            }
        }
    }

    fn check_tombstones(&self, before: &Snapshot, now: &Snapshot) {
        let is_buried = |entry: &Entry| (entry.partition.clone(), entry.epoch.clone());
        for entry in now.entries.difference(&before.entries) {
            if before.tombstones.contains(&is_buried(entry)) {
                let what = format!("written behind its tombstone: {entry:?}");
                self.verdict.blame(Check::Tombstone, what);
            }
        }
        let stones = before.tombstones.intersection(&now.tombstones).count();
        self.verdict.count(Check::Tombstone, stones as u64);
    }

    fn check_epochs(&self, before: &Snapshot, now: &Snapshot, then: Instant, at: Instant) {
        let instance_of = |origin: &str| {
            let of_origin = |guest: &&Guest| guest.id.starts_with(origin);
            self.ledger.look(|guests| guests.iter().rev().find(of_origin).map(|g| g.instance))
        };
        for (origin, epoch) in &before.origins {
            let Some(instance) = instance_of(origin) else { continue };
            if self.timeline.may_renew(instance, then, at) {
                continue;
            }
            match now.origins.get(origin) {
                Some(still) if still == epoch && now.members.contains(epoch) => {
                    self.verdict.count(Check::Epochs, 1);
                }
                other => {
                    let what = format!("instance {instance} lost its epoch {epoch}, now {other:?}");
                    self.verdict.blame(Check::Epochs, what);
                }
            }
        }
    }

    fn user(&self, name: &str) -> String {
        self.hasher.hash(name).to_string()
    }
}

/// Since when something has been so.
struct Since<K>(HashMap<K, Instant>);

impl<K> Default for Since<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash + Ord> Since<K> {
    /// Forgets what is over, and answers what is, and since when.
    fn keep(&mut self, now_so: BTreeSet<K>, now: Instant) -> Vec<(K, Instant)> {
        self.0.retain(|key, _| now_so.contains(key));
        now_so.into_iter().map(|key| (key.clone(), *self.0.entry(key).or_insert(now))).collect()
    }
}
