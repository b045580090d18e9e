//! A change made in PostgreSQL, by whomever, is known here within a second; and so is that one may
//! have been missed.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use wsfleetd::{
    config::settings::{Database, Users},
    lifecycle::Tasks,
    users::{self, Change, Directory, Edit},
};

use super::{is_known, migrated, name, new_user};
use crate::support::postgres::Postgres;

/// Ends the listener of every daemon, as a network that breaks would.
pub const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE application_name LIKE '%listener'";

/// A directory behind its cache that hears what changes.
struct Heard {
    directory: Arc<dyn Directory>,
    _stop: DropGuard,
}

impl Heard {
    async fn start(database: &Database) -> Self {
        let directory = users::open(database, &Users::default()).await.unwrap();
        let stop = CancellationToken::new();
        let (watched, stopped) = (directory.clone(), stop.clone());
        Tasks::new().spawn("watch", async move { watched.watch(&stopped).await });
        let heard = Self { directory, _stop: stop.drop_guard() };
        assert_eq!(heard.next().await, Change::Everything, "nobody knows what was before");
        heard
    }

    async fn next(&self) -> Change {
        let changes = self.directory.changes();
        timeout(Duration::from_secs(20), changes.next()).await.expect("a change is told")
    }

    /// Until these have all been told, in whatever portions they come.
    async fn hears(&self, expected: &[&str]) {
        let mut missing: BTreeSet<_> = expected.iter().map(|text| name(text)).collect();
        while !missing.is_empty() {
            let Change::Users(names) = self.next().await else { panic!("not everything") };
            for told in names {
                assert!(missing.remove(&told), "{told:?} was not expected");
            }
        }
    }
}

#[tokio::test]
async fn every_change_by_plain_sql_is_told_and_forgotten() {
    let postgres = Postgres::start();
    let heard = Heard::start(&migrated(&postgres).await).await;
    let directory = heard.directory.as_ref();
    assert!(!is_known(directory, "Sid").await, "remembered as unknown");

    postgres.sql("INSERT INTO users (username) VALUES ('Sid'), ('Zoë, \"Z\"')");
    heard.hears(&["Sid", "Zoë, \"Z\""]).await;
    assert!(is_known(directory, "Sid").await);

    let start = Instant::now();
    postgres.sql("UPDATE users SET disabled = true WHERE username = 'Sid'");
    heard.hears(&["Sid"]).await;
    println!("an update was heard {:?} after psql was started", start.elapsed());
    assert!(directory.find(&name("Sid")).await.unwrap().unwrap().disabled);

    postgres.sql("UPDATE users SET username = 'Elon' WHERE username = 'Sid'");
    heard.hears(&["Sid", "Elon"]).await;
    assert!(!is_known(directory, "Sid").await && is_known(directory, "Elon").await);

    postgres.sql("DELETE FROM users WHERE username = 'Elon'");
    heard.hears(&["Elon"]).await;
    assert!(!is_known(directory, "Elon").await);

    postgres.sql("BEGIN; INSERT INTO users (username) VALUES ('Ann'); ROLLBACK");
    postgres.sql("TRUNCATE users");
    assert_eq!(heard.next().await, Change::Everything);
    assert!(!is_known(directory, "Zoë, \"Z\"").await);
}

#[tokio::test]
async fn many_at_once_are_one_notice() {
    let postgres = Postgres::start();
    let heard = Heard::start(&migrated(&postgres).await).await;
    postgres
        .sql("INSERT INTO users (username) SELECT 'user' || n FROM generate_series(1, 20000) n");
    assert_eq!(heard.next().await, Change::Everything);
    assert!(is_known(heard.directory.as_ref(), "user7").await);
    postgres.sql("UPDATE users SET disabled = true");
    assert_eq!(heard.next().await, Change::Everything);
    assert!(heard.directory.find(&name("user7")).await.unwrap().unwrap().disabled);
    postgres.sql("DELETE FROM users WHERE username <> 'user7'");
    assert_eq!(heard.next().await, Change::Everything);
    postgres.sql("UPDATE users SET disabled = false");
    heard.hears(&["user7"]).await;
}

#[tokio::test]
async fn a_change_of_our_own_is_told_to_others_too() {
    let postgres = Postgres::start();
    let database = migrated(&postgres).await;
    let (one, other) = (Heard::start(&database).await, Heard::start(&database).await);
    one.directory.add(new_user("Sid")).await.unwrap();
    other.hears(&["Sid"]).await;
    assert!(!other.directory.find(&name("Sid")).await.unwrap().unwrap().disabled);
    one.directory.edit(&name("Sid"), &Edit::Disabled(true)).await.unwrap();
    other.hears(&["Sid"]).await;
    assert!(other.directory.find(&name("Sid")).await.unwrap().unwrap().disabled);
    one.directory.remove(&name("Sid")).await.unwrap();
    other.hears(&["Sid"]).await;
    assert!(!is_known(other.directory.as_ref(), "Sid").await);
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_when_the_ear_is_cut_off() {
    let postgres = Postgres::start();
    let heard = Heard::start(&migrated(&postgres).await).await;
    heard.directory.add(new_user("Sid")).await.unwrap();
    heard.hears(&["Sid"]).await;
    assert!(is_known(heard.directory.as_ref(), "Sid").await);
    let start = Instant::now();
    // One after the other in one session: the change falls into the time in which nobody listens.
    postgres.sql(&format!("{CUT}; UPDATE users SET disabled = true"));
    assert_eq!(heard.next().await, Change::Everything);
    println!("the cut was made up for {:?} after psql was started", start.elapsed());
    assert!(heard.directory.find(&name("Sid")).await.unwrap().unwrap().disabled);
}

#[tokio::test]
async fn a_database_that_comes_back_is_heard_again() {
    let mut postgres = Postgres::start();
    let heard = Heard::start(&migrated(&postgres).await).await;
    postgres.stop();
    tokio::time::sleep(Duration::from_secs(1)).await;
    postgres.start_again();
    let start = Instant::now();
    assert_eq!(heard.next().await, Change::Everything);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    postgres.sql("INSERT INTO users (username) VALUES ('Sid')");
    heard.hears(&["Sid"]).await;
}

#[tokio::test]
async fn a_listener_that_hangs_is_given_up() {
    let postgres = Postgres::start();
    let timeout = Duration::from_secs(2);
    let database = migrated(&postgres).await;
    let database = Database { connect_timeout: timeout, query_timeout: timeout, ..database };
    let heard = Heard::start(&database).await;
    // Only the process behind the listener: its socket stays open and says nothing.
    let pid = postgres.sql(&CUT.replace("pg_terminate_backend(pid)", "pid"));
    let signal = |name: &str| std::process::Command::new("kill").args([name, &pid]).status();
    assert!(signal("-STOP").unwrap().success());
    let start = Instant::now();
    assert_eq!(heard.next().await, Change::Everything);
    let _ = signal("-CONT");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}
