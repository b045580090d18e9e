//! Opens the control socket over what the daemon has built.

use tracing::warn;

use super::parts::Parts;
use crate::{
    config::settings::Settings,
    control::{self, Desk, Socket},
    fleet::identity::Identity,
    lifecycle::Stop,
    telemetry::Levels,
};

/// Answers the operator until the background ends. Without the socket the operator is worse off, and
/// the clients are not: then there is a warning and nothing else.
pub async fn open(
    settings: &Settings,
    parts: &Parts,
    identity: &Identity,
    levels: Levels,
    stop: &Stop,
) {
    match Socket::bind(control::path(&settings.instance.runtime_dir)).await {
        Ok(socket) => {
            let desk = desk(parts, identity, levels, stop);
            let serve = socket.run(desk, parts.tasks.clone(), parts.background.clone());
            parts.tasks.spawn("control", serve);
        }
        Err(error) => warn!("status, connections, kick and log-level will not work: {error}"),
    }
}

fn desk(parts: &Parts, identity: &Identity, levels: Levels, stop: &Stop) -> Desk {
    Desk::new(control::Parts {
        instance: identity.instance_id.clone(),
        hub: parts.hub.clone(),
        router: parts.router.clone(),
        registrar: parts.registrar.clone(),
        health: parts.health.clone(),
        levels,
        tasks: parts.tasks.clone(),
        fleet: parts.fleet.clone(),
        upgrader: parts.upgrader.clone(),
        draining: stop.soft().clone(),
    })
}
