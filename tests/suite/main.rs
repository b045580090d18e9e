//! The one integration binary: a module for each subject.
//!
//! A new test goes to the module whose subject it tells a story of; what several need is in
//! `support`. Tests bind port 0, keep their files in temporary directories and stop what they
//! start.

#[cfg(feature = "aws")]
mod aws;
mod conversation;
mod failure;
mod handover;
mod lifecycle;
mod support;
mod telemetry;
mod users;
