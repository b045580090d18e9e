//! Who the members are, beyond their epochs: what people and peers need to know of them.
//!
//! Kept as it was last read, also while Redis is away: an instance that is cut off from Redis must
//! still know whom to ask about it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{ids::Epoch, store::MemberRow};

/// What a member says of itself when it joins.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Info {
    /// The label.
    pub instance: String,
    /// The availability zone, if any.
    #[serde(default)]
    pub zone: Option<String>,
    /// Where peers reach its `api` listener.
    #[serde(default)]
    pub address: String,
    #[serde(default)]
    pub version: String,
    /// Its process.
    #[serde(default)]
    pub origin: String,
    /// What EC2 calls it; none outside EC2.
    #[serde(default)]
    pub ec2_id: Option<String>,
}

impl Info {
    /// As it stands in the table; what cannot be read is nobody's.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// The members at the last look; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    members: Arc<ArcSwap<HashMap<Epoch, Info>>>,
    /// When a heartbeat of each was last seen.
    heard: Arc<ArcSwap<HashMap<Epoch, Instant>>>,
}

impl Roster {
    /// Takes the table as it was read.
    pub fn set(&self, table: &[MemberRow]) {
        let all = table.iter().map(|row| (row.epoch, Info::parse(&row.info))).collect();
        self.members.store(Arc::new(all));
    }

    /// Takes when the counter of each member was last seen to move.
    pub(super) fn hear(&self, heard: HashMap<Epoch, Instant>) {
        self.heard.store(Arc::new(heard));
    }

    /// Every member with what it says of itself and the age of its last heartbeat, as far as either
    /// is known.
    pub fn all(&self) -> Vec<(Epoch, Info, Option<Duration>)> {
        let (members, heard) = (self.members.load(), self.heard.load());
        let age = |epoch: &Epoch| heard.get(epoch).map(Instant::elapsed);
        members.iter().map(|(epoch, info)| (*epoch, info.clone(), age(epoch))).collect()
    }

    /// What is known of a member.
    pub fn of(&self, epoch: Epoch) -> Option<Info> {
        self.members.load().get(&epoch).cloned()
    }

    /// How people call a member.
    pub fn name_of(&self, epoch: Epoch) -> String {
        self.of(epoch).map_or_else(|| "unknown".to_owned(), |info| info.instance)
    }

    /// Everybody but the process of this origin.
    pub fn others(&self, origin: &str) -> Vec<Info> {
        self.members.load().values().filter(|info| info.origin != origin).cloned().collect()
    }
}
