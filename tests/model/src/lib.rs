//! The protocol of ownership and delivery as a model: small enough to be explored to the end,
//! named as the code is, so that what is found in one can be looked up in the other.
//!
//! `redis` is what the scripts do, one function per script, and is also what a recorded run of
//! real daemons is replayed against. `instance` and what stands below it is one daemon, `world` all
//! of them and their clients, `action` every step that may happen next, `explore` what a checker
//! needs. README.md says what is left out.

pub mod action;
mod claim;
pub mod envelope;
pub mod explore;
mod fleet;
mod hub;
pub mod ids;
pub mod instance;
pub mod map;
pub mod order;
pub mod properties;
pub mod redis;
mod relay;
mod router;
pub mod rules;
mod sweeper;
pub mod trace;
mod unconfirmed;
pub mod world;
