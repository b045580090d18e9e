//! To be filled in.
pub mod users;
