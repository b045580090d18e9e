//! What every directory promises, run against each: the file, PostgreSQL, a list in memory, and
//! the cache before both of the first.

use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use wsfleetd::{
    config::settings::Users,
    users::{
        Cached, Directory, Edit, Error, FileDirectory, NewUser, PostgresDirectory, hash_password,
    },
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
    a_disabled_user_stays_registered_and_can_be_enabled,
    a_password_changes_and_nothing_else_does,
    a_removed_user_is_gone_and_the_name_is_free,
    a_stranger_cannot_be_changed,
    an_odd_name_is_a_name,
    several_are_found_at_once,
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

async fn a_disabled_user_stays_registered_and_can_be_enabled(directory: &dyn Directory) {
    let sid = directory.add(NewUser { first_name: "Sid".into(), ..new_user("Sid") }).await.unwrap();
    directory.add(new_user("Elon")).await.unwrap();
    for disabled in [true, true, false, false] {
        assert!(is_known(directory, "Sid").await, "so that a cache has something to forget");
        let edited = directory.edit(&name("Sid"), &Edit::Disabled(disabled)).await.unwrap();
        let found = directory.find(&name("Sid")).await.unwrap().unwrap();
        assert_eq!((edited.disabled, found.disabled), (disabled, disabled));
        assert_eq!((found.id, found.first_name.as_str()), (sid.id, "Sid"));
    }
    assert!(!directory.find(&name("Elon")).await.unwrap().unwrap().disabled);
}

async fn a_password_changes_and_nothing_else_does(directory: &dyn Directory) {
    let mobile = Some("+49 171 5550123".to_owned());
    directory
        .add(NewUser { mobile: mobile.clone(), disabled: true, ..new_user("Sid") })
        .await
        .unwrap();
    let hash = hash_password(&"correct horse".into()).unwrap();
    for wanted in [Some(hash), None] {
        directory.edit(&name("Sid"), &Edit::Password(wanted.clone())).await.unwrap();
        let sid = directory.find(&name("Sid")).await.unwrap().unwrap();
        let text =
            |hash: &Option<SecretString>| hash.as_ref().map(|h| h.expose_secret().to_owned());
        assert_eq!(text(&sid.password_hash), text(&wanted));
        assert_eq!((&sid.mobile, sid.disabled), (&mobile, true));
    }
    let bare = directory.edit(&name("Sid"), &Edit::Password(Some("bare".into()))).await;
    assert!(matches!(bare, Err(Error::Invalid { field: "password_hash", .. })));
}

async fn a_removed_user_is_gone_and_the_name_is_free(directory: &dyn Directory) {
    for text in ["Elon", "Sid", "Zoë"] {
        directory.add(new_user(text)).await.unwrap();
    }
    assert!(is_known(directory, "Sid").await);
    directory.remove(&name("Sid")).await.unwrap();
    assert!(!is_known(directory, "Sid").await);
    let again = directory.remove(&name("Sid")).await.unwrap_err();
    assert!(matches!(&again, Error::Unknown(who) if *who == name("Sid")), "{again}");
    assert_eq!(names(&directory.list(None, 10).await.unwrap()), ["Elon", "Zoë"]);
    directory.add(new_user("Sid")).await.unwrap();
    assert!(is_known(directory, "Sid").await);
}

async fn a_stranger_cannot_be_changed(directory: &dyn Directory) {
    directory.add(new_user("Sid")).await.unwrap();
    for text in ["Elon", "sid", "Sid "] {
        for edit in [Edit::Disabled(true), Edit::Password(None)] {
            let refused = directory.edit(&name(text), &edit).await.unwrap_err();
            assert!(matches!(&refused, Error::Unknown(who) if *who == name(text)), "{refused}");
        }
        assert!(matches!(directory.remove(&name(text)).await, Err(Error::Unknown(_))));
    }
    assert!(is_known(directory, "Sid").await);
}

async fn several_are_found_at_once(directory: &dyn Directory) {
    for text in ["Sid", "Elon", "Zoë"] {
        directory.add(new_user(text)).await.unwrap();
    }
    let wanted = ["Zoë", "Nobody", "Sid"].map(name);
    let found = directory.find_many_now(&wanted).await.unwrap();
    let mut found = names(&found);
    found.sort_unstable();
    assert_eq!(found, ["Sid", "Zoë"]);
    assert!(directory.find_many_now(&[]).await.unwrap().is_empty());
    assert!(directory.find_now(&name("Sid")).await.unwrap().is_some());
    assert!(directory.find_now(&name("Nobody")).await.unwrap().is_none());
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
