//! To be filled in.
pub mod settings;
