//! What several stories need: child processes, fakes of the world outside.

pub mod child;
