//! What every directory promises, run against each: the file, PostgreSQL, a list in memory, and
//! the cache before both of the first.

use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret;
use tempfile::TempDir;
use wsfleetd::{
    config::settings::Users,
    users::{Cached, Directory, Error, FileDirectory, NewUser, PostgresDirectory, hash_password},
};

use super::{is_known, migrated, name, names, new_user};
use crate::support::postgres::Postgres;

/// A directory that is empty, and what must live as long as it.
struct Fixture {
    directory: Box<dyn Directory>,
    _file: Option<TempDir>,
    _postgres: Option<Postgres>,
}

async fn file() -> Fixture {
    let (directory, folder) = empty_file().await;
    Fixture { directory: Box::new(directory), _file: Some(folder), _postgres: None }
}

async fn cached_file() -> Fixture {
    let (directory, folder) = empty_file().await;
    let directory = Box::new(Cached::new(directory, &Users::default()));
    Fixture { directory, _file: Some(folder), _postgres: None }
}

async fn memory() -> Fixture {
    let directory = Box::new(FileDirectory::with_users([]).unwrap());
    Fixture { directory, _file: None, _postgres: None }
}

async fn postgres() -> Fixture {
    let (directory, server) = empty_postgres().await;
    Fixture { directory: Box::new(directory), _file: None, _postgres: Some(server) }
}

async fn cached_postgres() -> Fixture {
    let (directory, server) = empty_postgres().await;
    let directory = Box::new(Cached::new(directory, &Users::default()));
    Fixture { directory, _file: None, _postgres: Some(server) }
}

async fn empty_file() -> (FileDirectory, TempDir) {
    let folder = TempDir::new().unwrap();
    let directory = FileDirectory::open_or_empty(&folder.path().join("users.csv")).await.unwrap();
    (directory, folder)
}

async fn empty_postgres() -> (PostgresDirectory, Postgres) {
    let server = Postgres::start();
    let database = migrated(&server).await;
    (PostgresDirectory::open(&database).unwrap(), server)
}

/// Every promise, for each way to keep it.
macro_rules! contract {
    ($($fixture:ident),*: $($promise:ident),* $(,)?) => {
        contract!(@each [$($fixture)*] [$($promise)*]);
    };
    (@each [] $promises:tt) => {};
    (@each [$fixture:ident $($rest:ident)*] [$($promise:ident)*]) => {
        mod $fixture {
            $(#[tokio::test]
            async fn $promise() {
                let fixture = super::$fixture().await;
                super::$promise(fixture.directory.as_ref()).await;
            })*
        }
        contract!(@each [$($rest)*] [$($promise)*]);
    };
}

contract!(
    file, cached_file, memory, postgres, cached_postgres:
    everything_registered_is_found_again,
    names_are_exact,
    a_stranger_is_nobody,
    a_name_is_given_once,
    two_who_want_one_name_at_once_do_not_both_get_it,
    pages_follow_the_bytes_of_the_names,
    what_cannot_be_held_is_refused,
    an_odd_name_is_a_name,
    a_healthy_directory_says_so_and_keeps_its_users,
);

async fn everything_registered_is_found_again(directory: &dyn Directory) {
    let hash = hash_password(&"correct horse".into()).unwrap();
    let sunil = NewUser {
        first_name: "Sunil, \"the First\"".into(),
        last_name: "Müller".into(),
        mobile: Some("+49 171 5550123".into()),
        password_hash: Some(hash.clone()),
        disabled: true,
        ..new_user("Sunil")
    };
    let added = directory.add(sunil).await.unwrap();
    directory.add(new_user("Sid")).await.unwrap();

    let found = directory.find(&name("Sunil")).await.unwrap().unwrap();
    assert_eq!(found.id, added.id);
    assert_eq!(found.username, name("Sunil"));
    assert_eq!(found.first_name, "Sunil, \"the First\"");
    assert_eq!(found.last_name, "Müller");
    assert_eq!(found.mobile.as_deref(), Some("+49 171 5550123"));
    assert_eq!(found.password_hash.as_ref().unwrap().expose_secret(), hash.expose_secret());
    assert!(found.disabled);
    let age = SystemTime::now().duration_since(found.created).unwrap_or_default();
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert!(found.updated >= found.created);

    let plain = directory.find(&name("Sid")).await.unwrap().unwrap();
    assert_ne!(plain.id, found.id);
    assert!(plain.id > 0 && found.id > 0);
    assert_eq!((plain.first_name.as_str(), plain.last_name.as_str()), ("", ""));
    assert!(plain.mobile.is_none() && plain.password_hash.is_none() && !plain.disabled);
}

async fn names_are_exact(directory: &dyn Directory) {
    let upper = directory.add(new_user("Sid")).await.unwrap();
    assert!(!is_known(directory, "sid").await);
    let lower = directory.add(new_user("sid")).await.unwrap();
    assert_ne!(upper.id, lower.id);
    assert!(is_known(directory, "Sid").await && is_known(directory, "sid").await);
    assert!(!is_known(directory, "Sid ").await);
}

async fn a_stranger_is_nobody(directory: &dyn Directory) {
    assert!(!is_known(directory, "Elon").await);
    directory.add(new_user("Elon")).await.unwrap();
    assert!(is_known(directory, "Elon").await, "having been unknown must not stick");
}

async fn a_name_is_given_once(directory: &dyn Directory) {
    let first = NewUser { first_name: "Alok".into(), ..new_user("Alok") };
    directory.add(first).await.unwrap();
    let second = NewUser { first_name: "Impostor".into(), ..new_user("Alok") };
    let refused = directory.add(second).await.unwrap_err();
    assert!(matches!(&refused, Error::Exists(taken) if *taken == name("Alok")), "{refused}");
    let kept = directory.find(&name("Alok")).await.unwrap().unwrap();
    assert_eq!(kept.first_name, "Alok");
}

async fn two_who_want_one_name_at_once_do_not_both_get_it(directory: &dyn Directory) {
    let wishes = (0..8).map(|_| directory.add(new_user("Smith")));
    let outcomes = futures_util::future::join_all(wishes).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let others = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert!(others.into_iter().all(|error| matches!(error, Error::Exists(_))));
    assert_eq!(directory.list(None, 10).await.unwrap().len(), 1);
}

async fn pages_follow_the_bytes_of_the_names(directory: &dyn Directory) {
    for text in ["sid", "Sunil", "Élodie", "Elon", "Alok", "Smith", "elon", "_x", "9"] {
        directory.add(new_user(text)).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = directory.list(after.as_ref(), 4).await.unwrap();
        seen.extend(names(&page).into_iter().map(String::from));
        match page.last() {
            Some(last) => after = Some(last.username.clone()),
            None => break,
        }
    }
    assert_eq!(seen, ["9", "Alok", "Elon", "Smith", "Sunil", "_x", "elon", "sid", "Élodie"]);
}

async fn what_cannot_be_held_is_refused(directory: &dyn Directory) {
    for (bad, field) in [
        (NewUser { mobile: Some("soon".into()), ..new_user("Sid") }, "mobile"),
        (NewUser { first_name: "a\nb".into(), ..new_user("Sid") }, "first_name"),
        (NewUser { last_name: "x".repeat(257), ..new_user("Sid") }, "last_name"),
        (NewUser { password_hash: Some("bare".into()), ..new_user("Sid") }, "password_hash"),
    ] {
        let refused = directory.add(bad).await.unwrap_err();
        assert!(matches!(&refused, Error::Invalid { field: f, .. } if *f == field), "{refused}");
    }
    assert!(!is_known(directory, "Sid").await);
}

async fn an_odd_name_is_a_name(directory: &dyn Directory) {
    let long = "ä".repeat(128);
    let odd =
        ["'; DROP TABLE users; --", "a,b", "\"q\"", "# x", " lead", "李雷 😀", "\\u0001", &long];
    for text in odd {
        directory.add(new_user(text)).await.unwrap();
    }
    for text in odd {
        assert!(is_known(directory, text).await, "{text}");
    }
    assert_eq!(directory.list(None, 100).await.unwrap().len(), odd.len());
}

async fn a_healthy_directory_says_so_and_keeps_its_users(directory: &dyn Directory) {
    directory.check().await.unwrap();
    directory.add(new_user("Sid")).await.unwrap();
    directory.reload().await.unwrap();
    directory.invalidate(&name("Sid")).await;
    assert!(is_known(directory, "Sid").await);
}
