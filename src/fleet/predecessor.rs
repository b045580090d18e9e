//! The epoch of the process that ran here before.
//!
//! A daemon that crashed and was restarted by systemd need not wait for the fleet's failure
//! detector to free what it left: its epoch stands in the runtime directory, and a lock on that
//! file proves that nobody lives under it any more (COORDINATION, change 10).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use tracing::debug;

use crate::ids::Epoch;

/// Below the runtime directory.
const FILE: &str = "epoch";

/// The file with this process's epoch, locked as long as it lives.
#[derive(Debug, Default)]
pub struct EpochFile {
    file: Option<File>,
}

impl EpochFile {
    /// Takes over the file in `directory`; and the epoch of a predecessor that is surely dead.
    ///
    /// Where it cannot be had nothing is lost but speed: the failure detector is behind it.
    pub fn take(directory: &Path) -> (Self, Option<Epoch>) {
        match open(directory) {
            Ok((file, text)) => (Self { file: Some(file) }, Epoch::parse(text.trim().as_bytes())),
            Err(error) => {
                let file = directory.join(FILE);
                debug!("cannot keep the epoch in {}: {error}", file.display());
                (Self::default(), None)
            }
        }
    }

    /// Notes the epoch this process has now.
    pub fn note(&mut self, epoch: Epoch) {
        let Some(file) = &mut self.file else { return };
        let written = file.rewind().and_then(|()| write!(file, "{epoch}"));
        if let Err(error) = written {
            debug!("cannot note the epoch: {error}");
        }
    }
}

fn open(directory: &Path) -> io::Result<(File, String)> {
    fs::create_dir_all(directory)?;
    let path = directory.join(FILE);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((file, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_process_learns_the_last_epoch_and_a_second_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, nobody) = EpochFile::take(directory.path());
        assert_eq!(nobody, None);
        let (old, new) = (Epoch::random(), Epoch::random());
        first.note(old);
        first.note(new);
        let (_, living) = EpochFile::take(directory.path());
        assert_eq!(living, None, "who holds the lock is alive");
        drop(first);
        let (_, dead) = EpochFile::take(directory.path());
        assert_eq!(dead, Some(new));
    }
}
