//! Saying what has been read, and noticing who does not.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{Envelope, Relay, unconfirmed::PROBE_PERIOD};
use crate::ids::Epoch;

/// Between two rounds: the first payload is confirmed at once, what is read soon after it together.
/// The shorter, the less is told twice when a peer falls silent that has read it.
const PERIOD: Duration = Duration::from_millis(100);

/// Payloads read from one source in a period that are confirmed to it; more take the
/// slow path once too often, which its copies' ids make good.
const MOST: usize = 4096;

/// What is to be confirmed, and when the next round is due.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// A std lock: held to add or to take.
    state: Mutex<State>,
    call: Notify,
}

/// Where payloads came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source {
    /// Whose inbox they were in: one's own, or that of who one was before a fence.
    reader: Epoch,
    /// Who sent them.
    peer: Epoch,
    /// In which stripe.
    stripe: u16,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers of payloads.
    read: HashMap<Source, Vec<u64>>,
    due: Option<Instant>,
    /// The last round.
    last: Option<Instant>,
}

impl Receipts {
    /// There is something to look after in so long a time.
    pub(super) fn set_due(&self, within: Duration) {
        let mut state = self.state();
        let at = Instant::now() + within;
        let at = state.last.map_or(at, |last| at.max(last + PERIOD));
        if state.due.is_none_or(|due| at < due) {
            state.due = Some(at);
            self.call.notify_one();
        }
    }

    /// Waits until a round is due: for ever while nothing is on its way. Cancel-safe, and not put
    /// off by being begun again.
    pub(super) async fn due(&self) {
        loop {
            let (due, called) = (self.state().due, self.call.notified());
            match due {
                Some(due) => tokio::select! {
                    () = sleep_until(due) => return,
                    () = called => {}
                },
                None => called.await,
            }
        }
    }

    /// Whether a round is due.
    pub(super) fn is_due(&self) -> bool {
        self.state().due.is_some_and(|due| due <= Instant::now())
    }

    fn note(&self, source: Source, number: u64) {
        let mut state = self.state();
        let numbers = state.read.entry(source).or_default();
        if numbers.len() < MOST {
            numbers.push(number);
        }
        drop(state);
        self.set_due(Duration::ZERO);
    }

    fn take(&self) -> HashMap<Source, Vec<u64>> {
        let mut state = self.state();
        (state.due, state.last) = (None, Some(Instant::now()));
        std::mem::take(&mut state.read)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// A payload of `peer`'s in the inbox of `reader` was read, with all that is in it.
    pub(super) fn note_receipt(&self, reader: Epoch, peer: Epoch, stripe: u16, number: u64) {
        self.shared.receipts.note(Source { reader, peer, stripe }, number);
    }

    /// `peer` has read these.
    pub(super) fn confirm(&self, peer: Epoch, numbers: &[u64]) {
        let Some(lane) = self.lanes().get(&peer).cloned() else { return };
        numbers.iter().for_each(|number| lane.unconfirmed().forget(*number));
        lane.note_progress();
    }

    /// Confirms what was read, and probes the lanes of those who do not.
    pub(super) fn settle_receipts(&self) {
        for (Source { reader, peer, stripe }, numbers) in self.shared.receipts.take() {
            // Behind what there was to say about them. One that finds no room is as good as one that
            // was lost.
            self.send_in(&self.lane(peer), &Envelope::Confirmed(reader, numbers), stripe);
        }
        let lanes: Vec<_> = self.lanes().values().cloned().collect();
        for lane in lanes {
            if lane.unconfirmed().wants_probe() {
                self.send(&lane, &Envelope::Probe("unconfirmed".to_owned()));
            }
            if !lane.unconfirmed().is_empty() {
                self.shared.receipts.set_due(PROBE_PERIOD);
            }
        }
    }
}
