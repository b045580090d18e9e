//! The one task that listens to this instance's inbox.
//!
//! It owns its connection to Redis and dials again, for ever, when that one breaks, falls silent,
//! or the instance takes another epoch. Silence is told from quiet by a probe to one's own inbox.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Letter, Relay, Returned,
    envelope::{Envelope, Envelopes, FORMAT},
};
use crate::{
    hub::Delivery,
    ids::{Epoch, UserHash},
    protocol::close::Close,
    redis::{Subscriber, SubscriberEvent},
};

/// Nothing heard for this long: probe (COORDINATION §4.4).
const QUIET: Duration = Duration::from_secs(5);

/// The probe not back within this: dial again.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// Between two tries to subscribe.
const PAUSE: Duration = Duration::from_millis(200);

impl Relay {
    /// Listens until `stop`.
    pub async fn read(&self, stop: CancellationToken) {
        let mut epochs = self.shared.epoch.watch();
        let mut number = 0;
        loop {
            let epoch = *epochs.borrow_and_update();
            let channel = self.shared.redis.keys().channel(epoch);
            match self.shared.redis.subscribe(&[channel]).await {
                Ok(subscriber) => {
                    number += 1;
                    self.shared.subscribed.send_replace((Some(epoch), number));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        _ = epochs.changed() => {}
                        () = self.listen(epoch, subscriber) => {}
                    }
                    self.shared.subscribed.send_replace((None, number));
                }
                Err(fault) => debug!("cannot subscribe: {fault}"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Hands on what is heard until the connection is no good any more.
    async fn listen(&self, epoch: Epoch, mut subscriber: Subscriber) {
        let (heard, hears) = tokio::sync::watch::channel(Instant::now());
        let hear = async {
            loop {
                match subscriber.next().await {
                    Ok(SubscriberEvent::Message(payload)) => {
                        heard.send_replace(Instant::now());
                        self.open(epoch, payload.into());
                    }
                    Ok(SubscriberEvent::Other) => {}
                    Err(error) => return debug!("the subscription broke: {error}"),
                }
            }
        };
        tokio::select! {
            () = hear => {}
            () = self.probe(epoch, hears) => {
                warn!("the subscription has fallen silent; dialling again");
            }
        }
    }

    /// Returns when a probe has not come back.
    async fn probe(&self, epoch: Epoch, mut hears: tokio::sync::watch::Receiver<Instant>) {
        loop {
            let last = *hears.borrow_and_update();
            tokio::time::sleep_until(last + QUIET).await;
            if *hears.borrow() != last {
                continue;
            }
            let mut probe = vec![FORMAT];
            Envelope::Probe("quiet".to_owned()).print(&mut probe);
            let channel = self.shared.redis.keys().channel(epoch);
            if self.shared.redis.publish(&[(channel, probe)]).await.is_err() {
                // Without a way out nothing can be learnt about the way in.
                sleep(PROBE_WAIT).await;
            } else if timeout(PROBE_WAIT, hears.changed()).await.is_err() {
                return;
            }
        }
    }

    fn open(&self, epoch: Epoch, payload: Bytes) {
        let Some(mut envelopes) = Envelopes::read(payload) else {
            self.shared.counters.unknown.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut count = 0;
        for envelope in envelopes.by_ref() {
            count += 1;
            self.take(epoch, envelope);
        }
        self.shared.counters.received.fetch_add(count, Ordering::Relaxed);
        self.shared.counters.unknown.fetch_add(envelopes.unknown, Ordering::Relaxed);
    }

    fn take(&self, epoch: Epoch, envelope: Envelope) {
        let hub = &self.shared.hub;
        match envelope {
            Envelope::Deliver(letter) => self.deliver(epoch, letter),
            Envelope::NotMine(letter) => self.give_back(Returned::NotMine(letter)),
            Envelope::AlsoOwned(letter) => self.give_back(Returned::AlsoOwned(letter)),
            Envelope::OwnerAdded(user, owner) => hub.add_sibling(user, owner),
            Envelope::OwnerGone(user, owner) => hub.remove_sibling(user, owner),
            Envelope::Displaced { user, device, tag } => self.displace(user, &device, &tag),
            Envelope::Revoked(user, numbers) => self.dismiss(user, &numbers, Close::Policy),
            Envelope::Kicked(user, numbers) => self.dismiss(user, &numbers, Close::Normal),
            Envelope::Probe(_) => {}
        }
    }

    fn deliver(&self, epoch: Epoch, mut letter: Letter) {
        let delivery = Delivery { mid: Some(letter.mid), text: letter.payload.clone() };
        let local = self.shared.hub.deliver(letter.user, &delivery);
        let back = letter.from;
        letter.from = epoch;
        if !local.known {
            return self.answer(back, &Envelope::NotMine(letter));
        }
        let unnamed = local.siblings.iter().filter(|s| **s != back && !letter.epochs.contains(s));
        let missing: Vec<_> = unnamed.copied().collect();
        if !missing.is_empty() {
            letter.epochs = missing;
            self.answer(back, &Envelope::AlsoOwned(letter));
        }
    }

    fn answer(&self, to: Epoch, envelope: &Envelope) {
        if !self.send(&self.lane(to), envelope) {
            self.shared.counters.lost.fetch_add(1, Ordering::Relaxed);
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
    /// not close the new one.
    fn displace(&self, user: UserHash, device: &str, tag: &str) {
        for connection in self.shared.hub.of_user(user) {
            let known = connection
                .registration()
                .map(|r| format!("@{}.{}.{}", r.epoch, connection.number(), r.since));
            if connection.device() == device && known.as_deref() == Some(tag) {
                info!(
                    conn.id = %connection.id(),
                    "connection {} was displaced by a newer one",
                    connection.id()
                );
                connection.outbox().order(Close::Displaced);
            }
        }
    }
}
