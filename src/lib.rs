//! wsfleetd: an EC2 Auto Scaling group as its own WebSocket gateway.
//!
//! One process per instance. Modules stand in the order in which data meets them:
//!
//! ```text
//!             client                                      operator
//!               │ (ALB, HTTP)                                │
//!           listener ──► http ──► web  (the demo's page)     │
//!                         ├─────► /healthz, /readyz ◄────────┘
//!                         └─────► upgrade + auth ──► users (PostgreSQL | file)
//!                                    │ Identity
//!                                 session ◄── hub (connections on THIS instance) ◄──────┐
//!                                    │ Deliver                ▲                         │
//!                                 router ── local? ───────────┘                         │
//!                                    ├───── remote? ─ relay (cached route, batched) ═══► peer's relay
//!                                    └───── slow? ─── store (Redis: one script finds owners, tells, holds)
//!    fleet: identity · membership (lease, epoch) · reaper · sweeper
//!    daemon builds all · lifecycle stops all · telemetry watches all
//! ```
//!
//! The invariants, most of them absences, are in `ARCHITECTURE.md`; `tests/suite/tidy.rs` holds
//! those that can be read off the source.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod listener;

pub mod http;

pub mod web;

pub mod control;

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

pub mod limit;

pub mod lifecycle;

pub mod telemetry;

pub mod config;

pub mod daemon;

pub mod doctor;

pub mod cli;
