//! What several stories need: child processes, fakes of the world outside.

pub mod child;
#[cfg(feature = "aws")]
pub mod imds;
pub mod journal;
#[cfg(feature = "aws")]
pub mod moto;
