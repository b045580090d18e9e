//! `wsfleetd users …` as an operator types it, against PostgreSQL and against the CSV file.

use std::{os::unix::fs::PermissionsExt, path::Path};

use argon2::{
    Argon2,
    password_hash::{PasswordVerifier, phc::PasswordHash},
};
use clap::Parser;
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;
use wsfleetd::{
    cli::users::{Command, execute},
    config::settings::{Settings, Users},
    users,
};

use super::{database, name};
use crate::support::postgres::Postgres;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// What the command prints, or its error on one line.
async fn typed(settings: &Settings, line: &str, input: &str) -> Result<String, String> {
    let words = std::iter::once("users").chain(line.split(' '));
    let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let done = execute(line.command, settings, &mut input.as_bytes(), &mut out).await;
    done.map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(out).unwrap())
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

    let directory = users::open(&settings.database, &settings.users).await.unwrap();
    let sunil = directory.find(&name("Sunil")).await.unwrap().unwrap();
    let hash = sunil.password_hash.as_ref().unwrap().expose_secret();
    let hash = PasswordHash::new(hash).unwrap();
    Argon2::default().verify_password(b"correct horse", &hash).unwrap();
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
    assert_eq!(first, "applied 0001_users\nthe schema is now at version 1\n");
    let again = typed(&settings, "migrate", "").await.unwrap();
    assert_eq!(again, "the schema is already at version 1\n");
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
    for (settings, line, input, explained) in [
        (&away, "migrate", "", "Connection refused"),
        (&away, "add Sid", "", "Connection refused"),
        (&away, "list", "", "Connection refused"),
        (&file, "migrate", "", "database.url is not set"),
        (&file, "list", "", "make it with `wsfleetd users add`"),
        (&file, "add Sid --password-stdin", "", "standard input is empty"),
        (&file, "add Sid --password-stdin", &"x".repeat(1025), "longer than 1024 bytes"),
        (&file, "add Sid --mobile soon", "", "mobile \"soon\" is refused"),
        (&file, &format!("add {}", "x".repeat(257)), "", "1 to 256 bytes"),
    ] {
        let refused = typed(settings, line, input).await.unwrap_err();
        assert!(refused.contains(explained), "{line}: {refused}");
    }
    assert!(!path.exists(), "nothing was added");
}
