//! Brings the schema to what this binary needs, one numbered file after the other.
//!
//! All of it in one transaction under an advisory lock: several instances may start it at once,
//! and a failure leaves the database as it was. A number, once released, never changes its file.

use std::time::Duration;

use tokio_postgres::Transaction;

use super::{connect::Connector, fault::Fault};
use crate::{
    config::settings::Database,
    users::{Error, Unavailable},
};

/// In the order in which they run.
const MIGRATIONS: [Migration; 2] = [
    Migration { version: 1, name: "0001_users", sql: include_str!("../schema/0001_users.sql") },
    Migration { version: 2, name: "0002_changes", sql: include_str!("../schema/0002_changes.sql") },
];

/// The version that the last of them makes.
pub(super) const NEWEST: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// `wsfleetd` in ASCII: the lock's number, the same in every version of this binary.
const LOCK: i64 = i64::from_be_bytes(*b"wsfleetd");

/// For a statement of a migration, and for waiting until another's migration is done.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Names of those applied now; empty: the schema was up to date.
    pub applied: Vec<&'static str>,
    /// Where the schema stands; higher than this binary's when a newer one has been here.
    pub version: i32,
}

/// Applies what is missing. Needs a role that may create tables in its schema.
pub async fn migrate(database: &Database) -> Result<Migrated, Error> {
    let connector = Connector::new(database)?;
    let mut client = connector.connect_with(MIGRATION_TIMEOUT).await?;
    let transaction = client.transaction().await.map_err(failed)?;
    let mut version = lock_and_read_version(&transaction).await.map_err(failed)?;
    let mut applied = Vec::new();
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > version) {
        apply(&transaction, migration).await.map_err(|error| Error::Migration {
            name: migration.name,
            problem: Fault::from(error).to_string(),
        })?;
        applied.push(migration.name);
    }
    transaction.commit().await.map_err(failed)?;
    version = version.max(MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0));
    Ok(Migrated { applied, version })
}

async fn lock_and_read_version(
    transaction: &Transaction<'_>,
) -> Result<i32, tokio_postgres::Error> {
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, \
             name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    let row = transaction
        .query_one("SELECT coalesce(max(version), 0) FROM schema_migrations", &[])
        .await?;
    row.try_get(0)
}

async fn apply(
    transaction: &Transaction<'_>,
    migration: &Migration,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(migration.sql).await?;
    let record = "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)";
    transaction.execute(record, &[&migration.version, &migration.name]).await.map(drop)
}

fn failed(error: tokio_postgres::Error) -> Error {
    Unavailable::from(Fault::from(error)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps_as_their_files_are() {
        for (at, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(migration.version), Ok(at + 1));
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }
}
