//! The composition root: build, bind, say ready, wait, drain, stop.
//!
//! The only place that knows every module. Settings are turned into each module's own `Config`
//! in `parts`; here is the order in which things start and end.

mod auth;
mod checks;
mod delivery;
mod desk;
mod limits;
mod parts;
mod reload;
mod shared;
mod status;
mod revocation;
mod token_key;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use self::{delivery::hold_policy, limits::SPARE_DESCRIPTORS, shared::open_redis};
use self::{
    parts::{Fatal, Parts},
    reload::Reloader,
    status::{StatusLine, draining},
};
use crate::{
    config::{Source, settings::Settings},
    fleet::identity::{self, Identity},
    http::{Face, Service},
    lifecycle::{Exit, Hearts, Signals, Stop, Tasks, notify, watchdog},
    limit::Places,
    listener::{BindError, Listener, handover::Inherited, tls::Tls},
    protocol::close::Close,
    telemetry::{Levels, events},
    users::{self, Directory},
    web::Page,
};

/// Sockets of the `admin` listener.
const OPERATORS_SOCKETS: usize = 256;

/// A daemon that is stopping looks this often whether the last connection is gone.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// What a stop may take beyond `drain.stop_timeout`, for the last words to Redis.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How often systemd is told of a drain that goes on, and for how much longer it may believe that.
const DRAIN_REPORT: Duration = Duration::from_secs(1);
const DRAIN_TRUST: Duration = Duration::from_secs(10);

/// What the main task and the listeners must show for the watchdog to be fed.
const HEART_LIMIT: Duration = Duration::from_secs(10);

/// Why the daemon did not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A setting that only shows to be wrong when it is used.
    #[error("{0}")]
    Setting(String),
    /// A listener that cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The instance does not know who it is.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
    /// Something nobody can go on with.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// A second signal ended the drain.
    #[error("stopped at once, without a goodbye to {0} connections")]
    Aborted(usize),
    /// Some work did not end in time.
    #[error("not stopped in time: {0} were still running")]
    Leftover(#[from] crate::lifecycle::Leftover),
}

impl DaemonError {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Setting(_) | Self::Fatal(Fatal::Mismatch(_)) => Exit::Config,
            Self::Bind(_) | Self::Identity(_) => Exit::Unavailable,
            Self::Signals(_)
            | Self::Fatal(Fatal::Failed(_))
            | Self::Aborted(_)
            | Self::Leftover(_) => Exit::Failure,
        }
    }
}

/// What is different in the demo.
#[derive(Default)]
pub struct Overrides {
    /// Users from elsewhere than the settings say.
    pub directory: Option<Arc<dyn Directory>>,
    /// A page at `/` of the `app` listener, made once the token key is known.
    pub page: Option<fn(&[u8]) -> Page>,
    /// Called when clients are served.
    pub on_ready: Option<fn(Addresses)>,
}

/// Where the daemon listens, ports chosen by the kernel included.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// `listen.app`
    pub app: SocketAddr,
    /// `listen.api`
    pub api: SocketAddr,
    /// `listen.admin`
    pub admin: SocketAddr,
}

struct Listeners {
    app: Listener,
    api: Listener,
    admin: Listener,
}

/// Runs until a signal ends it. A reload reads `source` again; `levels` are the log's; listeners
/// that fit are taken over from what was `inherited`.
pub async fn run(
    settings: Settings,
    source: Option<Source>,
    overrides: Overrides,
    levels: Levels,
    inherited: Inherited,
) -> Result<(), DaemonError> {
    info!(message_id = events::STARTED, "wsfleetd {} starts", env!("CARGO_PKG_VERSION"));
    let (stop, aside) = (Stop::new(), Tasks::new());
    let signals = Signals::install().map_err(DaemonError::Signals)?;
    let mut reloads = signals.reloads();
    let hearts = Hearts::new();
    let heart = hearts.register("main", HEART_LIMIT);
    aside.spawn("signals", signals.obey(stop.clone()));
    aside.spawn("watchdog", watchdog(hearts.clone(), stop.clone()));

    let identity = identity::identify(&settings.fleet, &settings.instance).await?;
    let directory = match overrides.directory {
        Some(directory) => directory,
        None => users::open(&settings.database, &settings.users)
            .await
            .map_err(|error| DaemonError::Setting(error.to_string()))?,
    };
    let listeners = Listeners::open(&settings, inherited)?;
    let addresses = listeners.addresses();
    let background = CancellationToken::new();
    let (parts, mut fatal) =
        Parts::build(&settings, &identity, addresses.api, directory, &hearts, &background, &stop)?;
    let page = overrides.page.map(|page| Arc::new(page(&parts.token_key)));
    listeners.serve(&settings, &parts, page, &hearts, &stop);
    desk::open(&settings, &parts, &identity, levels.clone(), &stop).await;
    report_own_instance(&identity, &parts.tasks);
    let status = StatusLine::new(&settings, &parts);
    announce(&settings, &parts, &identity, addresses);
    notify::ready(&status.latest());
    parts.tasks.spawn("status", status.clone().run(stop.soft().clone()));
    if let Some(on_ready) = overrides.on_ready {
        on_ready(addresses);
    }
    let mut reloader = Reloader::new(source, &settings, levels);

    let outcome = loop {
        tokio::select! {
            () = stop.soft().cancelled() => break Ok(()),
            Some(reason) = fatal.recv() => {
                // systemd starts another process after all but a refused configuration.
                if matches!(reason, Fatal::Failed(_)) {
                    stop.begin_hand_over();
                }
                break Err(reason.into());
            }
            Ok(()) = reloads.changed() => reloader.reload(&parts, &status).await,
            () = heart.rest() => {}
        }
    };
    stop.begin();
    drop(heart);
    tokio::select! {
        drained = drain(&settings, &parts, &background) => drained?,
        () = stop.hard().cancelled() => return Err(DaemonError::Aborted(parts.hub.len())),
    }
    outcome
}

impl Listeners {
    fn open(settings: &Settings, mut inherited: Inherited) -> Result<Self, BindError> {
        let listen = &settings.listen;
        let wanted = [
            ("listen.app", listen.app),
            ("listen.api", listen.api),
            ("listen.admin", listen.admin),
        ];
        inherited.sort_out(&wanted);
        let [app, api, admin] =
            wanted.map(|(key, at)| Listener::open(key, at, listen.backlog, &mut inherited));
        Ok(Self { app: app?, api: api?, admin: admin? })
    }

    fn addresses(&self) -> Addresses {
        Addresses { app: self.app.address(), api: self.api.address(), admin: self.admin.address() }
    }

    fn serve(
        self,
        settings: &Settings,
        parts: &Parts,
        page: Option<Arc<Page>>,
        hearts: &Hearts,
        stop: &Stop,
    ) {
        let (sockets, operators) = (parts.sockets.clone(), Places::new(OPERATORS_SOCKETS));
        let faces = [
            (self.app, Face::App, sockets.clone(), page),
            (self.api, Face::Api, sockets, None),
            (self.admin, Face::Admin, operators, None),
        ];
        for (listener, face, permits, page) in faces {
            let within = settings.websocket.handshake_timeout;
            let (upgrader, health) = (parts.upgrader.clone(), parts.health.clone());
            let proxies = settings.listen.trusted_proxies.as_slice().into();
            // The operator's own listener is private, and whoever scrapes it speaks plain HTTP.
            let tls = if face == Face::Admin { Tls::default() } else { parts.tls.clone() };
            let service = Service::new(face, tls, upgrader, health, page, proxies, within);
            let ending = stop.soft().clone();
            let serve = move |stream, peer, permit| {
                service.clone().serve(stream, peer, permit, ending.clone())
            };
            let (tasks, reporter) = (parts.tasks.clone(), parts.reporter.clone());
            let stop = stop.clone();
            let heart = hearts.register(listener.key(), HEART_LIMIT);
            parts.tasks.spawn("listener", async move {
                listener.run(tasks, permits, reporter, stop.soft().clone(), heart, serve).await;
                if !stop.hands_over() {
                    listener.withdraw();
                }
            });
        }
    }
}

fn announce(settings: &Settings, parts: &Parts, identity: &Identity, addresses: Addresses) {
    let fleet = if settings.redis.url.is_some() { "in a fleet" } else { "alone" };
    let Addresses { app, api, admin } = addresses;
    info!(
        message_id = events::READY,
        instance.id = %identity.instance_id,
        "ready: instance {} serves app on {app}, api on {api} and admin on {admin}, {fleet}, for up to {} connections",
        identity.instance_id,
        parts.upgrader.max_connections()
    );
    parts.tasks.spawn("certificate", parts.tls.clone().watch(parts.background.clone()));
}

/// Sends everyone away, then lets the background say its last words and end.
async fn drain(
    settings: &Settings,
    parts: &Parts,
    background: &CancellationToken,
) -> Result<(), DaemonError> {
    let (start, bound) = (Instant::now(), settings.drain.stop_timeout);
    let total = parts.hub.len();
    let say = |tell: fn(&str)| tell(&draining(parts.hub.len(), total, start.elapsed(), bound));
    say(notify::stopping);
    let mut reported: Option<Instant> = None;
    while !parts.hub.is_empty() && start.elapsed() < bound {
        // Again each time: handshakes that were under way add connections.
        parts.hub.close_all(Close::GoingAway);
        if reported.is_none_or(|at| at.elapsed() >= DRAIN_REPORT) {
            reported = Some(Instant::now());
            say(notify::status);
            notify::extend_timeout(DRAIN_TRUST);
        }
        sleep(DRAIN_LOOK).await;
    }
    info!(
        message_id = events::DRAINED,
        duration_ms = start.elapsed().as_millis() as u64,
        "drained: {} of {total} connections closed in {:.1} s",
        total.saturating_sub(parts.hub.len()),
        start.elapsed().as_secs_f64()
    );
    background.cancel();
    let left = bound.saturating_sub(start.elapsed()) + LAST_WORDS;
    notify::extend_timeout(left + DRAIN_TRUST);
    tokio::select! {
        finished = parts.tasks.finish(left) => Ok(finished?),
        never = send_away_latecomers(parts) => never,
    }
}

/// A handshake that was under way when the hub was empty adds a connection after all.
async fn send_away_latecomers<T>(parts: &Parts) -> T {
    loop {
        parts.hub.close_all(Close::GoingAway);
        sleep(DRAIN_LOOK).await;
    }
}

#[cfg(feature = "aws")]
fn report_own_instance(identity: &Identity, tasks: &Tasks) {
    if identity.ec2_id.is_none() {
        return;
    }
    let identity = identity.clone();
    tasks.spawn("ec2", async move {
        let ec2 = crate::fleet::ec2::aws::AwsEc2::new(identity.region.as_deref()).await;
        crate::fleet::ec2::report_own(&ec2, &identity).await;
    });
}

#[cfg(not(feature = "aws"))]
fn report_own_instance(_: &Identity, _: &Tasks) {}
