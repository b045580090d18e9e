//! `wsfleetd users …` as an operator types it, against PostgreSQL and against the CSV file.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use argon2::{
    Argon2,
    password_hash::{PasswordVerifier, phc::PasswordHash},
};
use clap::Parser;
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;
use wsfleetd::{
    cli::users::{self as users_cli, execute, exit as users_exit},
    config::settings::{Settings, Users},
    lifecycle::Exit,
    users::{self, CSV_HEADER, Directory, NewUser},
};

use super::{database, migrated, name};
use crate::support::{instance::binary, postgres::Postgres};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: users_cli::Command,
}

/// What the command prints, or its error on one line.
async fn typed(settings: &Settings, line: &str, input: &str) -> Result<String, String> {
    attempt(settings, line, input).await.map_err(|error| format!("{error:#}"))
}

/// How the process ends, and the error on one line.
async fn refused(settings: &Settings, line: &str, input: &str) -> (Exit, String) {
    let error = attempt(settings, line, input).await.expect_err(line);
    (users_exit(&error), format!("{error:#}"))
}

async fn attempt(settings: &Settings, line: &str, input: &str) -> anyhow::Result<String> {
    let words = std::iter::once("users").chain(line.split(' '));
    let line = Line::try_parse_from(words)?;
    let mut out = Vec::new();
    execute(line.command, settings, &mut input.as_bytes(), &mut out).await?;
    Ok(String::from_utf8(out)?)
}

fn on_file(path: &Path) -> Settings {
    let users = Users { file: path.into(), ..Users::default() };
    Settings { users, ..Settings::default() }
}

fn on_postgres(url: &str) -> Settings {
    Settings { database: database(url), ..Settings::default() }
}

/// The same session, whatever is behind it.
async fn a_session(settings: &Settings) {
    let add =
        "add Sunil --first-name Sunil --last-name Müller --mobile +491715550123 --password-stdin";
    let added = typed(settings, add, "correct horse\n").await.unwrap();
    assert!(added.starts_with("added Sunil to "), "{added}");
    typed(settings, "add Sid", "").await.unwrap();
    let twice = typed(settings, "add Sid", "").await.unwrap_err();
    assert!(twice.contains("\"Sid\" exists already"), "{twice}");

    let table = typed(settings, "list", "").await.unwrap();
    let lines: Vec<_> =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0].join(" "), "ID USERNAME FIRST NAME LAST NAME MOBILE PASSWORD STATE");
    assert_eq!(lines[1][1..], ["Sid", "-", "no", "active"]);
    assert_eq!(lines[2][1..], ["Sunil", "Sunil", "Müller", "+491715550123", "yes", "active"]);
    assert_eq!(lines.len(), 3);

    let json = typed(settings, "list --json", "").await.unwrap();
    assert!(!json.contains("argon2"), "{json}");
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[1]["username"], "Sunil");
    assert_eq!((&rows[0]["has_password"], &rows[1]["has_password"]), (&false.into(), &true.into()));
    assert_eq!(rows[0]["mobile"], Value::Null);
    assert!(rows[0]["created_at"].as_str().unwrap().ends_with('Z'));

    let card = typed(settings, "show Sunil", "").await.unwrap();
    let lines: Vec<_> =
        card.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines[1..],
        [
            "USERNAME Sunil",
            "FIRST NAME Sunil",
            "LAST NAME Müller",
            "MOBILE +491715550123",
            "PASSWORD yes",
            "STATE active",
            &lines[7],
            &lines[8]
        ]
    );
    assert_eq!(typed(settings, "show Sunil --json", "").await.unwrap(), format!("{}\n", rows[1]));

    let directory = users::open(&settings.database, &settings.users).await.unwrap();
    let sunil = directory.find(&name("Sunil")).await.unwrap().unwrap();
    let hash = sunil.password_hash.as_ref().unwrap().expose_secret();
    let hash = PasswordHash::new(hash).unwrap();
    Argon2::default().verify_password(b"correct horse", &hash).unwrap();
    changes(settings).await;
}

/// What can be done to Sid, who has no password yet.
async fn changes(settings: &Settings) {
    let sid = async || -> Value {
        serde_json::from_str(&typed(settings, "show Sid --json", "").await.unwrap()).unwrap()
    };
    let said = typed(settings, "disable Sid", "").await.unwrap();
    assert!(said.starts_with("disabled Sid in "), "{said}");
    assert_eq!(settings.database.url.is_none(), said.contains("systemctl reload wsfleetd"));
    assert_eq!(sid().await["disabled"], true);
    typed(settings, "disable Sid", "").await.unwrap();
    let said = typed(settings, "enable Sid", "").await.unwrap();
    assert!(said.starts_with("enabled Sid in "), "{said}");
    assert_eq!(sid().await["disabled"], false);

    let said = typed(settings, "passwd Sid --password-stdin", "correct horse\n").await.unwrap();
    assert!(said.starts_with("changed the password of Sid in "), "{said}");
    assert_eq!(sid().await["has_password"], true);
    let said = typed(settings, "passwd Sid --delete", "").await.unwrap();
    assert!(said.starts_with("deleted the password of Sid in "), "{said}");
    assert_eq!(sid().await["has_password"], false);

    let said = typed(settings, "remove Sid", "").await.unwrap();
    assert!(said.starts_with("removed Sid from "), "{said}");
    for line in ["show Sid", "disable Sid", "enable Sid", "remove Sid", "passwd Sid --delete"] {
        let (exit, refused) = refused(settings, line, "").await;
        assert_eq!(exit, Exit::NoUser, "{line}");
        assert!(refused.contains("nobody is called \"Sid\"; upper and lower case"), "{refused}");
    }
}

#[tokio::test]
async fn a_session_on_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users.csv");
    a_session(&on_file(&path)).await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn a_session_on_postgresql() {
    let postgres = Postgres::start();
    let settings = on_postgres(&postgres.url());
    let early = typed(&settings, "add Sid", "").await.unwrap_err();
    assert!(early.contains("run `wsfleetd users migrate`"), "{early}");
    let first = typed(&settings, "migrate", "").await.unwrap();
    assert_eq!(first, "applied 0001_users\napplied 0002_changes\nthe schema is now at version 2\n");
    let again = typed(&settings, "migrate", "").await.unwrap();
    assert_eq!(again, "the schema is already at version 2\n");
    a_session(&settings).await;
}

#[tokio::test]
async fn a_long_list_is_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users.csv");
    let mut text = String::from("username,first_name,last_name,mobile,password_hash,disabled\n");
    for n in 0..1000 {
        text.push_str(&format!("user{n},,,,,\n"));
    }
    std::fs::write(&path, text).unwrap();
    let json = typed(&on_file(&path), "list --json", "").await.unwrap();
    assert_eq!(json.lines().count(), 1000);
    let table = typed(&on_file(&path), "list", "").await.unwrap();
    assert_eq!(table.lines().count(), 1001);
}

#[tokio::test]
async fn mistakes_are_explained() {
    let mut postgres = Postgres::start();
    postgres.stop();
    let (folder, away) = (TempDir::new().unwrap(), on_postgres(&postgres.url()));
    let path = folder.path().join("users.csv");
    let file = on_file(&path);
    let (failure, usage) = (Exit::Failure, Exit::Failure);
    for (settings, line, input, exit, explained) in [
        (&away, "migrate", "", Exit::Unavailable, "Connection refused"),
        (&away, "add Sid", "", Exit::Unavailable, "Connection refused"),
        (&away, "list", "", Exit::Unavailable, "Connection refused"),
        (&away, "disable Sid", "", Exit::Unavailable, "Connection refused"),
        (&away, "show Sid", "", Exit::Unavailable, "Connection refused"),
        (&away, "export", "", Exit::Unavailable, "Connection refused"),
        (&file, "migrate", "", failure, "database.url is not set"),
        (&file, "list", "", Exit::Config, "make it with `wsfleetd users add`"),
        (&file, "remove Sid", "", Exit::Config, "make it with `wsfleetd users add`"),
        (&file, "add Sid --password-stdin", "", failure, "standard input is empty"),
        (&file, "add Sid --password-stdin", &"x".repeat(1025), failure, "longer than 1024 bytes"),
        (&file, "add Sid --mobile soon", "", failure, "mobile \"soon\" is refused"),
        (&file, &format!("add {}", "x".repeat(257)), "", failure, "1 to 256 bytes"),
        (&file, &format!("enable {}", "x".repeat(257)), "", failure, "1 to 256 bytes"),
        (&file, "passwd Sid --delete --password-stdin", "", usage, "cannot be used with"),
    ] {
        let (ended, said) = refused(settings, line, input).await;
        assert!(said.contains(explained), "{line}: {said}");
        assert_eq!(ended, exit, "{line}: {said}");
    }
    assert!(!path.exists(), "nothing was added");
}

/// Users of all kinds, as a file that was exported from PostgreSQL must hold them.
async fn all_kinds(settings: &Settings) -> Vec<NewUser> {
    let hash = users::hash_password(&"correct horse".into()).unwrap();
    let directory = users::open_to_edit(&settings.database, &settings.users).await.unwrap();
    let all = vec![
        NewUser { first_name: " \"Z\", ".into(), ..NewUser::named(name("# a, \"b\"")) },
        NewUser { password_hash: Some(hash), disabled: true, ..NewUser::named(name("Elon")) },
        NewUser { mobile: Some("+49 171 5550123".into()), ..NewUser::named(name("Zoë 😀")) },
    ];
    for user in &all {
        directory.add(user.clone()).await.unwrap();
    }
    all
}

#[tokio::test]
async fn what_is_exported_is_a_file_with_the_same_users() {
    let (postgres, folder) = (Postgres::start(), TempDir::new().unwrap());
    migrated(&postgres).await;
    for (from, settings) in [
        ("postgresql", on_postgres(&postgres.url())),
        ("file", on_file(&folder.path().join("users.csv"))),
    ] {
        let all = all_kinds(&settings).await;
        for (hashes, line) in [(false, "export"), (true, "export --password-hashes")] {
            let csv = typed(&settings, line, "").await.unwrap();
            assert_eq!(csv.contains("argon2"), hashes, "{csv}");
            let path = folder.path().join(format!("{from}-{hashes}.csv"));
            std::fs::write(&path, &csv).unwrap();
            let copy = users::FileDirectory::open(&path).await.unwrap();
            let copied = copy.list(None, 10).await.unwrap();
            let facts = |user: &NewUser| {
                let hash = user.password_hash.as_ref().map(|hash| hash.expose_secret().to_owned());
                let (first, last) = (user.first_name.clone(), user.last_name.clone());
                let hash = hash.filter(|_| hashes);
                (user.username.clone(), first, last, user.mobile.clone(), user.disabled, hash)
            };
            let copied: Vec<_> = copied.iter().map(|user| facts(&NewUser::of(user))).collect();
            assert_eq!(copied, all.iter().map(facts).collect::<Vec<_>>(), "{from}");
            assert_eq!(typed(&on_file(&path), line, "").await.unwrap(), csv, "{from}");
        }
    }
}

#[tokio::test]
async fn an_export_that_the_file_could_not_hold_says_who_and_why() {
    let postgres = Postgres::start();
    migrated(&postgres).await;
    postgres.sql("INSERT INTO users (username, mobile) VALUES ('Elon', NULL), ('Sid', 'soon')");
    let refused = typed(&on_postgres(&postgres.url()), "export", "").await.unwrap_err();
    assert!(refused.contains("ends before \"Sid\""), "{refused}");
    assert!(refused.contains("mobile \"soon\" is refused"), "{refused}");
}

#[test]
fn a_person_types_a_password_twice_and_sees_nothing_of_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users.csv");
    std::fs::write(&path, format!("{CSV_HEADER}\nSid,,,,,\n")).unwrap();
    let config = folder.path().join("wsfleetd.toml");
    std::fs::write(&config, format!("[users]\nfile = {path:?}\n")).unwrap();
    let hash = || std::fs::read_to_string(&path).unwrap();
    for (typed, ends, said) in [
        ("geheim\nandersgeheim\n", 1, "the two passwords differ"),
        ("\n", 1, "the password is empty"),
        ("geheim\ngeheim\n", 0, "changed the password of Sid"),
    ] {
        assert!(!hash().contains("argon2"), "not yet");
        let line = format!("{:?} users passwd Sid --config {config:?}", binary());
        let (code, screen) = on_a_terminal(&line, typed);
        assert!(screen.contains("New password for Sid:"), "{screen}");
        assert!(screen.contains(said) && !screen.contains("geheim"), "{screen}");
        assert_eq!(code, Some(ends), "{screen}");
    }
    assert!(hash().contains("argon2"), "now");
}

#[test]
fn without_a_terminal_the_way_to_give_a_password_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("users.csv");
    std::fs::write(&path, format!("{CSV_HEADER}\nSid,,,,,\n")).unwrap();
    // A session of its own has no controlling terminal.
    let done = Command::new("setsid")
        .args(["--wait".as_ref(), binary().as_os_str()])
        .args(["users", "passwd", "Sid"])
        .env("WSFLEETD__USERS__FILE", &path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("give it on standard input with --password-stdin"), "{said}");
    assert_eq!(done.status.code(), Some(1), "{said}");
}

/// Runs a command on a terminal of its own, where `typed` is typed; its exit code, and what the
/// terminal showed.
fn on_a_terminal(line: &str, typed: &str) -> (Option<i32>, String) {
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--echo", "never", "--command", line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script comes with util-linux");
    // What is typed before it is asked for waits in the terminal, as a fast typist's would.
    terminal.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let done = terminal.wait_with_output().unwrap();
    (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
}
