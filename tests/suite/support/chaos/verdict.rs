//! What the checkers have found: how many things each has looked at, and what was wrong.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// Wrongs remembered; more are only counted: they mostly follow from the first.
const REMEMBERED: usize = 12;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// A message between healthy instances is heard by every connection of its recipient.
    Sends,
    /// A message to who has just left is heard when they come back.
    Handover,
    /// No message is held twice, and the numbers of those that are grow.
    Mailbox,
    /// No connection hears a message twice.
    Once,
    /// A sender's messages are heard in order, while the recipient stays where they are.
    Order,
    /// Each open connection has its entry, under the epoch its instance has now.
    Registered,
    /// No entry outlives its owner by more than T.
    Outlives,
    /// An entry's epoch is that of the process which issued the connection's id, and no other
    /// entry stands for the same connection.
    Owner,
    /// The index of an epoch is the set of its users.
    Index,
    /// Nothing is written for an epoch after its tombstone.
    Tombstone,
    /// Whoever is well keeps its epoch, whatever happens to others or to Redis.
    Epochs,
    /// The origin of each open connection's id leads to a live epoch.
    Origins,
    /// A connection's id stays the same.
    Ids,
    /// No socket is closed by anything but its client or the end of its instance.
    Sockets,
    /// An instance that alone is cut off sends its clients away, and says so.
    Leaves,
    /// Who wants to connect is let in.
    Welcome,
}

impl Check {
    /// What every story must have checked.
    pub const ALWAYS: [Self; 10] = [
        Self::Sends,
        Self::Once,
        Self::Order,
        Self::Registered,
        Self::Owner,
        Self::Index,
        Self::Epochs,
        Self::Origins,
        Self::Ids,
        Self::Sockets,
    ];
}

/// Where all checkers report to.
pub struct Verdict {
    start: Instant,
    found: Mutex<Found>,
    /// How many wrongs there are.
    wrongs: watch::Sender<usize>,
}

#[derive(Default)]
struct Found {
    counts: BTreeMap<Check, u64>,
    worst: BTreeMap<&'static str, Duration>,
    wrongs: Vec<(Check, Duration, String)>,
}

impl Default for Verdict {
    fn default() -> Self {
        let (start, found) = (Instant::now(), Mutex::default());
        Self { start, found, wrongs: watch::Sender::new(0) }
    }
}

impl Verdict {
    /// Something was looked at and is right.
    pub fn count(&self, check: Check, number: u64) {
        *self.found().counts.entry(check).or_default() += number;
    }

    /// Something is wrong.
    pub fn blame(&self, check: Check, what: String) {
        let at = self.start.elapsed();
        let mut found = self.found();
        *found.counts.entry(check).or_default() += 1;
        if found.wrongs.len() < REMEMBERED {
            println!("[{:7.2} s] WRONG, {check:?}: {what}", at.as_secs_f64());
            found.wrongs.push((check, at, what));
        }
        drop(found);
        self.wrongs.send_modify(|count| *count += 1);
    }

    /// A figure of which the worst is reported.
    pub fn time(&self, what: &'static str, took: Duration) {
        let mut found = self.found();
        let worst = found.worst.entry(what).or_default();
        *worst = took.max(*worst);
    }

    /// Waits until something is wrong.
    pub async fn wrong(&self) {
        let mut wrongs = self.wrongs.subscribe();
        let _ = wrongs.wait_for(|count| *count > 0).await;
    }

    /// What was wrong first, and how long after the start of the story.
    pub fn first_wrong(&self) -> Option<(Check, Duration, String)> {
        self.found().wrongs.first().cloned()
    }

    /// How many things are wrong.
    pub fn wrongs(&self) -> usize {
        *self.wrongs.borrow()
    }

    /// Since the story began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What each checker has looked at.
    pub fn summary(&self) -> String {
        let found = self.found();
        let counts = found.counts.iter().map(|(check, count)| format!("{check:?} {count}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let worst = found.worst.iter().map(|(what, took)| format!("; {what} {took:.1?}"));
        format!("checked: {counts}{}", worst.collect::<String>())
    }

    /// Fails if anything was wrong, or if one of these checkers has checked nothing.
    pub fn pronounce(&self, must: &[Check]) {
        println!("{}", self.summary());
        let found = self.found();
        let wrongs: Vec<_> = found
            .wrongs
            .iter()
            .map(|(check, at, what)| format!("{:7.2} s, {check:?}: {what}", at.as_secs_f64()))
            .collect();
        let idle: Vec<_> = must.iter().filter(|one| !found.counts.contains_key(one)).collect();
        drop(found);
        assert!(wrongs.is_empty(), "{} wrongs:\n{}", self.wrongs(), wrongs.join("\n"));
        assert!(idle.is_empty(), "these have checked nothing: {idle:?}");
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
