//! The table of keys: what may be set, how it is written, what it does.
//!
//! Everything about a key stands here and nowhere else. Reading a configuration, the shipped file
//! and `check-config --print` all walk this table; the default is what `Settings::default` says.

mod key;

use std::time::Duration;

pub use self::key::{HIDDEN, Key, Reload, Trust, VARIABLE_PREFIX};
use super::{
    forms::{
        At,
        choice::{Choice, Flag},
        file::{Directory, Eventual, Readable},
        list::List,
        number::{Count, KIB, MIB, Size},
        percent::PercentOrOff,
        span::{Span, SpanOrOff},
        text::{
            Address, FREE, LABEL, LOG_FILTER, Network, ORIGIN, PATH, POSTGRES_URL, PREFIX,
            REDIS_URL,
        },
    },
    settings::{
        AtUserLimit,
        AuthMode::{Alb, Header, Token},
        ClassicDelivery::{Drop, Handover, Keep},
        CompatMode, DatabaseAuth, IdentitySource,
        LogTarget::{self, Journald, Json},
    },
};

/// The key of this dotted name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether keys stand below this dotted name.
pub fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

macro_rules! keys {
    ($(
        $name:literal => $($field:ident).+ : $form:expr,
        $trust:ident, $reload:ident,
        $doc:literal;
    )+) => {
        &[$(Key {
            name: $name,
            doc: $doc,
            trust: Trust::$trust,
            reload: Reload::$reload,
            field: &At {
                get: |settings| &settings.$($field).+,
                get_mut: |settings| &mut settings.$($field).+,
                form: $form,
            },
        },)+]
    };
}

/// Every key, those of one section together, in the order of the shipped file.
pub static KEYS: &[Key] = keys! {
    "instance.id" => instance.id: LABEL,
        Public, Restart,
        "This instance's label in logs and in the fleet. Empty: the EC2 instance id, else the \
         host's name.";
    "instance.state_dir" => instance.state_dir: Directory,
        Public, Restart,
        "Where state that outlives the process stands. Under systemd, STATE_DIRECTORY wins.";
    "instance.runtime_dir" => instance.runtime_dir: Directory,
        Public, Restart,
        "Where state of this start stands. Under systemd, RUNTIME_DIRECTORY wins.";
    "instance.workers" => instance.workers: Count(0, 256),
        Public, Restart,
        "Threads that serve connections. 0: one per core.";

    "listen.app" => listen.app: Address,
        Public, Restart,
        "Where WebSockets are served; the load balancer's default target group.";
    "listen.api" => listen.api: Address,
        Public, Restart,
        "A second listener for WebSockets, the target group of /api; peers ask each other here.";
    "listen.admin" => listen.admin: Address,
        Public, Restart,
        "Where health and readiness are served. Keep it private.";
    "listen.backlog" => listen.backlog: Count(1, 65535),
        Public, Restart,
        "Connections the kernel may hold for each listener before they are accepted. The kernel \
         cuts it to net.core.somaxconn.";
    "listen.trusted_proxies" => listen.trusted_proxies: List { least: 0, each: Network },
        Public, Restart,
        "Networks of the load balancers whose X-Forwarded-For is believed.";
    "listen.tls_certificate" => listen.tls_certificate: Readable,
        Public, Live,
        "PEM certificates for app and api, which then speak TLS only: the server's own first, \
         behind it those of its issuers. Empty: the systemd credential wsfleetd.tls-certificate, \
         else no TLS.";
    "listen.tls_key" => listen.tls_key: Readable,
        Public, Live,
        "PEM private key of the certificate. Empty: the systemd credential wsfleetd.tls-key.";

    "websocket.paths" => websocket.paths: List { least: 1, each: PATH },
        Public, Restart,
        "Paths at which a WebSocket may be opened. A trailing slash and a query are allowed.";
    "websocket.allowed_origins" => websocket.allowed_origins: List { least: 0, each: ORIGIN },
        Public, Restart,
        "Web pages that may open a WebSocket, by their origin. Empty: all.";
    "websocket.max_message" => websocket.max_message: Size(KIB, 16 * MIB),
        Public, Restart,
        "Longest message; a longer one closes the connection with 1009.";
    "websocket.max_frame" => websocket.max_frame: Size(KIB, 16 * MIB),
        Public, Restart,
        "Longest frame; a longer one closes the connection with 1009. At most max_message.";
    "websocket.read_buffer" => websocket.read_buffer: Size(512, MIB),
        Public, Restart,
        "Read buffer of each connection, held while it is idle: keep it small.";
    "websocket.ping_interval" => websocket.ping_interval: Span(ms(100), s(HOUR)),
        Public, Restart,
        "Time between pings. Keep it below the load balancer's idle timeout. A connection that \
         answers none for two intervals is dead and is closed.";
    "websocket.idle_timeout" => websocket.idle_timeout: SpanOrOff(Span(ms(100), s(7 * DAY))),
        Public, Restart,
        "How long a connection may be without a message in either direction before it is closed.";
    "websocket.max_lifetime" => websocket.max_lifetime: SpanOrOff(Span(ms(100), s(30 * DAY))),
        Public, Restart,
        "How long a connection may live before it is closed.";
    "websocket.handshake_timeout" => websocket.handshake_timeout: Span(ms(100), s(300)),
        Public, Restart,
        "From accepting a connection to its upgrade, all included.";

    "auth.modes" => auth.modes: List {
            least: 1,
            each: Choice(&[("header", Header), ("token", Token), ("alb", Alb)]),
        },
        Public, Restart,
        "How clients say who they are; the first mode whose credential is present decides. \
         \"header\" believes the header `username` and proves nothing: unless both listeners are \
         on loopback it needs auth.header.trusted_proxies. \"token\": a signed token. \"alb\": what \
         the load balancer says of who has logged in at it, in x-amzn-oidc-data; pages of other \
         hosts are then refused unless websocket.allowed_origins names them.";
    "auth.header.trusted_proxies" => auth.header_trusted_proxies: List { least: 0, each: Network },
        Public, Restart,
        "Networks from which the header `username` is believed.";
    "auth.token.key_file" => auth.token_key_file: Readable,
        Public, Restart,
        "Key that signs tokens: 32 bytes or more for HS256, or a public key in PEM for RS256, ES256 \
         or EdDSA. Read again on reload. Empty: the systemd credential wsfleetd.auth-secret; without \
         redis.url and auth.token.jwks_file, one that the daemon makes for itself in its state \
         directory.";
    "auth.token.jwks_file" => auth.token_jwks_file: Readable,
        Public, Restart,
        "The issuer's keys as a JSON Web Key Set, besides the one of auth.token.key_file. A token \
         that names its key (kid) is checked with that one. Read again on reload.";
    "auth.token.allow_query" => auth.token_allow_query: Flag,
        Public, Restart,
        "Whether a token may also come as ?token= in the URL, which proxies write to their logs.";
    "auth.token.audience" => auth.token_audience: FREE,
        Public, Restart,
        "The audience (aud) a token must name. Empty: not checked.";
    "auth.token.issuer" => auth.token_issuer: FREE,
        Public, Restart,
        "The issuer (iss) a token must name. Empty: not checked.";
    "auth.token.leeway" => auth.token_leeway: Span(s(0), s(600)),
        Public, Restart,
        "How far the issuer's clock may be from ours.";
    "auth.alb.signer" => auth.alb_signer: FREE,
        Public, Restart,
        "The load balancer's ARN. Every account's load balancers sign with the same keys, so only \
         what this one has signed is believed.";
    "auth.alb.claim" => auth.alb_claim: FREE,
        Public, Restart,
        "The claim of the load balancer's that is the username: sub, email, …";
    "auth.alb.key_file" => auth.alb_key_file: Readable,
        Public, Restart,
        "The load balancer's public key in PEM, read again on reload. Empty: it is fetched when it \
         is needed, by the name that stands in what it has signed.";
    "auth.alb.endpoint" => auth.alb_endpoint: FREE,
        Public, Restart,
        "Where the load balancer's public keys are fetched. Empty: AWS's endpoint for the region of \
         auth.alb.signer.";

    "redis.url" => redis.url: REDIS_URL,
        Secret, Restart,
        "redis://host:port/database, or rediss:// for TLS. All instances with the same Redis and \
         prefix are one fleet. Empty: this instance is alone and keeps its state in memory.";
    "redis.cluster" => redis.cluster: Flag,
        Public, Restart,
        "Whether redis.url is a Redis Cluster: any of its servers, or its configuration endpoint; \
         the others are learnt from it.";
    "redis.prefix" => redis.prefix: PREFIX,
        Public, Restart,
        "What every key and channel in Redis starts with: several fleets can share one Redis.";
    "redis.username" => redis.username: FREE,
        Public, Restart,
        "User of Redis' access control list. Empty: the default user, or the one in redis.url.";
    "redis.password_file" => redis.password_file: Readable,
        Public, Restart,
        "File that holds the password. Empty: the systemd credential wsfleetd.redis-password, \
         else what stands in redis.url.";
    "redis.ca_file" => redis.ca_file: Readable,
        Public, Restart,
        "PEM certificates of the authorities believed with rediss://. Empty: the system's and the \
         well-known ones.";
    "redis.connect_timeout" => redis.connect_timeout: Span(ms(10), s(60)),
        Public, Restart,
        "How long connecting to Redis may take.";
    "redis.command_timeout" => redis.command_timeout: Span(ms(10), s(60)),
        Public, Restart,
        "How long a command may take.";
    "redis.pool_size" => redis.pool_size: Count(1, 256),
        Public, Restart,
        "Connections for what is rare and may block; messages share one of their own.";

    "database.url" => database.url: POSTGRES_URL,
        Secret, Restart,
        "postgres://user@host/database of the users' table. Of several hosts (host1,host2) the one \
         that takes writes is used. Empty: users come from users.file.";
    "database.replica_url" => database.replica_url: POSTGRES_URL,
        Secret, Restart,
        "postgres://user@host/database of a read replica: users are looked up there while it \
         answers. Who is not found there, or is disabled, is looked up at database.url.";
    "database.auth" => database.auth: Choice(&[
            ("password", DatabaseAuth::Password),
            ("rds-iam", DatabaseAuth::RdsIam),
        ]),
        Public, Restart,
        "How to log in to PostgreSQL. \"password\": with database.password_file. \"rds-iam\": with \
         a token that the instance's role signs (rds-db:connect); always over TLS, and each URL \
         names one host and the user.";
    "database.password_file" => database.password_file: Readable,
        Public, Restart,
        "File that holds the password. Empty: the systemd credential wsfleetd.database-password, \
         else what stands in database.url.";
    "database.ca_file" => database.ca_file: Readable,
        Public, Restart,
        "PEM certificates of the authorities believed for PostgreSQL's TLS. Empty: the system's.";
    "database.pool_size" => database.pool_size: Count(1, 1000),
        Public, Restart,
        "Connections to PostgreSQL, to each of database.url and database.replica_url; one more \
         hears of changes. Its max_connections must suffice for all instances.";
    "database.connect_timeout" => database.connect_timeout: Span(ms(10), s(300)),
        Public, Restart,
        "How long connecting to PostgreSQL may take.";
    "database.query_timeout" => database.query_timeout: Span(ms(10), s(300)),
        Public, Restart,
        "How long a query may take until whoever asked is told that there is no answer.";
    "database.statement_timeout" => database.statement_timeout: Span(ms(10), s(300)),
        Public, Restart,
        "How long PostgreSQL itself works on a statement before it gives up.";

    "users.file" => users.file: Eventual,
        Public, Live,
        "CSV file of the users, where database.url is empty.";
    "users.cache_entries" => users.cache_entries: Count(1, 100_000_000),
        Public, Restart,
        "Users kept in memory, found or not.";
    "users.cache_ttl" => users.cache_ttl: Span(s(0), s(DAY)),
        Public, Live,
        "How long a user that was found is believed.";
    "users.cache_negative_ttl" => users.cache_negative_ttl: Span(s(0), s(HOUR)),
        Public, Live,
        "How long a user that was not found is believed to be missing.";
    "users.cache_stale" => users.cache_stale: Span(s(0), s(7 * DAY)),
        Public, Live,
        "How long a user that was found is believed while the database cannot be reached.";

    "delivery.classic" => delivery.classic: Choice(&[
            ("handover", Handover),
            ("drop", Drop),
            ("keep", Keep),
        ]),
        Public, Restart,
        "What becomes of a classic message whose recipient has no connection. \"handover\": held \
         if the recipient left less than handover_window ago. \"drop\": dropped. \"keep\": kept for \
         every registered recipient until they come, within the mailbox's bounds.";
    "delivery.handover_window" => delivery.handover_window: Span(ms(100), s(HOUR)),
        Public, Restart,
        "How long after a user's last connection messages are held for the next.";
    "delivery.max_stored_message" => delivery.max_stored_message: Size(KIB, 16 * MIB),
        Public, Restart,
        "Longest message that is held; a longer one is delivered live or not at all.";
    "delivery.mailbox_entries" => delivery.mailbox_entries: Count(1, 1_000_000),
        Public, Restart,
        "Messages held for one user; what comes when they are that many is dropped.";
    "delivery.mailbox_bytes" => delivery.mailbox_bytes: Size(KIB, 256 * MIB),
        Public, Restart,
        "Bytes held for one user; what would be more is dropped. At least max_stored_message.";
    "delivery.mailbox_ttl" => delivery.mailbox_ttl: Span(s(1), s(365 * DAY)),
        Public, Restart,
        "How long a message is held at most.";

    "limits.max_connections" => limits.max_connections: Count(0, 10_000_000),
        Public, Live,
        "Connections of this instance. 0: its limit of open files less 512.";
    "limits.connections_per_user" => limits.connections_per_user: Count(1, 1024),
        Public, Live,
        "Connections of one user across the fleet.";
    "limits.connections_per_user_policy" => limits.connections_per_user_policy: Choice(&[
            ("reject", AtUserLimit::Reject),
            ("displace-oldest", AtUserLimit::DisplaceOldest),
            ("unlimited", AtUserLimit::Unlimited),
        ]),
        Public, Live,
        "What happens to a connection beyond connections_per_user. \"reject\": refused with 403. \
         \"displace-oldest\": the user's oldest is closed with 4409. \"unlimited\": the limit is \
         1024 whatever connections_per_user says.";
    "limits.outbox_bytes" => limits.outbox_bytes: Size(KIB, 64 * MIB),
        Public, Live,
        "What may wait to be sent to one connection; a client too slow for it is closed with \
         1013. At least websocket.max_message.";
    "limits.accept_rate" => limits.accept_rate: Count(0, 1_000_000),
        Public, Live,
        "New connections per second; more are refused with 429. 0: no bound.";
    "limits.accept_burst" => limits.accept_burst: Count(1, 10_000_000),
        Public, Live,
        "New connections that may come at once, after a quiet time.";
    "limits.accept_rate_per_address" => limits.accept_rate_per_address: Count(0, 1_000_000),
        Public, Live,
        "New connections per second of one client address; more are refused with 429. 0: no bound. \
         Behind a load balancer set it only together with listen.trusted_proxies: otherwise all \
         addresses are the load balancer's. Of IPv6, the first 64 bits are one address.";
    "limits.accept_burst_per_address" => limits.accept_burst_per_address: Count(1, 1_000_000),
        Public, Live,
        "New connections of one client address that may come at once, after a quiet time.";
    "limits.message_rate" => limits.message_rate: Count(0, 1_000_000),
        Public, Live,
        "Messages per second of one connection; more are answered with an error and not delivered, \
         and a client that goes on is read from more slowly. 0: no bound.";
    "limits.message_burst" => limits.message_burst: Count(1, 10_000_000),
        Public, Live,
        "Messages of one connection that may come at once, after a quiet time.";
    "limits.memory_admission" => limits.memory_admission: PercentOrOff,
        Public, Live,
        "How much of its control group's memory limit (MemoryHigh= or MemoryMax= of the unit, \
         whichever is nearer) may be used before new connections are refused with 503. Without \
         such a limit nothing is refused.";

    "fleet.identity" => fleet.identity: Choice(&[
            ("auto", IdentitySource::Auto),
            ("imds", IdentitySource::Imds),
            ("static", IdentitySource::Static),
        ]),
        Public, Restart,
        "Where the instance's id comes from. \"imds\": EC2's instance metadata, or the daemon does \
         not start. \"static\": instance.id, or the host's name. \"auto\": EC2's metadata where \
         there is any.";
    "fleet.secret_file" => fleet.secret_file: Readable,
        Public, Restart,
        "Key that hides users' names in Redis; the same on all instances. Empty: derived from \
         redis.prefix, which hides them from a glance only.";
    "fleet.partitions" => fleet.partitions: Count(1, 1024),
        Public, Restart,
        "Parts into which the users are divided in Redis. The same on all instances; a change \
         takes a restart of the whole fleet.";
    "fleet.heartbeat" => fleet.heartbeat: Span(ms(100), s(60)),
        Public, Restart,
        "Time between signs of life to the other instances.";
    "fleet.suspect_rounds" => fleet.suspect_rounds: Count(2, 100),
        Public, Restart,
        "Heartbeats an instance may miss before the others take it for dead.";
    "fleet.lease" => fleet.lease: Span(ms(200), s(300)),
        Public, Restart,
        "How long an instance that cannot reach Redis still believes what it owns: longer than \
         two heartbeats, and shorter than the others take to give it up.";
    "fleet.assert_rate" => fleet.assert_rate: Count(1, 1_000_000),
        Public, Restart,
        "Connections registered again per second after Redis lost them.";
    "fleet.cut_off_after" => fleet.cut_off_after: Span(ms(500), s(HOUR)),
        Public, Restart,
        "How long Redis must be out of reach before the other instances are asked whether it is \
         well. If two say so, and no more than a third of the fleet is silent, this instance's \
         health checks turn red and it sends its clients away.";
    "fleet.cut_off_drain" => fleet.cut_off_drain: Span(ms(500), s(HOUR)),
        Public, Restart,
        "How long that may take: the first third for the load balancer to notice, then evenly.";

    "drain.stop_timeout" => drain.stop_timeout: Span(ms(100), s(HOUR)),
        Public, Restart,
        "From SIGTERM until the last connection has been closed.";

    "telemetry.log" => telemetry.log: Choice(&[
            ("auto", LogTarget::Auto),
            ("journald", Journald),
            ("text", LogTarget::Text),
            ("json", Json),
        ]),
        Public, Restart,
        "Where the log goes. \"text\" and \"json\": standard error. \"auto\": journald under \
         systemd, else text.";
    "telemetry.level" => telemetry.level: LOG_FILTER,
        Public, Live,
        "What is logged: error, warn, info, debug or trace, or a filter by module such as \
         info,wsfleetd::relay=debug.";

    "compat.mode" => compat.mode: Choice(&[
            ("none", CompatMode::None),
            ("api-gateway", CompatMode::ApiGateway),
        ]),
        Public, Restart,
        "Whom to imitate. \"api-gateway\": unless they are set, websocket.idle_timeout becomes 10 \
         minutes and websocket.max_lifetime 2 hours.";

    "compat.legacy_key_mirror" => compat.legacy_key_mirror: Flag,
        Public, Restart,
        "Write under each user's bare name in Redis the id of the connection that logged in last, \
         as the application did, for back ends that read it. Takes redis.url, and a Redis user \
         that may touch every key (README).";
};
