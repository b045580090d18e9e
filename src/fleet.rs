//! To be filled in.
pub mod ec2;
pub mod identity;
