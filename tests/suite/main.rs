//! The one integration binary: a module for each subject.
//!
//! A new test goes to the module whose subject it tells a story of; what several need is in
//! `support`. Tests bind port 0, keep their files in temporary directories and stop what they
//! start.

#![allow(
    clippy::disallowed_methods,
    reason = "a test ends with its process, and tells its own time"
)]

mod acl;
#[cfg(feature = "aws")]
mod aws;
mod chaos;
mod classic;
mod cluster;
mod control;
mod conversation;
mod demo;
mod dismissal;
mod doctor;
mod failure;
mod follow;
mod frames;
mod fuzz;
mod handover;
mod handshake;
mod health;
mod idle;
mod keep;
mod last_words;
mod isolation;
mod lifecycle;
mod limits;
#[cfg(feature = "aws")]
mod obituary;
mod link;
mod load;
mod legacy_keys;
mod logs;
mod purge;
mod python_json;
mod losses;
mod proxy;
mod readme;
mod reload;
mod revocation;
mod status_line;
mod stop;
mod replay;
mod store;
mod successor;
mod support;
mod telemetry;
mod tidy;
mod tls;
mod top;
mod transcript;
mod user_limit;
mod users;
mod versions;
