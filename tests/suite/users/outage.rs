//! PostgreSQL restarts, goes away, hangs or refuses: who may still come in, and how soon
//! everything is as before.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use wsfleetd::{
    config::settings::{Database, Users},
    users::{self, Directory, PostgresDirectory},
};

use super::{database, is_known, migrated, name, new_user};
use crate::support::postgres::Postgres;

/// Everything is asked again at once; what is known is remembered all the same.
fn no_ttl() -> Users {
    Users { cache_ttl: Duration::ZERO, cache_negative_ttl: Duration::ZERO, ..Users::default() }
}

/// For tests that wait for a timeout; long enough to log in on a busy machine.
fn impatient(database: Database) -> Database {
    let timeout = Duration::from_secs(2);
    Database { connect_timeout: timeout, query_timeout: timeout, ..database }
}

async fn until_answered(directory: &dyn Directory, who: &str) -> Duration {
    let started = Instant::now();
    while directory.find(&name(who)).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "no recovery");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    started.elapsed()
}

#[tokio::test]
async fn the_known_come_in_while_postgresql_is_away_and_all_when_it_is_back() {
    let mut postgres = Postgres::start();
    let database = migrated(&postgres).await;
    let directory = users::open(&database, &no_ttl()).await.unwrap();
    directory.add(new_user("Sid")).await.unwrap();
    directory.add(new_user("Elon")).await.unwrap();
    assert!(is_known(directory.as_ref(), "Sid").await);

    postgres.stop();
    assert!(is_known(directory.as_ref(), "Sid").await, "seen before");
    let refused = directory.find(&name("Elon")).await.unwrap_err().to_string();
    assert!(refused.contains("error connecting to server"), "{refused}");
    assert!(directory.check().await.is_err());

    postgres.start_again();
    let took = until_answered(directory.as_ref(), "Elon").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    directory.check().await.unwrap();
}

#[tokio::test]
async fn a_daemon_may_start_before_its_database() {
    let mut postgres = Postgres::start();
    let database = migrated(&postgres).await;
    postgres.stop();
    let directory = users::open(&database, &Users::default()).await.unwrap();
    assert!(directory.find(&name("Sid")).await.is_err());
    postgres.start_again();
    until_answered(directory.as_ref(), "Sid").await;
}

#[tokio::test]
async fn a_refused_connection_costs_no_timeout() {
    let mut postgres = Postgres::start();
    let settings = migrated(&postgres).await;
    postgres.stop();
    let directory = PostgresDirectory::open(&settings).unwrap();
    let started = Instant::now();
    let sid = name("Sid");
    let answers = futures_util::future::join_all((0..100).map(|_| directory.find(&sid))).await;
    assert!(answers.iter().all(Result::is_err));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?} of 20 s", started.elapsed());
}

#[tokio::test]
async fn a_restart_between_two_questions_goes_unnoticed() {
    let mut postgres = Postgres::start();
    let directory = Arc::new(PostgresDirectory::open(&migrated(&postgres).await).unwrap());
    directory.add(new_user("Sid")).await.unwrap();
    let fill_the_pool = (0..50).map(|_| {
        let directory = Arc::clone(&directory);
        tokio::spawn(async move { is_known(directory.as_ref(), "Sid").await })
    });
    for known in fill_the_pool.collect::<Vec<_>>() {
        assert!(known.await.unwrap());
    }
    postgres.restart();
    for _ in 0..20 {
        assert!(is_known(directory.as_ref(), "Sid").await);
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time_and_taken_back() {
    let postgres = Postgres::start();
    let settings = impatient(migrated(&postgres).await);
    let directory = PostgresDirectory::open(&settings).unwrap();
    directory.add(new_user("Sid")).await.unwrap();
    postgres.freeze();
    let started = Instant::now();
    let hung = directory.find(&name("Sid")).await.unwrap_err().to_string();
    assert!(hung.contains("no answer within 2s"), "{hung}");
    let unreachable = directory.find(&name("Sid")).await.unwrap_err().to_string();
    assert!(unreachable.contains("no connection within 2s"), "{unreachable}");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    postgres.thaw();
    until_answered(&directory, "Sid").await;
}

#[tokio::test]
async fn a_locked_table_holds_no_connection_for_ever() {
    let postgres = Postgres::start();
    let settings = Database { pool_size: 2, ..impatient(migrated(&postgres).await) };
    let directory = PostgresDirectory::open(&settings).unwrap();
    directory.add(new_user("Sid")).await.unwrap();
    let locked = tokio::task::spawn_blocking(move || {
        postgres.sql("BEGIN; LOCK users; SELECT pg_sleep(5); COMMIT");
        postgres
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sid = name("Sid");
    let waiting = futures_util::future::join_all((0..4).map(|_| directory.find(&sid)));
    let answers = waiting.await;
    assert!(answers.iter().all(Result::is_err), "nobody can read a locked table");
    let _postgres = locked.await.unwrap();
    assert!(is_known(&directory, "Sid").await);
}

#[tokio::test]
async fn the_server_gives_up_a_statement_by_itself() {
    let postgres = Postgres::start();
    let statement_timeout = Duration::from_millis(300);
    let settings = Database { statement_timeout, ..migrated(&postgres).await };
    let directory = PostgresDirectory::open(&settings).unwrap();
    directory.add(new_user("Sid")).await.unwrap();
    let locked = tokio::task::spawn_blocking(move || {
        postgres.sql("BEGIN; LOCK users; SELECT pg_sleep(3); COMMIT");
        postgres
    });
    let started = Instant::now();
    let refused = loop {
        match directory.find(&name("Sid")).await {
            Err(refused) => break refused.to_string(),
            Ok(_) => assert!(started.elapsed() < Duration::from_secs(10), "never locked"),
        }
    };
    assert!(refused.contains("canceling statement due to statement timeout"), "{refused}");
    locked.await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_named_and_never_shown() {
    let postgres = Postgres::start();
    let url = postgres.url().replace("only", "0nly");
    let directory = PostgresDirectory::open(&database(&url)).unwrap();
    let refused = directory.check().await.unwrap_err().to_string();
    assert!(refused.contains("password authentication failed"), "{refused}");
    assert!(!refused.contains("0nly"), "{refused}");
}

#[tokio::test]
async fn a_rotated_password_file_needs_no_restart() {
    let mut postgres = Postgres::start();
    migrated(&postgres).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{}\n", postgres.password())).unwrap();
    let settings = Database {
        password_file: Some(file.path().into()),
        ..database(&postgres.url_without_password())
    };
    let directory = PostgresDirectory::open(&settings).unwrap();
    directory.check().await.unwrap();

    postgres.sql("ALTER ROLE wsfleetd PASSWORD 'rotated'");
    fs::write(file.path(), "rotated").unwrap();
    postgres.restart();
    directory.check().await.unwrap();
}
