//! The directory in PostgreSQL.
//!
//! Every statement is prepared once per connection and bounded in time; whatever goes wrong is
//! an [`Unavailable`] that names its cause, because to a handshake all causes are the same.

mod connect;
mod fault;
pub mod inspection;
#[cfg(feature = "aws")]
pub mod iam;
mod listener;
mod migrations;
mod pool;
mod replica;
mod secret;
mod tls;

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Row, types::ToSql};

use tokio_util::sync::CancellationToken;

use self::{connect::Connector, fault::Fault, pool::Pool, replica::Replica};
use super::{Changes, Directory, Edit, Error, NewUser, Unavailable, User};
use crate::{config::settings::Database, ids::UserId};

pub use migrations::{Migrated, migrate};

/// What [`user_of`] reads, in this order, behind or before the rest of a statement.
macro_rules! with_columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " id, username, first_name, last_name, mobile, password_hash, disabled, created_at, \
             updated_at ",
            $after
        )
    };
}

const FIND: &str = with_columns!("SELECT", "FROM users WHERE username = $1");

const FIND_MANY: &str = with_columns!("SELECT", "FROM users WHERE username = ANY($1)");

const LIST: &str =
    with_columns!("SELECT", "FROM users WHERE username > $1 ORDER BY username LIMIT $2");

const ADD: &str = with_columns!(
    "INSERT INTO users (username, first_name, last_name, mobile, password_hash, disabled) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (username) DO NOTHING RETURNING",
    ""
);

const SET_DISABLED: &str =
    with_columns!("UPDATE users SET disabled = $2 WHERE username = $1 RETURNING", "");

const SET_PASSWORD: &str =
    with_columns!("UPDATE users SET password_hash = $2 WHERE username = $1 RETURNING", "");

const REMOVE: &str = "DELETE FROM users WHERE username = $1 RETURNING id";

const CHECK: &str = "SELECT FROM users LIMIT 0";

/// Users in the table `users`, asked through a pool of `database.pool_size` connections, and
/// through another of the same size where there is a replica.
#[derive(Debug)]
pub struct PostgresDirectory {
    connector: Connector,
    primary: Pool,
    replica: Option<Replica>,
    changes: Changes,
}

impl PostgresDirectory {
    /// Connects to nothing yet; fails only for settings that can never work. Must be called
    /// inside a runtime, where the pool looks after itself.
    pub fn open(database: &Database) -> Result<Self, Error> {
        let connector = Connector::new(database)?;
        let replica = Connector::to_replica(database)?;
        Ok(Self {
            primary: Pool::new(connector.clone(), database),
            replica: replica.map(|to| Replica::new(Pool::new(to, database))),
            connector,
            changes: Changes::default(),
        })
    }

    async fn read(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unavailable> {
        Ok(self.primary.read(sql, values).await?)
    }

    /// A server that was the primary when we connected and is none now is left for whoever is:
    /// nothing was done, so it may be asked for once more.
    async fn write(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        match self.primary.query(sql, values).await {
            Err(fault) if fault.is_read_only() => {
                self.primary.renew();
                self.primary.query(sql, values).await
            }
            result => result,
        }
    }
}

#[async_trait]
impl Directory for PostgresDirectory {
    /// A replica may be behind, so its word is taken only for those whom it lets in: whoever was
    /// just added or enabled is not turned away.
    async fn find(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        if let Some(replica) = &self.replica {
            let rows = replica.read(FIND, &[&name.as_str()]).await.unwrap_or_default();
            match rows.first().map(user_of).transpose() {
                Ok(Some(user)) if !user.disabled => return Ok(Some(user)),
                _ => {}
            }
        }
        self.find_now(name).await
    }

    async fn find_now(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        let rows = self.read(FIND, &[&name.as_str()]).await?;
        rows.first().map(user_of).transpose()
    }

    async fn find_many_now(&self, names: &[UserId]) -> Result<Vec<Arc<User>>, Unavailable> {
        let names: Vec<_> = names.iter().map(UserId::as_str).collect();
        let rows = self.read(FIND_MANY, &[&names]).await?;
        rows.iter().map(user_of).collect()
    }

    async fn add(&self, user: NewUser) -> Result<Arc<User>, Error> {
        user.check()?;
        let name = user.username.as_str();
        let hash = user.password_hash.as_ref().map(|hash| hash.expose_secret());
        let (first, last, mobile) = (&user.first_name, &user.last_name, &user.mobile);
        let values: [&(dyn ToSql + Sync); 6] = [&name, first, last, mobile, &hash, &user.disabled];
        let rows = self.write(ADD, &values).await?;
        let row = rows.first().ok_or(Error::Exists(user.username))?;
        Ok(user_of(row)?)
    }

    async fn list(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Arc<User>>, Unavailable> {
        // Every name is behind the empty one.
        let after = after.map_or("", UserId::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.read(LIST, &[&after, &limit]).await?;
        rows.iter().map(user_of).collect()
    }

    async fn edit(&self, name: &UserId, edit: &Edit) -> Result<Arc<User>, Error> {
        edit.check()?;
        let rows = match edit {
            Edit::Disabled(disabled) => {
                self.write(SET_DISABLED, &[&name.as_str(), disabled]).await?
            }
            Edit::Password(hash) => {
                let hash = hash.as_ref().map(|hash| hash.expose_secret());
                self.write(SET_PASSWORD, &[&name.as_str(), &hash]).await?
            }
        };
        let row = rows.first().ok_or_else(|| Error::Unknown(name.clone()))?;
        Ok(user_of(row)?)
    }

    async fn remove(&self, name: &UserId) -> Result<(), Error> {
        let rows = self.write(REMOVE, &[&name.as_str()]).await?;
        rows.first().map(drop).ok_or_else(|| Error::Unknown(name.clone()))
    }

    async fn check(&self) -> Result<(), Unavailable> {
        self.read(CHECK, &[]).await.map(drop)
    }

    fn changes(&self) -> Changes {
        self.changes.clone()
    }

    async fn watch(&self, stop: &CancellationToken) {
        let demoted = || self.primary.renew();
        listener::run(&self.connector, &self.changes, &demoted, stop).await;
    }
}

/// Fails only for a table that is not the one of our migrations.
fn user_of(row: &Row) -> Result<Arc<User>, Unavailable> {
    let foreign = |error| Unavailable::from(Fault::Database(error));
    let name: &str = row.try_get(1).map_err(foreign)?;
    let username = UserId::parse(name).ok_or_else(|| {
        Unavailable::new(format!("table users holds the name {name:?}, which is not allowed"))
    })?;
    Ok(Arc::new(User {
        id: row.try_get(0).map_err(foreign)?,
        username,
        first_name: row.try_get(2).map_err(foreign)?,
        last_name: row.try_get(3).map_err(foreign)?,
        mobile: row.try_get(4).map_err(foreign)?,
        password_hash: row
            .try_get::<_, Option<String>>(5)
            .map_err(foreign)?
            .map(SecretString::from),
        disabled: row.try_get(6).map_err(foreign)?,
        created: row.try_get(7).map_err(foreign)?,
        updated: row.try_get(8).map_err(foreign)?,
    }))
}
