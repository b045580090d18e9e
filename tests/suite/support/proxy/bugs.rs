//! Bugs to put on a line: an instance behind it runs with a broken script, or says less than it
//! should. The product holds no test code for that; Redis is given the changed text itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{Command, Meddler};

/// A digest that no script has: Redis asks for the text.
const UNKNOWN: &[u8] = b"ffffffffffffffffffffffffffffffffffffffff";

/// A line of a script replaced by another.
pub struct BrokenScript {
    line: &'static str,
    instead: &'static str,
    /// Digest as the instance knows it → as Redis knows the changed text; `None`: not concerned.
    known: Mutex<HashMap<Vec<u8>, Option<Vec<u8>>>>,
    runs: AtomicU64,
}

impl BrokenScript {
    /// Every script that has `line` has `instead` in its place.
    pub fn new(line: &'static str, instead: &'static str) -> Arc<Self> {
        Arc::new(Self { line, instead, known: Mutex::default(), runs: AtomicU64::new(0) })
    }

    /// How often a broken script was run.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }
}

impl Meddler for BrokenScript {
    fn meddle(&self, command: &mut Command) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match command[0].as_slice() {
            b"EVAL" => {
                let source = String::from_utf8_lossy(&command[1]).into_owned();
                let digest = digest(&source);
                let changed = source.replace(self.line, self.instead);
                let is_concerned = changed != source;
                known.insert(digest.clone(), is_concerned.then(|| self::digest(&changed)));
                is_concerned.then(|| changed.into_bytes())
            }
            // Until its text has come once, nobody knows whose digest it is.
            b"EVALSHA" => match known.get(&command[1]) {
                Some(changed) => changed.clone(),
                None => return command[1] = UNKNOWN.to_vec(),
            },
            _ => None,
        };
        if let Some(changed) = changed {
            command[1] = changed;
            self.runs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Envelopes of a kind that never leave.
pub struct Mute {
    kind: u8,
    swallowed: AtomicU64,
}

impl Mute {
    /// Swallows `kind` on its way out.
    pub fn new(kind: u8) -> Arc<Self> {
        Arc::new(Self { kind, swallowed: AtomicU64::new(0) })
    }

    /// How many were swallowed.
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Relaxed)
    }
}

impl Meddler for Mute {
    fn meddle(&self, command: &mut Command) {
        if command[0] != b"PUBLISH" {
            return;
        }
        let payload = &command[2];
        let mut kept = payload[..1].to_vec();
        let mut rest = &payload[1..];
        while let Some(length) = envelope(rest) {
            if rest[0] == self.kind {
                self.swallowed.fetch_add(1, Ordering::Relaxed);
            } else {
                kept.extend_from_slice(&rest[..length]);
            }
            rest = &rest[length..];
        }
        command[2] = kept;
    }
}

/// The length of the first envelope: kind, decimal length, colon, body.
fn envelope(bytes: &[u8]) -> Option<usize> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[1..colon]).ok()?.parse().ok()?;
    Some(colon + 1 + length)
}

/// A line on which commands with a certain argument are late, and are announced.
pub struct Dawdler {
    argument: &'static [u8],
    delay: Duration,
    seen: watch::Sender<u64>,
}

impl Dawdler {
    /// What has `argument` is held up by `delay`, and whatever comes behind it.
    pub fn new(argument: &'static [u8], delay: Duration) -> Arc<Self> {
        Arc::new(Self { argument, delay, seen: watch::Sender::new(0) })
    }

    /// Waits until one is being held up.
    pub async fn seen(&self) {
        let _ = self.seen.subscribe().wait_for(|seen| *seen > 0).await;
    }
}

impl Meddler for Dawdler {
    fn meddle(&self, command: &mut Command) {
        if command.iter().any(|argument| argument == self.argument) {
            self.seen.send_modify(|seen| *seen += 1);
            std::thread::sleep(self.delay);
        }
    }
}

/// One behind the other.
pub struct Several(pub Vec<Arc<dyn Meddler>>);

impl Meddler for Several {
    fn meddle(&self, command: &mut Command) {
        self.0.iter().for_each(|one| one.meddle(command));
    }
}

fn digest(source: &str) -> Vec<u8> {
    redis::Script::new(source).get_hash().as_bytes().to_vec()
}
