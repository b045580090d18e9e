//! A bounded pool of connections that notices what broke and says why.
//!
//! bb8 leaves those who wait for a connection to run into a timeout when connecting fails, and
//! keeps the reason to itself. Here the failure ends their wait, with the reason: while the
//! database refuses connections, a look-up costs milliseconds, not the whole timeout.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bb8::{ErrorSink, ManageConnection, PooledConnection, RunError};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{connect::Connector, fault::Fault};
use crate::{config::settings::Database, users::Unavailable};

/// How much longer to wait for a connection than connecting takes at most, so that its failure
/// and not our impatience is what the operator reads.
const GRACE: Duration = Duration::from_millis(250);

/// Connections to one database; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Pool {
    pool: bb8::Pool<Manager>,
    failures: watch::Receiver<Option<Unavailable>>,
    round: Arc<AtomicU64>,
    size: u32,
    query_timeout: Duration,
}

/// One connection and the statements it knows.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// A statement is under way or has failed. Still true when the connection comes back:
    /// somebody stopped waiting for it, or its statements are not what they were; either way
    /// the next one is better served by another connection.
    suspect: bool,
    /// In which round it was made.
    round: u64,
}

/// Makes connections and knows which of them are still wanted.
#[derive(Debug)]
struct Manager {
    connector: Connector,
    /// Connections of an earlier round are not.
    round: Arc<AtomicU64>,
}

impl Pool {
    /// Connects to nothing yet.
    pub fn new(connector: Connector, database: &Database) -> Self {
        let (report, failures) = watch::channel(None);
        let (size, round) = (database.pool_size.max(1), Arc::<AtomicU64>::default());
        let pool = bb8::Pool::builder()
            .max_size(size)
            .connection_timeout(connector.limit().saturating_add(GRACE))
            // The next look-up tries again; until then nobody waits for it.
            .retry_connection(false)
            .error_sink(Box::new(Reporter(report)))
            .build_unchecked(Manager { connector, round: round.clone() });
        Self { pool, failures, round, size, query_timeout: database.query_timeout }
    }

    /// Runs one statement, prepared on its connection's first use of it.
    pub async fn query(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let mut connection = self.get().await?;
        connection.suspect = true;
        let done = timeout(self.query_timeout, connection.query(sql, values))
            .await
            .unwrap_or(Err(Fault::Timeout(self.query_timeout)));
        connection.suspect = done.is_err();
        done
    }

    /// Asks once more when the connection turns out to have died while it was idle: a restarted
    /// server is not an outage. Only for statements that may run twice.
    pub async fn read(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        match self.query(sql, values).await {
            Err(fault) if fault.is_lost_connection() => self.query(sql, values).await,
            result => result,
        }
    }

    /// Uses none of the present connections any more: they lead to a server that is not what it
    /// was.
    pub fn renew(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that is not known to be broken, or why there is none.
    async fn get(&self) -> Result<PooledConnection<'_, Manager>, Fault> {
        let started = Instant::now();
        let mut failures = self.failures.clone();
        failures.mark_unchanged();
        let mut getting = std::pin::pin!(self.pool.get());
        loop {
            tokio::select! {
                got = &mut getting => return got.map_err(|error| match error {
                    RunError::User(fault) => fault,
                    RunError::TimedOut => self.busy_since(started),
                }),
                Ok(()) = failures.changed() => {
                    // Others still work: one of them will come back.
                    if self.pool.state().connections > 0 {
                        continue;
                    }
                    if let Some(reason) = failures.borrow_and_update().clone() {
                        return Err(Fault::Refused(reason));
                    }
                }
            }
        }
    }

    fn busy_since(&self, started: Instant) -> Fault {
        Fault::Busy { size: self.size, waited: started.elapsed() }
    }
}

impl Connection {
    async fn query(
        &mut self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let statement = match self.statements.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(sql).await?;
                self.statements.insert(sql, statement.clone());
                statement
            }
        };
        Ok(self.client.query(&statement, values).await?)
    }
}

impl Manager {
    fn is_of_this_round(&self, connection: &Connection) -> bool {
        connection.round == self.round.load(Ordering::Relaxed)
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = Fault;

    async fn connect(&self) -> Result<Connection, Fault> {
        // Read first: a round that ends meanwhile ends for this connection too.
        let round = self.round.load(Ordering::Relaxed);
        let client = self.connector.connect().await?;
        Ok(Connection { client, statements: HashMap::new(), suspect: false, round })
    }

    /// Looks without asking: a round trip before each look-up would double its price, and what
    /// died silently is found by the query's own timeout.
    async fn is_valid(&self, connection: &mut Connection) -> Result<(), Fault> {
        let is_good = !connection.client.is_closed() && self.is_of_this_round(connection);
        if is_good { Ok(()) } else { Err(Fault::Closed) }
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.suspect || connection.client.is_closed() || !self.is_of_this_round(connection)
    }
}

/// Tells those who wait that an attempt to connect failed.
#[derive(Clone, Debug)]
struct Reporter(watch::Sender<Option<Unavailable>>);

impl ErrorSink<Fault> for Reporter {
    fn sink(&self, fault: Fault) {
        // An idle connection found dead is replaced; that is no failure to connect.
        if !matches!(fault, Fault::Closed) {
            self.0.send_replace(Some(fault.into()));
        }
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<Fault>> {
        Box::new(self.clone())
    }
}
