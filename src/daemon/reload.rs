//! SIGHUP: reads the configuration again, takes over what can be changed in a running daemon, and
//! says what cannot.
//!
//! All or nothing: a configuration with a mistake in it changes nothing at all. What stands in
//! files of their own (users, certificates) is read again each time, whether its key has changed
//! or not, and each of them stays as it is when the new one is broken.

use tracing::{error, info, warn};

use super::{auth, parts::Parts, status::StatusLine};
use crate::{
    config::{
        Source,
        changes::{Change, Changes},
        settings::Settings,
    },
    lifecycle::notify,
    listener::tls::{Certificate, Fault},
    telemetry::{Levels, events},
};

/// Knows what is in force and where to read what should be.
pub struct Reloader {
    /// `None`: the demo, which is what it is.
    source: Option<Source>,
    in_force: Settings,
    levels: Levels,
}

/// A part that could not take over what its key now says, and goes on as it was.
#[derive(Debug)]
pub struct Unchanged {
    /// Whose change is given back.
    pub key: &'static str,
    /// The sentence for the operator.
    pub problem: String,
}

impl Reloader {
    /// For a daemon that was started with `settings`, read from `source`.
    pub fn new(source: Option<Source>, settings: &Settings, levels: Levels) -> Self {
        Self { source, in_force: settings.clone(), levels }
    }

    /// Does what SIGHUP asks for; whatever goes wrong is logged and leaves things as they are.
    pub async fn reload(&mut self, parts: &Parts, status: &StatusLine) {
        let Some(source) = self.source.clone() else {
            info!("nothing to reload: this instance was started without a configuration");
            return;
        };
        notify::reloading();
        // Files may stand on a disk that takes its time.
        match tokio::task::block_in_place(|| source.load()) {
            Ok(loaded) => self.take_over(&loaded.settings, parts).await,
            Err(mistakes) => error!(
                message_id = events::CONFIG_REJECTED,
                "the new configuration is rejected and the old one stays:\n{mistakes}"
            ),
        }
        notify::ready(&status.latest());
    }

    async fn take_over(&mut self, new: &Settings, parts: &Parts) {
        let mut changes = Changes::between(&self.in_force, new);
        let mut unchanged = parts.apply(&self.in_force, &changes.settings).await;
        unchanged.extend(self.set_level(&changes.settings.telemetry.level));
        for Unchanged { key, problem } in unchanged {
            error!("{problem}");
            changes.give_back(key, &self.in_force);
        }
        report(&changes);
        self.in_force = changes.settings;
    }

    /// Only if the key has changed: an operator may have set another level by hand meanwhile.
    fn set_level(&self, level: &str) -> Option<Unchanged> {
        if level == self.in_force.telemetry.level {
            return None;
        }
        let refused = self.levels.set(level).err()?;
        Some(Unchanged { key: "telemetry.level", problem: refused.to_string() })
    }
}

impl Parts {
    /// Makes of `new` what differs from `old` and is live; answers what could not be done.
    pub async fn apply(&self, old: &Settings, new: &Settings) -> Vec<Unchanged> {
        let mut unchanged = Vec::new();
        self.apply_limits(new);
        self.directory.follow(&new.users);
        if let Err(error) = self.directory.reload().await {
            let problem = format!("the users are not reloaded, the old ones stay: {error}");
            unchanged.push(Unchanged { key: "users.file", problem });
        }
        match certificate(new) {
            Ok(certificate) => self.tls.replace(certificate),
            // Only if a file has changed since it was checked.
            Err(fault) => {
                let problem =
                    format!("the certificate is not replaced, the old one stays: {fault}");
                unchanged
                    .push(Unchanged { key: "listen.tls_certificate", problem: problem.clone() });
                unchanged.push(Unchanged { key: "listen.tls_key", problem });
            }
        }
        // Files that keys name; the keys themselves take a restart.
        match auth::authenticator(old) {
            Ok((auth, _)) => self.upgrader.set_auth(auth),
            Err(error) => {
                error!("the keys of credentials are not reloaded, the old ones stay: {error}");
            }
        }
        unchanged
    }
}

/// What the listeners show their clients; `None` without TLS.
pub fn certificate(settings: &Settings) -> Result<Option<Certificate>, Fault> {
    let listen = &settings.listen;
    match (&listen.tls_certificate, &listen.tls_key) {
        (Some(chain), Some(key)) => Certificate::load(chain, key).map(Some),
        _ => Ok(None),
    }
}

fn report(changes: &Changes) {
    if changes.live.is_empty() {
        info!(
            message_id = events::RELOADED,
            "reloaded: no key has changed that can be taken over; files were read again"
        );
    } else {
        let list = list(&changes.live);
        info!(message_id = events::RELOADED, "reloaded: {list}");
    }
    if !changes.waiting.is_empty() {
        let list = list(&changes.waiting);
        warn!(
            message_id = events::RESTART_NEEDED,
            "changed, but only a restart takes over: {list}"
        );
    }
}

fn list(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
