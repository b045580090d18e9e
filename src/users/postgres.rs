//! The directory in PostgreSQL.
//!
//! Every statement is prepared once per connection and bounded in time; whatever goes wrong is
//! an [`Unavailable`] that names its cause, because to a handshake all causes are the same.

mod connect;
mod fault;
mod migrations;
mod pool;
mod tls;

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Row, types::ToSql};

use super::{Directory, Error, NewUser, Unavailable, User};
use crate::{config::settings::Database, ids::UserId};
use connect::Connector;
use fault::Fault;
use pool::Pool;

pub use migrations::{Migrated, migrate};

const FIND: &str = "SELECT id, username, first_name, last_name, mobile, password_hash, disabled, \
                    created_at, updated_at FROM users WHERE username = $1";

const LIST: &str = "SELECT id, username, first_name, last_name, mobile, password_hash, disabled, \
                    created_at, updated_at FROM users WHERE username > $1 \
                    ORDER BY username LIMIT $2";

const ADD: &str = "INSERT INTO users (username, first_name, last_name, mobile, password_hash, \
                   disabled) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (username) DO NOTHING \
                   RETURNING id, username, first_name, last_name, mobile, password_hash, disabled, \
                   created_at, updated_at";

const CHECK: &str = "SELECT FROM users LIMIT 0";

/// Users in the table `users`, asked through a pool of `database.pool_size` connections.
#[derive(Debug)]
pub struct PostgresDirectory {
    pool: Pool,
}

impl PostgresDirectory {
    /// Connects to nothing yet; fails only for settings that can never work. Must be called
    /// inside a runtime, where the pool looks after itself.
    pub fn open(database: &Database) -> Result<Self, Error> {
        Ok(Self { pool: Pool::new(Connector::new(database)?, database) })
    }

    /// Asks once more when the connection turns out to have died while it was idle: a restarted
    /// server is not an outage. Only for statements that may run twice.
    async fn read(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unavailable> {
        match self.pool.query(sql, values).await {
            Err(fault) if fault.is_lost_connection() => self.pool.query(sql, values).await,
            result => result,
        }
        .map_err(Unavailable::from)
    }
}

#[async_trait]
impl Directory for PostgresDirectory {
    async fn find(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        let rows = self.read(FIND, &[&name.as_str()]).await?;
        rows.first().map(user_of).transpose()
    }

    async fn add(&self, user: NewUser) -> Result<Arc<User>, Error> {
        user.check()?;
        let name = user.username.as_str();
        let hash = user.password_hash.as_ref().map(|hash| hash.expose_secret());
        let (first, last, mobile) = (&user.first_name, &user.last_name, &user.mobile);
        let values: [&(dyn ToSql + Sync); 6] = [&name, first, last, mobile, &hash, &user.disabled];
        let rows = self.pool.query(ADD, &values).await?;
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

    async fn check(&self) -> Result<(), Unavailable> {
        self.read(CHECK, &[]).await.map(drop)
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
