//! What can go wrong between the pool and PostgreSQL, in words for the operator.
//!
//! The driver's own messages name the layer that failed and hide the cause one level down;
//! here the causes are joined, and those with a known remedy get it.

use std::{error::Error as _, path::PathBuf, time::Duration};

use tokio_postgres::error::SqlState;

use crate::users::{Error, Unavailable};

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{}", explain(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("no answer within {}", shown(.0))]
    Timeout(Duration),
    #[error("no connection within {}", shown(.0))]
    ConnectTimeout(Duration),
    #[error("database.pool_size: all {size} connections were busy for {}", shown(.waited))]
    Busy { size: u32, waited: Duration },
    #[error("the server closed the connection")]
    Closed,
    /// A primary that has become a standby, or one that is being written to by mistake.
    #[error("the server is read-only: it is not the primary, or not any more")]
    ReadOnly,
    #[error("database.auth = \"rds-iam\": no token can be signed: {0}")]
    Token(String),
    #[error("database.password_file {}: {error}", .path.display())]
    PasswordFile { path: PathBuf, error: std::io::Error },
    /// What an attempt to connect, made for all who wait, came to.
    #[error("{0}")]
    Refused(Unavailable),
}

impl Fault {
    /// The connection was gone, so that the statement deserves another one. A server that goes
    /// down tells its connections so with 57P01.
    pub fn is_lost_connection(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Database(error) => {
                error.is_closed()
                    || error.source().is_some_and(|cause| cause.is::<std::io::Error>())
                    || error.code() == Some(&SqlState::ADMIN_SHUTDOWN)
            }
            _ => false,
        }
    }

    /// The server takes no writes, so that a write deserves another one.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::ReadOnly => true,
            Self::Database(error) => error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION),
            _ => false,
        }
    }

    /// The row itself is what the server does not want: trying again changes nothing.
    fn is_refusal(&self) -> bool {
        let Self::Database(error) = self else { return false };
        // SQLSTATE classes: 22 data exception, 23 integrity constraint violation.
        error
            .code()
            .is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        if fault.is_refusal() {
            return Self::Refused(fault.to_string());
        }
        Unavailable::from(fault).into()
    }
}

impl From<Fault> for Unavailable {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(reason) => reason,
            fault => Unavailable::new(format!("PostgreSQL: {fault}")),
        }
    }
}

/// To the millisecond; nobody times an outage closer.
fn shown(time: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(time.as_millis() as u64))
}

fn explain(error: &tokio_postgres::Error) -> String {
    let code = error.code();
    if code == Some(&SqlState::UNDEFINED_TABLE) || code == Some(&SqlState::UNDEFINED_COLUMN) {
        return "the schema is missing or old: run `wsfleetd users migrate`".into();
    }
    // Without the server's DETAIL, which may quote a row and with it a password hash.
    if let Some(error) = error.as_db_error() {
        return format!("{}: {}", error.severity(), error.message());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if text.contains("invalid peer certificate") {
        text.push_str(
            " (set database.ca_file to the PEM of the CA that signed the server's certificate, \
             and let database.url name the host as the certificate does)",
        );
    }
    text
}
