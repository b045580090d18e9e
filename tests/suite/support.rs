//! What several stories need: real servers, child processes, fakes of the world outside.

pub mod child;
#[cfg(feature = "aws")]
pub mod imds;
pub mod journal;
#[cfg(feature = "aws")]
pub mod moto;
pub mod postgres;
