//! What several stories need: child processes, fakes of the world outside.

pub mod child;
#[cfg(feature = "aws")]
pub mod imds;
#[cfg(feature = "aws")]
pub mod moto;
