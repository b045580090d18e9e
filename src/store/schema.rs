//! Which key schemas a version knows, and who may be in a fleet together.
//!
//! The number is of all that members must read alike: keys and what stands in them, and the
//! envelopes' format. What older readers pass over does not raise it: a key of its own, one more
//! field in a member's JSON, one more kind of envelope. A fleet is in one schema, which its first
//! member chose and which stands in `{m}:conf`; a version that raises the number still knows the one
//! before, chooses that, and writes as the fleet it has joined does. So versions N and N-1 are in one
//! fleet, in any order, also after Redis has lost everything and whoever comes first chooses anew.

/// The schemas that a version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schemas {
    /// What the version before writes; chosen for a new fleet.
    pub oldest: u16,
    pub newest: u16,
}

impl Schemas {
    /// This version's.
    pub const KNOWN: Self = Self { oldest: 1, newest: 1 };
}
