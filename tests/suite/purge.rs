//! `wsfleetd fleet`: who is in the fleet, and who is taken out of it by hand.

use std::process::Command;

use crate::support::{
    fleet::{PATIENCE, TestFleet, eventually},
    instance::binary,
};

/// Runs it with the configuration of instance 0; whether it succeeded, and what it said.
fn run(fleet: &TestFleet, arguments: &[&str]) -> (bool, String) {
    let config = fleet[0].dir().join("wsfleetd.toml");
    let mut command = Command::new(binary());
    command.args(["fleet"]).args(arguments).arg("--config").arg(config);
    let output = command.output().expect("wsfleetd runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn a_dead_instance_is_taken_out_by_hand_and_a_living_one_only_by_force() {
    // Nobody would be given up within this test.
    let patient = "[fleet]\nheartbeat = \"600ms\"\nsuspect_rounds = 100\nlease = \"5s\"\n";
    let mut fleet = TestFleet::with_settings(3, patient).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    let mut lost = Vec::new();
    for user in ["Sid", "Ann", "Bob"] {
        lost.push(fleet.connect(1, user).await);
    }
    let before = fleet.tags();
    fleet[1].kill();
    let (ok, said) = run(&fleet, &["list", "--json"]);
    assert!(ok, "{said}");
    let rows: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    let silent: Vec<_> = rows.iter().filter(|row| row["state"] == "silent").collect();
    assert_eq!((rows.len(), silent.len()), (3, 1), "{said}");
    let epoch = silent[0]["epoch"].as_str().expect("an epoch").to_owned();
    assert_eq!(before.iter().filter(|tag| tag.contains(&epoch)).count(), 3);
    let name = rows[0]["instance"].as_str().expect("a label").to_owned();

    // All three run on one host, which is what they are called by.
    let (ok, said) = run(&fleet, &["purge", &name]);
    assert!(!ok && said.contains("is alive under epoch"), "{said}");
    assert_eq!(fleet.members(), 3);
    let (ok, said) = run(&fleet, &["purge", "nobody"]);
    assert!(!ok && said.contains("no member is called nobody"), "{said}");

    let (ok, said) = run(&fleet, &["purge", &epoch]);
    assert!(ok && said.contains("and 3 connections it had left"), "{said}");
    assert_eq!((fleet.members(), fleet.entries(), fleet.has_no_ghosts()), (2, 1, true));

    let (_, said) = run(&fleet, &["list"]);
    assert!(said.starts_with("INSTANCE") && said.lines().count() == 3, "{said}");
    let mine = fleet.tags()[0][1..12].to_owned();
    let (ok, said) = run(&fleet, &["purge", "--force", &mine]);
    assert!(ok && said.contains("and 1 connections it had left"), "{said}");
    eventually("it has joined again", PATIENCE, async || {
        fleet.members() == 2 && fleet.entries() == 1 && !fleet.tags()[0].contains(&mine)
    })
    .await;
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
}
