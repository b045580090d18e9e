//! What is known of the peers, and what follows from it: who counts as dead, who frees what they
//! left, whom to ask about those who are silent.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::{JITTER, JOIN_PAUSE, Membership, all};
use crate::ids::Epoch;

/// With at least this many members, more than a third suspect at once is Redis's trouble or a
/// zone's: wait before believing it.
const MANY: usize = 3;

/// That wait (COORDINATION, change 10).
const MASS_WAIT: Duration = Duration::from_secs(30);

/// Heartbeats are not aligned: of members that fall silent at the same moment some become suspect
/// up to this many rounds before the others.
const SKEW_ROUNDS: u32 = 2;

/// Rounds without a change after which it is worth asking whether a peer's machine still runs.
const DOUBTFUL_ROUNDS: u32 = 2;

/// Between two such questions: EC2 limits the whole account (FLEET §2).
const ASK_PERIOD: Duration = Duration::from_secs(5);

/// Tries to read who the members are; the next change of view asks again.
const ROSTER_TRIES: u32 = 5;

/// What is known of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    counter: u64,
    unchanged: u32,
    /// When this instance first saw the counter as it stands.
    seen: Instant,
}

impl Membership {
    /// Counts rounds without change, and kills who stood still for too many.
    pub(super) fn observe(&mut self, me: Epoch, counters: &[(Epoch, u64)], dead: &[Epoch]) {
        let members: HashSet<Epoch> = counters.iter().map(|(epoch, _)| *epoch).collect();
        let changed = self.peers.len() != members.len()
            || !self.peers.keys().all(|epoch| members.contains(epoch));
        self.peers.retain(|epoch, _| members.contains(epoch));
        let now = Instant::now();
        for (epoch, counter) in counters {
            match self.peers.get_mut(epoch) {
                Some(peer) if peer.counter == *counter => peer.unchanged += 1,
                // The first sight of a counter is no round without a change.
                _ => drop(
                    self.peers.insert(*epoch, Peer { counter: *counter, unchanged: 0, seen: now }),
                ),
            }
        }
        self.peers.entry(me).and_modify(|own| own.unchanged = 0);
        let heard = self.peers.iter().map(|(epoch, peer)| (*epoch, peer.seen));
        self.parts.roster.hear(heard.collect());
        let view = &self.parts.view;
        view.set(members, dead);
        if changed {
            self.parts.relay.retain(|epoch| view.is_member(epoch));
            // A newcomer's first word may have come before the heartbeat that lists it.
            self.parts.hub.retain_siblings(|epoch| view.lives(epoch));
            self.dead.clear();
            self.is_roster_old = true;
        }
        self.judge(dead);
        self.ask_about_doubtful(me);
    }

    /// The processes that ran here before are dead for sure: nobody need wait to be. One that is no
    /// member may have left entries all the same.
    pub(super) fn bury_predecessors(&mut self, counters: &[(Epoch, u64)]) {
        for old in std::mem::take(&mut self.predecessors) {
            match counters.iter().find(|(epoch, _)| *epoch == old) {
                Some((_, counter)) => self.reaper.kill(old, *counter),
                None => drop(self.reaper.reap(old, all(self.parts.store.partitions()))),
            }
        }
    }

    fn judge(&mut self, dead: &[Epoch]) {
        let limit = self.config.suspect_rounds;
        let suspects = self.silent_for(limit);
        self.parts.standing.set_silent(suspects.len() + dead.len());
        // Whoever may have fallen silent together with the suspects is counted with them.
        let silent = self.silent_for(limit.saturating_sub(SKEW_ROUNDS).max(1)).len();
        let is_mass = self.peers.len() >= MANY && silent * 3 > self.peers.len();
        if suspects.is_empty() || !is_mass {
            self.mass_since = None;
        } else if self.mass_since.get_or_insert_with(Instant::now).elapsed() < MASS_WAIT {
            return;
        }
        for (epoch, counter) in suspects {
            self.reaper.kill(epoch, counter);
        }
    }

    /// Peers whose counters stand still for so many rounds, and where. Each new connection to Redis is
    /// a round of its own, so that rounds alone prove no silence.
    fn silent_for(&self, rounds: u32) -> Vec<(Epoch, u64)> {
        let span = self.config.heartbeat.mul_f64(1.0 - JITTER) * rounds;
        let is_silent = |peer: &Peer| peer.unchanged >= rounds && peer.seen.elapsed() >= span;
        let silent = self.peers.iter().filter(|(_, peer)| is_silent(peer));
        silent.map(|(epoch, peer)| (*epoch, peer.counter)).collect()
    }

    /// Asks whether the machines of silent peers still run, if this is the instance to ask for all:
    /// who runs no more need not be waited for.
    fn ask_about_doubtful(&mut self, me: Epoch) {
        let Some(obituary) = self.parts.obituary.clone() else { return };
        let is_doubtful = |peer: &Peer| peer.unchanged >= DOUBTFUL_ROUNDS;
        let well = self.peers.iter().filter(|(_, peer)| !is_doubtful(peer)).map(|(e, _)| *e);
        let doubtful: HashMap<String, (Epoch, u64)> = self
            .peers
            .iter()
            .filter(|(_, peer)| is_doubtful(peer))
            .filter_map(|(epoch, peer)| {
                let id = self.parts.roster.of(*epoch)?.ec2_id?;
                Some((id, (*epoch, peer.counter)))
            })
            .collect();
        let is_first = well.min() == Some(me);
        let is_soon = self.asked.is_some_and(|at| at.elapsed() < ASK_PERIOD);
        if doubtful.is_empty() || !is_first || is_soon {
            return;
        }
        self.asked = Some(Instant::now());
        let reaper = self.reaper.clone();
        self.parts.tasks.spawn("obituary", async move {
            let ids: Vec<_> = doubtful.keys().cloned().collect();
            for id in obituary.terminated(&ids).await {
                let Some((epoch, counter)) = doubtful.get(&id) else { continue };
                info!(peer.epoch = %epoch, "EC2 says that {id} is terminated: not waiting for it");
                reaper.kill(*epoch, *counter);
            }
        });
    }

    /// In the background, for the lease must not wait for it.
    pub(super) fn read_roster(&mut self) {
        if !std::mem::take(&mut self.is_roster_old) {
            return;
        }
        let (store, roster) = (self.parts.store.clone(), self.parts.roster.clone());
        self.parts.tasks.spawn("roster", async move {
            for _ in 0..ROSTER_TRIES {
                match store.table().await {
                    Ok(table) => return roster.set(&table),
                    Err(error) => debug!("cannot read who the members are: {error}"),
                }
                sleep(JOIN_PAUSE).await;
            }
        });
    }

    /// Reaps this instance's share of the recently killed, again after each change of view.
    pub(super) fn bury(&mut self, me: Epoch, dead: Vec<Epoch>) {
        let members: Vec<Epoch> = self.peers.keys().copied().collect();
        for epoch in dead {
            if epoch == me || self.dead.contains(&epoch) {
                continue;
            }
            let mine = share(me, epoch, &members, self.parts.store.partitions());
            if self.reaper.reap(epoch, mine) {
                self.dead.insert(epoch);
            }
        }
    }
}

/// The partitions in which `me` is the first, among `members`, in an order that everyone draws
/// alike for this dead epoch.
fn share(me: Epoch, dead: Epoch, members: &[Epoch], partitions: u16) -> Vec<u16> {
    let weight = |member: Epoch, partition: u16| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(member.as_str().as_bytes());
        hasher.update(dead.as_str().as_bytes());
        hasher.update(&partition.to_be_bytes());
        *hasher.finalize().as_bytes()
    };
    let is_mine = |partition: &u16| {
        let first = members.iter().max_by_key(|member| weight(**member, *partition));
        first.is_none_or(|first| *first == me)
    };
    (0..partitions).filter(is_mine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_share_the_dead_without_gap_or_overlap() {
        let members: Vec<_> = (0..5).map(|_| Epoch::random()).collect();
        let dead = Epoch::random();
        let shares: Vec<_> = members.iter().map(|me| share(*me, dead, &members, 256)).collect();
        let mut all: Vec<_> = shares.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..256).collect::<Vec<_>>());
        assert!(shares.iter().all(|share| share.len() > 20), "spread evenly enough");
    }

    #[test]
    fn alone_one_takes_all() {
        let me = Epoch::random();
        assert_eq!(share(me, Epoch::random(), &[me], 16).len(), 16);
    }
}
