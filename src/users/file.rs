//! The embedded default: users in a CSV file, or in a list, held in memory.
//!
//! The file is checked whole before any of it is believed, and every mistake is named with its
//! line, because an operator edits it by hand. A user's id is a hash of the name, not the line,
//! so that sorting the file gives nobody another's id.

mod csv_file;

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::{Directory, Error, NewUser, Unavailable, User};
use crate::{clock, config::settings::Users, ids::UserId};

/// Users from a file that is read again on [`Directory::reload`], or from a fixed list.
#[derive(Clone, Debug)]
pub struct FileDirectory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Readers never wait for a reload.
    table: ArcSwap<Table>,
    /// Where the users come from; `None`: in memory only, gone with the process. One writer at a
    /// time, so that an older table never replaces a newer one. A std lock, because whoever reads
    /// or writes the file is on a blocking thread.
    path: Mutex<Option<PathBuf>>,
}

/// By name, in the order `list` gives.
type Table = BTreeMap<UserId, Arc<User>>;

impl FileDirectory {
    /// Reads and checks the file; [`Error::File`] names everything wrong with it.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let directory = Self::new(Some(path.into()), Table::new());
        directory.reload().await?;
        Ok(directory)
    }

    /// The same, but a file that is not there yet has no users; `add` will create it.
    pub async fn open_or_empty(path: &Path) -> Result<Self, Error> {
        if path.exists() {
            return Self::open(path).await;
        }
        Ok(Self::new(Some(path.into()), Table::new()))
    }

    /// These users and no file: what is added later is gone with the process.
    pub fn with_users(users: impl IntoIterator<Item = NewUser>) -> Result<Self, Error> {
        let directory = Self::new(None, Table::new());
        users.into_iter().try_for_each(|user| directory.0.add(user).map(drop))?;
        Ok(directory)
    }

    fn new(path: Option<PathBuf>, table: Table) -> Self {
        let table = ArcSwap::from_pointee(table);
        Self(Arc::new(Shared { table, path: Mutex::new(path) }))
    }

    /// File work stays off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or_else(|_| Err(Unavailable::new("the process is stopping").into()))
    }
}

impl Shared {
    fn reload(&self) -> Result<(), Error> {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &*path {
            let (users, modified) = csv_file::read(path)?;
            self.table.store(Arc::new(table_of(users, modified)));
        }
        Ok(())
    }

    fn add(&self, new: NewUser) -> Result<Arc<User>, Error> {
        new.check()?;
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        let name = new.username.clone();
        let table = match &*path {
            Some(path) => {
                let (users, modified) = csv_file::append(path, new)?;
                table_of(users, modified)
            }
            None => {
                let mut table = Table::clone(&self.table.load());
                if table.contains_key(&name) {
                    return Err(Error::Exists(name));
                }
                table.insert(name.clone(), Arc::new(user_of(new, clock::now())));
                table
            }
        };
        let added = table.get(&name).cloned();
        self.table.store(Arc::new(table));
        added.ok_or_else(|| Unavailable::new("the file lost what was just added to it").into())
    }
}

#[async_trait]
impl Directory for FileDirectory {
    async fn find(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        Ok(self.0.table.load().get(name).cloned())
    }

    async fn add(&self, user: NewUser) -> Result<Arc<User>, Error> {
        self.blocking(|shared| shared.add(user)).await
    }

    async fn list(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Arc<User>>, Unavailable> {
        let start = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        let table = self.0.table.load();
        Ok(table.range((start, Bound::Unbounded)).take(limit).map(|(_, u)| Arc::clone(u)).collect())
    }

    async fn check(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    /// A fixed list stays one.
    fn follow(&self, users: &Users) {
        let mut path = self.0.path.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &mut *path {
            path.clone_from(&users.file);
        }
    }

    async fn reload(&self) -> Result<(), Error> {
        self.blocking(Shared::reload).await
    }
}

fn table_of(users: Vec<NewUser>, modified: SystemTime) -> Table {
    let entry = |new: NewUser| (new.username.clone(), Arc::new(user_of(new, modified)));
    users.into_iter().map(entry).collect()
}

/// A file remembers no times of its own: its modification stands for both.
fn user_of(new: NewUser, modified: SystemTime) -> User {
    User {
        id: id_of(&new.username),
        username: new.username,
        first_name: new.first_name,
        last_name: new.last_name,
        mobile: new.mobile,
        password_hash: new.password_hash,
        disabled: new.disabled,
        created: modified,
        updated: modified,
    }
}

/// 63 bits of a hash: positive as PostgreSQL's are, and among a million users two meet with a
/// chance of 1 in 18 million.
fn id_of(name: &UserId) -> i64 {
    let mut head = [0u8; 8];
    head.copy_from_slice(&blake3::hash(name.as_str().as_bytes()).as_bytes()[..8]);
    i64::from_le_bytes(head) & i64::MAX
}
