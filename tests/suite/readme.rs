//! Every command of the README is run, or named where it is run; every setting it names exists.
//!
//! A command in a `sh` block that no [`Proof`] covers fails the suite, so the README cannot
//! promise what nobody has tried.

mod machine;

use std::{fs, path::Path, process::Command};

use self::machine::Machine;
use crate::support::{
    demo::Demo, fleet::get, instance::Instance, postgres::Postgres, wscat::Wscat,
};

const README: &str = include_str!("../../README.md");

/// How a command is known to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// [`the_demo_does_what_the_readme_says`]
    Demo,
    /// [`the_tests_can_be_run`]
    TestsRun,
    /// [`the_commands_of_an_installed_machine_work`]
    Machine,
    /// A file that runs it, or one of those in a folder, and the words with which it does.
    RunBy(&'static str, &'static str),
}

const PACKAGE_TESTS: &str = "tests/package";

/// The whole command, or, where it ends in a sign, its beginning.
const PROOFS: &[(&str, Proof)] = &[
    ("cargo run --release -- demo", Proof::Demo),
    ("npx wscat -c ws://127.0.0.1:8080/Dev -H \"username:", Proof::Demo),
    ("tests/run", Proof::TestsRun),
    ("tests/run --all", Proof::TestsRun),
    (
        "cargo install --locked cargo-deb",
        Proof::RunBy("tests/lib/install.sh", "install_cargo_tool cargo-deb"),
    ),
    ("cargo deb", Proof::RunBy("tests/lib/package.sh", "cargo deb --quiet --locked")),
    (
        "sudo apt-get install ./target/debian/",
        Proof::RunBy(PACKAGE_TESTS, r#""apt-get", "install", "--yes""#),
    ),
    (
        "sudo systemctl start wsfleetd",
        Proof::RunBy(PACKAGE_TESTS, r#""systemctl", "start", "wsfleetd""#),
    ),
    (
        "sudo systemctl reload wsfleetd",
        Proof::RunBy(PACKAGE_TESTS, r#""systemctl", "reload", "wsfleetd""#),
    ),
    (
        "sudo systemctl restart wsfleetd",
        Proof::RunBy(PACKAGE_TESTS, r#""systemctl", "restart", "--no-block", "wsfleetd""#),
    ),
    (
        "sudo systemctl stop wsfleetd",
        Proof::RunBy(PACKAGE_TESTS, r#""systemctl", "stop", "--no-block", "wsfleetd""#),
    ),
    (
        "systemctl status wsfleetd",
        Proof::RunBy(PACKAGE_TESTS, r#""systemctl", "status", "wsfleetd""#),
    ),
    (
        "journalctl --unit=wsfleetd",
        Proof::RunBy(PACKAGE_TESTS, r#""journalctl", "--no-pager", "--unit=wsfleetd""#),
    ),
    (
        "journalctl --catalog MESSAGE_ID=",
        Proof::RunBy(PACKAGE_TESTS, r#""journalctl", "--catalog", "--no-pager""#),
    ),
    ("openssl rand -base64 48 | sudo install ", Proof::Machine),
    ("sudo wsfleetd fleet list", Proof::RunBy("tests/suite/purge.rs", r#"&["list"]"#)),
    ("sudo wsfleetd fleet purge ", Proof::RunBy("tests/suite/purge.rs", r#"&["purge", &epoch]"#)),
    ("sudo wsfleetd doctor", Proof::RunBy("tests/suite/doctor.rs", r#".arg("doctor")"#)),
    ("sudo wsfleetd ", Proof::Machine),
    ("echo \"correct horse battery staple\" | sudo wsfleetd users passwd ", Proof::Machine),
    ("curl --silent http://127.0.0.1:9180/", Proof::Machine),
    ("b64() {", Proof::Machine),
    ("key=", Proof::Machine),
    ("claims=", Proof::Machine),
    ("signed=", Proof::Machine),
    ("token=", Proof::Machine),
    ("npx wscat -c ws://127.0.0.1:8080/ws -H \"Authorization: Bearer $token\"", Proof::Machine),
];

#[test]
fn every_command_is_run_somewhere() {
    let blocks = blocks("sh");
    let commands: Vec<_> = blocks.iter().flat_map(|block| block.lines()).collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let proof = proof(command).unwrap_or_else(|| panic!("nothing runs {command:?}"));
        if let Proof::RunBy(file, words) = proof {
            let file_text = text_of(file);
            assert!(file_text.contains(words), "{file} does not run {command:?} as {words}");
        }
    }
}

#[test]
fn what_is_built_and_explained_has_the_names_of_the_readme() {
    let package = format!("wsfleetd_{}-1_amd64.deb", env!("CARGO_PKG_VERSION"));
    assert!(README.contains(&package), "{package}");
    let needed = format!("Rust](https://rustup.rs) {}", env!("CARGO_PKG_RUST_VERSION"));
    assert!(README.contains(&needed), "{needed}");
    let catalog = fs::read_to_string(root().join("systemd/wsfleetd.catalog")).expect("catalog");
    let words = README.split(|c: char| !c.is_ascii_alphanumeric());
    let is_id = |word: &&str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let events: Vec<_> = words.filter(is_id).collect();
    assert!(events.len() > 5, "{events:?}");
    for event in events {
        assert!(catalog.contains(event), "the catalog does not explain {event}");
    }
}

#[tokio::test]
async fn the_demo_does_what_the_readme_says() {
    let demo = Demo::start();
    let here = |line: &str| line.replace("127.0.0.1:8080", &demo.app().to_string());
    let (status, page) = get(demo.app(), "/").await;
    assert!(status == 200 && page.contains("<title>wsfleetd demo</title>"), "{status} {page}");

    let lines: Vec<_> =
        commands(Proof::Demo).into_iter().filter(|c| c.starts_with("npx")).collect();
    let said: Vec<_> = demo.said().iter().map(|line| line.trim()).collect();
    for user in ["Sunil", "Elon", "Alok", "Smith", "Sid"] {
        assert!(README.contains(user), "{user}");
        assert!(said.contains(&here(&lines[0].replace("Sunil", user)).as_str()), "{said:#?}");
    }
    let message = r#"{"action":"send", "to":"Sid", "message":"Hey!!"}"#;
    assert!(README.contains(message) && said.contains(&message), "{said:#?}");

    let users: Vec<_> = lines.iter().map(|line| here(line.trim_start_matches("npx "))).collect();
    let [sunil, sid] = users.as_slice() else { panic!("two terminals: {users:?}") };
    let (mut sunil, sid) = (Wscat::run(sunil), Wscat::run(sid));
    sunil.types(message);
    sid.shows(r#"< "Hey!!""#);
}

#[test]
fn the_tests_can_be_run() {
    assert_eq!(commands(Proof::TestsRun), ["tests/run", "tests/run --all"]);
    let help = Command::new(root().join("tests/run")).arg("--help").output().expect("tests/run");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.starts_with("usage: tests/run [--all | --soak]"), "{help}");
}

#[test]
fn the_commands_of_an_installed_machine_work() {
    let machine = Machine::new();
    let mut done = Vec::new();
    let mut run = |part: &str| {
        let block = machine_block(part);
        done.extend(block.lines().map(str::to_owned));
        block
    };

    let said = machine.run(&run("openssl rand"), &[]);
    assert!(said.contains("added Sunil to ") && said.contains("added Sid to "), "{said}");
    assert!(said.contains("+49 171 5550123"), "{said}");

    let said = machine.run(&run("users export"), &[]);
    let row = "Sid,Sid,,+49 171 5550123,,false\n";
    for words in
        ["STATE       active", "disabled Sid in ", "enabled Sid in ", row, "removed Sid from "]
    {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(said.contains("changed the password of Sid in "), "{said}");

    let said = machine.run(&run("check-config --print"), &[]);
    assert!(said.contains("listen.app = \"0.0.0.0:8080\" # default"), "{said}");

    let key = machine.path("/etc/credstore/wsfleetd.auth-secret");
    let auth = format!("modes = [\"token\"]\n[auth.token]\nkey_file = {key:?}");
    let users = fs::read_to_string(machine.path("/etc/wsfleetd/users.csv")).expect("users.csv");
    let instance = Instance::start_with(&auth, &users, "");
    let token = run("b64() {").replace("127.0.0.1:8080", &instance.app().to_string());
    let mut sunil = Wscat::run(&machine.localized(&token));
    sunil.types(r#"{"action":"send", "to":"Sunil", "message":"Hey!!"}"#);
    sunil.shows(r#"< "Hey!!""#);

    let status = run("curl").replace("127.0.0.1:9180", &instance.admin().to_string());
    assert_eq!(machine.run(&status, &[]), r#"{"ready":true,"failing":{}}"#);

    let client = Wscat::run(&machine.localized(&token));
    let dir = instance.dir().to_str().expect("a path");
    let said = machine.run(&run("wsfleetd kick"), &[("WSFLEETD__INSTANCE__RUNTIME_DIR", dir)]);
    assert!(said.contains("serving") && said.contains("Sunil  127.0.0.1"), "{said}");
    assert!(said.contains("messages/s") && said.contains("alone, without Redis"), "{said}");
    assert!(said.contains("Sunil is kicked off 1 instances"), "{said}");
    assert!(said.ends_with("info,wsfleetd::relay=debug\n"), "{said}");
    client.shows(r#"Disconnected (code: 1000, reason: "Connection Closed Normally")"#);

    let postgres = Postgres::start();
    let said = machine.run(&run("migrate"), &[("WSFLEETD__DATABASE__URL", &postgres.url())]);
    assert!(said.contains("the schema is now at version "), "{said}");
    assert!(said.contains("added Elon to PostgreSQL with id "), "{said}");
    assert!(said.contains(r#""username":"Elon""#), "{said}");

    done.sort();
    let mut all = commands(Proof::Machine);
    all.sort();
    assert_eq!(done, all, "each has been run, once");
}

#[test]
fn the_examples_of_settings_are_accepted() {
    let examples = blocks("toml");
    assert_eq!(examples.len(), 2);
    for example in examples {
        let machine = Machine::new();
        machine.run(&machine_block("openssl rand"), &[]);
        fs::write(machine.path("/etc/wsfleetd/conf.d/50-site.toml"), &example).expect("write it");
        machine.run("sudo wsfleetd check-config", &[]);
    }
}

#[test]
fn every_setting_it_names_exists_and_every_section_is_in_its_table() {
    let print = Machine::new().run("wsfleetd check-config --print", &[]);
    let keys: Vec<_> = print.lines().filter_map(|line| line.split(" = ").next()).collect();
    let sections: Vec<_> = keys.iter().filter_map(|key| key.split('.').next()).collect();
    let named = README.split('`').skip(1).step_by(2).filter_map(|code| code.split(' ').next());
    for name in named.filter(|name| !name.contains('/')) {
        let Some((section, rest)) = name.split_once('.') else { continue };
        let is_key = rest.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.');
        if is_key && sections.contains(&section) {
            assert!(keys.contains(&name), "there is no setting {name}");
        }
    }
    for section in sections {
        assert!(README.contains(&format!("`[{section}]`")), "[{section}] is not in the table");
    }
}

/// Of a file, or of all Python in a folder.
fn text_of(place: &str) -> String {
    let place = root().join(place);
    if !place.is_dir() {
        return fs::read_to_string(&place).unwrap_or_else(|error| panic!("{place:?}: {error}"));
    }
    let files = fs::read_dir(&place).expect("a folder").flatten().map(|file| file.path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "py"));
    files.map(|file| fs::read_to_string(file).expect("a test")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn proof(command: &str) -> Option<Proof> {
    let fits = |known: &str| match known.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        true => command == known,
        false => command.starts_with(known),
    };
    PROOFS.iter().find(|(known, _)| fits(known)).map(|(_, proof)| *proof)
}

/// The commands that `proof` covers.
fn commands(by: Proof) -> Vec<String> {
    let blocks = blocks("sh");
    let commands = blocks.iter().flat_map(|block| block.lines());
    commands.filter(|command| proof(command) == Some(by)).map(str::to_owned).collect()
}

/// Those commands of the block with `part` in it that a machine of ours can run.
fn machine_block(part: &str) -> String {
    let block = blocks("sh").into_iter().find(|block| block.contains(part)).expect(part);
    let ours = block.lines().filter(|command| proof(command) == Some(Proof::Machine));
    ours.map(|command| format!("{command}\n")).collect()
}

/// The fenced blocks in this language.
fn blocks(language: &str) -> Vec<String> {
    let (start, end) = (format!("```{language}\n"), "```");
    let blocks = README.split(&start).skip(1).filter_map(|rest| rest.split(end).next());
    blocks.map(str::to_owned).collect()
}
