//! A test for each key that is marked `Live`: it is changed, SIGHUP is sent, and it works.

use std::fs;

use tempfile::TempDir;

use super::{limits::*, reload};
use crate::{
    support::{
        client::Client,
        fleet::{PATIENCE, eventually},
        instance::{Instance, everybody},
        postgres::Postgres,
        raw::ask,
        tls::Issued,
    },
    users::{migrated, new_user},
};

macro_rules! live {
    ($($test:ident: $key:literal;)+) => {
        /// The keys with a test here.
        pub const PROVEN: &[&str] = &[$($key),+];

        mod takes_effect {
            $(#[tokio::test] async fn $test() { super::$test($key).await })+
        }
    };
}

live! {
    another_certificate_for_the_key: "listen.tls_certificate";
    another_key_for_another_certificate: "listen.tls_key";
    another_users_file: "users.file";
    the_age_of_the_known: "users.cache_ttl";
    the_age_of_strangers: "users.cache_negative_ttl";
    the_age_in_an_outage: "users.cache_stale";
    the_level_of_the_log: "telemetry.level";
    more_and_fewer_seats: "limits.max_connections";
    more_of_one_user: "limits.connections_per_user";
    who_makes_room: "limits.connections_per_user_policy";
    a_larger_outbox: "limits.outbox_bytes";
    the_rate_of_connections: "limits.accept_rate";
    the_burst_of_connections: "limits.accept_burst";
    the_rate_of_an_address: "limits.accept_rate_per_address";
    the_burst_of_an_address: "limits.accept_burst_per_address";
    the_rate_of_messages: "limits.message_rate";
    the_burst_of_messages: "limits.message_burst";
    the_share_of_memory: "limits.memory_admission";
}

async fn another_certificate_for_the_key(key: &str) {
    let dir = TempDir::new().expect("a directory");
    let first = Issued::new(dir.path(), "first");
    let instance = Instance::start_in(&[], &first.settings());
    let second = first.again(&dir.path().join("second.pem"));
    reload(&instance, &format!("{key} = \"{}\"\n", second.chain.display())).await;
    let shown = second.connect(instance.app(), &[]).await.expect("a handshake");
    let shown = shown.get_ref().1.peer_certificates().expect("a certificate");
    // The first would be believed too: its name and key are the same.
    assert_eq!(shown, [second.certificate()]);
}

async fn another_key_for_another_certificate(key: &str) {
    let dir = TempDir::new().expect("a directory");
    let (first, second) = (Issued::new(dir.path(), "first"), Issued::new(dir.path(), "second"));
    let instance = Instance::start_in(&[], &first.settings());
    fs::copy(&second.chain, &first.chain).expect("a new certificate in its place");
    reload(&instance, &format!("{key} = \"{}\"\n", second.key.display())).await;
    second.socket(instance.app(), "Sid").await;
}

async fn another_users_file(key: &str) {
    let instance = Instance::start("");
    let other = instance.dir().join("other.csv");
    fs::write(&other, everybody().replace("Sid,", "Newton,")).expect("write other.csv");
    reload(&instance, &format!("{key} = \"{}\"\n", other.display())).await;
    instance.connect("Newton").await.close().await;
    assert_eq!(status(&instance, "Sid").await, 401);
}

async fn the_age_of_the_known(key: &str) {
    let (mut postgres, instance) =
        with_postgres("cache_ttl = \"1h\"\ncache_stale = \"0s\"\n").await;
    instance.connect("Sid").await.close().await;
    postgres.stop();
    assert_eq!(status(&instance, "Sid").await, 101, "believed for an hour");
    reload(&instance, &format!("{key} = \"0s\"\n")).await;
    assert_eq!(status(&instance, "Sid").await, 503);
}

async fn the_age_of_strangers(key: &str) {
    let (mut postgres, instance) = with_postgres("cache_negative_ttl = \"0s\"\n").await;
    assert_eq!(status(&instance, "Newton").await, 401);
    postgres.stop();
    assert_eq!(status(&instance, "Newton").await, 503, "asked for each time");
    postgres.start_again();
    // What was said before that is doubted, because a change may have been missed.
    instance.logs("changes of users are heard again").await;
    reload(&instance, &format!("{key} = \"1h\"\n")).await;
    eventually("PostgreSQL says no", PATIENCE, async || status(&instance, "Newton").await == 401)
        .await;
    postgres.stop();
    assert_eq!(status(&instance, "Newton").await, 401, "remembered");
}

async fn the_age_in_an_outage(key: &str) {
    let (mut postgres, instance) =
        with_postgres("cache_ttl = \"0s\"\ncache_stale = \"1h\"\n").await;
    instance.connect("Sid").await.close().await;
    postgres.stop();
    assert_eq!(status(&instance, "Sid").await, 101, "believed for want of better");
    reload(&instance, &format!("{key} = \"0s\"\n")).await;
    assert_eq!(status(&instance, "Sid").await, 503);
}

async fn the_level_of_the_log(key: &str) {
    const DETAIL: &str = "ended after";
    let instance = Instance::start("");
    let told = |times| {
        let instance = &instance;
        eventually("it is told", PATIENCE, async move || {
            instance.log().matches(DETAIL).count() == times
        })
    };
    instance.connect("Sid").await.close().await;
    told(1).await;
    reload(&instance, &format!("{key} = \"info\"\n")).await;
    instance.connect("Sid").await.close().await;
    // It has ended when there is room for it again.
    Client::connect(instance.app(), "/Dev", "Sid").await.close().await;
    reload(&instance, &format!("{key} = \"debug\"\n")).await;
    instance.connect("Sid").await.close().await;
    told(2).await;
}

/// What a handshake of `user` is answered.
async fn status(instance: &Instance, user: &str) -> u16 {
    ask(instance.app(), "/Dev", &[("username", user)]).await.status
}

/// An instance whose users, of whom Sid is one, are in PostgreSQL, with these lines in `[users]`.
async fn with_postgres(users: &str) -> (Postgres, Instance) {
    let postgres = Postgres::start();
    let database = migrated(&postgres).await;
    let directory = wsfleetd::users::open(&database, &Default::default()).await.expect("it opens");
    directory.add(new_user("Sid")).await.expect("it is added");
    let url = postgres.url();
    let above = format!("[database]\nurl = \"{url}\"\n[users]\n{users}");
    let instance = Instance::start_in(&[], &above);
    (postgres, instance)
}
