//! The operator's limits as the edge and the claim take them: what can be changed while connections are open.

use tracing::warn;

use super::{parts::Parts, revocation};
use crate::{
    config::settings::{AtUserLimit, Limits, Settings, UNLIMITED_PER_USER},
    session,
    store::Limit,
    telemetry::events,
    upgrade,
};

/// Descriptors for everything that is no client: Redis, PostgreSQL, listeners, files.
pub const SPARE_DESCRIPTORS: usize = 512;

/// Sockets that are not WebSockets yet, beside all that are: health checks, handshakes.
const SPARE_SOCKETS: usize = 256;

impl Parts {
    /// Puts the limits of `settings` in force, for new connections and, where that is possible, for
    /// those that are open. Nobody is sent away.
    pub fn apply_limits(&self, settings: &Settings) {
        let limits = limits(settings);
        self.sockets.resize(sockets(&limits));
        self.upgrader.set_limits(&limits);
        self.registrar.follow(bounds(settings));
    }
}

/// Sockets of the `app` and the `api` listener together.
pub fn sockets(limits: &upgrade::Limits) -> usize {
    limits.max_connections.saturating_add(SPARE_SOCKETS)
}

/// What a connection's place in the fleet goes by.
pub fn bounds(settings: &Settings) -> session::Bounds {
    session::Bounds {
        connections_per_user: user_limit(&settings.limits),
        revocation: revocation::stands(settings),
    }
}

fn user_limit(limits: &Limits) -> Limit {
    match limits.connections_per_user_policy {
        AtUserLimit::Reject => limits.connections_per_user.into(),
        AtUserLimit::DisplaceOldest => Limit { most: limits.connections_per_user, displaces: true },
        AtUserLimit::Unlimited => UNLIMITED_PER_USER.into(),
    }
}

/// What the handshake goes by.
pub fn limits(settings: &Settings) -> upgrade::Limits {
    let limits = &settings.limits;
    upgrade::Limits {
        max_connections: max_connections(limits.max_connections),
        accept_rate: limits.accept_rate,
        accept_burst: limits.accept_burst,
        accept_rate_per_address: limits.accept_rate_per_address,
        accept_burst_per_address: limits.accept_burst_per_address,
        memory_admission: limits.memory_admission,
        message_rate: limits.message_rate,
        message_burst: limits.message_burst,
        outbox_bytes: limits.outbox_bytes,
    }
}

fn max_connections(wanted: usize) -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = descriptors.map_or(usize::MAX >> 8, |limit| limit as usize);
    let possible = descriptors.saturating_sub(SPARE_DESCRIPTORS).max(1);
    if wanted == 0 {
        return possible;
    }
    if wanted > possible {
        warn!(
            message_id = events::DESCRIPTORS_LOW,
            "limits.max_connections = {wanted} needs {} descriptors, and the limit is {descriptors}; raise LimitNOFILE",
            wanted + SPARE_DESCRIPTORS
        );
    }
    wanted
}
