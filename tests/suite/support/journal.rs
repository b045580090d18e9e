//! journald's end of its socket: reads the native protocol.

use std::{collections::BTreeMap, os::unix::net::UnixDatagram, path::Path};

use tempfile::TempDir;

use super::child::PATIENCE;

/// A record as `journalctl -o json` would show it.
pub type Entry = BTreeMap<String, String>;

/// The socket, in a directory that can stand in for `/run/systemd/journal`.
pub struct Journal {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Journal {
    /// Listens, but reads only when asked.
    pub fn open() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let socket = UnixDatagram::bind(dir.path().join("socket")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, dir }
    }

    /// Where the socket is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The next record.
    pub fn next(&self) -> Entry {
        let mut datagram = vec![0; 256 * 1024];
        loop {
            let length = self.socket.recv(&mut datagram).expect("a record in time");
            // An empty datagram only asks whether anybody is there.
            if length > 0 {
                return parse(&datagram[..length]);
            }
        }
    }

    /// The next record whose `MESSAGE_ID` is `id`.
    pub fn next_with_id(&self, id: &str) -> Entry {
        loop {
            let entry = self.next();
            if entry.get("MESSAGE_ID").is_some_and(|found| found == id) {
                return entry;
            }
        }
    }
}

/// `NAME=value` and a newline, or `NAME`, a newline, the length in eight bytes, value, newline.
fn parse(mut rest: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a line");
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        let (name, value) = if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            rest = after;
            (&line[..equals], &line[equals + 1..])
        } else {
            let (length, after) = after.split_at(8);
            let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
            rest = &after[length + 1..];
            (line, &after[..length])
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let old = entry.insert(text(name), text(value));
        assert!(old.is_none(), "{} is sent twice", text(name));
    }
    entry
}
