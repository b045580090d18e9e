//! What comes back from peers: from who does not have the user, who is not heard, who knows of other
//! owners, who does not say that it has read it.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use moka::sync::Cache;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Keep, Letter, Router, Undelivered, route::Lanes};
use crate::{
    hub::Delivery,
    ids::{Epoch, MessageId, UserHash},
    relay::{Relay, Returned},
};

/// Messages remembered that have come back once, and how long: the second answer takes two trips to
/// the owner. One that is forgotten is told once more.
const AGAIN: u64 = 100_000;
const AGAIN_TTL: Duration = Duration::from_secs(10);

/// What has become of a message that came back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Its owner was told again.
    Told,
    /// Nobody had confirmed to have read it.
    Unconfirmed,
    /// Connections here have had it.
    Here,
}

/// Nothing has come back for this long: nothing is coming back.
const QUIET: Duration = Duration::from_secs(3);

/// Remembers them.
pub(super) fn again() -> Cache<MessageId, Again> {
    Cache::builder().max_capacity(AGAIN).time_to_live(AGAIN_TTL).build()
}

impl Router {
    /// Deals with what comes back from peers until `stop`.
    pub async fn run(&self, mut returned: mpsc::Receiver<Returned>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                returned = returned.recv() => match returned {
                    Some(returned) => {
                        self.take_back(returned).await;
                        self.shared.relay.iter().for_each(Relay::dealt_with);
                    }
                    None => return,
                },
                () = sleep(QUIET), if self.may_have_closed() => {
                    self.shared.has_closed.store(false, Ordering::Release);
                }
            }
        }
    }

    async fn take_back(&self, returned: Returned) {
        match returned {
            Returned::Unheard(epoch, letter) => {
                self.close_route(letter.user, &[epoch]);
                self.redirect(letter, Some(epoch)).await;
            }
            Returned::NotMine(letter) => {
                self.close_route(letter.user, &[letter.from]);
                self.redirect_from(letter.from, letter).await;
            }
            Returned::AlsoOwned(letter) => self.send_to_missing(letter),
            Returned::Unconfirmed(peer, letter) => {
                self.close_route(letter.user, &[peer]);
                self.tell_again(peer, letter).await;
            }
        }
    }

    /// `owner` did not have the user when it was told. If the store names it still, the user may
    /// have come there since, and read the mailbox before the message could be put into it: it is
    /// told again, once. Not what connections here have had: whoever goes there next would have it
    /// twice.
    async fn redirect_from(&self, owner: Epoch, letter: Letter) {
        // Before it is given to anybody: that would name the owner as one who has it too.
        self.shared.hub.remove_sibling(letter.user, owner);
        let is_here = self.give_here(letter.user, letter.mid, &letter.payload);
        if is_here || self.shared.again.contains_key(&letter.mid) {
            return self.redirect(letter, Some(owner)).await;
        }
        self.shared.again.insert(letter.mid, Again::Told);
        let epochs = letter.epochs.iter().copied().filter(|epoch| *epoch != owner).collect();
        self.redirect(Letter { epochs, ..letter }, None).await;
    }

    /// `deaf` does not have the user: whoever else was tried answers for itself. A message that
    /// connections here have had already goes to other owners, but is never kept.
    async fn redirect(&self, letter: Letter, deaf: Option<Epoch>) {
        deaf.iter().for_each(|deaf| self.shared.hub.remove_sibling(letter.user, *deaf));
        let me = self.shared.epoch.get();
        // What comes back from one's own inbox was not here, though the script named this owner.
        let was_given = self.shared.again.get(&letter.mid) == Some(Again::Here);
        let was_here = was_given || deaf != Some(me) && letter.epochs.contains(&me);
        let Letter { user, mid, payload: text, epochs: tried, .. } = letter;
        let mut silent = self.silent_among(&tried);
        silent.extend(deaf);
        let keep = if was_here { Keep::No } else { self.keep_of_known() };
        self.send_on(Undelivered { user, mid, text, tried, deaf: silent, keep }).await;
    }

    /// Tells whoever owns the user by now, but for those who answer for themselves. `silent` is not
    /// taken for deaf: it may have read it, and its word have been lost. Whoever has had the message
    /// knows it by its id.
    async fn tell_again(&self, silent: Epoch, letter: Letter) {
        if self.shared.again.get(&letter.mid) != Some(Again::Here) {
            self.shared.again.insert(letter.mid, Again::Unconfirmed);
        }
        let was_here = letter.epochs.contains(&self.shared.epoch.get());
        let keep = if was_here { Keep::No } else { self.keep_of_known() };
        let tried = letter.epochs.into_iter().filter(|epoch| *epoch != silent).collect();
        let message = Undelivered::new(letter.user, letter.mid, letter.payload, keep);
        self.send_on(Undelivered { tried, ..message }).await;
    }

    /// To all who have the user by now. Here at once: what is sent behind it is, too.
    async fn send_on(&self, mut message: Undelivered) {
        if self.give_here(message.user, message.mid, &message.text) {
            message.tried.push(self.shared.epoch.get());
            message.keep = Keep::No;
        }
        self.hold(message).await;
    }

    /// Whether connections here have it now.
    fn give_here(&self, user: UserHash, mid: MessageId, text: &Bytes) -> bool {
        let delivery = Delivery::named(mid, text.clone());
        let is_here = self.shared.hub.deliver_to_open(user, &delivery) > 0;
        if is_here {
            self.shared.again.insert(mid, Again::Here);
        }
        is_here
    }

    /// Those who will not answer: the dead, and who is not heard.
    pub(super) fn silent_among(&self, epochs: &[Epoch]) -> Vec<Epoch> {
        let dead = epochs.iter().copied().filter(|epoch| !self.shared.view.lives(*epoch));
        let deaf = self.shared.relay.iter().flat_map(|relay| relay.deaf_among(epochs));
        dead.chain(deaf).collect()
    }

    fn send_to_missing(&self, letter: Letter) {
        let Some(relay) = &self.shared.relay else { return };
        let Letter { user, mid, payload, epochs: missing, from: owner } = letter;
        let me = self.shared.epoch.get();
        let mut named = vec![owner];
        named.extend(missing.iter().copied().filter(|epoch| *epoch != me));
        let lanes: Lanes =
            missing.iter().filter(|epoch| **epoch != me).map(|epoch| relay.lane(*epoch)).collect();
        self.learn(user, &named);
        if missing.contains(&me) {
            let others = named.iter().copied();
            let delivery = Delivery::named(mid, payload.clone()).also_to(others);
            self.shared.hub.deliver(user, &delivery);
        }
        self.send(relay, &lanes, self.letter(user, mid, payload, named));
    }
}
