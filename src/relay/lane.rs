//! What waits to be said to one peer.
//!
//! A lane gathers envelopes while the writer is busy with the round before: under load many go
//! out in one PUBLISH, and alone one goes out at once. Nobody lingers.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    envelope::{Envelope, FORMAT},
    unconfirmed::Unconfirmed,
};
use crate::ids::Epoch;

/// A payload takes no more envelopes beyond either of these: Redis publishes 6.4 KB for 0.13 µs
/// an envelope, and larger ones win little (COORDINATION §3).
const PAYLOAD_BYTES: usize = 16 * 1024;
const PAYLOAD_ENVELOPES: usize = 64;

/// A peer that is this far behind is not fed any more: who has more to say to it alone waits, then takes
/// the slow path; a copy beside others is dropped and counted.
const LANE_BYTES: usize = 4 * 1024 * 1024;

/// The envelopes on their way to one epoch.
#[derive(Debug)]
pub struct Lane {
    epoch: Epoch,
    /// Set when nobody listened at the other end.
    deaf: AtomicBool,
    /// Set for good when the epoch is no member any more: it may listen for a while yet.
    ended: AtomicBool,
    /// A std lock: held for one append or one take.
    queue: Mutex<Queue>,
    /// A std lock: held to add or take out.
    unconfirmed: Mutex<Unconfirmed>,
    /// Called when something is not on its way any more.
    progress: Notify,
    /// Called when a payload was published, or given up.
    published: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    payloads: VecDeque<Payload>,
    bytes: usize,
    is_listed: bool,
    /// The number of the newest payload.
    last: u64,
}

/// Envelopes that travel together.
#[derive(Debug)]
pub(super) struct Payload {
    /// One more than that of the payload before it; from 1.
    pub number: u64,
    /// See [`crate::redis::Redis::stripe`].
    pub stripe: u16,
    pub bytes: Vec<u8>,
    /// Messages that a script has published to this peer before; with them its reader confirms
    /// these, too.
    pub told: Vec<u8>,
    /// Whether there are messages in it or before it.
    pub delivers: bool,
    /// Whether it has a probe in it.
    pub probes: bool,
    envelopes: usize,
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
        let (deaf, ended, queue, unconfirmed) = Default::default();
        let (progress, published) = Default::default();
        Self { epoch, deaf, ended, queue, unconfirmed, progress, published }
    }

    /// Where it leads.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether what is put here is heard by nobody, as far as is known.
    pub fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed) || self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
    }

    /// Ends it for good.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Up to where it is filled by now.
    pub fn mark(&self) -> u64 {
        self.queue().last
    }

    /// Waits until nothing that was put here up to `mark` is on its way: the peer says that it has
    /// read it, or it has been given back, or given up. What was passed on to a peer that is not heard
    /// any more is not waited for: it comes back when the peer is given up, seconds from now.
    pub async fn settled(&self, mark: u64) {
        called_until(&self.progress, || self.is_settled(mark)).await;
    }

    /// Waits until everything up to `mark` has been published, or given up.
    pub async fn published(&self, mark: u64) {
        called_until(&self.published, || self.is_published(mark)).await;
    }

    /// A round is over.
    pub(super) fn note_published(&self) {
        self.published.notify_waiters();
    }

    /// Something may not be on its way any more.
    pub(super) fn note_progress(&self) {
        self.progress.notify_waiters();
    }

    /// What was said and may not have been read.
    pub(super) fn unconfirmed(&self) -> MutexGuard<'_, Unconfirmed> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, envelope: &Envelope, stripe: u16) -> Laned {
        self.add(stripe, |payload| {
            envelope.print(&mut payload.bytes);
            payload.probes |= matches!(envelope, Envelope::Probe(_));
            payload.delivers |= matches!(envelope, Envelope::Deliver(_));
        })
    }

    /// A script has published this message to the peer: it is not said again, but its reader is to
    /// confirm it.
    pub(super) fn follow(&self, told: &Envelope, stripe: u16) -> Laned {
        self.add(stripe, |payload| {
            told.print(&mut payload.told);
            payload.delivers = true;
        })
    }

    fn add(&self, stripe: u16, print: impl FnOnce(&mut Payload)) -> Laned {
        let mut queue = self.queue();
        if queue.bytes > LANE_BYTES {
            return Laned::Full;
        }
        queue.append(stripe, print);
        if std::mem::replace(&mut queue.is_listed, true) { Laned::Listed } else { Laned::List }
    }

    /// The oldest payload, and whether there are more. One with messages in it is to be confirmed;
    /// `ear` as [`Unconfirmed::expect`] knows it.
    pub(super) fn take(&self, ear: u64) -> (Option<Payload>, bool) {
        let mut queue = self.queue();
        let payload = queue.payloads.pop_front();
        queue.bytes -= payload.as_ref().map_or(0, Payload::size);
        queue.is_listed = !queue.payloads.is_empty();
        // In one step: it is never in neither.
        if let Some(Payload { number, delivers: true, .. }) = payload {
            self.unconfirmed().expect(number, ear);
        }
        (payload, queue.is_listed)
    }

    fn is_settled(&self, mark: u64) -> bool {
        if self.is_deaf() {
            return self.is_published(mark);
        }
        let (queue, unconfirmed) = (self.queue(), self.unconfirmed());
        let (waiting, out) = (queue.oldest(), unconfirmed.oldest());
        [waiting, out].into_iter().flatten().all(|number| number > mark)
    }

    fn is_published(&self, mark: u64) -> bool {
        let (queue, unconfirmed) = (self.queue(), self.unconfirmed());
        let (waiting, out) = (queue.oldest(), unconfirmed.oldest_unpassed());
        [waiting, out].into_iter().flatten().all(|number| number > mark)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until something holds, which whoever makes it so tells by `notify_waiters`.
pub(super) async fn called_until(called: &Notify, holds: impl Fn() -> bool) {
    loop {
        // Before the look: a call in between is heard.
        let call = called.notified();
        if holds() {
            return;
        }
        call.await;
    }
}

impl Queue {
    /// The number of the oldest payload that waits.
    fn oldest(&self) -> Option<u64> {
        self.payloads.front().map(|front| front.number)
    }

    /// Onto the last payload of its stripe, so that each keeps its order.
    fn append(&mut self, stripe: u16, print: impl FnOnce(&mut Payload)) {
        let last = self.payloads.iter().rposition(|payload| payload.stripe == stripe);
        let at = match last {
            Some(at) if self.payloads[at].has_room() => at,
            _ => {
                self.last += 1;
                self.payloads.push_back(Payload::new(self.last, stripe));
                self.bytes += 1;
                self.payloads.len() - 1
            }
        };
        let payload = &mut self.payloads[at];
        let before = payload.size();
        print(payload);
        payload.envelopes += 1;
        self.bytes += payload.size() - before;
    }
}

impl Payload {
    fn new(number: u64, stripe: u16) -> Self {
        let (told, delivers, probes, envelopes) = (Vec::new(), false, false, 0);
        Self { number, stripe, bytes: vec![FORMAT], told, delivers, probes, envelopes }
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.told.len()
    }

    fn has_room(&self) -> bool {
        self.size() < PAYLOAD_BYTES && self.envelopes < PAYLOAD_ENVELOPES
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use bytes::Bytes;
    use futures_util::poll;

    use super::*;
    use crate::{
        ids::{MessageId, UserHasher},
        relay::{Letter, envelope::Envelopes},
    };

    fn probe(length: usize) -> Envelope {
        Envelope::Probe("x".repeat(length))
    }

    #[test]
    fn what_waits_together_travels_together_and_in_order() {
        let lane = Lane::new(Epoch::random());
        let sent: Vec<_> = (0..150).map(|n| Envelope::Probe(n.to_string())).collect();
        let told: Vec<_> = sent.iter().map(|envelope| lane.put(envelope, 0)).collect();
        assert_eq!(told.iter().filter(|told| **told == Laned::List).count(), 1);
        let mut heard = Vec::new();
        for more in [true, true, false] {
            let (payload, rest) = lane.take(1);
            heard.extend(Envelopes::read(payload.expect("three payloads").bytes.into()).unwrap());
            assert_eq!(rest, more);
        }
        assert_eq!(heard, sent);
        assert!(matches!(lane.take(1), (None, false)));
    }

    #[test]
    fn what_goes_to_different_servers_travels_apart_each_in_its_order() {
        let lane = Lane::new(Epoch::random());
        for n in 0..200 {
            lane.put(&Envelope::Probe(n.to_string()), n % 3);
        }
        let mut heard: [Vec<Envelope>; 3] = Default::default();
        let mut payloads = 0;
        while let (Some(payload), _) = lane.take(1) {
            payloads += 1;
            let stripe = usize::from(payload.stripe);
            heard[stripe].extend(Envelopes::read(payload.bytes.into()).unwrap());
        }
        assert_eq!(payloads, 6, "66 envelopes and 67 are two payloads each");
        for (stripe, heard) in heard.iter().enumerate() {
            let sent = (0..200).filter(|n| n % 3 == stripe);
            let sent: Vec<_> = sent.map(|n| Envelope::Probe(n.to_string())).collect();
            assert_eq!(*heard, sent);
        }
    }

    #[test]
    fn a_lane_that_was_full_takes_all_again_once_it_is_empty() {
        let lane = Lane::new(Epoch::random());
        let mut rounds = Vec::new();
        for _ in 0..3 {
            let mut taken = 0;
            while lane.put(&probe(40_000), 0) != Laned::Full {
                taken += 1;
            }
            rounds.push(taken);
            while lane.take(1).1 {}
        }
        assert!(rounds[0] > 100 && rounds.iter().all(|taken| *taken == rounds[0]), "{rounds:?}");
    }

    fn message() -> Envelope {
        let (user, mid) = (UserHasher::new(b"t").hash("Sid"), MessageId::random());
        let (from, epochs) = (Epoch::random(), vec![Epoch::random()]);
        Envelope::Deliver(Letter { user, mid, from, epochs, payload: Bytes::from_static(b"1") })
    }

    #[tokio::test]
    async fn a_lane_is_settled_once_what_stood_there_is_confirmed() {
        let lane = Lane::new(Epoch::random());
        lane.put(&message(), 0);
        let mark = lane.mark();
        let mut settled = pin!(lane.settled(mark));
        assert!(poll!(settled.as_mut()).is_pending(), "it waits to be published");
        let (payload, _) = lane.take(1);
        assert!(poll!(settled.as_mut()).is_pending(), "it waits to be confirmed");
        // What comes later is not waited for.
        lane.put(&message(), 0);
        lane.unconfirmed().forget(payload.expect("a payload").number);
        assert!(poll!(settled.as_mut()).is_pending(), "nobody has said so");
        lane.note_progress();
        assert!(poll!(settled).is_ready());
    }

    #[tokio::test]
    async fn a_lane_is_published_before_it_is_settled() {
        let lane = Lane::new(Epoch::random());
        lane.put(&message(), 0);
        let mut published = pin!(lane.published(lane.mark()));
        let mut settled = pin!(lane.settled(lane.mark()));
        let payload = lane.take(1).0.expect("a payload");
        lane.note_published();
        assert!(poll!(published.as_mut()).is_pending(), "Redis has not answered");
        lane.unconfirmed().keep(payload.number, payload.bytes);
        lane.note_published();
        assert!(poll!(published).is_ready());
        assert!(poll!(settled.as_mut()).is_pending(), "nobody has read it");
        // Nobody will: it is given back when the peer is given up.
        lane.set_deaf(true);
        lane.note_progress();
        assert!(poll!(settled).is_ready());
    }

    #[tokio::test]
    async fn what_is_no_message_is_not_waited_for_once_it_is_published() {
        let lane = Lane::new(Epoch::random());
        lane.put(&probe(1), 0);
        let mark = lane.mark();
        let mut settled = pin!(lane.settled(mark));
        assert!(poll!(settled.as_mut()).is_pending());
        lane.take(1);
        lane.note_progress();
        assert!(poll!(settled).is_ready());
    }
}
