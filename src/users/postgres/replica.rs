//! Reads from a replica while it answers, and leaves it alone for a while when it does not.
//!
//! Whoever asks is told *nothing* instead of *why not*: there is always the primary to ask. A dead
//! replica costs one question per pause, the others do not wait for it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_postgres::{Row, types::ToSql};
use tracing::{info, warn};

use super::{fault::Fault, pool::Pool};
use crate::telemetry::events;

/// How often a replica that does not answer is asked.
const PAUSE: Duration = Duration::from_secs(5);

/// The pool to the replica, and whether it is worth asking.
#[derive(Debug)]
pub struct Replica {
    pool: Pool,
    /// When a replica that failed is asked next. A std lock: held to look and to set.
    next: Mutex<Option<Instant>>,
}

impl Replica {
    /// Taken for well until it fails.
    pub fn new(pool: Pool) -> Self {
        Self { pool, next: Mutex::default() }
    }

    /// The rows, or `None` when it failed or is not asked now.
    pub async fn read(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Option<Vec<Row>> {
        if !self.may_be_asked() {
            return None;
        }
        let read = self.pool.read(sql, values).await;
        self.note(read.as_ref().err());
        read.ok()
    }

    /// Of those who come after a pause only the first one asks.
    fn may_be_asked(&self) -> bool {
        let (mut next, now) = (self.next(), Instant::now());
        match *next {
            None => true,
            Some(at) if at > now => false,
            Some(_) => {
                *next = Some(now + PAUSE);
                true
            }
        }
    }

    /// Logs the two turns.
    fn note(&self, fault: Option<&Fault>) {
        let next = fault.map(|_| Instant::now() + PAUSE);
        let before = std::mem::replace(&mut *self.next(), next);
        match (before, fault) {
            (None, Some(fault)) => warn!(
                message_id = events::REPLICA_LOST,
                "database.replica_url: users are looked up at database.url meanwhile: {fault}"
            ),
            (Some(_), None) => info!(
                message_id = events::REPLICA_BACK,
                "database.replica_url answers again, users are looked up there"
            ),
            _ => {}
        }
    }

    fn next(&self) -> MutexGuard<'_, Option<Instant>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
