//! The one task that publishes.
//!
//! It sends what all lanes have, waits for the answer, and sends what has gathered meanwhile. The
//! answer matters: how many heard each payload is the first sign that a peer is gone.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Lane, Relay, Returned,
    envelope::{Envelope, Envelopes},
    lane::Payload,
    unconfirmed::PROBE_PERIOD,
};
use crate::{
    ids::Epoch,
    lifecycle::Heart,
    redis::{Fault, Parcel},
};

/// Payloads in one round trip: at most 1 MiB, so that no round delays the next for long.
const ROUND: usize = 64;

impl Relay {
    /// Publishes until `stop`, then once more what is left; `heart` beats with every round.
    pub async fn write(&self, heart: Heart, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.shared.wake.notified() => self.write_all(&heart).await,
                () = self.shared.receipts.due() => self.settle_receipts(),
                () = heart.rest() => {}
                () = stop.cancelled() => return self.write_all(&heart).await,
            }
        }
    }

    async fn write_all(&self, heart: &Heart) {
        loop {
            heart.beat();
            // Before the lanes are looked at: nothing is ever in neither.
            self.shared.is_writing.store(true, Ordering::Release);
            let round = self.take_round();
            if round.is_empty() {
                return self.shared.is_writing.store(false, Ordering::Release);
            }
            self.write_round(round).await;
            // Whoever always has something to say must say what it has read, too.
            if self.shared.receipts.is_due() {
                self.settle_receipts();
            }
        }
    }

    /// One payload of each lane that has any, in turn.
    fn take_round(&self) -> Vec<(Arc<Lane>, Payload)> {
        let lanes = std::mem::take(&mut *self.listed());
        let ear = self.ear();
        let mut round = Vec::with_capacity(lanes.len().min(ROUND));
        let (mut skipped, mut again) = (Vec::new(), Vec::new());
        for lane in lanes {
            if round.len() == ROUND {
                skipped.push(lane);
                continue;
            }
            let (payload, more) = lane.take(ear);
            round.extend(payload.map(|payload| (lane.clone(), payload)));
            if more {
                again.push(lane);
            }
        }
        let mut listed = self.listed();
        skipped.append(&mut listed);
        skipped.append(&mut again);
        *listed = skipped;
        drop(listed);
        round
    }

    async fn write_round(&self, round: Vec<(Arc<Lane>, Payload)>) {
        let (sent, batch): (Vec<_>, Vec<_>) =
            round.into_iter().map(|(lane, payload)| self.seal(lane, payload)).unzip();
        let published = self.shared.redis.publish(&batch).await;
        let mut unknown = Vec::new();
        for ((sent, parcel), heard) in sent.iter().zip(batch).zip(published.heard) {
            match heard {
                Some(heard) => self.judge(sent, sent.all_told(parcel.payload), heard),
                None => {
                    sent.forget();
                    unknown.push(parcel.payload);
                }
            }
            sent.lane.note_published();
            if sent.may_be_settled(heard) {
                sent.lane.note_progress();
            }
        }
        if let Some(fault) = published.fault {
            self.lose(unknown, &fault);
        }
    }

    /// Asks for its confirmation, if it has messages in it.
    fn seal(&self, lane: Arc<Lane>, payload: Payload) -> (Sent, Parcel) {
        let Payload { number, stripe, bytes: mut payload, told, delivers, probes, .. } = payload;
        let number = delivers.then_some(number);
        if let Some(number) = number {
            Envelope::Confirm(self.shared.epoch.get(), number).print(&mut payload);
            self.shared.receipts.set_due(PROBE_PERIOD);
        }
        let parcel = Parcel { to: lane.epoch(), stripe, payload };
        (Sent { lane, number, told, probes }, parcel)
    }

    fn judge(&self, sent: &Sent, payload: Vec<u8>, heard: i64) {
        let Sent { lane, number, probes, .. } = sent;
        lane.set_deaf(heard == 0);
        if heard == 0 {
            for letter in letters(payload) {
                // Now: who is heard again tells of its users anew, perhaps before the router is here.
                self.shared.hub.remove_sibling(letter.user, lane.epoch());
                self.give_back(Returned::Unheard(lane.epoch(), letter));
            }
            return sent.forget();
        }
        // Given back before anyone can see that it is not on its way any more.
        let mut unconfirmed = lane.unconfirmed();
        if let Some(number) = number {
            let late = unconfirmed.keep(*number, payload);
            self.give_back_unread(lane.epoch(), late.into_iter().collect());
        }
        if *probes {
            self.give_back_unread(lane.epoch(), unconfirmed.probed(self.ear()));
        }
    }

    /// Gives back the messages in what a peer does not confirm to have read.
    pub(super) fn give_back_unread(&self, peer: Epoch, payloads: Vec<Vec<u8>>) {
        for letter in payloads.into_iter().flat_map(letters) {
            self.give_back(Returned::Unconfirmed(peer, letter));
        }
    }

    /// Whether Redis passed these on is unknown, so they are not sent again: a classic client has
    /// no way to tell a second copy.
    fn lose(&self, payloads: Vec<Vec<u8>>, fault: &Fault) {
        let lost = payloads.into_iter().map(|payload| letters(payload).count() as u64).sum::<u64>();
        self.shared.losses.unanswered.fetch_add(lost, Ordering::Relaxed);
        debug!("{lost} messages to peers may be lost: {fault}");
    }
}

/// A payload on its way to Redis.
struct Sent {
    lane: Arc<Lane>,
    /// By which it will be confirmed, if it has messages in it.
    number: Option<u64>,
    /// Messages that were published before.
    told: Vec<u8>,
    probes: bool,
}

impl Sent {
    /// All that its reader confirms with it, in the order in which it was published.
    fn all_told(&self, payload: Vec<u8>) -> Vec<u8> {
        if self.told.is_empty() {
            return payload;
        }
        let (format, said) = payload.split_at(1);
        [format, &self.told, said].concat()
    }

    /// Whether who waits for the lane may have waited for this: not if it is to be confirmed now.
    fn may_be_settled(&self, heard: Option<i64>) -> bool {
        heard.is_none_or(|heard| heard == 0)
            || self.number.is_none()
            || self.probes
            || self.lane.is_deaf()
    }

    /// Nobody will confirm it.
    fn forget(&self) {
        if let Some(number) = self.number {
            self.lane.unconfirmed().forget(number);
        }
    }
}

fn letters(payload: Vec<u8>) -> impl Iterator<Item = super::Letter> {
    let envelopes = Envelopes::read(Bytes::from(payload)).into_iter().flatten();
    envelopes.filter_map(|envelope| match envelope {
        Envelope::Deliver(letter) => Some(letter),
        _ => None,
    })
}
