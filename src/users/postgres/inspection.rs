//! A look at a database server, for who wants to know what is wrong with it.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;

use super::{connect::Connector, fault::Fault, migrations::NEWEST};
use crate::{clock, config::settings::Database, users::Unavailable};

/// Everything that one statement can tell.
const LOOK: &str = "SELECT current_setting('server_version'), pg_is_in_recovery(), current_user::text, \
     to_regclass('users') IS NOT NULL, \
     coalesce(has_table_privilege(to_regclass('users'), 'SELECT'), false), \
     coalesce(has_table_privilege(to_regclass('schema_migrations'), 'SELECT'), false), \
     CASE WHEN pg_is_in_recovery() AND pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn() \
     THEN coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0) \
     ELSE 0 END::float8";

/// Which of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `database.url`
    Primary,
    /// `database.replica_url`
    Replica,
}

/// What it says of itself.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// `15.9`
    pub version: String,
    /// Whether it takes no writes.
    pub is_standby: bool,
    /// As whom we are logged in.
    pub login: String,
    /// The table of users is there.
    pub has_users: bool,
    /// And may be read.
    pub may_read: bool,
    /// The schema's version; `None`: it cannot be read.
    pub schema: Option<i32>,
    /// The version this binary makes.
    pub newest: i32,
    /// What a standby has received and not yet replayed is older than this.
    pub lag: Duration,
    /// By how much its clock is before ours, in seconds.
    pub clock_offset: f64,
    /// A statement there and back.
    pub round_trip: Duration,
}

/// Connects as the daemon would, and asks; takes `limit` at most. `None`: no such server is set.
///
/// # Errors
/// It cannot be asked; free of secrets.
pub async fn inspect(
    database: &Database,
    server: Server,
    limit: Duration,
) -> Result<Option<Inspected>, Unavailable> {
    let refused = |error: crate::users::Error| Unavailable::new(error.to_string());
    let connector = match server {
        Server::Primary => Connector::new(database).map(Some),
        Server::Replica => Connector::to_replica(database),
    };
    let Some(connector) = connector.map_err(refused)? else { return Ok(None) };
    match timeout(limit, look(&connector)).await {
        Ok(inspected) => Ok(Some(inspected?)),
        Err(_) => Err(Fault::Timeout(limit).into()),
    }
}

async fn look(connector: &Connector) -> Result<Inspected, Fault> {
    let client = connector.connect().await?;
    let row = client.query_one(LOOK, &[]).await?;
    let schema = match row.try_get(5)? {
        true => {
            let version = "SELECT coalesce(max(version), 0) FROM schema_migrations";
            Some(client.query_one(version, &[]).await?.try_get(0)?)
        }
        false => None,
    };
    let clock = client.prepare("SELECT clock_timestamp()").await?;
    let (before, start) = (clock::now(), Instant::now());
    let theirs: SystemTime = client.query_one(&clock, &[]).await?.try_get(0)?;
    let (after, round_trip) = (clock::now(), start.elapsed());
    Ok(Inspected {
        version: row.try_get(0)?,
        is_standby: row.try_get(1)?,
        login: row.try_get(2)?,
        has_users: row.try_get(3)?,
        may_read: row.try_get(4)?,
        schema,
        newest: NEWEST,
        lag: Duration::try_from_secs_f64(row.try_get(6)?).unwrap_or_default(),
        clock_offset: clock::offset(before, after, theirs),
        round_trip,
    })
}
