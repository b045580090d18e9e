//! This instance's place in the fleet: who it is, who else lives, and what the dead left behind.

#[cfg(feature = "aws")]
pub mod ec2;
pub mod identity;
pub mod isolation;
pub mod lease;
pub mod membership;
pub mod obituary;
mod predecessor;
pub mod purge;
mod reaper;
pub mod roster;
mod sweeper;
