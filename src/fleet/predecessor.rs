//! The epochs of the processes that ran here before.
//!
//! A daemon that crashed and was restarted by systemd need not wait for the fleet's failure
//! detector to free what it left: its epoch stands in the runtime directory, and a lock on that
//! file proves that nobody lives under it any more (COORDINATION, change 10). The lock proves
//! nothing about another machine: a directory that was copied with an image, or woken up with one
//! that was hibernated, would name an instance that lives elsewhere. So the file also holds which
//! boot it was written in, and counts only within that one. And it says how it is to be read, for the
//! process before may have been of another version: of a later one, where somebody went back.

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

/// How the file is to be read, in its second line. Whoever does not know it learns nothing from the file,
/// and so loses speed only. Versions that wrote no such line take it for no epoch, and pass it over.
const FORMAT: &str = "format 1";

/// Which start of which machine this is; the unit's sandbox may hide it.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Epochs kept: more were left only by a daemon that crashes before it has ever joined.
const MOST: usize = 8;

/// The file with this process's epoch, locked as long as it lives.
#[derive(Debug, Default)]
pub struct EpochFile {
    file: Option<File>,
    boot: String,
}

impl EpochFile {
    /// Takes over the file in `directory`; and the epochs of predecessors that are surely dead.
    ///
    /// Where it cannot be had nothing is lost but speed: the failure detector is behind it.
    pub fn take(directory: &Path) -> (Self, Vec<Epoch>) {
        let boot = fs::read_to_string(BOOT).unwrap_or_default();
        Self::take_in(directory, boot.trim())
    }

    fn take_in(directory: &Path, boot: &str) -> (Self, Vec<Epoch>) {
        let boot = if boot.is_empty() { "-" } else { boot }.to_owned();
        match open(directory) {
            Ok((file, text)) => {
                let epochs = parse(&text, &boot);
                (Self { file: Some(file), boot }, epochs)
            }
            Err(error) => {
                let file = directory.join(FILE);
                debug!("cannot keep the epoch in {}: {error}", file.display());
                (Self::default(), Vec::new())
            }
        }
    }

    /// Notes the epoch this process has now, and those of predecessors that are not buried yet.
    pub fn note(&mut self, epoch: Epoch, unburied: &[Epoch]) {
        let Some(file) = &mut self.file else { return };
        let mut text = format!("{}\n{FORMAT}\n{epoch}\n", self.boot);
        for old in unburied.iter().take(MOST - 1) {
            text.push_str(&format!("{old}\n"));
        }
        let written = file
            .rewind()
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_len(text.len() as u64));
        if let Err(error) = written {
            debug!("cannot note the epoch: {error}");
        }
    }
}

/// A line with the boot, one with the format, then one for each epoch.
fn parse(text: &str, boot: &str) -> Vec<Epoch> {
    let mut lines = text.lines().peekable();
    let is_of_this_boot = lines.next() == Some(boot);
    let format = lines.next_if(|line| line.starts_with("format "));
    if !is_of_this_boot || format.is_some_and(|format| format != FORMAT) {
        return Vec::new();
    }
    lines.take(MOST).filter_map(|line| Epoch::parse(line.as_bytes())).collect()
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
    fn the_next_process_learns_the_last_epochs_and_a_second_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, nobody) = EpochFile::take(directory.path());
        assert_eq!(nobody, []);
        let (old, new, unburied) = (Epoch::random(), Epoch::random(), Epoch::random());
        first.note(old, &[unburied]);
        first.note(new, &[]);
        let (_, living) = EpochFile::take(directory.path());
        assert_eq!(living, [], "who holds the lock is alive");
        drop(first);
        let (mut second, dead) = EpochFile::take(directory.path());
        assert_eq!(dead, [new]);
        // It crashes before it could bury anybody.
        let second_epoch = Epoch::random();
        second.note(second_epoch, &dead);
        drop(second);
        let (_, dead) = EpochFile::take(directory.path());
        assert_eq!(dead, [second_epoch, new]);
    }

    #[test]
    fn a_file_of_the_version_before_is_read_and_one_of_a_later_format_is_not() {
        let (old, new) = (Epoch::random(), Epoch::random());
        assert_eq!(parse(&format!("a boot\n{new}\n{old}\n"), "a boot"), [new, old]);
        assert_eq!(parse(&format!("a boot\nformat 1\n{new}\n{old}\n"), "a boot"), [new, old]);
        assert_eq!(parse(&format!("a boot\nformat 2\n{new}\n{old}\n"), "a boot"), []);
    }

    #[test]
    fn what_another_boot_or_machine_has_left_may_live_there() {
        let directory = tempfile::tempdir().unwrap();
        let (mut original, _) = EpochFile::take_in(directory.path(), "one boot");
        original.note(Epoch::random(), &[]);
        drop(original);
        assert_eq!(EpochFile::take_in(directory.path(), "another").1, []);
        assert_eq!(EpochFile::take_in(directory.path(), "one boot").1.len(), 1);
    }
}
