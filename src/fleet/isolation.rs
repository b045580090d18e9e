//! An instance that Redis alone cannot be reached from, while the others reach it.
//!
//! It would be the emptiest target of the load balancer and attract every client that reconnects,
//! none of whom could be heard from elsewhere. So it asks its peers, over their `api` listener,
//! whether Redis is well; if two say so it turns its health checks red and sends its clients away,
//! a few at a time. If they do not, or nobody answers, it stays as it is: an outage that all see
//! closes nothing, and a fleet of two, in which nobody can tell who is right, never drains.
//!
//! That never more than a third of the fleet drains needs no Redis either. A peer also says how
//! many members have fallen silent, this one among them: whoever is one too many waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{lease::Lease, roster::Roster};
use crate::{hub::Hub, ids::Origin, protocol::close::Close, telemetry::events};

/// Peers asked in a round, and how many of them must say that Redis is well.
const ASKED: usize = 3;
const NEEDED: usize = 2;

/// One member in this many may drain at once for this reason.
const SHARE: usize = 3;

/// Rounds of questions within `cut_off_after`, all of which must agree: when Redis comes back to
/// all, some reach it a second before the others, and would call these cut off.
const ROUNDS: u32 = 3;

/// One part in this many of `cut_off_drain` passes before the first close: a load balancer that
/// checks every 5 s needs three failures to notice.
const NOTICE: u32 = 3;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Without an answer to a heartbeat for this long, and all rounds of questions agreeing, it
    /// turns red (COORDINATION, change 18): its peers have noticed by then who is silent.
    pub after: Duration,
    /// From red to the last close.
    pub drain: Duration,
}

/// What a peer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHealth {
    /// Whether it holds its lease.
    pub redis_is_up: bool,
    /// Members that have fallen silent lately, as it sees it.
    pub silent: u32,
    /// Connections it holds; `None`: it does not say.
    pub connections: Option<u32>,
}

/// The question to a peer.
#[async_trait]
pub trait Peers: Send + Sync {
    /// What the instance whose `api` listener is at `address` says; `None`: no answer within a
    /// second or two.
    async fn ask(&self, address: &str) -> Option<PeerHealth>;
}

/// How this instance stands, for its health checks; cheap to clone.
#[derive(Clone)]
pub struct Standing {
    lease: Lease,
    hub: Hub,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_cut_off: AtomicBool,
    silent: AtomicU32,
}

impl Standing {
    /// Over its lease, and the connections it has.
    pub fn new(lease: Lease, hub: Hub) -> Self {
        Self { lease, hub, shared: Arc::default() }
    }

    /// What peers are told.
    pub fn health(&self) -> PeerHealth {
        let silent = self.shared.silent.load(Ordering::Relaxed);
        let connections = u32::try_from(self.hub.len()).ok();
        PeerHealth { redis_is_up: self.lease.is_held(), silent, connections }
    }

    /// Whether Redis is well and cannot be reached from here: no client should come.
    pub fn is_cut_off(&self) -> bool {
        self.shared.is_cut_off.load(Ordering::Relaxed)
    }

    /// How many members are silent, as this one sees it.
    pub(super) fn set_silent(&self, members: usize) {
        self.shared.silent.store(u32::try_from(members).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Ends the state; whether it was in it.
    pub(super) fn lift(&self) -> bool {
        self.shared.is_cut_off.swap(false, Ordering::Relaxed)
    }
}

/// Watches for it, and drains.
pub struct Isolation {
    pub config: Config,
    /// Whether Redis answers.
    pub lease: Lease,
    /// Whom to ask.
    pub roster: Roster,
    /// What is found.
    pub standing: Standing,
    /// Who is sent away.
    pub hub: Hub,
    /// Who is not asked.
    pub origin: Origin,
    /// How to ask.
    pub peers: Arc<dyn Peers>,
}

impl Isolation {
    /// Watches until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (round, mut agreed) = (self.config.after / ROUNDS, 0);
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(next) => {}
            }
            let silence = self.lease.silence().unwrap_or_default();
            if silence < round {
                (agreed, next) = (0, Instant::now() + LOOK);
                continue;
            }
            next = Instant::now() + round;
            let answers = tokio::select! {
                () = stop.cancelled() => return,
                answers = self.ask() => answers,
            };
            agreed = if answers.is_some() { agreed + 1 } else { 0 };
            // The answers took their time: Redis may have come back meanwhile.
            let silence = self.lease.silence().unwrap_or_default();
            let Some(answers) =
                answers.filter(|_| agreed >= ROUNDS && silence >= self.config.after)
            else {
                continue;
            };
            self.turn_red(silence, answers);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.drain() => {}
            }
            agreed = 0;
        }
    }

    /// How many peers have answered, if they say that this instance is alone with its trouble.
    async fn ask(&self) -> Option<usize> {
        let mut others = self.roster.others(&self.origin.to_string());
        let members = others.len() + 1;
        others.shuffle(&mut rand::rng());
        let questions = others.iter().take(ASKED).map(|peer| self.peers.ask(&peer.address));
        let answers: Vec<_> = join_all(questions).await.into_iter().flatten().collect();
        let is_alone = is_alone(&answers, members);
        if !is_alone {
            debug!("cut off from Redis, and so may be others: {answers:?} of {members} members");
        }
        is_alone.then_some(answers.len())
    }

    fn turn_red(&self, silence: Duration, answers: usize) {
        self.standing.shared.is_cut_off.store(true, Ordering::Relaxed);
        warn!(
            message_id = events::CUT_OFF,
            count = self.hub.len(),
            "cut off from Redis for {:.0} s, which {answers} peers can reach: leaving the load balancer and sending {} connections away",
            silence.as_secs_f64(),
            self.hub.len()
        );
    }

    /// Evenly over the window; whoever comes meanwhile is sent away at its end. Ends early when
    /// membership has lifted the state, or Redis is back before anybody gave this instance up.
    async fn drain(&self) {
        let start = Instant::now();
        let mut here = self.hub.select(|_| true);
        here.shuffle(&mut rand::rng());
        let (total, mut closed) = (here.len(), 0);
        while self.standing.is_cut_off() {
            if self.lease.is_held() && self.standing.lift() {
                return info!(
                    message_id = events::REDIS_BACK,
                    "Redis is reached again; serving on"
                );
            }
            let notice = self.config.drain / NOTICE;
            let passed = start.elapsed().saturating_sub(notice);
            let share = passed.div_duration_f64(self.config.drain - notice);
            let due = ((total as f64 * share) as usize).min(total);
            for connection in here.drain(..due - closed) {
                connection.outbox().order(Close::GoingAway);
            }
            closed = due;
            if share >= 1.0 {
                self.hub.close_all(Close::GoingAway);
            }
            sleep(LOOK).await;
        }
    }
}

/// Whether enough peers reach Redis, and few enough members do not.
fn is_alone(answers: &[PeerHealth], members: usize) -> bool {
    let up = answers.iter().filter(|peer| peer.redis_is_up).count();
    // This instance is silent at least, though a peer may not have found out.
    let silent = answers.iter().map(|peer| peer.silent as usize).max().unwrap_or_default().max(1);
    up >= NEEDED && silent * SHARE <= members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(silent: u32) -> PeerHealth {
        PeerHealth { redis_is_up: true, silent, connections: None }
    }

    #[test]
    fn two_must_say_that_redis_is_well() {
        let down = PeerHealth { redis_is_up: false, silent: 0, connections: None };
        for (answers, alone) in [
            (&[up(1), up(1), down][..], true),
            (&[up(0), up(0)], true),
            (&[up(1), down, down], false),
            (&[up(1)], false),
            (&[], false),
        ] {
            assert_eq!(is_alone(answers, 6), alone, "{answers:?}");
        }
    }

    #[test]
    fn never_more_than_a_third_of_the_fleet() {
        for (members, silent, alone) in
            [(2, 1, false), (3, 1, true), (3, 2, false), (5, 2, false), (6, 2, true), (9, 4, false)]
        {
            assert_eq!(is_alone(&[up(silent), up(0)], members), alone, "{silent} of {members}");
        }
    }
}
