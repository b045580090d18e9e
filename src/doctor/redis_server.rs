//! Redis: whether it can be reached, and whether it is what a fleet needs.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{ANSWER, clocks, finding::Finding, redis_roundtrip};
use crate::{
    config::{Settings, settings::ClassicDelivery},
    daemon::open_redis,
    redis::{
        Redis,
        inspection::{Info, Inspection, NotInspected},
    },
};

/// To reach it: name resolution, connection, TLS, login.
const REACH: Duration = Duration::from_secs(3);

/// The first version with what the scripts use.
const OLDEST_MAJOR: u64 = 7;

/// Of `maxmemory`, in percent, beyond which it is time to make room.
const NEARLY_FULL: u64 = 85;

/// Seconds that a replica may be behind.
const REPLICA_LAG: u64 = 10;

const PERMISSIONS: &str = "redis.permissions";

/// What hangs on the first of all checks.
const DEPENDENT: [&str; 9] = [
    "redis.version",
    "redis.mode",
    "redis.role",
    PERMISSIONS,
    "redis.memory",
    "redis.persistence",
    "redis.replicas",
    "redis.clock",
    "redis.message",
];

pub async fn examine(settings: &Settings) -> Vec<Finding> {
    let redis = match open_redis(settings) {
        Ok(Some(redis)) => redis,
        Ok(None) => {
            let alone = "redis.url is not set: this instance is alone";
            let first = Finding::skipped("redis", alone);
            return [vec![first], skip(&DEPENDENT, alone)].concat();
        }
        Err(error) => {
            let remedy = "correct the setting, or the file it names";
            let first = Finding::error("redis", error.to_string(), remedy);
            return [vec![first], skip(&DEPENDENT, "redis cannot be asked")].concat();
        }
    };
    let (first, reached) = reach(&redis).await;
    let Some(mut server) = reached else {
        return [vec![first], skip(&DEPENDENT, "Redis cannot be reached")].concat();
    };
    let mut findings = vec![first];
    match server.info().await {
        Ok(info) => findings.extend(inspect(&redis, &mut server, &info, settings).await),
        Err(error) => {
            let remedy = "give its user what the README says: +info, and the others";
            findings.push(Finding::error(PERMISSIONS, error.to_string(), remedy));
            let others = DEPENDENT.into_iter().filter(|check| *check != PERMISSIONS);
            findings.extend(skip(&others.collect::<Vec<_>>(), "INFO gives no answer"));
        }
    }
    findings
}

fn skip(checks: &[&'static str], why: &str) -> Vec<Finding> {
    checks.iter().map(|check| Finding::skipped(check, why)).collect()
}

async fn reach(redis: &Redis) -> (Finding, Option<Inspection>) {
    let (address, start) = (redis.address(), Instant::now());
    let (found, remedy) = match timeout(REACH, redis.inspect(ANSWER)).await {
        Ok(Ok(mut server)) => {
            let reached = start.elapsed();
            let asked = Instant::now();
            let _ = server.ping().await;
            let took = asked.elapsed();
            let found =
                format!("{address} answers; connecting took {:.1} ms", reached.as_secs_f64() * 1e3);
            return (Finding::ok("redis", found).in_time(took), Some(server));
        }
        Ok(Err(NotInspected::Refused(reason))) => (
            format!("{address} refuses the login: {reason}"),
            "check redis.username, and redis.password_file or the credential wsfleetd.redis-password \
             (which only root can read); Redis's user must be \"on\"",
        ),
        Ok(Err(NotInspected::Unreachable(reason))) => {
            (format!("{address} cannot be reached: {reason}"), UNREACHABLE)
        }
        Err(_) => (format!("{address} does not answer within {} s", REACH.as_secs()), UNREACHABLE),
    };
    (Finding::error("redis", found, remedy).in_time(start.elapsed()), None)
}

const UNREACHABLE: &str = "look whether Redis runs there, whether redis.url names it, and whether the \
     security group or firewall lets this machine through; for rediss:// also redis.ca_file";

async fn inspect(
    redis: &Redis,
    server: &mut Inspection,
    info: &Info,
    settings: &Settings,
) -> Vec<Finding> {
    let mode = mode(info, settings);
    let role = role(info);
    let can_work = [&mode, &role].iter().all(|one| one.remedy.is_none());
    let message = async {
        match can_work {
            true => redis_roundtrip::examine(redis).await,
            false => Finding::skipped("redis.message", "this is not the server to say it to"),
        }
    };
    let (mut asked, mut timed) = (server.clone(), server.clone());
    let (permissions, persistence, clock, message) = tokio::join!(
        permissions(&mut asked, settings),
        persistence(server, info, settings),
        clock(&mut timed, settings),
        message
    );
    vec![
        version(info),
        mode,
        role,
        permissions,
        memory(info),
        persistence,
        replicas(info),
        clock,
        message,
    ]
}

fn version(info: &Info) -> Finding {
    let valkey = info.get("valkey_version");
    let (name, version) = match valkey {
        "" => ("Redis", info.get("redis_version")),
        valkey => ("Valkey", valkey),
    };
    let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
    let found = format!("{name} {version}");
    match major {
        Some(major) if major < OLDEST_MAJOR => {
            Finding::error("redis.version", found, "use Redis 7 or newer, or Valkey")
        }
        _ => Finding::ok("redis.version", found),
    }
}

fn mode(info: &Info, settings: &Settings) -> Finding {
    let is_cluster = info.get("redis_mode") == "cluster";
    match (is_cluster, settings.redis.cluster) {
        (true, false) => {
            Finding::error("redis.mode", "it is a Redis Cluster", "set redis.cluster = true")
        }
        (false, true) => {
            Finding::error("redis.mode", "it is no Redis Cluster", "unset redis.cluster")
        }
        (true, true) => Finding::ok("redis.mode", "a Redis Cluster"),
        (false, false) => Finding::ok("redis.mode", "one server"),
    }
}

/// In a cluster `redis.url` may name any server, also a replica.
fn role(info: &Info) -> Finding {
    let role = info.get("role");
    if role == "master" || info.get("redis_mode") == "cluster" {
        return Finding::ok(
            "redis.role",
            if role == "master" { "the primary" } else { "a replica" },
        );
    }
    let primary = format!("{}:{}", info.get("master_host"), info.get("master_port"));
    let link = match info.get("master_link_status") {
        "up" => "",
        _ => ", which it has lost",
    };
    Finding::error(
        "redis.role",
        format!("it is a replica of {primary}{link}, and takes no writes"),
        format!(
            "name the primary in redis.url (now {primary}; in ElastiCache the primary endpoint)"
        ),
    )
}

async fn permissions(server: &mut Inspection, settings: &Settings) -> Finding {
    const REMEDY: &str = "give Redis's user what the README's section \"Run a fleet\" says";
    let start = Instant::now();
    let finding = match server.refused().await {
        Ok(refused) if refused.is_empty() => {
            Finding::ok(PERMISSIONS, "all that the daemon does is allowed")
        }
        Ok(refused) => {
            let refused: Vec<_> = refused.iter().map(|line| command_of(line)).collect();
            let prefix = &settings.redis.prefix;
            let found = format!(
                "not allowed, or not on keys and channels {prefix}:*: {}",
                refused.join(" ")
            );
            Finding::error(PERMISSIONS, found, REMEDY)
        }
        Err(error) => Finding::error(PERMISSIONS, format!("EVAL is refused: {error}"), REMEDY),
    };
    finding.in_time(start.elapsed())
}

/// As an ACL names it.
fn command_of(line: &str) -> String {
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some(container @ ("client" | "cluster")), Some(own)) => format!("{container}|{own}"),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}

/// Who owns whom must not be forgotten at random.
fn memory(info: &Info) -> Finding {
    let policy = info.get("maxmemory_policy");
    let (used, most) = (info.number("used_memory"), info.number("maxmemory").unwrap_or(0));
    let evicted = match info.number("evicted_keys") {
        Some(keys @ 1..) => format!("; {keys} keys were evicted since its start"),
        _ => String::new(),
    };
    let found = format!("maxmemory-policy {policy}{evicted}");
    let remedy = "set maxmemory-policy noeviction (in ElastiCache in the parameter group)";
    if policy.starts_with("allkeys-") {
        let found = format!("{found}: Redis may forget who is connected where");
        return Finding::error("redis.memory", found, remedy);
    }
    if policy.starts_with("volatile-") {
        let found =
            format!("{found}: Redis may forget what is held for users, and who was removed");
        return Finding::warning("redis.memory", found, remedy);
    }
    match used {
        Some(used) if most > 0 && used / (most / 100).max(1) >= NEARLY_FULL => Finding::warning(
            "redis.memory",
            format!("{found}, and {used} of {most} bytes are used: what is more will be refused"),
            "raise maxmemory or take a larger server; look at delivery.mailbox_* for what is kept",
        ),
        _ if most == 0 => Finding::ok("redis.memory", format!("{found}, no maxmemory")),
        _ => Finding::ok("redis.memory", format!("{found}, maxmemory {most} bytes")),
    }
}

/// Connections are registered anew after a restart; what is held for users is not there again.
async fn persistence(server: &mut Inspection, info: &Info, settings: &Settings) -> Finding {
    const CHECK: &str = "redis.persistence";
    for (field, what) in [
        ("aof_last_write_status", "the append-only file"),
        ("rdb_last_bgsave_status", "the snapshot"),
    ] {
        if info.get(field) == "err" {
            let found = format!("Redis could not write {what}, and may refuse writes for it");
            return Finding::error(CHECK, found, "make room on its disk; see its log");
        }
    }
    if info.get("aof_enabled") == "1" {
        let fsync = server.parameter("appendfsync").await;
        let fsync = fsync.map_or_else(String::new, |fsync| format!(", appendfsync {fsync}"));
        return Finding::ok(CHECK, format!("append-only file{fsync}"));
    }
    let found = "no append-only file: a restart of Redis forgets what is held for users";
    match settings.delivery.classic {
        ClassicDelivery::Keep => Finding::warning(
            CHECK,
            format!("{found}, which delivery.classic = \"keep\" promises to keep"),
            "set appendonly yes in Redis, or have a replica take over before a restart",
        ),
        _ => Finding::ok(CHECK, found),
    }
}

fn replicas(info: &Info) -> Finding {
    const CHECK: &str = "redis.replicas";
    if info.get("role") != "master" {
        return Finding::skipped(CHECK, "it is a replica itself");
    }
    let count = info.number("connected_slaves").unwrap_or(0);
    if count == 0 {
        return Finding::warning(
            CHECK,
            "no replica: while this server is away, messages between instances are lost",
            "add a replica with automatic failover (in ElastiCache: Multi-AZ)",
        );
    }
    // slave0:ip=10.0.0.7,port=6379,state=online,offset=42,lag=1
    let lagging: Vec<_> = info.all("slave").filter_map(|(_, about)| trouble_of(about)).collect();
    match lagging.is_empty() {
        true => Finding::ok(CHECK, format!("{count} connected")),
        false => Finding::warning(
            CHECK,
            lagging.join("; "),
            "look at the replica's log: a failover to it now would lose what it has not heard",
        ),
    }
}

fn trouble_of(about: &str) -> Option<String> {
    let field = |name: &str| about.split(',').find_map(|part| part.strip_prefix(name));
    let (host, state) = (field("ip=")?, field("state=")?);
    let lag = field("lag=").and_then(|lag| lag.parse::<u64>().ok()).unwrap_or(0);
    if state != "online" {
        return Some(format!("the replica {host} is in state {state}"));
    }
    (lag > REPLICA_LAG).then(|| format!("the replica {host} is {lag} s behind"))
}

async fn clock(server: &mut Inspection, settings: &Settings) -> Finding {
    let start = Instant::now();
    let finding = match server.clock_offset().await {
        Ok(offset) => clocks::judge("redis.clock", "Redis's", offset, settings),
        Err(error) => Finding::skipped("redis.clock", format!("TIME: {error}")),
    };
    finding.in_time(start.elapsed())
}
