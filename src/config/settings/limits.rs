//! `[limits]`: how much of everything, and what happens beyond.

use super::KIB;

/// What a user's connection meets that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtUserLimit {
    /// It is refused.
    Reject,
    /// The oldest makes room.
    DisplaceOldest,
    /// Nothing, up to [`UNLIMITED_PER_USER`].
    Unlimited,
}

/// What *unlimited* means for one user: a bound all the same, for every message goes to each.
pub const UNLIMITED_PER_USER: u32 = 1024;

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// 0: the descriptor limit less 512.
    pub max_connections: usize,
    pub connections_per_user: u32,
    pub connections_per_user_policy: AtUserLimit,
    pub outbox_bytes: usize,
    /// New connections a second, and at once; 0 a second: any number.
    pub accept_rate: u32,
    pub accept_burst: u32,
    /// The same of one address.
    pub accept_rate_per_address: u32,
    pub accept_burst_per_address: u32,
    /// Messages a second of one connection, and at once; 0 a second: any number.
    pub message_rate: u32,
    pub message_burst: u32,
    /// Percent of the control group's memory limit; `None`: not looked at.
    pub memory_admission: Option<u8>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 0,
            connections_per_user: 32,
            connections_per_user_policy: AtUserLimit::Reject,
            outbox_bytes: 256 * KIB,
            accept_rate: 2000,
            accept_burst: 4000,
            accept_rate_per_address: 0,
            accept_burst_per_address: 100,
            message_rate: 2000,
            message_burst: 4000,
            memory_admission: Some(90),
        }
    }
}
