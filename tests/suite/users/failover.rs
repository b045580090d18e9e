//! The primary is lost and a replica is promoted: at the same address, or at the other of two.

use std::time::{Duration, Instant};

use wsfleetd::{
    config::settings::Database,
    ids::UserId,
    users::{Directory, NewUser, PostgresDirectory},
};

use super::{database, is_known, migrated, name, new_user};
use crate::support::{
    client::{Client, refusal},
    fleet::{PATIENCE, TestFleet, eventually},
    postgres::Postgres,
};

/// Impatient enough for a failover, patient enough for a busy machine.
fn over_two(url: &str) -> Database {
    let timeout = Duration::from_secs(3);
    Database { connect_timeout: timeout, query_timeout: timeout, ..database(url) }
}

#[tokio::test]
async fn a_promoted_replica_takes_the_place_of_a_lost_primary() {
    let mut primary = Postgres::start();
    let database = migrated(&primary).await;
    let directory = PostgresDirectory::open(&database).unwrap();
    for user in ["Sunil", "Sid", "Mia"] {
        directory.add(NewUser::named(UserId::parse(user).unwrap())).await.unwrap();
    }
    let mut standby = primary.start_standby();
    let settings = format!("[database]\nurl = \"{}\"\n", primary.url());
    let fleet = TestFleet::with_settings(2, &settings).await;
    let (mut sunil, sid) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await);

    primary.stop();
    sid.close().await;
    let mut sid = fleet.connect(1, "Sid").await;
    let answer = refusal(fleet[1].app(), "/Dev", &[("username", "Mia")]).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));

    standby.move_to_address_of(&primary);
    standby.promote();
    let start = Instant::now();
    let let_in = async || Client::try_connect(fleet[1].app(), "/Dev", "Mia").await.is_ok();
    eventually("Mia is let in", PATIENCE, let_in).await;
    println!("a user nobody had cached was let in {:?} after the promotion", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    sunil.send("Sid", r#""still here""#).await;
    sid.expect(r#""still here""#).await;

    // Also its word is heard again.
    eventually("the new primary is listened to", PATIENCE, async || {
        let ears = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%listener'";
        standby.sql(ears) == "2"
    })
    .await;
    standby.sql("UPDATE users SET disabled = true WHERE username = 'Sid'");
    assert_eq!(sid.expect_close().await.0, 1008);
}

#[tokio::test]
async fn of_two_addresses_the_one_that_takes_writes_is_used() {
    let mut primary = Postgres::start();
    migrated(&primary).await;
    let standby = primary.start_standby();
    // The standby comes first: it is there and takes no writes.
    let directory = PostgresDirectory::open(&over_two(&standby.url_with_other(&primary))).unwrap();
    directory.add(new_user("Sid")).await.unwrap();
    assert!(is_known(&directory, "Sid").await);
    let caught_up = "SELECT count(*) FROM users";
    eventually("the standby has caught up", PATIENCE, async || standby.sql(caught_up) == "1").await;

    primary.stop();
    assert!(directory.add(new_user("Elon")).await.is_err(), "nobody takes writes now");
    standby.promote();
    let start = Instant::now();
    let added = async || directory.add(new_user("Elon")).await.is_ok();
    eventually("the promoted one takes writes", Duration::from_secs(20), added).await;
    println!("the promoted server took a write after {:?}", start.elapsed());
    assert!(is_known(&directory, "Sid").await && is_known(&directory, "Elon").await);
}

#[tokio::test]
async fn a_primary_that_was_demoted_is_left_at_the_first_write() {
    let old = Postgres::start();
    migrated(&old).await;
    let new = old.start_standby();
    let directory = PostgresDirectory::open(&over_two(&old.url_with_other(&new))).unwrap();
    directory.add(new_user("Sid")).await.unwrap();
    let asking = (0..20).map(|_| async { is_known(&directory, "Sid").await });
    futures_util::future::join_all(asking).await;
    eventually("Sid has arrived", PATIENCE, async || new.sql("SELECT count(*) FROM users") == "1")
        .await;

    // Every connection of the pool still leads to the old one, which takes no more writes.
    new.promote();
    old.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    old.sql("SELECT pg_reload_conf()");
    eventually("the old one is read-only", PATIENCE, async || {
        old.sql("SHOW transaction_read_only") == "on"
    })
    .await;
    eventually("the new one takes writes", PATIENCE, async || {
        new.sql("SELECT pg_is_in_recovery()") == "f"
    })
    .await;
    directory.add(new_user("Elon")).await.unwrap();
    assert_eq!(new.sql("SELECT count(*) FROM users"), "2");
    assert_eq!(old.sql("SELECT count(*) FROM users"), "1");
    directory.remove(&name("Sid")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_writes_says_so() {
    let postgres = Postgres::start();
    let database = migrated(&postgres).await;
    postgres.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    postgres.sql("SELECT pg_reload_conf()");
    let directory = PostgresDirectory::open(&database).unwrap();
    eventually("it is read-only", PATIENCE, async || {
        postgres.sql("SHOW transaction_read_only") == "on"
    })
    .await;
    let refused = directory.add(new_user("Sid")).await.unwrap_err().to_string();
    assert!(refused.contains("read-only transaction"), "{refused}");
    assert!(!is_known(&directory, "Sid").await, "reading goes on");
}
