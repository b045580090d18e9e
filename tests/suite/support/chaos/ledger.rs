//! Who said what to whom, who heard it, and whether that is as it should be.
//!
//! A message carries its number and nothing else, so that whatever a client hears can be looked
//! up. What must hold is demanded only where the [`Timeline`] knows no excuse: a third instance in
//! trouble is none.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    timeline::Timeline,
    verdict::{Check, Verdict},
};

/// A message that is not heard within this is lost.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// How long a message may be on its way while its recipient says goodbye.
const PROMPT: Duration = Duration::from_millis(2500);

/// How long after its client has vanished an instance may still take it for there.
const LINGER: Duration = Duration::from_secs(3);

/// How long after a user's last goodbye a message must still be held; the window is 30 s, and its
/// edges are nobody's business.
const WINDOW: Duration = Duration::from_secs(22);

/// While a user's connections come and go, order is not promised.
const MOVING: Duration = Duration::from_secs(2);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// With a close handshake, every text heard until its end.
    Polite,
    /// The client vanished, with or without a FIN: what was under way may be lost.
    Rude,
    /// The server, or the network, closed it.
    Theirs,
}

/// One connection of the crowd.
#[derive(Debug)]
pub struct Guest {
    /// Whose it is.
    pub user: &'static str,
    /// The instance, by the number of its start.
    pub instance: usize,
    /// As the server calls it.
    pub id: String,
    /// When the 101 had come.
    pub opened: Instant,
    /// When its end began.
    pub closed: Option<(Instant, Parting)>,
    heard: HashSet<usize>,
    /// The last heard of each sender's connection.
    last: HashMap<usize, usize>,
}

#[derive(Debug)]
struct Message {
    from: usize,
    to: &'static str,
    sent: Instant,
    is_heard: bool,
}

#[derive(Default)]
struct Book {
    guests: Vec<Guest>,
    of_user: HashMap<&'static str, Vec<usize>>,
    messages: Vec<Message>,
    /// Not judged yet, oldest first.
    pending: VecDeque<usize>,
    /// Nobody was there all the time: judged again when the window is over.
    held: VecDeque<usize>,
}

/// The book of all connections and messages; cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    /// A std lock, held for a look.
    book: Arc<Mutex<Book>>,
    timeline: Arc<Timeline>,
    verdict: Arc<Verdict>,
}

impl Ledger {
    /// An empty one.
    pub fn new(timeline: Arc<Timeline>, verdict: Arc<Verdict>) -> Self {
        Self { book: Arc::default(), timeline, verdict }
    }

    /// A connection has been opened; its number.
    pub fn open(&self, user: &'static str, instance: usize, id: String, opened: Instant) -> usize {
        let mut book = self.book();
        let guest = Guest {
            user,
            instance,
            id,
            opened,
            closed: None,
            heard: HashSet::new(),
            last: HashMap::new(),
        };
        book.guests.push(guest);
        let number = book.guests.len() - 1;
        book.of_user.entry(user).or_default().push(number);
        number
    }

    /// A connection ends; said again, that it ended otherwise than was thought.
    pub fn close(&self, guest: usize, parting: Parting) {
        let closed = &mut self.book().guests[guest].closed;
        let began = closed.map_or_else(Instant::now, |(at, _)| at);
        *closed = Some((began, parting));
    }

    /// A message is about to be sent; its number.
    pub fn say(&self, from: usize, to: &'static str) -> usize {
        let mut book = self.book();
        book.messages.push(Message { from, to, sent: Instant::now(), is_heard: false });
        let number = book.messages.len() - 1;
        book.pending.push_back(number);
        number
    }

    /// A connection has heard a text.
    pub fn hear(&self, guest: usize, text: &str) {
        let mut book = self.book();
        let number = text.parse::<usize>().ok().filter(|number| *number < book.messages.len());
        let Some(number) = number else {
            return self.verdict.blame(Check::Once, format!("nobody has said {text:?}"));
        };
        let Book { guests, messages, of_user, .. } = &mut *book;
        let (message, hearer) = (&mut messages[number], &mut guests[guest]);
        message.is_heard = true;
        let (sender, user) = (message.from, hearer.user);
        if message.to != user {
            let what = format!("{user} heard what was said to {}", message.to);
            return self.verdict.blame(Check::Once, what);
        }
        if !hearer.heard.insert(number) {
            let what = format!("{user} heard message {number} twice on {}", hearer.id);
            return self.verdict.blame(Check::Once, what);
        }
        self.verdict.count(Check::Once, 1);
        let last = hearer.last.entry(sender).or_insert(number);
        let (earlier, later) = (number.min(*last), number.max(*last));
        let is_late = number < *last;
        *last = later;
        let here = hearer.instance;
        if earlier == later {
            return;
        }
        let (from, now) = (messages[earlier].sent, Instant::now());
        let mut places = vec![guests[sender].instance, here];
        places.extend(
            of_user[user].iter().map(|one| &guests[*one]).filter_map(|one| {
                one.closed.is_none_or(|(at, _)| at >= from).then_some(one.instance)
            }),
        );
        let is_moving = of_user[user].iter().map(|one| &guests[*one]).any(|one| {
            let is_near = |at: Instant| at + MOVING >= from;
            is_near(one.opened) || one.closed.is_some_and(|(at, _)| is_near(at))
        });
        if is_moving || !self.timeline.is_calm(&places, from, now) {
            return;
        }
        if is_late {
            let what = format!(
                "{user} on {} heard {number} after {later}, both from {} on {}",
                guests[guest].id, guests[sender].user, guests[sender].id
            );
            self.verdict.blame(Check::Order, what);
        } else {
            self.verdict.count(Check::Order, 1);
        }
    }

    /// Judges every message whose time is over.
    pub fn judge(&self) {
        let (mut book, now) = (self.book(), Instant::now());
        while let Some(number) = book.pending.front().copied() {
            if now.duration_since(book.messages[number].sent) < PATIENCE {
                break;
            }
            book.pending.pop_front();
            self.judge_send(&mut book, number);
        }
        while let Some(number) = book.held.front().copied() {
            if now.duration_since(book.messages[number].sent) < WINDOW + PATIENCE {
                break;
            }
            book.held.pop_front();
            self.judge_handover(&book, number);
        }
    }

    /// Looks at the book.
    pub fn look<T>(&self, look: impl FnOnce(&[Guest]) -> T) -> T {
        look(&self.book().guests)
    }

    /// Messages said so far.
    pub fn said(&self) -> usize {
        self.book().messages.len()
    }

    /// Everyone who was there all the time must have heard it.
    fn judge_send(&self, book: &mut Book, number: usize) {
        let message = &book.messages[number];
        let (sender, from) = (&book.guests[message.from], message.sent);
        let to = from + PATIENCE;
        // What a client says while it vanishes may not even have left its machine.
        if sender.closed.is_some_and(|(at, how)| how != Parting::Polite && at <= to) {
            return;
        }
        let mut is_there = false;
        for guest in book.of_user.get(message.to).into_iter().flatten() {
            let guest = &book.guests[*guest];
            // Who leaves in good order hears all that was on its way to them before.
            let is_gone = |(at, how)| at <= from + PROMPT || how != Parting::Polite && at <= to;
            if guest.opened > from || guest.closed.is_some_and(is_gone) {
                continue;
            }
            is_there = true;
            if !self.timeline.is_calm(&[sender.instance, guest.instance], from, to) {
                continue;
            }
            if guest.heard.contains(&number) {
                self.verdict.count(Check::Sends, 1);
            } else {
                let what = format!(
                    "message {number} of {} on {} was not heard by {} on {} (instances {} and {})",
                    sender.user, sender.id, guest.user, guest.id, sender.instance, guest.instance
                );
                self.verdict.blame(Check::Sends, what);
            }
        }
        if !is_there {
            book.held.push_back(number);
        }
    }

    /// Who had left in good order and came back in time must have heard it, on some connection.
    fn judge_handover(&self, book: &Book, number: usize) {
        let message = &book.messages[number];
        let (sender, sent) = (&book.guests[message.from], message.sent);
        let guests =
            || book.of_user.get(message.to).into_iter().flatten().map(|g| &book.guests[*g]);
        let goodbyes = guests()
            .filter(|guest| guest.opened <= sent)
            .filter_map(|guest| guest.closed.map(|(at, _)| at));
        let Some(left) = goodbyes.max() else { return };
        let hellos = guests().map(|guest| guest.opened).filter(|at| *at > left.max(sent));
        let Some(back) = hellos.min().filter(|back| *back < left + WINDOW) else { return };
        // Whoever may have been given it: there when it was said, or among the first to come back.
        let may_have = |guest: &&Guest| {
            let was_here = guest.closed.is_none_or(|(at, _)| at + LINGER >= sent);
            was_here && guest.opened <= back + PROMPT
        };
        // Who went without a word may have taken it along.
        let is_good = |guest: &Guest| {
            guest.closed.is_none_or(|(at, how)| how == Parting::Polite || at > back + PATIENCE)
        };
        let mut places: Vec<_> = guests().filter(may_have).map(|guest| guest.instance).collect();
        places.push(sender.instance);
        // Whoever was left last had to say so.
        let was_left_last = |guest: &&Guest| guest.closed.is_some_and(|(at, _)| at == left);
        places.extend(guests().filter(was_left_last).map(|guest| guest.instance));
        let is_calm = self.timeline.is_calm(&places, left.min(sent), back + PATIENCE);
        if sent > left + WINDOW || !guests().filter(may_have).all(is_good) || !is_calm {
            return;
        }
        if message.is_heard {
            self.verdict.count(Check::Handover, 1);
        } else {
            let what = format!(
                "message {number} of {} on {} to {}, who was away for {:.2?} around it, was never heard",
                sender.user,
                sender.id,
                message.to,
                back.duration_since(left)
            );
            self.verdict.blame(Check::Handover, what);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
