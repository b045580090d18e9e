//! Redis behind TLS, and a user that may do what the README says and nothing else: enough for
//! everything, and nothing of it in vain.

use std::{collections::BTreeSet, fs, process::Command};

use tempfile::TempDir;
use wsfleetd::redis::inspection::{
    CHANNEL_COMMANDS, CLUSTER_COMMANDS, KEY_COMMANDS, OTHER_COMMANDS,
};

use crate::support::{
    fleet::{PATIENCE, eventually, get},
    instance::{Instance, binary},
    redis::RedisServer,
};

const README: &str = include_str!("../../README.md");

/// What stands in the scripts, all of them.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store");

/// The rules of the README's user, as `ACL SETUSER` takes them.
pub fn rules(password: &str) -> Vec<String> {
    let line = README.lines().find_map(|line| line.strip_prefix("user wsfleetd "));
    let line = line.expect("the README shows the user").replace("PASSWORD", password);
    line.split_whitespace().map(str::to_owned).collect()
}

/// What a cluster needs beside them.
pub fn cluster_rules() -> Vec<String> {
    let after = README.split_once("In a cluster also `").expect("the README says so").1;
    after.split('`').next().unwrap_or_default().split(' ').map(str::to_owned).collect()
}

fn commands(rules: &[String]) -> BTreeSet<String> {
    rules.iter().filter_map(|rule| rule.strip_prefix('+')).map(str::to_owned).collect()
}

/// Commands that Redis has run, whoever asked, scripts included.
fn used(server: &RedisServer) -> BTreeSet<String> {
    let stats = server.ask(&["INFO", "commandstats"]);
    let names = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
    let was_run = |rest: &str| !rest.starts_with("calls=0,");
    names.filter(|(_, rest)| was_run(rest)).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_command_of_the_scripts_is_allowed() {
    let allowed = commands(&rules(""));
    let mut checked = 0;
    for file in fs::read_dir(SCRIPTS).expect("the scripts") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|kind| kind != "lua") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a script");
        for call in text.split("call('").skip(1) {
            let command = call.split('\'').next().unwrap_or_default().to_ascii_lowercase();
            assert!(
                allowed.contains(&command),
                "{}: the README does not allow {command}",
                path.display()
            );
            checked += 1;
        }
    }
    println!("checked {checked} calls");
    assert!(checked > 40);
}

#[test]
fn the_doctor_asks_for_what_the_readme_allows() {
    let asked = [&KEY_COMMANDS[..], &OTHER_COMMANDS, &CHANNEL_COMMANDS].concat();
    let asked: BTreeSet<_> = asked.into_iter().map(str::to_owned).collect();
    assert_eq!(asked, commands(&rules("")));
    let asked: BTreeSet<_> = CLUSTER_COMMANDS.into_iter().map(str::to_owned).collect();
    assert_eq!(asked, commands(&cluster_rules()));
}

#[tokio::test]
async fn the_user_in_the_readme_suffices_over_tls_and_needs_all_it_may() {
    let (server, root) = RedisServer::with_tls();
    let rules = rules("swordfish");
    let set: Vec<&str> = ["ACL", "SETUSER", "wsfleetd"]
        .into_iter()
        .chain(rules.iter().map(String::as_str))
        .collect();
    assert_eq!(server.ask(&set), "OK");
    let folder = TempDir::new().expect("a folder");
    let password = folder.path().join("password");
    fs::write(&password, "swordfish\n").expect("write the password");
    let settings = format!(
        "[redis]\nurl = \"{}\"\nusername = \"wsfleetd\"\npassword_file = \"{}\"\nca_file = \"{}\"\n\
         [fleet]\nheartbeat = \"250ms\"\nsuspect_rounds = 4\nlease = \"800ms\"\n",
        server.url(),
        password.display(),
        root.display()
    );
    let mut instances: Vec<_> = (0..3).map(|_| Instance::start(&settings)).collect();
    for instance in &instances {
        eventually("the instance is ready", PATIENCE, async || {
            get(instance.admin(), "/readyz").await.0 == 200
        })
        .await;
    }
    server.ask(&["CONFIG", "RESETSTAT"]);

    // They talk, one leaves and is held for, comes back elsewhere and reads it.
    let (mut sunil, mut sid) =
        (instances[0].connect("Sunil").await, instances[1].connect("Sid").await);
    for round in 0..3 {
        sunil.send("Sid", &round.to_string()).await;
        sid.expect(&round.to_string()).await;
        sid.send("Sunil", &round.to_string()).await;
        sunil.expect(&round.to_string()).await;
    }
    let keys = |pattern: &str| server.ask(&["--scan", "--pattern", pattern]).lines().count();
    for round in 0..2 {
        sid.close().await;
        eventually("Sid is gone", PATIENCE, async || keys("wsfleetd:*:u:*") == 1).await;
        for n in 0..3 {
            sunil.send("Sid", &format!("\"{round} {n}\"")).await;
        }
        eventually("all three are held", PATIENCE, async || {
            let mailbox = server.ask(&["--scan", "--pattern", "wsfleetd:*:q:*"]);
            let length = server.ask(&["LLEN", mailbox.lines().next().unwrap_or_default()]);
            length.parse::<u64>().is_ok_and(|length| length >= 3)
        })
        .await;
        sid = instances[1 - round].connect("Sid").await;
        for n in 0..3 {
            sid.expect(&format!("\"{round} {n}\"")).await;
        }
    }
    // Connections are cut, and the late one is killed.
    server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    eventually("Sid hears", PATIENCE, async || {
        sunil.send("Sid", "\"again\"").await;
        !sid.hear_until_silence().await.is_empty()
    })
    .await;
    // An instance dies and is reaped; an operator looks.
    let _lost = instances[2].connect("Ann").await;
    instances[2].kill();
    eventually("it is reaped", PATIENCE, async || {
        server.ask(&["HLEN", "wsfleetd:{m}:hb"]) == "2" && keys("wsfleetd:*:u:*") == 2
    })
    .await;
    let config = instances[0].dir().join("wsfleetd.toml");
    let listed = Command::new(binary()).args(["fleet", "list", "--config"]).arg(config).output();
    assert!(listed.expect("wsfleetd runs").status.success());
    // Redis forgets everything, scripts too.
    server.ask(&["SCRIPT", "FLUSH"]);
    server.ask(&["FLUSHALL"]);
    eventually("all are known again", PATIENCE, async || keys("wsfleetd:*:u:*") == 2).await;

    let denied = server.ask(&["ACL", "LOG"]);
    assert!(!denied.contains("reason"), "something was refused: {denied}");
    let (allowed, used) = (commands(&rules), used(&server));
    let idle: Vec<_> = allowed.difference(&used).collect();
    println!("{} commands allowed, {} of them used", allowed.len(), allowed.len() - idle.len());
    assert!(allowed.len() > 20);
    assert!(idle.is_empty(), "allowed and never used: {idle:?}");
}
