//! Settings that name files and directories.
//!
//! A key file that cannot be read is found here, before anything is bound, and not by the first
//! client who needs it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::Form;
use crate::config::given::{Given, Reading, quoted, refuse};

/// A file to be read at start; empty for none.
pub struct Readable;

/// A file that may come later, but is readable if it is there.
pub struct Eventual;

/// A directory, which need not exist yet.
pub struct Directory;

/// Whether the file can be opened and holds something.
///
/// # Errors
/// The reason why not, read after "the file …".
pub fn check_readable(path: &Path) -> Result<(), String> {
    match inspect(path) {
        Ok(0) => Err(format!("names {}, which is empty", path.display())),
        Ok(_) => Ok(()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

impl Form<Option<PathBuf>> for Readable {
    fn read(&self, given: Given<'_>) -> Reading<Option<PathBuf>> {
        let path = match given.text()? {
            "" => return Ok(None),
            text => PathBuf::from(text),
        };
        check_readable(&path).or_else(refuse)?;
        Ok(Some(path))
    }

    fn print(&self, value: &Option<PathBuf>) -> String {
        print(value.as_deref().unwrap_or(Path::new("")))
    }

    fn accepts(&self) -> String {
        "the path of a file that exists, is not empty and may be read by the daemon's user, or \
         \"\" for none"
            .into()
    }
}

impl Form<PathBuf> for Eventual {
    fn read(&self, given: Given<'_>) -> Reading<PathBuf> {
        let path = named(given)?;
        match inspect(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                refuse(unreadable(&path, &error))
            }
            _ => Ok(path),
        }
    }

    fn print(&self, value: &PathBuf) -> String {
        print(value)
    }

    fn accepts(&self) -> String {
        "the path of a file that, if it exists, may be read by the daemon's user".into()
    }
}

impl Form<PathBuf> for Directory {
    fn read(&self, given: Given<'_>) -> Reading<PathBuf> {
        let path = named(given)?;
        if path.exists() && !path.is_dir() {
            return refuse("is not a directory");
        }
        Ok(path)
    }

    fn print(&self, value: &PathBuf) -> String {
        print(value)
    }

    fn accepts(&self) -> String {
        "the path of a directory".into()
    }
}

/// The file's length. Opened as well, since only that asks for permission; but not before it is
/// known to be a file, since opening a pipe waits for its other end.
fn inspect(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(path)?;
    Ok(metadata.len())
}

fn named(given: Given<'_>) -> Reading<PathBuf> {
    match given.text()? {
        "" => refuse("is empty"),
        text => Ok(text.into()),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("names {}, which cannot be read: {error}", path.display())
}

fn print(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}
