//! What several stories need: real servers, child processes, fakes of the world outside.

pub mod child;
pub mod postgres;
