//! What waits to be said to one peer.
//!
//! A lane gathers envelopes while the writer is busy with the round before: under load many go
//! out in one PUBLISH, and alone one goes out at once. Nobody lingers.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::envelope::{Envelope, FORMAT};
use crate::ids::Epoch;

/// A payload takes no more envelopes beyond either of these: Redis publishes 6.4 KB for 0.13 µs
/// an envelope, and larger ones win little (COORDINATION §3).
const PAYLOAD_BYTES: usize = 16 * 1024;
const PAYLOAD_ENVELOPES: usize = 64;

/// A peer that is this far behind is not fed any more; messages take the slow path instead.
const LANE_BYTES: usize = 4 * 1024 * 1024;

/// The envelopes on their way to one epoch.
#[derive(Debug)]
pub struct Lane {
    epoch: Epoch,
    /// Set when nobody listened at the other end, or it is no member any more.
    deaf: AtomicBool,
    /// A std lock: held for one append or one take.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    payloads: VecDeque<Vec<u8>>,
    envelopes_in_last: usize,
    bytes: usize,
    is_listed: bool,
}

/// Whether a lane took an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Laned {
    /// It took it, and the writer must be told of this lane.
    List,
    /// It took it; the writer knows.
    Listed,
    /// It has no room.
    Full,
}

impl Lane {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { epoch, deaf: AtomicBool::new(false), queue: Mutex::default() }
    }

    /// Where it leads.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether what is put here is heard by nobody, as far as is known.
    pub fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }

    pub(super) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
    }

    pub(super) fn put(&self, envelope: &Envelope) -> Laned {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.bytes > LANE_BYTES {
            return Laned::Full;
        }
        queue.append(envelope);
        if std::mem::replace(&mut queue.is_listed, true) { Laned::Listed } else { Laned::List }
    }

    /// The oldest payload, and whether there are more.
    pub(super) fn take(&self) -> (Option<Vec<u8>>, bool) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let payload = queue.payloads.pop_front();
        queue.bytes -= payload.as_ref().map_or(0, Vec::len);
        queue.is_listed = !queue.payloads.is_empty();
        (payload, queue.is_listed)
    }
}

impl Queue {
    fn append(&mut self, envelope: &Envelope) {
        let last = self.payloads.back().map_or(PAYLOAD_BYTES, Vec::len);
        if last >= PAYLOAD_BYTES || self.envelopes_in_last >= PAYLOAD_ENVELOPES {
            let payload = vec![FORMAT];
            self.bytes += payload.len();
            self.payloads.push_back(payload);
            self.envelopes_in_last = 0;
        }
        if let Some(payload) = self.payloads.back_mut() {
            let before = payload.len();
            envelope.print(payload);
            self.bytes += payload.len() - before;
            self.envelopes_in_last += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_counts_out_what_it_has_counted_in() {
        let lane = Lane::new(Epoch::random());
        for _ in 0..3 * PAYLOAD_ENVELOPES {
            lane.put(&Envelope::Probe("17".to_owned()));
        }
        let payloads = std::iter::from_fn(|| lane.take().0).count();
        assert_eq!(payloads, 3);
        let queue = lane.queue.lock().unwrap();
        assert_eq!((queue.bytes, queue.is_listed), (0, false));
    }

    #[test]
    fn a_peer_too_far_behind_is_fed_again_once_it_has_caught_up() {
        let lane = Lane::new(Epoch::random());
        let envelope = Envelope::Probe("x".repeat(100_000));
        let taken = (0..100).take_while(|_| lane.put(&envelope) != Laned::Full).count();
        assert!((40..50).contains(&taken), "{taken} of 100 KB");
        while lane.take().1 {}
        assert_eq!(lane.put(&envelope), Laned::List);
    }
}
