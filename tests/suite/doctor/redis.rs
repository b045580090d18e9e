//! What can be wrong with Redis.

use super::{Machine, Opinion, SECRET};
use crate::{
    acl::{cluster_rules, rules},
    support::{
        faketime::Clocks,
        redis::{RedisServer, cluster::RedisCluster},
    },
};

const DEPENDENT: [&str; 9] = [
    "redis.version",
    "redis.mode",
    "redis.role",
    "redis.permissions",
    "redis.memory",
    "redis.persistence",
    "redis.replicas",
    "redis.clock",
    "redis.message",
];

fn examine(redis: &RedisServer) -> Opinion {
    with_login(redis, "")
}

/// `login` is `USER:PASSWORD@`.
fn with_login(redis: &RedisServer, login: &str) -> Opinion {
    let url = redis.url().replace("//", &format!("//{login}"));
    Machine::new(&format!("[redis]\nurl = \"{url}\"\n[auth]\nmodes = [\"header\"]\n")).examine()
}

#[test]
fn a_redis_that_forgets_at_random_is_an_error_and_one_that_may_forget_what_is_held_a_warning() {
    let redis = RedisServer::with_arguments(&["--maxmemory", "100mb"]);
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let opinion = examine(&redis);
    opinion.begins_with("redis.memory", "maxmemory-policy allkeys-lru");
    assert!(opinion.of("redis.memory").2.contains("noeviction"));
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    assert_eq!(examine(&redis).of("redis.memory").0, "warning");
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    examine(&redis).is_well(&["redis.memory"]);
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let opinion = examine(&redis);
    let (verdict, found, _) = opinion.of("redis.memory");
    assert_eq!(verdict, "warning");
    assert!(found.contains("of 1 bytes are used"), "{found}");
}

#[test]
fn a_replica_in_the_place_of_the_primary_is_told_with_the_primary() {
    let primary = RedisServer::with_arguments(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port().to_string();
    let replica = RedisServer::with_arguments(&["--replicaof", "127.0.0.1", &port]);
    let opinion = examine(&replica);
    opinion.begins_with("redis.role", &format!("a replica of 127.0.0.1:{port}"));
    assert!(opinion.of("redis.role").2.contains(&format!("127.0.0.1:{port}")));
    opinion.skips(&["redis.message"], "this is not the server to say it to");

    let start = std::time::Instant::now();
    while !primary.ask(&["INFO", "replication"]).contains("state=online") {
        assert!(start.elapsed().as_secs() < 20, "the replica does not come up");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let opinion = examine(&primary);
    opinion.is_well(&["redis.role", "redis.replicas"]);
    assert_eq!(opinion.of("redis.replicas").1, "1 connected");
}

#[test]
fn without_redis_what_hangs_on_it_is_skipped() {
    let mut redis = RedisServer::start();
    redis.stop();
    let opinion = examine(&redis);
    opinion.begins_with("redis", "Connection refused");
    opinion.skips(&DEPENDENT, "Redis cannot be reached");
    assert_eq!(opinion.report["todo"].as_array().expect("a list")[0], "redis");
}

#[test]
fn a_redis_that_does_not_answer_costs_seconds_only() {
    let redis = RedisServer::start();
    redis.freeze();
    let opinion = examine(&redis);
    redis.thaw();
    opinion.begins_with("redis", "127.0.0.1");
    opinion.skips(&DEPENDENT, "Redis cannot be reached");
}

#[test]
fn the_user_in_the_readme_may_do_all_and_one_that_may_not_is_told_what() {
    let redis = RedisServer::start();
    let set = |rules: &[String]| {
        let words = ["ACL", "SETUSER", "wsfleetd", "reset"].into_iter();
        let words: Vec<_> = words.chain(rules.iter().map(String::as_str)).collect();
        assert_eq!(redis.ask(&words), "OK");
    };
    let login = format!("wsfleetd:{SECRET}@");
    set(&rules(SECRET));
    let opinion = with_login(&redis, &login);
    opinion.is_well(&["redis", "redis.permissions", "redis.message"]);
    let denied = redis.ask(&["ACL", "LOG"]);
    assert!(!denied.contains("reason"), "it does only what it may: {denied}");

    set(&[rules(SECRET), vec!["-hset".into(), "-client|kill".into()]].concat());
    with_login(&redis, &login).begins_with("redis.permissions", ": hset client|kill");

    let foreign: Vec<_> =
        rules(SECRET).iter().map(|r| r.replace("~wsfleetd:", "~other:")).collect();
    set(&foreign);
    let opinion = with_login(&redis, &login);
    let (verdict, found, _) = opinion.of("redis.permissions");
    assert_eq!(verdict, "error");
    for command in ["get", "hset", "rpush", "exists"] {
        assert!(found.contains(&format!(" {command}")), "{command}: {found}");
    }
    assert!(!found.contains("publish") && !found.contains(" ping"), "{found}");

    let deaf: Vec<_> = rules(SECRET).iter().map(|r| r.replace("&wsfleetd:", "&other:")).collect();
    set(&deaf);
    with_login(&redis, &login).begins_with("redis.permissions", ": publish subscribe");

    set(&rules("another"));
    let opinion = with_login(&redis, &login);
    opinion.begins_with("redis", "refuses the login");
    assert!(opinion.of("redis").2.contains("redis.password_file"));
}

#[test]
fn what_a_cluster_needs_is_looked_at_on_each_of_its_channels() {
    let cluster = RedisCluster::start();
    for server in &cluster.servers {
        let rules = [rules(SECRET), cluster_rules()].concat();
        let words = ["ACL", "SETUSER", "wsfleetd"].into_iter();
        let words: Vec<_> = words.chain(rules.iter().map(String::as_str)).collect();
        assert_eq!(server.ask(&words), "OK");
    }
    let url = cluster.url().replace("//", &format!("//wsfleetd:{SECRET}@"));
    let settings = format!("[redis]\nurl = \"{url}\"\n[auth]\nmodes = [\"header\"]\n");
    let opinion = Machine::new(&settings).examine();
    opinion.begins_with("redis.mode", "it is a Redis Cluster");
    assert!(opinion.of("redis.mode").2.contains("redis.cluster"));

    let opinion = Machine::new(&settings).with("WSFLEETD__REDIS__CLUSTER", "true").examine();
    opinion.is_well(&["redis.mode", "redis.permissions", "redis.message"]);
    assert_eq!(opinion.of("redis.message").1, "said and heard on 256 channels");
}

#[test]
#[ignore = "long: needs faketime"]
fn a_clock_that_is_wrong_is_told_by_how_much() {
    let clocks = Clocks::new();
    clocks.set("ours", "+3600");
    let redis = RedisServer::start();
    let machine = Machine::new(&format!("[redis]\nurl = \"{}\"\n", redis.url()));
    let file = machine.write("key", &"k".repeat(40));
    let variables = clocks.variables("ours").into_iter();
    let machine = variables.fold(machine, |machine, (name, value)| machine.with(&name, &value));
    let opinion = machine.with("WSFLEETD__AUTH__TOKEN__KEY_FILE", &file).examine();
    opinion.begins_with("redis.clock", "s behind ours, more than auth.token.leeway");
}
