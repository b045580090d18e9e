//! What was published to one peer, and may not have been read.
//!
//! That somebody listens to an inbox says nothing about whether they hear: behind a dead line, or in
//! a process that stands still, the subscription stays. So every payload with a message in it asks
//! to be confirmed, in its last envelope. What is not, while Redis has gone on passing on what was
//! published, is given back to the router, which asks the store who owns the recipient by now.
//! Copies are told by the message's id. Nothing is waited for: a message costs no round trip more.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Payloads kept for one peer, in bytes: what is said to it in the time in which it confirms. Older
/// ones are forgotten, as if they had been read.
const BYTES: usize = 4 * 1024 * 1024;

/// A peer confirms within a tenth of a second; one that has not for this long is doubtful.
const DOUBT: Duration = Duration::from_millis(750);

/// Probes that Redis must have passed on since a payload before it counts as not read: an outage of
/// Redis's is no peer's silence.
const PROBES: u64 = 4;

/// What is older is not told again: those who have had it may not know its id any more (the hub
/// remembers 512 of a user), and whoever dies without a word is found out only after seconds.
const FRESH: Duration = Duration::from_secs(4);

/// Between two probes of a doubtful peer.
pub(super) const PROBE_PERIOD: Duration = Duration::from_millis(250);

/// The payloads, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    payloads: VecDeque<Sent>,
    bytes: usize,
    /// Probes that were passed on.
    probes: u64,
    probed: Option<Instant>,
    /// Whether the peer is no more: nothing will be confirmed.
    is_closed: bool,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    at: Instant,
    /// Probes before it.
    probes: u64,
    /// Since when confirmations are heard, by [`super::Listening::latest`]: those of what was sent
    /// before may have been missed, so that silence says nothing.
    ear: u64,
    /// Empty while it is not known whether it was passed on.
    payload: Vec<u8>,
}

impl Unconfirmed {
    /// A payload of this number, higher than all before it, is about to be published: its
    /// confirmation may be there before Redis's answer.
    pub(super) fn expect(&mut self, number: u64, ear: u64) {
        let (at, probes, payload) = (Instant::now(), self.probes, Vec::new());
        self.payloads.push_back(Sent { number, at, probes, ear, payload });
    }

    /// It was passed on. Answers it when nobody is left who could read it.
    pub(super) fn keep(&mut self, number: u64, payload: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_closed {
            self.forget(number);
            return Some(payload);
        }
        let sent = self.payloads.iter_mut().find(|sent| sent.number == number)?;
        self.bytes += payload.len();
        sent.payload = payload;
        while self.bytes > BYTES {
            self.pop();
        }
        None
    }

    /// It was not passed on, or nobody knows, or it has been read.
    pub(super) fn forget(&mut self, number: u64) {
        let Some(at) = self.payloads.iter().position(|sent| sent.number == number) else { return };
        let sent = self.payloads.remove(at);
        self.bytes -= sent.map_or(0, |sent| sent.payload.len());
    }

    /// The number of the oldest that may not have been read.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.payloads.front().map(|sent| sent.number)
    }

    /// The number of the oldest of which it is not known whether it was passed on.
    pub(super) fn oldest_unpassed(&self) -> Option<u64> {
        self.payloads.iter().find(|sent| sent.payload.is_empty()).map(|sent| sent.number)
    }

    /// Whether all has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Whether the peer should have confirmed something by now, and a probe is due.
    pub(super) fn wants_probe(&mut self) -> bool {
        let is_doubtful = self.payloads.front().is_some_and(|sent| sent.at.elapsed() >= DOUBT);
        let wants = is_doubtful && self.probed.is_none_or(|at| at.elapsed() >= PROBE_PERIOD);
        if wants {
            self.probed = Some(Instant::now());
        }
        wants
    }

    /// Counts a probe that was passed on, and takes out what was not read in spite of so many.
    pub(super) fn probed(&mut self, ear: u64) -> Vec<Vec<u8>> {
        self.probes += 1;
        let mut unread = Vec::new();
        while self.payloads.front().is_some_and(|sent| self.probes >= sent.probes + PROBES) {
            unread.extend(self.pop());
        }
        unread.into_iter().filter(|sent| sent.is_wanted(ear)).map(|sent| sent.payload).collect()
    }

    /// Takes out all, for the peer is no more; what is on its way to it comes back from
    /// [`Self::keep`].
    pub(super) fn close(&mut self, ear: u64) -> Vec<Vec<u8>> {
        self.is_closed = true;
        self.bytes = 0;
        let (all, on_its_way): (Vec<_>, _) =
            self.payloads.drain(..).partition(|sent| !sent.payload.is_empty());
        self.payloads = on_its_way.into();
        all.into_iter().filter(|sent| sent.is_wanted(ear)).map(|sent| sent.payload).collect()
    }

    fn pop(&mut self) -> Option<Sent> {
        let sent = self.payloads.pop_front()?;
        self.bytes -= sent.payload.len();
        Some(sent)
    }
}

impl Sent {
    /// Whether it is to be told again.
    fn is_wanted(&self, ear: u64) -> bool {
        self.ear == ear && self.at.elapsed() < FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(payloads: &[&[u8]]) -> (Unconfirmed, Vec<u64>) {
        let mut unconfirmed = Unconfirmed::default();
        let numbers: Vec<_> = (1..).take(payloads.len()).collect();
        for (number, payload) in numbers.iter().zip(payloads) {
            unconfirmed.expect(*number, 1);
            unconfirmed.keep(*number, payload.to_vec());
        }
        (unconfirmed, numbers)
    }

    #[test]
    fn what_is_read_is_forgotten_and_the_rest_given_back_in_order_after_enough_probes() {
        let (mut unconfirmed, numbers) = with(&[b"1", b"2", b"3"]);
        assert!((1..PROBES).all(|_| unconfirmed.probed(1).is_empty()));
        unconfirmed.forget(numbers[1]);
        unconfirmed.expect(4, 1);
        assert_eq!(unconfirmed.keep(4, b"4".to_vec()), None);
        assert_eq!(unconfirmed.oldest(), Some(numbers[0]));
        assert_eq!(unconfirmed.probed(1), [b"1", b"3"]);
        assert_eq!(unconfirmed.oldest(), Some(4));
        assert_eq!(unconfirmed.close(1), [b"4"]);
        assert_eq!((unconfirmed.bytes, unconfirmed.close(1).len()), (0, 0));
        unconfirmed.expect(5, 1);
        assert_eq!(unconfirmed.oldest_unpassed(), Some(5));
        assert_eq!(unconfirmed.keep(5, b"5".to_vec()), Some(b"5".to_vec()), "it is late");
        assert_eq!(unconfirmed.oldest(), None);
    }

    #[test]
    fn who_has_been_deaf_meanwhile_takes_silence_for_no_answer() {
        let (mut unconfirmed, _) = with(&[b"1"]);
        unconfirmed.expect(2, 2);
        assert_eq!(unconfirmed.keep(2, b"2".to_vec()), None);
        let unread: Vec<_> = (0..PROBES).flat_map(|_| unconfirmed.probed(2)).collect();
        assert_eq!(unread, [b"2"]);
    }

    #[test]
    fn a_confirmation_may_overtake_the_answer_to_what_it_confirms() {
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.expect(1, 1);
        unconfirmed.forget(1);
        unconfirmed.keep(1, b"1".to_vec());
        assert!(unconfirmed.close(1).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_to_be_known_by_its_id_is_not_told_again() {
        let (mut unconfirmed, _) = with(&[b"1"]);
        tokio::time::advance(FRESH).await;
        unconfirmed.expect(2, 1);
        assert_eq!(unconfirmed.keep(2, b"2".to_vec()), None);
        assert_eq!(unconfirmed.close(1), [b"2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_old_is_doubted() {
        let (mut unconfirmed, _) = with(&[b"1"]);
        assert!(!unconfirmed.wants_probe() && !Unconfirmed::default().wants_probe());
        tokio::time::advance(DOUBT).await;
        assert!(unconfirmed.wants_probe() && !unconfirmed.wants_probe(), "one at a time");
        tokio::time::advance(PROBE_PERIOD).await;
        assert!(unconfirmed.wants_probe());
    }

    #[test]
    fn no_more_is_kept_than_the_bound_allows() {
        let large = vec![0; BYTES / 3];
        let (mut unconfirmed, _) = with(&[&large, &large, &large, &large]);
        assert_eq!(unconfirmed.close(1).len(), 3);
    }
}
