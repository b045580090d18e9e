//! This instance's place in the fleet: who it is, who else lives, and what the dead left behind.

#[cfg(feature = "aws")]
pub mod ec2;
pub mod identity;
pub mod membership;
mod predecessor;
mod reaper;
mod sweeper;
