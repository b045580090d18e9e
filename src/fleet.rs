//! This instance's place in the fleet.

pub mod membership;
mod reaper;
