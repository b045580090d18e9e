//! The schema: made once, whoever asks and however often, and guarding what the daemon relies on.

use std::{sync::Arc, time::Duration};

use wsfleetd::users::{self, Directory, Error, NewUser, PostgresDirectory};

use super::{database, is_known, migrated, new_user};
use crate::support::postgres::Postgres;

#[tokio::test]
async fn the_second_time_there_is_nothing_to_do() {
    let postgres = Postgres::start();
    let database = database(&postgres.url());
    let first = users::migrate(&database).await.unwrap();
    assert_eq!((first.applied, first.version), (vec!["0001_users", "0002_changes"], 2));
    let second = users::migrate(&database).await.unwrap();
    assert_eq!((second.applied, second.version), (vec![], 2));
}

#[tokio::test]
async fn instances_migrating_at_once_do_it_once() {
    let postgres = Postgres::start();
    let database = Arc::new(database(&postgres.url()));
    let all = (0..8).map(|_| {
        let database = Arc::clone(&database);
        tokio::spawn(async move { users::migrate(&database).await.unwrap() })
    });
    let done = futures_util::future::join_all(all.collect::<Vec<_>>()).await;
    let applied: usize = done.iter().map(|done| done.as_ref().unwrap().applied.len()).sum();
    assert_eq!(applied, 2);
    assert_eq!(postgres.sql("SELECT count(*) FROM schema_migrations"), "2");
}

#[tokio::test]
async fn a_migration_waits_until_another_one_is_done() {
    let postgres = Arc::new(Postgres::start());
    let database = database(&postgres.url());
    // The lock every version of the daemon takes: its name in ASCII.
    let lock = i64::from_be_bytes(*b"wsfleetd");
    let another = Arc::clone(&postgres);
    let another = tokio::task::spawn_blocking(move || {
        another.sql(&format!("SELECT pg_advisory_lock({lock}); SELECT pg_sleep(2)"));
    });
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert!((0..500).any(|_| postgres.sql(held) == "1"), "the lock was never taken");

    let migration = tokio::spawn(async move { users::migrate(&database).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    another.await.unwrap();
    assert_eq!(migration.await.unwrap().applied, ["0001_users", "0002_changes"]);
}

#[tokio::test]
async fn a_failed_migration_changes_nothing_and_can_be_repeated() {
    let postgres = Postgres::start();
    let database = database(&postgres.url());
    postgres.sql("CREATE FUNCTION users_touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'");
    let failed = users::migrate(&database).await.unwrap_err().to_string();
    assert!(failed.contains("0001_users") && failed.contains("users_touch"), "{failed}");
    assert_eq!(postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    postgres.sql("DROP FUNCTION users_touch()");
    assert_eq!(users::migrate(&database).await.unwrap().applied, ["0001_users", "0002_changes"]);
}

#[tokio::test]
async fn an_older_schema_is_brought_up_to_date_with_its_users() {
    let postgres = Postgres::start();
    let database = database(&postgres.url());
    postgres.sql(&format!(
        "{}; CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL, \
         applied_at timestamptz NOT NULL DEFAULT now()); \
         INSERT INTO schema_migrations VALUES (1, '0001_users'); \
         INSERT INTO users (username) VALUES ('Sid')",
        include_str!("../../../src/users/schema/0001_users.sql")
    ));
    let done = users::migrate(&database).await.unwrap();
    assert_eq!((done.applied, done.version), (vec!["0002_changes"], 2));
    let directory = PostgresDirectory::open(&database).unwrap();
    assert!(is_known(&directory, "Sid").await);
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let postgres = Postgres::start();
    let database = migrated(&postgres).await;
    postgres.sql("INSERT INTO schema_migrations (version, name) VALUES (7, '0007_future')");
    let done = users::migrate(&database).await.unwrap();
    assert_eq!((done.applied, done.version), (vec![], 7));
}

#[tokio::test]
async fn before_the_migration_the_remedy_is_named() {
    let postgres = Postgres::start();
    let database = database(&postgres.url());
    let directory = PostgresDirectory::open(&database).unwrap();
    let unready = directory.check().await.unwrap_err().to_string();
    assert!(unready.contains("run `wsfleetd users migrate`"), "{unready}");
    let refused = directory.add(new_user("Sid")).await.unwrap_err().to_string();
    assert!(refused.contains("run `wsfleetd users migrate`"), "{refused}");

    users::migrate(&database).await.unwrap();
    directory.check().await.unwrap();
    directory.add(new_user("Sid")).await.unwrap();
    assert!(is_known(&directory, "Sid").await);
}

#[tokio::test]
async fn rows_written_by_others_are_checked_and_timed() {
    let postgres = Postgres::start();
    migrated(&postgres).await;
    postgres.sql("INSERT INTO users (username) VALUES ('Sid')");
    let age = "SELECT updated_at > created_at FROM users WHERE username = 'Sid'";
    assert_eq!(postgres.sql(age), "f");
    postgres.sql("UPDATE users SET mobile = '112' WHERE username = 'Sid'");
    assert_eq!(postgres.sql(age), "t");
    for bad in ["''", "E'a\\nb'", "U&'\\0085'", "repeat('x', 257)"] {
        let count = format!(
            "DO $$ BEGIN INSERT INTO users (username) VALUES ({bad}); \
             RAISE 'accepted'; EXCEPTION WHEN check_violation THEN NULL; END $$"
        );
        postgres.sql(&count);
    }
}

#[tokio::test]
async fn a_rule_of_their_own_refuses_without_showing_the_hash() {
    let postgres = Postgres::start();
    let directory = PostgresDirectory::open(&migrated(&postgres).await).unwrap();
    postgres.sql("ALTER TABLE users ADD CONSTRAINT named CHECK (first_name <> '')");
    let hash = users::hash_password(&"correct horse".into()).unwrap();
    let nameless = NewUser { password_hash: Some(hash), ..new_user("Sid") };
    let refused = directory.add(nameless).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("violates check constraint \"named\""), "{text}");
    assert!(!text.contains("argon2"), "{text}");
}
