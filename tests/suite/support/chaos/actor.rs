//! One client of the crowd: it comes, talks, listens, goes, and comes again.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::{
    net::TcpStream,
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::HeaderValue,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    ledger::{Ledger, Parting},
    timeline::Timeline,
    verdict::{Check, Verdict},
};

/// Longer than the daemon's own bound on a handshake.
const WELCOME: Duration = Duration::from_secs(12);

/// How long a client waits for the end of a close handshake.
const GOODBYE: Duration = Duration::from_secs(8);

/// Between two tries to get in.
const RETRY: Duration = Duration::from_millis(300);

/// Every so many things said, one is the question for one's own id.
const ID_QUESTIONS: u64 = 20;

type Socket = WebSocketStream<TcpStream>;

/// An instance as clients see it.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// The number of its start.
    pub instance: usize,
    /// Its `app` listener.
    pub address: SocketAddr,
    /// Whether a client would choose it now: neither dead nor standing still.
    pub is_open: bool,
}

/// The instances now; cheap to clone.
#[derive(Clone, Default)]
pub struct Seats(Arc<Mutex<Vec<Seat>>>);

impl Seats {
    /// The one at a place.
    pub fn at(&self, at: usize) -> Seat {
        self.lock()[at]
    }

    /// Puts one at a place, or behind the last.
    pub fn put(&self, at: usize, seat: Seat) {
        let mut seats = self.lock();
        if at < seats.len() { seats[at] = seat } else { seats.push(seat) }
    }

    /// A client would choose it, or not any more.
    pub fn set_open(&self, at: usize, is_open: bool) {
        self.lock()[at].is_open = is_open;
    }

    fn any_open(&self, rng: &mut StdRng) -> Option<Seat> {
        let open: Vec<_> = self.lock().iter().filter(|seat| seat.is_open).copied().collect();
        open.choose(rng).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a client stays.
#[derive(Clone, Copy, Debug)]
pub enum Life {
    /// Until the story ends, or its instance; then it comes again.
    Stays,
    /// A while, in milliseconds, and away for a while.
    Comes {
        /// Shortest and longest stay.
        stay: (u64, u64),
        /// Shortest and longest absence.
        away: (u64, u64),
        /// One goodbye of so many is rude; 0: none.
        rude: u32,
    },
}

/// What a client does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who it is.
    pub user: &'static str,
    /// Which instance it goes to; `None`: any that is open.
    pub at: Option<usize>,
    /// How long it stays.
    pub life: Life,
    /// To whom it talks.
    pub to: Vec<&'static str>,
    /// Longest time between two things it says, in milliseconds.
    pub gap: u64,
}

/// One client.
pub struct Actor {
    /// What it does.
    pub plan: Plan,
    /// Its own dice.
    pub rng: StdRng,
    /// Where it may go.
    pub seats: Seats,
    /// What it reports to.
    pub ledger: Ledger,
    /// What it may complain about.
    pub timeline: Arc<Timeline>,
    /// Where it complains.
    pub verdict: Arc<Verdict>,
}

/// An open connection.
struct Visit {
    socket: Socket,
    guest: usize,
    instance: usize,
    id: String,
}

impl Actor {
    /// Dice of its own, from the story's seed.
    pub fn dice(seed: u64, number: u64) -> StdRng {
        StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number))
    }

    /// Lives until `stop`, and leaves politely then.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let visit = tokio::select! {
                () = stop.cancelled() => return,
                visit = self.arrive() => visit,
            };
            self.stay(visit, &stop).await;
            if stop.is_cancelled() {
                return;
            }
            if let Life::Comes { away, .. } = self.plan.life {
                let pause = self.between(away);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
            }
        }
    }

    /// Tries until it is let in.
    async fn arrive(&mut self) -> Visit {
        loop {
            let seat = match self.plan.at {
                Some(at) => Some(self.seats.at(at)).filter(|seat| seat.is_open),
                None => self.seats.any_open(&mut self.rng),
            };
            if let Some(seat) = seat
                && let Some(visit) = self.enter(seat).await
            {
                return visit;
            }
            sleep(RETRY).await;
        }
    }

    async fn enter(&self, seat: Seat) -> Option<Visit> {
        let began = Instant::now();
        let Seat { instance, address, .. } = seat;
        let opened = match timeout(WELCOME, connect(address, self.plan.user)).await {
            Ok(Ok(socket)) => Ok((socket, Instant::now())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer within {WELCOME:?}")),
        };
        let told = match opened {
            Ok((mut socket, at)) => {
                let asked = timeout(WELCOME, ask_id(&mut socket)).await;
                asked
                    .ok()
                    .flatten()
                    .map(|(id, texts)| (socket, at, id, texts))
                    .ok_or_else(|| "the connection ended before it had told its id".to_owned())
            }
            Err(error) => Err(error),
        };
        match told {
            Ok((socket, at, id, texts)) => {
                self.verdict.count(Check::Welcome, 1);
                let guest = self.ledger.open(self.plan.user, instance, id.clone(), at);
                texts.iter().for_each(|text| self.ledger.hear(guest, text));
                Some(Visit { socket, guest, instance, id })
            }
            Err(_) if self.timeline.is_troubled(instance, began, Instant::now()) => None,
            Err(error) => {
                let what = format!("{} is not let in by {instance}: {error}", self.plan.user);
                self.verdict.blame(Check::Welcome, what);
                None
            }
        }
    }

    async fn stay(&mut self, mut visit: Visit, stop: &CancellationToken) {
        let end = match self.plan.life {
            Life::Stays => None,
            Life::Comes { stay, .. } => Some(tokio::time::Instant::now() + self.between(stay)),
        };
        let mut next = tokio::time::Instant::now() + self.gap();
        let mut said = 0;
        loop {
            let far = tokio::time::Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                heard = visit.socket.next() => match heard {
                    Some(Ok(Message::Text(text))) => self.take(&visit, &text),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => return self.was_closed(&visit, other.as_ref()),
                },
                () = sleep_until(next) => {
                    said += 1;
                    if !self.speak(&mut visit, said).await {
                        // What it said last may still be there to be read.
                        let last = visit.socket.next().await;
                        return self.was_closed(&visit, last.as_ref());
                    }
                    next = tokio::time::Instant::now() + self.gap();
                }
                () = sleep_until(end.unwrap_or(far)) => return self.leave(visit).await,
                () = stop.cancelled() => return self.say_goodbye(visit).await,
            }
        }
    }

    fn take(&self, visit: &Visit, text: &str) {
        let Some(id) = id_of(text) else { return self.ledger.hear(visit.guest, text) };
        if id == visit.id {
            self.verdict.count(Check::Ids, 1);
        } else {
            let what = format!("{} is called {id} now", visit.id);
            self.verdict.blame(Check::Ids, what);
        }
    }

    async fn speak(&mut self, visit: &mut Visit, said: u64) -> bool {
        let text = if said % ID_QUESTIONS == 1 {
            "{}".to_owned()
        } else {
            let Some(to) = self.plan.to.choose(&mut self.rng) else { return true };
            let number = self.ledger.say(visit.guest, to);
            format!(r#"{{"action":"send","to":"{to}","message":{number}}}"#)
        };
        visit.socket.send(Message::text(text)).await.is_ok()
    }

    fn was_closed(&self, visit: &Visit, how: Option<&Result<Message, Error>>) {
        self.ledger.close(visit.guest, Parting::Theirs);
        let (is_dead, is_sent_away) =
            (self.timeline.is_dead(visit.instance), self.timeline.is_sending_away(visit.instance));
        let is_away = |frame: &CloseFrame| frame.code == CloseCode::Away;
        if let Some(Ok(Message::Close(Some(frame)))) = how
            && is_sent_away
            && is_away(frame)
        {
            return self.verdict.count(Check::Leaves, 1);
        }
        if !is_dead {
            let what = format!(
                "{} of {} on instance {} was closed: {how:?}",
                visit.id, self.plan.user, visit.instance
            );
            self.verdict.blame(Check::Sockets, what);
        }
    }

    async fn leave(&mut self, visit: Visit) {
        let Life::Comes { rude, .. } = self.plan.life else { return self.say_goodbye(visit).await };
        if rude == 0 || self.rng.random_range(0..rude) > 0 {
            return self.say_goodbye(visit).await;
        }
        self.verdict.count(Check::Sockets, 1);
        self.ledger.close(visit.guest, Parting::Rude);
        let stream = visit.socket.into_inner();
        if self.rng.random::<bool>() {
            let _ = stream.set_zero_linger();
        }
    }

    async fn say_goodbye(&self, mut visit: Visit) {
        self.verdict.count(Check::Sockets, 1);
        self.ledger.close(visit.guest, Parting::Polite);
        let listen = async {
            visit.socket.close(None).await.ok()?;
            loop {
                match visit.socket.next().await {
                    Some(Ok(Message::Text(text))) => self.take(&visit, &text),
                    Some(Ok(_)) => {}
                    // The server's close has come, and then the end.
                    None => return Some(()),
                    Some(Err(_)) => return None,
                }
            }
        };
        if timeout(GOODBYE, listen).await.ok().flatten().is_none() {
            // Its instance died or stood still meanwhile: nobody knows what was under way.
            self.ledger.close(visit.guest, Parting::Rude);
        }
    }

    fn gap(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(self.plan.gap / 4..=self.plan.gap))
    }

    fn between(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(self.rng.random_range(least..=most))
    }
}

async fn connect(address: SocketAddr, user: &str) -> Result<Socket, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut request = format!("ws://{address}/Dev").into_client_request().expect("a valid URL");
    let name = HeaderValue::from_bytes(user.as_bytes()).expect("a header value");
    request.headers_mut().insert("username", name);
    let (socket, _) = client_async(request, stream).await.map_err(|error| error.to_string())?;
    Ok(socket)
}

/// Says what is no action: the answer names the connection. Texts that came before it too.
async fn ask_id(socket: &mut Socket) -> Option<(String, Vec<String>)> {
    socket.send(Message::text("{}")).await.ok()?;
    let mut texts = Vec::new();
    loop {
        match socket.next().await?.ok()? {
            Message::Text(text) => match id_of(&text) {
                Some(id) => return Some((id, texts)),
                None => texts.push(text.to_string()),
            },
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn id_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(r#""connectionId":""#)?;
    Some(rest.split('"').next()?.to_owned())
}
