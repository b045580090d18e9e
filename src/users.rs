//! Who may connect: the directory of registered users and the only place that names PostgreSQL.
//!
//! One trait, because the embedded default (a CSV file) and PostgreSQL must be interchangeable
//! and pass the same suite; the daemon asks through a cache, because a handshake must not cost
//! a query and people who are known keep connecting while the database is away.

mod cache;
mod changes;
mod edit;
mod file;
mod new_user;
mod password;
mod postgres;

use std::{fmt, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::settings::{Database, Users},
    ids::UserId,
};

pub use cache::Cached;
pub use changes::{Change, Changes};
pub use edit::Edit;
pub use file::{CSV_HEADER, FileDirectory, csv_line};
pub use new_user::{MAX_FIELD_BYTES, NewUser};
pub use password::hash as hash_password;
#[cfg(feature = "aws")]
pub use postgres::iam;
pub use postgres::{Migrated, PostgresDirectory, inspection, migrate};

/// A registered user as the directory knows them.
#[derive(Clone, Debug)]
pub struct User {
    /// Never changes and is never given to another; PostgreSQL counts it, the file hashes the name.
    pub id: i64,
    pub username: UserId,
    /// Empty: not known.
    pub first_name: String,
    /// Empty: not known.
    pub last_name: String,
    pub mobile: Option<String>,
    /// A PHC string; `None`: may not log in with a password.
    pub password_hash: Option<SecretString>,
    /// Registered, but not to be let in.
    pub disabled: bool,
    pub created: SystemTime,
    pub updated: SystemTime,
}

impl User {
    /// Whether two versions of one user differ in nothing but the times.
    fn says_the_same(&self, other: &Self) -> bool {
        let hash = |user: &Self| user.password_hash.as_ref().map(|h| h.expose_secret().to_owned());
        self.disabled == other.disabled
            && self.first_name == other.first_name
            && self.last_name == other.last_name
            && self.mobile == other.mobile
            && hash(self) == hash(other)
    }
}

/// The directory's verbs. Names compare byte by byte: `Sid` and `sid` are two people.
#[async_trait]
pub trait Directory: fmt::Debug + Send + Sync {
    /// The user called `name`, also one who is disabled; `None` when nobody is.
    async fn find(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable>;

    /// The same from the source itself, past every memory and every copy that may be behind.
    async fn find_now(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        self.find(name).await
    }

    /// Those of `names` who are registered, in any order, from the source itself.
    async fn find_many_now(&self, names: &[UserId]) -> Result<Vec<Arc<User>>, Unavailable> {
        let mut found = Vec::new();
        for name in names {
            found.extend(self.find_now(name).await?);
        }
        Ok(found)
    }

    /// Registers a user; [`Error::Exists`] when the name is taken, [`Error::Invalid`] when a
    /// field would be refused by one of the directories.
    async fn add(&self, user: NewUser) -> Result<Arc<User>, Error>;

    /// At most `limit` users in the order of their names' bytes, those behind `after`.
    async fn list(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Arc<User>>, Unavailable>;

    /// Changes what `edit` says about the user called `name`, and nothing else; [`Error::Unknown`]
    /// when nobody is. Says what is so afterwards, and is safe to repeat.
    async fn edit(&self, name: &UserId, edit: &Edit) -> Result<Arc<User>, Error>;

    /// Removes the user called `name`, whose name is free afterwards; [`Error::Unknown`] when
    /// nobody is.
    async fn remove(&self, name: &UserId) -> Result<(), Error>;

    /// Whether a look-up would be answered now, for the readiness page.
    async fn check(&self) -> Result<(), Unavailable>;

    /// Goes by these settings from now on, as far as they can be changed in a running daemon; a
    /// new file is read by the next [`Directory::reload`].
    fn follow(&self, _users: &Users) {}

    /// Reads again what this process keeps in memory; on an error the old stays.
    async fn reload(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Who has changed, told after this process has forgotten what it knew of them. One reader.
    fn changes(&self) -> Changes;

    /// Listens for changes made elsewhere, until `stop`; ends at once where nobody tells.
    async fn watch(&self, _stop: &CancellationToken) {}

    /// Forgets what is remembered of one user, after a change made elsewhere.
    async fn invalidate(&self, _name: &UserId) {}
}

/// The directory cannot answer now; asking again later is right.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the user directory is unavailable: {reason}")]
pub struct Unavailable {
    /// What is wrong, with the remedy where one is known; free of secrets.
    pub reason: Arc<str>,
}

impl Unavailable {
    /// For `reason`, in words for the operator.
    pub fn new(reason: impl AsRef<str>) -> Self {
        Self { reason: reason.as_ref().into() }
    }
}

/// Why the directory refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("user {0:?} exists already; names are unique, also when disabled")]
    Exists(UserId),
    #[error(
        "nobody is called {0:?}; upper and lower case count, and `wsfleetd users list` shows all"
    )]
    Unknown(UserId),
    #[error("{field} {value:?} is refused: {problem}")]
    Invalid { field: &'static str, value: String, problem: &'static str },
    /// A rule of this database's own, which the daemon does not know.
    #[error("PostgreSQL refused the user: {0}")]
    Refused(String),
    /// A setting that can never work; says which and what to do.
    #[error("{key}: {problem}")]
    Setting { key: &'static str, problem: String },
    /// Everything wrong with the file, a line each.
    #[error("users.file {path}: {problems}")]
    File { path: String, problems: String },
    #[error("the password cannot be hashed: {0}")]
    Password(String),
    #[error("migration {name} failed and nothing was changed: {problem}")]
    Migration { name: &'static str, problem: String },
}

/// The directory the settings name, behind its cache: what the daemon asks.
///
/// Does not fail while PostgreSQL is down, because connections are made when they are needed;
/// fails for settings that can never work and for a file that cannot be read. The default file may
/// be missing: a package that was just installed starts, and its first user is one command away.
pub async fn open(database: &Database, users: &Users) -> Result<Arc<dyn Directory>, Error> {
    Ok(match &database.url {
        Some(_) => Arc::new(Cached::new(PostgresDirectory::open(database)?, users)),
        // A file is in memory already: a cache before it would only make a reload late.
        None if users.file == Users::default().file => {
            if !users.file.exists() {
                warn!(
                    "nobody can connect yet: there is no {}; add users with `wsfleetd users add`, \
                     then reload",
                    users.file.display()
                );
            }
            Arc::new(FileDirectory::open_or_empty(&users.file).await?)
        }
        None => Arc::new(FileDirectory::open(&users.file).await?),
    })
}

/// The same without a cache, and no file is no directory: what the CLI asks about those who are
/// there.
pub async fn open_existing(
    database: &Database,
    users: &Users,
) -> Result<Box<dyn Directory>, Error> {
    Ok(match &database.url {
        Some(_) => Box::new(PostgresDirectory::open(database)?),
        None => Box::new(FileDirectory::open(&users.file).await?),
    })
}

/// The same with a missing file taken for an empty one: what the CLI adds the first user to.
pub async fn open_to_edit(database: &Database, users: &Users) -> Result<Box<dyn Directory>, Error> {
    Ok(match &database.url {
        Some(_) => Box::new(PostgresDirectory::open(database)?),
        None => Box::new(FileDirectory::open_or_empty(&users.file).await?),
    })
}
