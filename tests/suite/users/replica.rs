//! A read replica: what is asked there, what is not believed of it, and what its death costs.

use std::time::{Duration, Instant};

use wsfleetd::{
    config::settings::Database,
    users::{Directory, PostgresDirectory},
};

use super::{is_known, migrated, name};
use crate::support::{
    fleet::{PATIENCE, eventually},
    postgres::Postgres,
};

/// A primary with Sid, and a standby that has heard of him and then stays behind.
struct Pair {
    primary: Postgres,
    standby: Postgres,
    directory: PostgresDirectory,
}

impl Pair {
    async fn start() -> Self {
        let primary = Postgres::start();
        let database = migrated(&primary).await;
        primary.sql("INSERT INTO users (username, first_name) VALUES ('Sid', 'old')");
        let standby = primary.start_standby();
        standby.sql("SELECT pg_wal_replay_pause()");
        let timeout = Duration::from_secs(2);
        let directory = PostgresDirectory::open(&Database {
            replica_url: Some(standby.url().into()),
            connect_timeout: timeout,
            query_timeout: timeout,
            ..database
        });
        Self { primary, standby, directory: directory.unwrap() }
    }

    async fn first_name(&self) -> String {
        self.directory.find(&name("Sid")).await.unwrap().unwrap().first_name.clone()
    }
}

#[tokio::test]
async fn look_ups_go_to_the_replica_and_what_must_be_so_now_to_the_primary() {
    let pair = Pair::start().await;
    pair.primary.sql("UPDATE users SET first_name = 'new'");
    assert_eq!(pair.first_name().await, "old");
    let sid = name("Sid");
    assert_eq!(pair.directory.find_now(&sid).await.unwrap().unwrap().first_name, "new");
    assert_eq!(pair.directory.find_many_now(&[sid]).await.unwrap()[0].first_name, "new");
}

#[tokio::test]
async fn nobody_is_turned_away_because_the_replica_is_behind() {
    let pair = Pair::start().await;
    pair.primary.sql("INSERT INTO users (username) VALUES ('Elon')");
    assert!(is_known(&pair.directory, "Elon").await, "just added");

    pair.primary.sql("UPDATE users SET disabled = true WHERE username = 'Sid'");
    pair.standby.sql("SELECT pg_wal_replay_resume()");
    let is_disabled = "SELECT disabled FROM users WHERE username = 'Sid'";
    eventually("the replica has heard", PATIENCE, async || pair.standby.sql(is_disabled) == "t")
        .await;
    pair.standby.sql("SELECT pg_wal_replay_pause()");
    pair.primary.sql("UPDATE users SET disabled = false WHERE username = 'Sid'");
    let sid = pair.directory.find(&name("Sid")).await.unwrap().unwrap();
    assert!(!sid.disabled, "just enabled");
    assert!(!is_known(&pair.directory, "Nobody").await);
}

#[tokio::test]
async fn a_replica_that_is_away_is_replaced_by_the_primary_and_taken_back() {
    let mut pair = Pair::start().await;
    pair.primary.sql("UPDATE users SET first_name = 'new'");
    assert_eq!(pair.first_name().await, "old");
    pair.standby.stop();
    assert_eq!(pair.first_name().await, "new");
    pair.standby.start_again();
    // A restart forgets the pause, so by now both say the same: who was asked tells the replica.
    let asked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'wsfleetd'";
    eventually("the replica is asked again", Duration::from_secs(20), async || {
        pair.first_name().await;
        pair.standby.sql(asked) == "t"
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_hangs_delays_few() {
    let pair = Pair::start().await;
    assert_eq!(pair.first_name().await, "old");
    pair.standby.freeze();
    let start = Instant::now();
    let (mut slow, mut asked) = (0, 0);
    while start.elapsed() < Duration::from_secs(8) {
        let one = Instant::now();
        pair.first_name().await;
        slow += u32::from(one.elapsed() > Duration::from_secs(1));
        asked += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pair.standby.thaw();
    assert!((1..=3).contains(&slow), "{slow} of {asked} waited for it");
    assert!(asked > 50, "only {asked} were answered");
}

#[tokio::test]
async fn with_the_primary_away_the_replica_answers_for_those_it_knows() {
    let mut pair = Pair::start().await;
    pair.primary.stop();
    assert!(is_known(&pair.directory, "Sid").await);
    let unknown = pair.directory.find(&name("Elon")).await.unwrap_err().to_string();
    assert!(unknown.contains("error connecting to server"), "{unknown}");
    assert!(pair.directory.check().await.is_err());
}

#[tokio::test]
async fn a_replica_url_that_can_never_work_is_refused() {
    for url in ["postgres:///app", "postgres://me:secret@db/app?sslmode=maybe"] {
        let database = Database {
            url: Some("postgres://db/app".into()),
            replica_url: Some(url.into()),
            ..Database::default()
        };
        let refused = PostgresDirectory::open(&database).unwrap_err().to_string();
        assert!(refused.starts_with("database.replica_url: "), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
}
