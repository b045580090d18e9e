//! What comes back from peers: from who does not have the user, who is not heard, who knows of other
//! owners, who does not say that it has read it.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use moka::sync::Cache;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
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
    /// This owner did not have the user, and may have been told again.
    Told(Epoch),
    /// Nobody had confirmed to have read it.
    Unconfirmed,
    /// Connections here have had it.
    Here,
}

/// Remembers them.
pub(super) fn remembered<T: Clone + Send + Sync + 'static>() -> Cache<MessageId, T> {
    Cache::builder().max_capacity(AGAIN).time_to_live(AGAIN_TTL).build()
}

impl Router {
    /// Deals with what comes back from peers until `stop`.
    pub async fn run(&self, mut returned: mpsc::Receiver<Returned>, stop: CancellationToken) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = seconds.tick() => drop(self.shared.now.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    async fn take_back(&self, returned: Returned) {
        match returned {
            Returned::Unheard(epoch, letter) => {
                self.close_route(letter.user, &[epoch]);
                self.redirect(self.but_who_said_no(letter), Some(epoch)).await;
            }
            Returned::NotMine(letter) => {
                self.close_route(letter.user, &[letter.from]);
                self.redirect_from(letter.from, self.but_who_said_no(letter)).await;
            }
            Returned::AlsoOwned(letter) => self.send_to_missing(letter),
            Returned::Unconfirmed(peer, letter) => {
                self.close_route(letter.user, &[peer]);
                self.tell_again(peer, self.but_who_said_no(letter)).await;
            }
        }
    }

    /// `owner` did not have the user when it was told. If the store names it still, the user may
    /// have come there since, and read the mailbox before the message could be put into it: it is
    /// told again, once. Not what connections here have had: whoever goes there next would have it
    /// twice.
    async fn redirect_from(&self, owner: Epoch, letter: Letter) {
        let is_here = self.had_here(&letter, Some(owner))
            || self.give_here(letter.user, letter.mid, &letter.payload);
        if is_here || self.shared.again.contains_key(&letter.mid) {
            return self.redirect(letter, Some(owner)).await;
        }
        self.shared.again.insert(letter.mid, Again::Told(owner));
        self.redirect(letter.but(owner), None).await;
    }

    /// Without who has said before that the user is not there: it will not answer once more, may have
    /// the user by now, and, if it was this instance, had nobody who was given it.
    fn but_who_said_no(&self, letter: Letter) -> Letter {
        match self.shared.again.get(&letter.mid) {
            Some(Again::Told(first)) => letter.but(first),
            _ => letter,
        }
    }

    /// `deaf` does not have the user: whoever else was tried answers for itself. A message that
    /// connections here have had already goes to other owners, but is never kept.
    async fn redirect(&self, letter: Letter, deaf: Option<Epoch>) {
        let was_here = self.had_here(&letter, deaf);
        let Letter { user, mid, payload: text, epochs: tried, .. } = letter;
        let mut silent = self.silent_among(&tried);
        silent.extend(deaf);
        let keep = if was_here { Keep::No } else { self.keep_of_known() };
        self.send_on(Undelivered { user, mid, text, tried, deaf: silent, keep }).await;
    }

    /// Whether connections here had it, and none of them has let it go unread. What comes back from
    /// one's own inbox was not here, though the script named this owner.
    fn had_here(&self, letter: &Letter, back_from: Option<Epoch>) -> bool {
        let me = self.shared.epoch.get();
        let was_given = self.shared.again.get(&letter.mid) == Some(Again::Here);
        let was_sent = back_from != Some(me) && letter.epochs.contains(&me);
        (was_given || was_sent) && !self.shared.let_go.contains_key(&letter.mid)
    }

    /// Tells whoever owns the user by now, but for those who answer for themselves. `silent` is not
    /// taken for deaf: it may have read it, and its word have been lost. Whoever has had the message
    /// knows it by its id.
    async fn tell_again(&self, silent: Epoch, letter: Letter) {
        if self.shared.again.get(&letter.mid) != Some(Again::Here) {
            self.shared.again.insert(letter.mid, Again::Unconfirmed);
        }
        let was_here = self.had_here(&letter, Some(silent));
        let keep = if was_here { Keep::No } else { self.keep_of_known() };
        let Letter { user, mid, payload, epochs: tried, .. } = letter.but(silent);
        self.send_on(Undelivered { tried, ..Undelivered::new(user, mid, payload, keep) }).await;
    }

    /// To all who have the user by now. Here at once: what is sent behind it is, too.
    async fn send_on(&self, mut message: Undelivered) {
        let me = self.shared.epoch.get();
        // What was sent here, too, is not given here again: its id may be forgotten by now.
        let was_here = message.tried.contains(&me) && !message.deaf.contains(&me);
        if !was_here && self.give_here(message.user, message.mid, &message.text) {
            message.tried.push(me);
            message.keep = Keep::No;
        }
        self.hold(message).await;
    }

    /// Whether connections here have it now.
    fn give_here(&self, user: UserHash, mid: MessageId, text: &Bytes) -> bool {
        let delivery = Delivery::named(mid, text.clone());
        let is_here = self.shared.hub.deliver_to_claimed(user, &delivery) > 0;
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

    /// `owner` has it, and says who has not.
    fn send_to_missing(&self, letter: Letter) {
        let Some(relay) = &self.shared.relay else { return };
        let Letter { user, mid, payload, epochs: missing, from: owner } = letter;
        let me = self.shared.epoch.get();
        let mut named = vec![owner];
        named.extend(missing.iter().copied().filter(|epoch| *epoch != me));
        let lanes: Lanes =
            missing.iter().filter(|epoch| **epoch != me).map(|epoch| relay.lane(*epoch)).collect();
        if missing.contains(&me) {
            let others = named.iter().copied();
            let delivery = Delivery::named(mid, payload.clone()).also_to(others);
            self.shared.hub.deliver(user, &delivery);
        }
        self.send_copies(relay, &lanes, self.letter(user, mid, payload, named.clone()));
        // Behind it, and besides those who are known already: the owner has named none of these.
        let known = self.shared.routes.get(&user);
        named.extend(known.iter().flat_map(|route| route.lanes().iter().map(|lane| lane.epoch())));
        named.sort_unstable();
        named.dedup();
        self.learn(user, &named);
    }
}
