//! The embedded default: users in a CSV file, or in a list, held in memory.
//!
//! The file is checked whole before any of it is believed, and every mistake is named with its
//! line, because an operator edits it by hand. A user's id is a hash of the name, not the line,
//! so that sorting the file gives nobody another's id.

mod csv_file;
mod rewrite;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::{Changes, Directory, Edit, Error, NewUser, Unavailable, User};

pub use csv_file::{HEADER as CSV_HEADER, line_of as csv_line};

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
    changes: Changes,
}

/// By name, in the order `list` gives.
type Table = BTreeMap<UserId, Arc<User>>;

impl FileDirectory {
    /// Reads and checks the file; [`Error::File`] names everything wrong with it.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let from = path.to_owned();
        let reading = tokio::task::spawn_blocking(move || read(&from)).await;
        let table = reading.unwrap_or_else(|_| Err(stopping()))?;
        Ok(Self::new(Some(path.into()), table))
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
        Self(Arc::new(Shared { table, path: Mutex::new(path), changes: Changes::default() }))
    }

    /// File work stays off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or_else(|_| Err(stopping()))
    }
}

impl Shared {
    fn reload(&self) -> Result<(), Error> {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &*path {
            self.replace(Arc::new(read(path)?));
        }
        Ok(())
    }

    /// Puts another table in place and tells whom that changes.
    fn replace(&self, table: Arc<Table>) {
        let old = self.table.swap(Arc::clone(&table));
        let both = old.keys().chain(table.keys().filter(|name| !old.contains_key(*name)));
        let differs = |name: &&UserId| match (old.get(*name), table.get(*name)) {
            (Some(old), Some(new)) => !old.says_the_same(new),
            _ => true,
        };
        both.filter(differs).for_each(|name| self.changes.tell(name.clone()));
    }

    fn add(&self, new: NewUser) -> Result<Arc<User>, Error> {
        new.check()?;
        let name = new.username.clone();
        let table = self.write(
            |path| rewrite::append(path, new.clone()),
            |table| match table.entry(name.clone()) {
                Entry::Occupied(_) => Err(Error::Exists(name.clone())),
                Entry::Vacant(place) => {
                    place.insert(Arc::new(user_of(new.clone(), clock::now())));
                    Ok(())
                }
            },
        )?;
        standing(&table, &name)
    }

    fn edit(&self, name: &UserId, edit: &Edit) -> Result<Arc<User>, Error> {
        edit.check()?;
        let table = self.write(
            |path| rewrite::edit(path, name, edit),
            |table| {
                let user = table.get_mut(name).ok_or_else(|| Error::Unknown(name.clone()))?;
                let mut new = NewUser::of(user);
                edit.apply(&mut new);
                *user = Arc::new(user_of(new, clock::now()));
                Ok(())
            },
        )?;
        standing(&table, name)
    }

    fn remove(&self, name: &UserId) -> Result<(), Error> {
        let in_memory = |table: &mut Table| {
            table.remove(name).map(drop).ok_or_else(|| Error::Unknown(name.clone()))
        };
        self.write(|path| rewrite::remove(path, name), in_memory).map(drop)
    }

    /// Changes the file, or the table where there is none; what the table is now.
    fn write(
        &self,
        in_file: impl FnOnce(&Path) -> Result<(Vec<NewUser>, SystemTime), Error>,
        in_memory: impl FnOnce(&mut Table) -> Result<(), Error>,
    ) -> Result<Arc<Table>, Error> {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        let table = match path.as_deref() {
            Some(path) => {
                let (users, modified) = in_file(path)?;
                table_of(users, modified)
            }
            None => {
                let mut table = Table::clone(&self.table.load());
                in_memory(&mut table)?;
                table
            }
        };
        let table = Arc::new(table);
        self.replace(Arc::clone(&table));
        Ok(table)
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

    async fn edit(&self, name: &UserId, edit: &Edit) -> Result<Arc<User>, Error> {
        let (name, edit) = (name.clone(), edit.clone());
        self.blocking(move |shared| shared.edit(&name, &edit)).await
    }

    async fn remove(&self, name: &UserId) -> Result<(), Error> {
        let name = name.clone();
        self.blocking(move |shared| shared.remove(&name)).await
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

    fn changes(&self) -> Changes {
        self.0.changes.clone()
    }

    async fn reload(&self) -> Result<(), Error> {
        self.blocking(Shared::reload).await
    }
}

fn stopping() -> Error {
    Unavailable::new("the process is stopping").into()
}

/// What stands in the file.
fn read(path: &Path) -> Result<Table, Error> {
    let (users, modified) = csv_file::read(path)?;
    Ok(table_of(users, modified))
}

/// The user that was just written.
fn standing(table: &Table, name: &UserId) -> Result<Arc<User>, Error> {
    let lost = || Unavailable::new("the file lost what was just written to it").into();
    table.get(name).cloned().ok_or_else(lost)
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
