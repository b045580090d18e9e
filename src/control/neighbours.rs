//! The members of the fleet as an operator sees them from here.
//!
//! Who they are and when they were heard of is known; how many connections each has is asked over
//! its `api` listener, seldom and side by side, however often the operator looks.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{PeerItem, PeerList};
use crate::{
    fleet::{
        isolation::{PeerHealth, Peers},
        roster::{Info, Roster},
    },
    ids::Epoch,
};

/// Answers are believed for this long.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Peers asked at a time.
const AT_ONCE: usize = 32;

/// The whole round: with more silent peers than are asked at once the rest goes without an answer.
const ROUND: Duration = Duration::from_secs(3);

/// What was last answered, and when. An async lock: a second operator waits for the round of the
/// first.
pub struct Neighbours {
    peers: Arc<dyn Peers>,
    last: Mutex<Option<(Instant, HashMap<Epoch, PeerHealth>)>>,
}

impl Neighbours {
    /// Nobody was asked yet.
    pub fn new(peers: Arc<dyn Peers>) -> Self {
        Self { peers, last: Mutex::default() }
    }

    /// All members in the order of their names; `own` has `open` connections.
    pub async fn list(&self, roster: &Roster, own: Epoch, open: usize, lease: bool) -> PeerList {
        let members = roster.all();
        let others = members.iter().filter(|(epoch, ..)| *epoch != own);
        let mut health = self.ask(others).await;
        let connections = u32::try_from(open).ok();
        health.insert(own, PeerHealth { redis_is_up: lease, silent: 0, connections });
        let mut peers: Vec<_> = members
            .into_iter()
            .map(|(epoch, info, age)| item(epoch, info, age, epoch == own, health.get(&epoch)))
            .collect();
        peers.sort_by(|a, b| (&a.instance, &a.epoch).cmp(&(&b.instance, &b.epoch)));
        PeerList { peers }
    }

    async fn ask(
        &self,
        others: impl Iterator<Item = &(Epoch, Info, Option<Duration>)>,
    ) -> HashMap<Epoch, PeerHealth> {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, known)) if at.elapsed() < ASK_AGAIN => return known.clone(),
            _ => {}
        }
        let addresses: Vec<_> =
            others.map(|(epoch, info, _)| (*epoch, info.address.clone())).collect();
        let mut answers = HashMap::new();
        let asked = stream::iter(addresses)
            .map(async |(epoch, address)| (epoch, self.peers.ask(&address).await));
        let mut asked = std::pin::pin!(asked.buffer_unordered(AT_ONCE));
        let round = async {
            while let Some((epoch, health)) = asked.next().await {
                answers.extend(health.map(|health| (epoch, health)));
            }
        };
        let _ = timeout(ROUND, round).await;
        *last = Some((Instant::now(), answers.clone()));
        answers
    }
}

fn item(
    epoch: Epoch,
    info: Info,
    age: Option<Duration>,
    own: bool,
    health: Option<&PeerHealth>,
) -> PeerItem {
    PeerItem {
        instance: info.instance,
        epoch: epoch.to_string(),
        own,
        zone: info.zone,
        version: info.version,
        heartbeat_age_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        connections: health.and_then(|health| health.connections),
        lease: health.map(|health| health.redis_is_up),
    }
}
