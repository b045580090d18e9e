//! Changes one line of the file without the file ever being half written.
//!
//! The changed text is a new file that then takes the old one's name: a reader sees either
//! version, and a crash leaves the old. Other lines stay as the operator wrote them.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tempfile::NamedTempFile;

use super::csv_file::{HEADER, Row, line_of, parse, read_text, refusal};
use crate::{
    clock,
    ids::UserId,
    users::{Edit, Error, NewUser},
};

/// A file made by `users add`: hashes are nobody else's business.
const NEW_FILE_MODE: u32 = 0o640;

/// How long to wait for another process that changes the file; it needs a fraction of a second.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How often to look whether that process is done.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// What [`super::csv_file::read`] would answer after the change.
type Users = (Vec<NewUser>, SystemTime);

/// Adds one line, creating the file if need be.
pub fn append(path: &Path, new: NewUser) -> Result<Users, Error> {
    rewrite(path, |text, rows| {
        if rows.iter().any(|row| row.user.username == new.username) {
            return Err(Error::Exists(new.username.clone()));
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&printed(path, &new)?);
        rows.push(Row { user: new, span: 0..0 });
        Ok(())
    })
}

/// Changes one fact of one line.
pub fn edit(path: &Path, name: &UserId, edit: &Edit) -> Result<Users, Error> {
    rewrite(path, |text, rows| {
        let at = position(rows, name)?;
        let row = &mut rows[at];
        edit.apply(&mut row.user);
        text.replace_range(row.span.clone(), printed(path, &row.user)?.trim_end_matches('\n'));
        Ok(())
    })
}

/// Takes one line out.
pub fn remove(path: &Path, name: &UserId) -> Result<Users, Error> {
    rewrite(path, |text, rows| {
        let row = rows.remove(position(rows, name)?);
        let rest = &text[row.span.end..];
        let end = ["\r\n", "\n"].into_iter().find(|end| rest.starts_with(end));
        text.replace_range(row.span.start..row.span.end + end.map_or(0, str::len), "");
        Ok(())
    })
}

/// Reads, changes and replaces the file while nobody else does.
///
/// The directory is locked meanwhile, so that two processes changing it at once lose neither's
/// change; the file cannot carry the lock, because it is replaced.
fn rewrite(
    path: &Path,
    change: impl FnOnce(&mut String, &mut Vec<Row>) -> Result<(), Error>,
) -> Result<Users, Error> {
    let path = &resolve(path);
    let refuse = |error: io::Error| refusal(path, &error.to_string());
    let folder = lock(path)?;
    let mut text = if path.exists() { read_text(path)?.0 } else { HEADER.into() };
    let mut rows = parse(path, &text)?;
    change(&mut text, &mut rows)?;
    replace(path, text.as_bytes()).map_err(refuse)?;
    folder.sync_all().map_err(refuse)?;
    Ok((rows.into_iter().map(|row| row.user).collect(), clock::now()))
}

fn lock(path: &Path) -> Result<File, Error> {
    let refuse = |error: io::Error| refusal(path, &error.to_string());
    let folder = File::open(folder_of(path)).map_err(refuse)?;
    let start = Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::Error(error)) => return Err(refuse(error)),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT => {
                thread::sleep(LOCK_LOOK);
            }
            Err(TryLockError::WouldBlock) => {
                let problem = "another process has kept its directory locked for 10 s: see \
                               `lslocks`, end it, and try again";
                return Err(refusal(path, problem));
            }
        }
    }
}

fn position(rows: &[Row], name: &UserId) -> Result<usize, Error> {
    let found = rows.iter().position(|row| row.user.username == *name);
    found.ok_or_else(|| Error::Unknown(name.clone()))
}

fn printed(path: &Path, user: &NewUser) -> Result<String, Error> {
    line_of(user).map_err(|error| refusal(path, &error.to_string()))
}

/// Puts `content` where `path` stands, under the old file's owner and mode.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder_of(path))?;
    file.write_all(content)?;
    match fs::metadata(path) {
        Ok(old) => {
            fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            file.as_file().set_permissions(old.permissions())?;
        }
        Err(_) => {
            // The folder's group is the daemon's on an installed machine; elsewhere it need not
            // be ours to give, and the file is as good without.
            let group = fs::metadata(folder_of(path))?.gid();
            let _ = fchown(file.as_file(), None, Some(group));
            file.as_file().set_permissions(fs::Permissions::from_mode(NEW_FILE_MODE))?;
        }
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Follows a link, so that its target is replaced and not the link.
fn resolve(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
