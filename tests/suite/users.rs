//! The users directory: what every directory promises, then what each adds to it.

mod auth;
mod cache;
pub mod changes;
mod cli;
mod contract;
mod failover;
mod file;
#[cfg(feature = "aws")]
pub mod iam;
mod migrate;
mod outage;
mod replica;
mod tls;

use std::{sync::Arc, time::Duration};

use wsfleetd::{
    config::settings::Database,
    ids::UserId,
    users::{self, Directory, NewUser, User},
};

use crate::support::postgres::Postgres;

fn name(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}

pub fn new_user(text: &str) -> NewUser {
    NewUser::named(name(text))
}

fn names(users: &[Arc<User>]) -> Vec<&str> {
    users.iter().map(|user| user.username.as_str()).collect()
}

/// Settings for a URL, with timeouts a busy machine keeps.
fn database(url: &str) -> Database {
    Database {
        url: Some(url.into()),
        connect_timeout: Duration::from_secs(20),
        query_timeout: Duration::from_secs(20),
        ..Database::default()
    }
}

pub async fn migrated(postgres: &Postgres) -> Database {
    let database = database(&postgres.url());
    users::migrate(&database).await.unwrap();
    database
}

async fn is_known(directory: &dyn Directory, text: &str) -> bool {
    directory.find(&name(text)).await.unwrap().is_some()
}
