//! Who the members are, beyond their epochs: what people and peers need to know of them.
//!
//! Kept as it was last read, also while Redis is away: an instance that is cut off from Redis must
//! still know whom to ask about it.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

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
pub struct Roster(Arc<ArcSwap<HashMap<Epoch, Info>>>);

impl Roster {
    /// Takes the table as it was read.
    pub fn set(&self, table: &[MemberRow]) {
        let all = table.iter().map(|row| (row.epoch, Info::parse(&row.info))).collect();
        self.0.store(Arc::new(all));
    }

    /// What is known of a member.
    pub fn of(&self, epoch: Epoch) -> Option<Info> {
        self.0.load().get(&epoch).cloned()
    }

    /// How people call a member.
    pub fn name_of(&self, epoch: Epoch) -> String {
        self.of(epoch).map_or_else(|| "unknown".to_owned(), |info| info.instance)
    }

    /// Everybody but the process of this origin.
    pub fn others(&self, origin: &str) -> Vec<Info> {
        self.0.load().values().filter(|info| info.origin != origin).cloned().collect()
    }
}
