//! wsfleetd: an EC2 Auto Scaling group as its own WebSocket gateway.

pub mod listener;
pub mod http;
pub mod web;
pub mod upgrade;
pub mod session;
pub mod hub;
pub mod router;
pub mod relay;
pub mod store;
pub mod fleet;
pub mod users;
pub mod redis;
pub mod protocol;
pub mod ids;
pub mod clock;
pub mod lifecycle;
pub mod telemetry;
pub mod config;
pub mod daemon;
pub mod cli;
