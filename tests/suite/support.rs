//! What several stories need: real servers, child processes, fakes of the world outside.

pub mod browser;
pub mod chaos;
pub mod child;
pub mod client;
pub mod demo;
pub mod faketime;
pub mod fleet;
pub mod haproxy;
#[cfg(feature = "aws")]
pub mod imds;
pub mod instance;
pub mod journal;
#[cfg(feature = "aws")]
pub mod moto;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod pty;
pub mod raw;
pub mod recorder;
pub mod redis;
pub mod systemd;
pub mod tls;
pub mod wscat;
