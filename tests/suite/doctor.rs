//! `wsfleetd doctor`: each fault is made for real, and must be named, first, with what to do.

mod database;
#[cfg(feature = "aws")]
mod ec2;
mod redis;

use std::{
    fs,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    fleet::{TestFleet, eventually},
    instance::{Instance, binary, everybody},
    tls::Issued,
};

/// "Some 10 seconds at most", and what a busy machine adds.
const MOST: Duration = Duration::from_secs(12);

/// Passwords of the stories; no output may hold it.
const SECRET: &str = "swordfish";

/// A machine on which nothing runs, with a configuration.
pub struct Machine {
    dir: TempDir,
    variables: Vec<(String, String)>,
    wrapper: Vec<String>,
}

/// What the doctor has said of it.
pub struct Opinion {
    pub code: Option<i32>,
    report: Value,
    text: String,
}

impl Machine {
    /// With `more` sections behind those that every machine has.
    pub fn new(more: &str) -> Self {
        let dir = TempDir::with_prefix("wsfleetd-doctor-").expect("a directory");
        let (users, at) = (dir.path().join("users.csv"), dir.path().display().to_string());
        fs::write(&users, everybody()).expect("write users.csv");
        let config = format!(
            "[instance]\nstate_dir = \"{at}\"\nruntime_dir = \"{at}\"\n[listen]\napp = \"127.0.0.1:0\"\n\
             api = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[users]\nfile = \"{at}/users.csv\"\n{more}"
        );
        fs::write(dir.path().join("wsfleetd.toml"), config).expect("write wsfleetd.toml");
        Self { dir, variables: Vec::new(), wrapper: Vec::new() }
    }

    /// With one more variable in the environment.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Under a command that becomes the doctor.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Writes a file that the configuration names.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("write a file");
        path.display().to_string()
    }

    /// Asks the doctor, who must be quick and tell no secret.
    pub fn examine(&self) -> Opinion {
        self.examine_with(&[])
    }

    fn examine_with(&self, options: &[&str]) -> Opinion {
        let binary = binary().display().to_string();
        let words: Vec<&str> =
            self.wrapper.iter().map(String::as_str).chain([binary.as_str()]).collect();
        let run = |options: &[&str]| {
            let start = Instant::now();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg("doctor").args(options);
            command.arg("--config").arg(self.dir.path().join("wsfleetd.toml"));
            command.env("AWS_EC2_METADATA_DISABLED", "true").envs(self.variables.iter().cloned());
            let output = command.output().expect("wsfleetd runs");
            assert!(start.elapsed() < MOST, "it took {:?}", start.elapsed());
            let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
            let (out, err) = (text(output.stdout), text(output.stderr));
            assert!(!out.contains(SECRET) && !err.contains(SECRET), "a secret: {out}{err}");
            assert_eq!(err, "", "all is said on the standard output");
            (output.status.code(), out)
        };
        let (code, text) = run(options);
        let (json_code, json) = run(&[options, &["--json"]].concat());
        assert_eq!(code, json_code, "{text}{json}");
        let report = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
        Opinion { code, report, text }
    }
}

impl Opinion {
    /// Of a running instance, with its own configuration.
    fn on(instance: &Instance) -> Self {
        let (asked, json) = (instance.asks(&["doctor"]), instance.asks(&["doctor", "--json"]));
        let report = serde_json::from_str(&json.out).expect("JSON");
        Self { code: asked.code, report, text: asked.out }
    }

    /// Verdict, words and remedy of a check.
    pub fn of(&self, check: &str) -> (&str, &str, &str) {
        let checks = self.report["checks"].as_array().expect("a list");
        let found = checks.iter().find(|one| one["check"] == check);
        let found = found.unwrap_or_else(|| panic!("no check {check}:\n{}", self.text));
        let word = |name: &str| found[name].as_str().unwrap_or_default();
        (word("verdict"), word("found"), word("remedy"))
    }

    /// How long the answer of a check took, in milliseconds.
    fn latency(&self, check: &str) -> Option<f64> {
        let checks = self.report["checks"].as_array().expect("a list");
        checks.iter().find(|one| one["check"] == check)?["took_ms"].as_f64()
    }

    /// A check is an error, the first of all, and says so with these words.
    pub fn begins_with(&self, check: &str, words: &str) {
        assert_eq!(self.report["todo"][0], check, "{}", self.text);
        assert_eq!(self.code, Some(1), "{}", self.text);
        let (verdict, found, remedy) = self.of(check);
        assert_eq!(verdict, "error", "{}", self.text);
        assert!(found.contains(words), "{words:?} in {found:?}");
        assert!(!remedy.is_empty(), "{check} says what to do");
        let first = format!("What to do, the first first:\n  1. {check}: ");
        assert!(self.text.contains(&first), "{first:?} in\n{}", self.text);
    }

    /// None of these is looked at, for this reason.
    pub fn skips(&self, checks: &[&str], reason: &str) {
        for check in checks {
            let (verdict, found, _) = self.of(check);
            assert_eq!((verdict, found), ("skipped", reason), "{check}");
        }
    }

    /// These are as they should be.
    pub fn is_well(&self, checks: &[&str]) {
        for check in checks {
            assert_eq!(self.of(check).0, "ok", "{check}:\n{}", self.text);
        }
    }
}

#[tokio::test]
async fn a_healthy_fleet_has_nothing_wrong_and_the_doctor_leaves_no_trace() {
    let fleet = TestFleet::start(2).await;
    let before = fleet.keys("*").len();
    let opinion = Opinion::on(&fleet[0]);
    assert_eq!(opinion.code, Some(0), "{}", opinion.text);
    assert!(!opinion.text.contains("ERROR"), "{}", opinion.text);
    opinion.is_well(&["configuration", "redis", "redis.version", "redis.mode", "redis.role"]);
    opinion.is_well(&["redis.permissions", "redis.memory", "redis.clock", "redis.message"]);
    opinion.is_well(&["users", "timeouts", "limits.descriptors", "daemon"]);
    opinion.skips(&["database", "database.replica"], "database.url is not set");
    opinion.skips(&["listen"], "a daemon listens already");
    for check in ["redis", "redis.message", "daemon"] {
        let took = opinion.latency(check).expect("a time");
        assert!(took > 0.0 && took < 1000.0, "{check}: {took} ms");
    }
    let (_, found, _) = opinion.of("limits.descriptors");
    assert!(found.starts_with("the daemon may open "), "{found}");
    assert_eq!(fleet.keys("*").len(), before);
    assert_eq!(fleet.members(), 2, "it has not joined");

    // One Redis without a replica is worth a warning, which fails only who asks for it.
    assert_eq!(opinion.of("redis.replicas").0, "warning");
    assert_eq!(fleet[0].asks(&["doctor", "--strict"]).code, Some(1));
}

#[tokio::test]
async fn a_daemon_that_is_not_well_is_an_effect_and_comes_after_its_cause() {
    let mut fleet = TestFleet::start(1).await;
    fleet.redis.stop();
    eventually("it has noticed", Duration::from_secs(10), async || {
        fleet[0].asks(&["status"]).out.contains("NOT WELL     redis")
    })
    .await;
    let opinion = Opinion::on(&fleet[0]);
    opinion.begins_with("redis", "Connection refused");
    let todo: Vec<_> = opinion.report["todo"].as_array().expect("a list").iter().collect();
    let place = |check| todo.iter().position(|one| *one == check);
    assert!(place("redis") < place("daemon"), "{todo:?}");
    assert!(opinion.of("daemon").1.contains("redis: not connected"), "{}", opinion.text);
}

#[test]
fn a_configuration_that_is_refused_comes_first_and_nothing_else_is_judged_by_it() {
    let machine = Machine::new("[redis]\nurl = 3\npool_size = \"many\"\n");
    let opinion = machine.examine();
    assert_eq!(opinion.code, Some(78));
    let (verdict, found, remedy) = opinion.of("configuration");
    assert_eq!(verdict, "error");
    assert!(found.contains("redis.url") && found.contains("redis.pool_size"), "{found}");
    assert!(remedy.contains("check-config"), "{remedy}");
    opinion.skips(&["redis", "database", "users"], "the configuration is refused");
}

#[test]
fn too_few_descriptors_are_told_whoever_has_them() {
    let few = Machine::new("[limits]\nmax_connections = 50000\n");
    let few = few.under(&["prlimit", "--nofile=1000"]);
    let opinion = few.examine();
    opinion.begins_with("limits.descriptors", "limits.max_connections = 50000 takes 50512");
    assert!(opinion.of("limits.descriptors").2.contains("LimitNOFILE=50512"));

    let header = "modes = [\"header\"]";
    let low = Instance::start_under(&["prlimit", "--nofile=1000"], header, &everybody(), "");
    let opinion = Opinion::on(&low);
    let (verdict, found, _) = opinion.of("limits.descriptors");
    assert_eq!(verdict, "warning", "{}", opinion.text);
    assert_eq!(found, "the daemon may open 1000 files: 488 connections");
}

#[test]
fn what_systemd_says_of_the_unit_is_held_against_the_settings() {
    let machine =
        Machine::new("[drain]\nstop_timeout = \"40s\"\n[limits]\nmax_connections = 5000\n");
    let systemctl = machine.write(
        "systemctl",
        "#!/bin/sh\nprintf 'LimitNOFILE=5000\\nTimeoutStopUSec=30s\\nLoadState=loaded\\n'\n",
    );
    let mode = Command::new("chmod").args(["+x", &systemctl]).status();
    assert!(mode.expect("chmod").success());
    let path = format!("{}:{}", machine.dir.path().display(), std::env::var("PATH").expect("PATH"));
    let opinion = machine.with("PATH", &path).examine();
    opinion.begins_with("limits.descriptors", "wsfleetd.service may open 5000 files");
    let (verdict, found, _) = opinion.of("timeouts");
    assert_eq!(verdict, "warning");
    assert!(found.contains("drain.stop_timeout = 40s is not below TimeoutStopSec=30s"), "{found}");
}

#[test]
fn an_address_that_somebody_else_has_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let machine = Machine::new("").with("WSFLEETD__LISTEN__ADMIN", &address.to_string());
    let opinion = machine.examine();
    opinion.begins_with("listen", &format!("listen.admin = {address} cannot be listened on"));
    drop(taken);
    machine.examine().is_well(&["listen"]);
}

#[test]
fn a_certificate_is_told_before_it_expires() {
    let dir = TempDir::new().expect("a directory");
    let day = Duration::from_secs(24 * 3600);
    let look = |name: &str, end: SystemTime| {
        let issued = Issued::expiring(dir.path(), name, end);
        let files = [("CERTIFICATE", &issued.chain), ("KEY", &issued.key)];
        let machine = files.iter().fold(Machine::new(""), |machine, (name, file)| {
            machine.with(&format!("WSFLEETD__LISTEN__TLS_{name}"), &file.display().to_string())
        });
        machine.examine()
    };
    look("good", SystemTime::now() + day * 100).is_well(&["certificate"]);
    let near = look("near", SystemTime::now() + day * 3);
    let (verdict, found, _) = near.of("certificate");
    assert_eq!(verdict, "warning");
    assert!(found.contains("expires in 2 days"), "{found}");
    look("late", SystemTime::now() - day).begins_with("certificate", "clients refuse it");
}

#[test]
fn users_nobody_can_read_are_told() {
    let machine = Machine::new("");
    machine.write("users.csv", "username\n\n");
    let opinion = machine.examine();
    assert_ne!(opinion.of("users").0, "ok", "{}", opinion.text);
    fs::remove_file(machine.dir.path().join("users.csv")).expect("remove it");
    machine.examine().begins_with("users", "users.csv");
}
