//! The operator's settings, one struct per section of the file, with every default.
//!
//! Plain values and no behaviour: `keys` says how each is written, `load` fills them, and
//! `daemon` hands each module only what it needs.

mod limits;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;

pub use self::limits::{AtUserLimit, Limits, UNLIMITED_PER_USER};

/// Everything an operator can set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub instance: Instance,
    pub listen: Listen,
    pub websocket: WebSocket,
    pub auth: Auth,
    pub redis: Redis,
    pub database: Database,
    pub users: Users,
    pub delivery: Delivery,
    pub limits: Limits,
    pub fleet: Fleet,
    pub drain: Drain,
    pub telemetry: Telemetry,
    pub compat: Compat,
}

/// `[instance]`: who this process is and where it may write.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Label in logs and in the fleet; empty: the EC2 instance id, else the host's name.
    pub id: String,
    /// Where state that outlives the process stands; systemd's `STATE_DIRECTORY` wins.
    pub state_dir: PathBuf,
    /// Where state of this start stands; systemd's `RUNTIME_DIRECTORY` wins.
    pub runtime_dir: PathBuf,
    /// Threads of the runtime; 0: one per core.
    pub workers: usize,
}

/// `[listen]`: the sockets.
#[derive(Clone, Debug)]
pub struct Listen {
    pub app: SocketAddr,
    pub api: SocketAddr,
    pub admin: SocketAddr,
    /// Connections the kernel may hold for `accept`.
    pub backlog: u32,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Chain in PEM for `app` and `api`; `None`: the credential `wsfleetd.tls-certificate`, else no
    /// TLS.
    pub tls_certificate: Option<PathBuf>,
    /// Its key in PEM; `None`: the credential `wsfleetd.tls-key`.
    pub tls_key: Option<PathBuf>,
}

/// `[websocket]`: the handshake's path and a connection's limits.
#[derive(Clone, Debug)]
pub struct WebSocket {
    pub paths: Vec<String>,
    /// Empty: any origin.
    pub allowed_origins: Vec<String>,
    pub max_message: usize,
    pub max_frame: usize,
    /// Zero-filled before each read and held by every idle connection: keep it small.
    pub read_buffer: usize,
    pub ping_interval: Duration,
    /// `None`: never closed for silence.
    pub idle_timeout: Option<Duration>,
    /// `None`: may live for ever.
    pub max_lifetime: Option<Duration>,
    /// From accept to 101, all included.
    pub handshake_timeout: Duration,
}

/// How a client may say who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// `username: Sunil`, believed.
    Header,
    /// A signed token.
    Token,
    /// `x-amzn-oidc-data`, signed by the load balancer.
    Alb,
}

/// `[auth]`.
#[derive(Clone, Debug)]
pub struct Auth {
    pub modes: Vec<AuthMode>,
    /// `auth.header.trusted_proxies`
    pub header_trusted_proxies: Vec<IpNet>,
    /// `auth.token.key_file`; `None`: the credential `wsfleetd.auth-secret`, if systemd gave one.
    pub token_key_file: Option<PathBuf>,
    /// `auth.token.jwks_file`
    pub token_jwks_file: Option<PathBuf>,
    /// `auth.token.allow_query`
    pub token_allow_query: bool,
    /// `auth.token.audience`; empty: not checked.
    pub token_audience: String,
    /// `auth.token.issuer`; empty: not checked.
    pub token_issuer: String,
    /// `auth.token.leeway`
    pub token_leeway: Duration,
    /// `auth.alb.signer`; empty: none.
    pub alb_signer: String,
    /// `auth.alb.claim`
    pub alb_claim: String,
    /// `auth.alb.key_file`
    pub alb_key_file: Option<PathBuf>,
    /// `auth.alb.endpoint`; empty: that of the signer's region.
    pub alb_endpoint: String,
}

/// `[redis]`.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `redis://` or `rediss://`; `None`: this instance is alone and keeps its state in memory.
    pub url: Option<SecretString>,
    /// Whether that is any server of a Redis Cluster.
    pub cluster: bool,
    pub prefix: String,
    pub username: String,
    pub password_file: Option<PathBuf>,
    /// PEM roots for `rediss://`; `None`: the system's and the well-known ones.
    pub ca_file: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub command_timeout: Duration,
    pub pool_size: u32,
}

/// How PostgreSQL knows that it is us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseAuth {
    /// By a password, or by whatever the server takes without one.
    Password,
    /// By a token that the instance's role signs, as RDS takes it.
    RdsIam,
}

/// `[database]`.
#[derive(Clone, Debug)]
pub struct Database {
    /// `postgres://`; `None`: users come from `users.file`.
    pub url: Option<SecretString>,
    /// `postgres://`; `None`: reads go to `url`, too.
    pub replica_url: Option<SecretString>,
    pub auth: DatabaseAuth,
    pub password_file: Option<PathBuf>,
    /// PEM roots for TLS; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    pub pool_size: u32,
    pub connect_timeout: Duration,
    pub query_timeout: Duration,
    /// When the server itself gives up a statement that nobody waits for any more.
    pub statement_timeout: Duration,
}

/// `[users]`.
#[derive(Clone, Debug)]
pub struct Users {
    pub file: PathBuf,
    pub cache_entries: u64,
    pub cache_ttl: Duration,
    pub cache_negative_ttl: Duration,
    /// How long a cached user may still be believed while the directory cannot be reached.
    pub cache_stale: Duration,
}

/// What happens to a classic message whose recipient has no live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicDelivery {
    /// Held for a short while if the recipient has just left.
    Handover,
    /// Dropped, as the original did.
    Drop,
    /// Kept within the mailbox's bounds until the recipient comes.
    Keep,
}

/// `[delivery]`.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub classic: ClassicDelivery,
    pub handover_window: Duration,
    pub max_stored_message: usize,
    pub mailbox_entries: u32,
    pub mailbox_bytes: u32,
    pub mailbox_ttl: Duration,
}

/// Where the instance's name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// IMDS where the build and the machine have it, else the host's name.
    Auto,
    /// IMDSv2, or fail.
    Imds,
    /// `instance.id`, or the host's name.
    Static,
}

/// `[fleet]`.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub identity: IdentitySource,
    /// Keys the user hashes; `None`: derived from `redis.prefix`.
    pub secret_file: Option<PathBuf>,
    pub partitions: u16,
    pub heartbeat: Duration,
    pub suspect_rounds: u32,
    pub lease: Duration,
    /// Connections asserted per second after a fence or a reconnect.
    pub assert_rate: u32,
    /// Silence of Redis after which the peers are asked whether it is well.
    pub cut_off_after: Duration,
    /// From red health checks to the last connection closed, when they say so.
    pub cut_off_drain: Duration,
}

/// `[drain]`.
#[derive(Clone, Debug)]
pub struct Drain {
    /// From SIGTERM to the last connection closed and released.
    pub stop_timeout: Duration,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// journald under systemd, else text.
    Auto,
    Journald,
    Text,
    Json,
}

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct Telemetry {
    pub log: LogTarget,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,wsfleetd::relay=debug`.
    pub level: String,
}

/// Whom to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompatMode {
    None,
    /// 10 minutes of silence and 2 hours of life, as API Gateway has them.
    ApiGateway,
}

/// `compat`.
#[derive(Clone, Debug)]
pub struct Compat {
    pub mode: CompatMode,
    /// Whether the old back ends find users by their bare names in Redis.
    pub legacy_key_mirror: bool,
}

/// One binary kilobyte.
pub const KIB: usize = 1024;

impl Default for Instance {
    fn default() -> Self {
        Self {
            id: String::new(),
            state_dir: "/var/lib/wsfleetd".into(),
            runtime_dir: "/run/wsfleetd".into(),
            workers: 0,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            app: SocketAddr::from(([0, 0, 0, 0], 8080)),
            api: SocketAddr::from(([0, 0, 0, 0], 8081)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9180)),
            backlog: 4096,
            trusted_proxies: Vec::new(),
            tls_certificate: None,
            tls_key: None,
        }
    }
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            paths: vec!["/api".into(), "/ws".into(), "/Dev".into()],
            allowed_origins: Vec::new(),
            max_message: 128 * KIB,
            max_frame: 32 * KIB,
            read_buffer: 2 * KIB,
            ping_interval: Duration::from_secs(25),
            idle_timeout: None,
            max_lifetime: None,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            modes: vec![AuthMode::Token],
            header_trusted_proxies: Vec::new(),
            token_key_file: None,
            token_jwks_file: None,
            token_allow_query: false,
            token_audience: String::new(),
            token_issuer: String::new(),
            token_leeway: Duration::from_secs(30),
            alb_signer: String::new(),
            alb_claim: "sub".into(),
            alb_key_file: None,
            alb_endpoint: String::new(),
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            cluster: false,
            prefix: "wsfleetd".into(),
            username: String::new(),
            password_file: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_secs(1),
            pool_size: 4,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            replica_url: None,
            auth: DatabaseAuth::Password,
            password_file: None,
            ca_file: None,
            pool_size: 8,
            connect_timeout: Duration::from_secs(2),
            query_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(2),
        }
    }
}

impl Default for Users {
    fn default() -> Self {
        Self {
            file: "/etc/wsfleetd/users.csv".into(),
            cache_entries: 100_000,
            cache_ttl: Duration::from_secs(60),
            cache_negative_ttl: Duration::from_secs(5),
            cache_stale: Duration::from_secs(3600),
        }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            classic: ClassicDelivery::Handover,
            handover_window: Duration::from_secs(30),
            max_stored_message: 32 * KIB,
            mailbox_entries: 256,
            mailbox_bytes: 256 * KIB as u32,
            mailbox_ttl: Duration::from_secs(24 * 3600),
        }
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            identity: IdentitySource::Auto,
            secret_file: None,
            partitions: 256,
            heartbeat: Duration::from_millis(1500),
            suspect_rounds: 4,
            lease: Duration::from_secs(5),
            assert_rate: 2000,
            cut_off_after: Duration::from_secs(15),
            cut_off_drain: Duration::from_secs(45),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { stop_timeout: Duration::from_secs(10) }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: LogTarget::Auto, level: "info".into() }
    }
}

impl Default for Compat {
    fn default() -> Self {
        Self { mode: CompatMode::None, legacy_key_mirror: false }
    }
}
