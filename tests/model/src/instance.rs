//! One daemon: its connections, what it knows of the others, and what it has under way.

use crate::{
    envelope::{Envelope, Letter},
    ids::{Device, Epoch, Mid, Number, Partition, User},
    map::{Map, Set},
    redis::{Claim, Claimed, HoldAnswer, HoldRequest, Release, Tag},
};

/// Whether it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It does.
    Running,
    /// SIGSTOP: what it has asked for still happens, and it notices nothing.
    Paused,
    /// SIGTERM: it lets its connections go.
    Stopping,
    /// It is no more.
    Ended,
}

/// How far a connection is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its claim, for this epoch, has been sent.
    Claiming(Epoch),
    /// Its session runs.
    Open,
    /// Its session lets it go.
    Leaving,
    /// The release was executed or given up; this has come since and is handed on, one by one.
    HandingOn(Vec<Delivery>),
}

/// A message in an outbox, and who else was given it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// Which message.
    pub mid: Mid,
    /// Whether it carries its mid: only what has crossed instances does, and only that can be
    /// told from a second copy in a mailbox.
    pub is_named: bool,
    /// The other epochs it was sent to.
    pub also: Set<Epoch>,
    /// The newest of the user's connections that were given it; `None`: only this one was.
    pub newest: Option<Number>,
    /// Whoever was given it was noted to have had it; not whoever was leaving already.
    pub is_noted: bool,
}

/// A script was executed for a connection, and this is on its way back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To `connect`.
    Connect(Claimed),
    /// To `disconnect`: what was not kept, because the user has other connections.
    Disconnect(Vec<Delivery>),
}

/// One connection on this instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Whose it is.
    pub user: User,
    /// What it is called.
    pub device: Device,
    /// How far it is.
    pub phase: Phase,
    /// It was told to close.
    pub ordered: bool,
    /// Under which epoch it is known, and since when.
    pub registration: Option<(Epoch, u64)>,
    /// `D` came for it before the answer to its claim: this is the tag that was displaced.
    pub displaced: Option<Tag>,
    /// Everybody was registered again while its claim was on its way: it must be, too.
    pub again: bool,
    /// What is on its way back.
    pub answer: Option<Answer>,
    /// What its client has not been given yet.
    pub queue: Vec<Delivery>,
    /// What its client has been given.
    pub written: Vec<Mid>,
    /// What was held for it when it connected.
    pub page: Vec<Mid>,
}

impl Connection {
    /// One that nobody knows of yet.
    pub fn new(user: User, device: Device, phase: Phase) -> Self {
        Self {
            user,
            device,
            phase,
            ordered: false,
            registration: None,
            displaced: None,
            again: false,
            answer: None,
            queue: Vec::new(),
            written: Vec::new(),
            page: Vec::new(),
        }
    }

    /// Not told to close and not leaving: `Outbox::push` takes a message.
    pub fn is_open(&self) -> bool {
        !self.ordered && matches!(self.phase, Phase::Claiming(_) | Phase::Open)
    }

    /// `is_claiming`
    pub fn is_claiming(&self) -> bool {
        matches!(self.phase, Phase::Claiming(_))
    }

    /// `is_leaving`
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving | Phase::HandingOn(_))
    }

    /// Still answers for what is in its queue: it will write it, or see that it is kept.
    pub fn answers_for_its_queue(&self) -> bool {
        !matches!(self.phase, Phase::HandingOn(_))
            && !matches!(self.answer, Some(Answer::Disconnect(_)))
    }

    /// `may_be_asserted`
    pub fn may_be_asserted(&self) -> bool {
        self.phase == Phase::Open
    }
}

/// A cached way to a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Its lanes.
    pub epochs: Set<Epoch>,
    /// A message came back over it: what is sent from now on waits behind all that will.
    pub is_closed: bool,
    /// An owner at its end has said *not mine*.
    pub is_hit: bool,
}

impl Route {
    /// A way to these.
    pub fn new(epochs: Set<Epoch>) -> Self {
        Self { epochs, is_closed: false, is_hit: false }
    }
}

/// `Again`: what has become of a message that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Again {
    /// This owner did not have the user, and may have been told again.
    Told(Epoch),
    /// Nobody had confirmed to have read it.
    Unconfirmed,
    /// Connections here have had it.
    Here,
}

/// The session of the sender waits for what comes back over a closed route: `Router::fall_in`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiting {
    /// With this message.
    pub mid: Mid,
    /// For what.
    pub until: Until,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Until {
    /// `Route::settled`: nothing of this is on its way to its peer any more.
    Settled(Set<(Epoch, Mid)>),
    /// `Relay::returns_dealt_with`: so many that have come back are still to be dealt with.
    DealtWith(usize),
}

/// What came back from a peer and waits for the router.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Returned {
    /// Nobody listened there.
    Unheard(Epoch, Letter),
    /// The user is not there.
    NotMine(Letter),
    /// It was delivered, and these should have it too.
    AlsoOwned(Letter),
    /// It was passed on to this peer, who does not say that it was read.
    Unconfirmed(Epoch, Letter),
}

/// Messages that were published together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload {
    /// By which it is confirmed.
    pub number: u8,
    /// What is in it.
    pub letters: Vec<Letter>,
}

/// Who waits for a `hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    /// The session of the sender here: it reads nothing more before that.
    Sender,
    /// The router, with what came back: one at a time.
    Router,
    /// A connection that hands on what came while it was leaving.
    Connection(Number),
}

/// A `hold` under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// What is asked.
    pub request: HoldRequest,
    /// What was answered, on its way back.
    pub answer: Option<HoldAnswer>,
}

/// Registering again, one after another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asserting {
    /// For whom.
    pub epoch: Epoch,
    /// Who is still to come.
    pub left: Vec<Number>,
    /// What was said for one of them, and what was answered, on its way back.
    pub answer: Option<(Claim, Claimed)>,
}

/// One daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// Whether it runs.
    pub status: Status,
    /// No packet comes from or to Redis.
    pub is_cut: bool,
    /// Who it is now.
    pub epoch: Epoch,
    /// Who it was when it was fenced, until it has joined again.
    pub before: Option<Epoch>,
    /// Whose inbox it reads; `None` while it subscribes.
    pub listening: Option<Epoch>,
    /// Its epoch is in the table, as far as it knows.
    pub joined: bool,
    /// `Lease::is_held`
    pub lease: bool,
    /// `View::fence`
    pub fenced: Option<Epoch>,
    /// `View::members`, and the peers whose counters it watches.
    pub members: Set<Epoch>,
    /// `View::gone`
    pub gone: Set<Epoch>,
    /// The next look is the first of a new epoch.
    pub is_new_view: bool,
    /// The dead whose share was taken up since the last change of view.
    pub buried: Set<Epoch>,
    /// Kills under way, with the counter that stood still.
    pub kills: Map<Epoch, u64>,
    /// Partitions to be reaped; the value says that the removal is done and the fence is missing
    /// (planted).
    pub reaping: Map<(Epoch, Partition), bool>,
    /// `Registrar::unsettled`
    pub unsettled: bool,
    /// The subscription is newer than what was registered last.
    pub is_newly_listening: bool,
    /// Registering again.
    pub asserting: Option<Asserting>,
    /// Releases that were not answered.
    pub lost: Vec<(Epoch, Release)>,
    /// `Recent`: releases that a replica which has fallen behind may not know.
    pub recent: Vec<(Epoch, Release)>,
    /// Users of whom the store may list connections that nobody here is.
    pub suspects: Set<User>,
    /// The hub: connections.
    pub connections: Map<Number, Connection>,
    /// The hub: who else owns a user of this instance.
    pub siblings: Map<User, Set<Epoch>>,
    /// The router's cache.
    pub routes: Map<User, Route>,
    /// Messages that came back.
    pub again: Map<Mid, Again>,
    /// Messages that a connection here had and has let go unread.
    pub let_go: Set<Mid>,
    /// The sender here, if it waits.
    pub waiting: Option<Waiting>,
    /// Lanes that nobody heard.
    pub deaf: Set<Epoch>,
    /// What waits to be published.
    pub lanes: Map<Epoch, Vec<Envelope>>,
    /// What scripts have published, to be confirmed with what waits: `Lane::follow`.
    pub told: Map<Epoch, Vec<Letter>>,
    /// What came back.
    pub returns: Vec<Returned>,
    /// Holds under way.
    pub calls: Map<By, Call>,
    /// What was published, by peer, and not confirmed.
    pub unconfirmed: Map<Epoch, Vec<Payload>>,
    /// The last payload's number.
    pub payloads: u8,
    /// `Seen`: what connections here have had from elsewhere; `None` if that is not looked at (planted).
    pub seen: Option<Set<(User, Mid)>>,
}

impl Instance {
    /// One that has joined and knows `members`.
    pub fn new(epoch: Epoch, members: Set<Epoch>) -> Self {
        Self {
            status: Status::Running,
            is_cut: false,
            epoch,
            before: None,
            listening: Some(epoch),
            joined: true,
            lease: true,
            fenced: None,
            members,
            gone: Set::default(),
            is_new_view: false,
            buried: Set::default(),
            kills: Map::default(),
            reaping: Map::default(),
            unsettled: false,
            is_newly_listening: false,
            asserting: None,
            lost: Vec::new(),
            recent: Vec::new(),
            suspects: Set::default(),
            connections: Map::default(),
            siblings: Map::default(),
            routes: Map::default(),
            again: Map::default(),
            let_go: Set::default(),
            waiting: None,
            deaf: Set::default(),
            lanes: Map::default(),
            told: Map::default(),
            returns: Vec::new(),
            calls: Map::default(),
            unconfirmed: Map::default(),
            payloads: 0,
            seen: Some(Set::default()),
        }
    }

    /// It does something of its own accord.
    pub fn runs(&self) -> bool {
        matches!(self.status, Status::Running | Status::Stopping)
    }

    /// It can talk to Redis.
    pub fn is_reached(&self) -> bool {
        self.runs() && !self.is_cut
    }

    /// `View::lives`
    pub fn believes_alive(&self, epoch: Epoch) -> bool {
        !self.gone.has(epoch)
    }

    /// The connections of a user here.
    pub fn of_user(&self, user: User) -> impl Iterator<Item = (Number, &Connection)> {
        self.connections.iter().filter(move |(_, one)| one.user == user)
    }

    /// A connection that is certain to be here.
    pub fn connection(&mut self, number: Number) -> &mut Connection {
        self.connections.get_mut(number).expect("an action names a connection that is there")
    }

    /// Puts an envelope on a lane.
    pub fn lane(&mut self, to: Epoch, envelope: Envelope) {
        self.lanes.or_default(to).push(envelope);
    }
}
