//! The one task that listens to this instance's inbox.
//!
//! The inbox keeps its own connections; this takes another when the instance takes another epoch,
//! and tells whoever asks since when what is published in a partition has been heard.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, trace};

use super::{
    Letter, Relay, Returned,
    envelope::{Envelope, Envelopes, FORMAT},
};
use crate::{
    hub::Delivery,
    ids::{Epoch, UserHash},
    lifecycle::Heart,
    protocol::close::Close,
    redis::InboxEvent,
    telemetry::events::TRACE,
};

impl Relay {
    /// Listens until `stop`, or until it was closed and all was read; `heart` is beaten meanwhile.
    pub async fn read(&self, heart: Heart, stop: CancellationToken) {
        let mut epochs = self.shared.epoch.watch();
        loop {
            let epoch = *epochs.borrow_and_update();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = epochs.changed() => {}
                () = self.listen(epoch) => return self.shared.closed.cancel(),
                () = rest(&heart) => {}
            }
        }
    }

    /// Hands on what is heard, until all of it has been heard.
    async fn listen(&self, epoch: Epoch) {
        let (redis, listening) = (&self.shared.redis, &self.shared.listening);
        listening.send_modify(|all| all.begin(epoch, redis.keys().inboxes()));
        let closing = self.shared.closing.clone();
        let mut inbox = redis.inbox(epoch, probe()).until(closing);
        loop {
            match inbox.next().await {
                InboxEvent::Message(place, payload) => self.open(epoch, place, payload.into()),
                InboxEvent::Hears(place) => listening.send_modify(|all| all.hears(place)),
                InboxEvent::Deaf(place) => listening.send_modify(|all| all.is_deaf(place)),
                InboxEvent::Closed => return,
            }
        }
    }

    /// `place` is where it was heard.
    fn open(&self, epoch: Epoch, place: u16, payload: Bytes) {
        let Some(mut envelopes) = Envelopes::read(payload) else {
            self.shared.counters.unknown.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut count = 0;
        for envelope in envelopes.by_ref() {
            count += 1;
            self.take(epoch, place, envelope);
        }
        self.shared.counters.received.fetch_add(count, Ordering::Relaxed);
        self.shared.counters.unknown.fetch_add(envelopes.unknown, Ordering::Relaxed);
    }

    fn take(&self, epoch: Epoch, place: u16, envelope: Envelope) {
        let hub = &self.shared.hub;
        match envelope {
            Envelope::Deliver(letter) => self.deliver(epoch, letter),
            Envelope::NotMine(letter) => {
                // Now, in its place among what tells of owners: the router may be long busy.
                hub.remove_sibling(letter.user, letter.from);
                self.give_back(Returned::NotMine(letter));
            }
            Envelope::AlsoOwned(letter) => self.give_back(Returned::AlsoOwned(letter)),
            Envelope::OwnerAdded(user, owner) => hub.add_sibling(user, owner),
            Envelope::OwnerGone(user, owner) => hub.remove_sibling(user, owner),
            Envelope::Displaced { user, device, tag } => self.displace(epoch, user, &device, &tag),
            Envelope::Revoked(user, numbers) => self.dismiss(user, &numbers, Close::Policy),
            Envelope::Kicked(user, numbers) => self.dismiss(user, &numbers, Close::Normal),
            Envelope::Probe(_) => {}
            Envelope::Confirm(peer, number) => {
                let stripe = self.shared.redis.stripe_of(place);
                self.note_receipt(epoch, peer, stripe, number);
            }
            Envelope::Confirmed(peer, numbers) => self.confirm(peer, &numbers),
        }
    }

    fn deliver(&self, epoch: Epoch, mut letter: Letter) {
        let others = letter.epochs.iter().copied().filter(|other| *other != epoch);
        let delivery = Delivery::named(letter.mid, letter.payload.clone()).also_to(others);
        let local = self.shared.hub.deliver(letter.user, &delivery);
        let (user, mid, taken) = (letter.user, letter.mid, local.delivered);
        trace!(target: TRACE, "deliver epoch={epoch} user={user} mid={mid} taken={taken}");
        let back = letter.from;
        letter.from = epoch;
        if !local.known {
            return self.answer(back, &Envelope::NotMine(letter));
        }
        // The first copy has been answered. Each answer brings another copy, which names fewer: with
        // three owners they would go round for ever.
        if local.had {
            return;
        }
        // The sender too: if it has the user by now and did not name itself, nobody there had it.
        let unnamed = local.siblings.iter().filter(|sibling| !letter.epochs.contains(sibling));
        let missing: Vec<_> = unnamed.copied().collect();
        if !missing.is_empty() {
            letter.epochs = missing;
            self.answer(back, &Envelope::AlsoOwned(letter));
        }
    }

    fn answer(&self, to: Epoch, envelope: &Envelope) {
        if !self.send(&self.lane(to), envelope) {
            self.shared.losses.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Closes those that were registered when it was said, and those whose registration is not
    /// answered yet, for they may have been.
    fn dismiss(&self, user: UserHash, numbers: &[u64], close: Close) {
        for connection in self.shared.hub.of_user(user) {
            if numbers.contains(&connection.number()) || connection.registration().is_none() {
                let id = connection.id();
                info!(conn.id = %id, "connection {id} is closed on a peer's word: {}", close.reason());
                connection.outbox().order(close);
            }
        }
    }

    /// Acts only where user, device and tag all match: a late note about an old connection must
    /// not close the new one. One whose registration is not answered yet has no tag to compare;
    /// its number says enough, for it never repeats.
    fn displace(&self, epoch: Epoch, user: UserHash, device: &str, tag: &str) {
        for connection in self.shared.hub.of_user(user) {
            let number = connection.number();
            let is_named = match connection.registration() {
                Some(known) => tag == format!("@{}.{number}.{}", known.epoch, known.since),
                None => tag.starts_with(&format!("@{epoch}.{number}.")),
            };
            if connection.device() == device && is_named {
                debug!(
                    conn.id = %connection.id(),
                    "connection {} was displaced by a newer one",
                    connection.id()
                );
                connection.outbox().order(Close::Displaced);
            }
        }
    }
}

/// Beats for ever: the inbox must not be begun anew for it.
async fn rest(heart: &Heart) {
    loop {
        heart.rest().await;
    }
}

/// What is said to one's own inbox to learn whether it is heard.
fn probe() -> Vec<u8> {
    let mut probe = vec![FORMAT];
    Envelope::Probe("quiet".to_owned()).print(&mut probe);
    probe
}
