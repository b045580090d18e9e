//! Builds the modules from the settings and starts those that run in the background.
//!
//! A module never reads another's settings: here is the one table of who gets what.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    DaemonError, auth,
    checks::{DirectoryCheck, LeaseCheck, RedisCheck},
    delivery, limits, reload,
    revocation::Revocation,
    shared::{open_redis, read},
};
use crate::{
    config::settings::Settings,
    control,
    fleet::{
        identity::Identity,
        isolation::{self, Isolation, Standing},
        lease::Lease,
        membership::{self, Membership, Mismatch},
        obituary::Obituary,
        roster::Roster,
    },
    http::{Check, Health, HttpPeers},
    hub::Hub,
    ids::{CurrentEpoch, IdSource, Origin, UserHasher},
    lifecycle::{Hearts, Stop, Tasks},
    limit::{Places, Reporter},
    listener::tls::Tls,
    redis::Redis,
    relay::Relay,
    router::Router,
    session::{self, Mirror, Registrar},
    store::{LegacyKeys, SharedStore, View, memory::MemoryStore, shared::SharedState},
    upgrade::{self, Upgrader},
    users::Directory,
};

/// The lease is renewed every second and a half; a heart that is silent for this many times that
/// is stuck.
const FLEET_HEART_BEATS: u32 = 20;

/// What the daemon holds on to.
pub struct Parts {
    /// The connections here.
    pub hub: Hub,
    /// The handshake.
    pub upgrader: Upgrader,
    /// What the public listeners show their clients.
    pub tls: Tls,
    /// What `/readyz` asks.
    pub health: Health,
    /// Who may connect.
    pub directory: Arc<dyn Directory>,
    /// All work that must end before the process does.
    pub tasks: Tasks,
    /// Ends what runs in the background.
    pub background: CancellationToken,
    /// The sockets of clients, WebSockets or not yet.
    pub sockets: Places,
    /// Told of the limits that are reached.
    pub reporter: Reporter,
    /// The demo signs its page's tokens with it; empty without mode `token`.
    pub token_key: Vec<u8>,
    /// How messages travel.
    pub router: Router,
    /// Who is known to the fleet.
    pub registrar: Registrar,
    /// What the operator is told of the fleet; `None`: the instance is alone.
    pub fleet: Option<control::Fleet>,
}

/// What all of these share.
struct Ground<'a> {
    settings: &'a Settings,
    hub: Hub,
    view: View,
    epoch: CurrentEpoch,
    tasks: Tasks,
    background: CancellationToken,
    hasher: UserHasher,
    secret: Vec<u8>,
    directory: Arc<dyn Directory>,
}

impl Parts {
    /// Builds everything; what is fatal later comes through the receiver.
    pub fn build(
        settings: &Settings,
        identity: &Identity,
        api: SocketAddr,
        directory: Arc<dyn Directory>,
        hearts: &Hearts,
        background: &CancellationToken,
        stop: &Stop,
    ) -> Result<(Self, mpsc::Receiver<Fatal>), DaemonError> {
        let ground = Ground::new(settings, background, directory.clone())?;
        let ids = Arc::new(IdSource::new(Origin::random()));
        let mut checks: Vec<Box<dyn Check>> = vec![Box::new(DirectoryCheck(directory.clone()))];
        let (fatal, fatalities) = mpsc::channel(1);
        let vital = Vital { tasks: ground.tasks.clone(), fatal: fatal.clone() };
        let mut standing = None;
        let ((router, registrar), fleet) = match open_redis(settings)? {
            Some(redis) => {
                checks.push(Box::new(RedisCheck(redis.clone())));
                let me = Me { identity, api, origin: ids.origin(), leaving: stop.soft().clone() };
                let fleet = ground.join(redis, me, hearts, fatal);
                checks.push(Box::new(LeaseCheck(fleet.desk.lease.clone())));
                standing = Some(fleet.standing);
                ((fleet.router, fleet.registrar), Some(fleet.desk))
            }
            None => (ground.alone(), None),
        };
        ground.follow_directory(&vital, &directory, &registrar);
        let (auth, token_key) = auth::authenticator(settings)?;
        let certificate = reload::certificate(settings)
            .map_err(|fault| DaemonError::Setting(format!("listen.tls_certificate: {fault}")))?;
        let config = upgrade_config(settings);
        let sockets = Places::new(limits::sockets(&config.limits));
        let tasks = ground.tasks.clone();
        let reporter = Reporter::new(tasks.clone(), background.clone());
        let edge = upgrade::Parts {
            auth: ArcSwap::from_pointee(auth),
            directory: directory.clone(),
            directory_is_shared: settings.database.url.is_some(),
            registrar: registrar.clone(),
            router: router.clone(),
            ids,
            tasks: tasks.clone(),
            reporter: reporter.clone(),
        };
        let upgrader = Upgrader::new(config, edge);
        let parts = Self {
            hub: ground.hub,
            upgrader,
            tls: Tls::new(certificate),
            health: Health::new(checks, standing),
            directory,
            tasks,
            background: background.clone(),
            sockets,
            reporter,
            token_key,
            router,
            registrar,
            fleet,
        };
        Ok((parts, fatalities))
    }
}

/// What no instance can go on with.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The fleet was set up differently.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A task that everyone depends on has panicked: without it the instance would look healthy
    /// and be deaf. Another process will do better.
    #[error("the task {0:?} has failed, which is a defect; see the panic before this")]
    Failed(&'static str),
}

/// Spawns tasks whose end by a panic ends the process.
struct Vital {
    tasks: Tasks,
    fatal: mpsc::Sender<Fatal>,
}

/// Dropped by an unwinding task, it raises the alarm.
struct Alarm {
    name: &'static str,
    fatal: mpsc::Sender<Fatal>,
}

impl Vital {
    fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let alarm = Alarm { name, fatal: self.fatal.clone() };
        self.tasks.spawn(name, async move {
            let _alarm = alarm;
            work.await;
        });
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A full channel holds another reason to end, which is as good.
            let _ = self.fatal.try_send(Fatal::Failed(self.name));
        }
    }
}

/// What joining a fleet gives.
struct Fleet {
    router: Router,
    registrar: Registrar,
    desk: control::Fleet,
    standing: Standing,
}

/// This instance, as it shows itself to the others.
struct Me<'a> {
    identity: &'a Identity,
    api: SocketAddr,
    origin: Origin,
    leaving: CancellationToken,
}

impl<'a> Ground<'a> {
    fn new(
        settings: &'a Settings,
        background: &CancellationToken,
        directory: Arc<dyn Directory>,
    ) -> Result<Self, DaemonError> {
        let secret = match &settings.fleet.secret_file {
            Some(file) => read("fleet.secret_file", file)?,
            None => settings.redis.prefix.clone().into_bytes(),
        };
        Ok(Self {
            settings,
            hub: Hub::default(),
            view: View::default(),
            epoch: CurrentEpoch::default(),
            tasks: Tasks::new(),
            background: background.clone(),
            hasher: UserHasher::new(&secret),
            secret,
            directory,
        })
    }

    fn alone(&self) -> (Router, Registrar) {
        let store: SharedStore = Arc::new(MemoryStore::new(delivery::hold_policy(self.settings)));
        self.connect(store, None, None)
    }

    fn join(&self, redis: Redis, me: Me<'_>, hearts: &Hearts, fatal: mpsc::Sender<Fatal>) -> Fleet {
        let store: SharedStore =
            Arc::new(SharedState::new(redis.clone(), &delivery::hold_policy(self.settings)));
        let window = delivery::hold_policy(self.settings).window.unwrap_or_default();
        let (relay, returned) =
            Relay::new(redis.clone(), self.hub.clone(), self.epoch.clone(), window);
        let (lease, roster) = (Lease::new(self.settings.fleet.lease), Roster::default());
        let desk_roster = roster.clone();
        let standing = Standing::new(lease.clone(), self.hub.clone());
        // Redis and the relay go on until membership has left, and the last keys are written.
        let left = CancellationToken::new();
        let guard = Arc::new(left.clone().drop_guard());
        let mirror = self.mirror(&redis, guard.clone());
        let (router, registrar) = self.connect(store.clone(), Some(relay.clone()), mirror);
        let parts = membership::Parts {
            store,
            relay: relay.clone(),
            hub: self.hub.clone(),
            registrar: registrar.clone(),
            view: self.view.clone(),
            epoch: self.epoch.clone(),
            origin: me.origin,
            link: redis.watch(),
            tasks: self.tasks.clone(),
            lease: lease.clone(),
            standing: standing.clone(),
            roster: roster.clone(),
            obituary: obituary(me.identity),
            leaving: me.leaving,
        };
        let fleet = &self.settings.fleet;
        let config = isolation::Config { after: fleet.cut_off_after, drain: fleet.cut_off_drain };
        let isolation = Isolation {
            config,
            lease: lease.clone(),
            roster,
            standing: standing.clone(),
            hub: self.hub.clone(),
            origin: me.origin,
            peers: Arc::new(HttpPeers),
        };
        self.tasks.spawn("isolation", isolation.run(self.background.clone()));
        let limit = self.settings.fleet.heartbeat * FLEET_HEART_BEATS
            + self.settings.redis.command_timeout * 4;
        let heart = |name| hearts.register(name, limit);
        let config = self.membership_config(me.identity, me.api);
        let membership = Membership::new(config, parts, heart("fleet"));
        let member = membership.run(self.background.clone());
        let vital = Vital { tasks: self.tasks.clone(), fatal: fatal.clone() };
        let (last, ear) = (registrar.clone(), relay.clone());
        vital.spawn("membership", async move {
            if let Err(mismatch) = member.await {
                // The daemon waits for this, or has begun to stop: then nobody needs to know.
                let _ = fatal.send(Fatal::Mismatch(mismatch)).await;
            }
            last.settle_last_releases().await;
            ear.finish().await;
            drop(guard);
        });
        let (hot, stop) = (redis.clone(), left.clone());
        vital.spawn("redis", async move { hot.run(stop).await });
        let (reader, stop) = (relay.clone(), left.clone());
        let pulse = heart("relay reader");
        vital.spawn("relay reader", async move { reader.read(pulse, stop).await });
        let (writer, stop) = (relay.clone(), left.clone());
        let pulse = heart("relay writer");
        vital.spawn("relay writer", async move { writer.write(pulse, stop).await });
        let (stop, replaced) = (left.clone(), redis.replaced());
        let losses = relay.clone();
        vital.spawn("losses", async move { losses.losses().report(replaced, stop).await });
        let (epoch, view) = (self.epoch.clone(), self.view.clone());
        let returns = router.clone();
        vital.spawn("returns", async move { returns.run(returned, left).await });
        let desk = control::Fleet { epoch, view, lease, relay, roster: desk_roster };
        Fleet { router, registrar, desk, standing }
    }

    /// Writes the legacy keys, if that is wanted; `guard` is held until the last is written.
    fn mirror(&self, redis: &Redis, guard: Arc<DropGuard>) -> Option<Mirror> {
        if !self.settings.compat.legacy_key_mirror {
            return None;
        }
        let keys = LegacyKeys::new(redis.clone(), session::MIRROR_TTL);
        let rate = self.settings.fleet.assert_rate;
        let (mirror, task) = Mirror::new(keys, self.hub.clone(), redis.watch(), &self.epoch, rate);
        let stop = self.background.clone();
        self.tasks.spawn("legacy keys", async move {
            task.run(stop).await;
            drop(guard);
        });
        Some(mirror)
    }

    fn connect(
        &self,
        store: SharedStore,
        relay: Option<Relay>,
        mirror: Option<Mirror>,
    ) -> (Router, Registrar) {
        let config = delivery::router(self.settings, &self.directory);
        let router = Router::new(
            config,
            self.hub.clone(),
            store.clone(),
            self.view.clone(),
            relay,
            self.hasher.clone(),
            self.epoch.clone(),
        );
        let config = session::ClaimConfig {
            max_stored_message: self.settings.delivery.max_stored_message,
            bounds: limits::bounds(self.settings),
        };
        let (view, epoch) = (self.view.clone(), self.epoch.clone());
        let tasks = self.tasks.clone();
        let registrar = Registrar::new(config, store, router.clone(), view, epoch, tasks, mirror);
        (router, registrar)
    }

    /// Hears what changes in the directory, and acts on it.
    fn follow_directory(
        &self,
        vital: &Vital,
        directory: &Arc<dyn Directory>,
        registrar: &Registrar,
    ) {
        let (watched, stop) = (directory.clone(), self.background.clone());
        vital.spawn("users' changes", async move { watched.watch(&stop).await });
        let (directory, registrar) = (directory.clone(), registrar.clone());
        let (hub, hasher) = (self.hub.clone(), self.hasher.clone());
        let revocation = Revocation { directory, hub, hasher, registrar };
        vital.spawn("revocation", revocation.run(self.background.clone()));
    }

    fn membership_config(&self, identity: &Identity, api: SocketAddr) -> membership::Config {
        let fleet = &self.settings.fleet;
        let host = identity.private_ip.unwrap_or(api.ip());
        membership::Config {
            heartbeat: fleet.heartbeat,
            suspect_rounds: fleet.suspect_rounds,
            lease: fleet.lease,
            assert_rate: fleet.assert_rate,
            instance: identity.instance_id.clone(),
            zone: identity.zone.clone(),
            ec2_id: identity.ec2_id.clone(),
            address: SocketAddr::new(host, api.port()).to_string(),
            secret_check: UserHasher::new(&self.secret).check_value(),
            runtime_dir: self.settings.instance.runtime_dir.clone(),
        }
    }
}

fn upgrade_config(settings: &Settings) -> upgrade::Config {
    let websocket = &settings.websocket;
    let trimmed = |path: &String| path.strip_suffix('/').unwrap_or(path).to_owned();
    upgrade::Config {
        paths: websocket.paths.iter().map(trimmed).collect(),
        allowed_origins: websocket.allowed_origins.clone(),
        limits: limits::limits(settings),
        wire: session::WireConfig {
            max_message: websocket.max_message,
            max_frame: websocket.max_frame,
            read_buffer: websocket.read_buffer,
        },
        keepalive: session::KeepaliveConfig {
            ping_interval: websocket.ping_interval,
            idle_timeout: websocket.idle_timeout,
            max_lifetime: websocket.max_lifetime,
        },
    }
}

/// Who knows of a peer's end: EC2, if this is one of its machines.
#[cfg(feature = "aws")]
fn obituary(identity: &Identity) -> Option<Arc<dyn Obituary>> {
    let region = identity.region.clone();
    identity
        .ec2_id
        .as_ref()
        .map(|_| Arc::new(crate::fleet::ec2::Obituaries::new(region)) as Arc<dyn Obituary>)
}

#[cfg(not(feature = "aws"))]
fn obituary(_: &Identity) -> Option<Arc<dyn Obituary>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_task_that_panics_is_fatal_and_one_that_ends_is_not() {
        let (fatal, mut fatalities) = mpsc::channel(1);
        let vital = Vital { tasks: Tasks::new(), fatal };
        vital.spawn("quiet", async {});
        vital.spawn("loud", async { panic!("planted") });
        let told = fatalities.recv().await;
        assert!(matches!(told, Some(Fatal::Failed("loud"))), "{told:?}");
        drop(vital);
        assert!(fatalities.recv().await.is_none());
    }
}
