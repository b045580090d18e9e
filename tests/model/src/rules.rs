//! What holds for one exploration: how far it goes, and which mistakes are planted.

use crate::ids::{InstanceId, Partition, User};

/// Mistakes that the protocol must not contain; each switch plants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// `disconnect` removes whatever stands in the field.
    ReleaseWithoutCompare,
    /// `connect` and `assert` do not look at the tombstone.
    NoTombstone,
    /// `reap` removes first, and fences in a second step.
    ReapBeforeFence,
    /// `connect` does not tell the connection it replaces.
    NoDisplacement,
    /// `assert` replaces a connection that is younger.
    ReassertDisplacesYounger,
    /// `kill` does not compare the counter.
    KillWithoutCompare,
    /// After a fence an instance joins again under the epoch it had.
    JoinReusesEpoch,
    /// A fenced instance goes on as if nothing had happened.
    FencedGoesOn,
    /// A route stays though its owner said *not mine*.
    RouteSurvivesNotMine,
    /// An owner does not know who else owns its user.
    OwnerForgetsSiblings,
    /// What is held is read in a step after the registration.
    HoldReadAfterRegister,
    /// A closing connection's messages are not kept.
    UnwrittenNotKept,
    /// An owner that does not have the user drops the message without a word.
    NotMineUnsaid,
    /// `prune` leaves the user in the index of the epoch (as it once did).
    PruneKeepsIndex,
    /// Who is being claimed while all are registered again is left out (as it once was).
    ClaimingLeftOut,
    /// An owner does not name the sender among those who own the user too (as it once did not).
    SenderNotNamed,
    /// What was published to the sender's own inbox counts as delivered there (as it once did).
    OwnInboxCountsAsHere,
    /// A stopping instance leaves what is in its inbox unread.
    InboxLeftUnread,
    /// `D` for a connection whose claim has not been answered is dropped.
    DisplacedWhileClaiming,
    /// What a closing connection has not written is dropped when the user has another (as it
    /// once was).
    UnwrittenDroppedIfOthers,
    /// A release is remembered when it is answered, which may be after a failover that has lost it (as
    /// it once was).
    ReleaseRememberedLate,
    /// What nobody confirms is forgotten.
    UnconfirmedForgotten,
    /// What only a leaving connection was given counts as not had when it is kept, also by who was
    /// given a copy since (as it once did).
    ForgottenThoughHad,
    /// What is told again is not known by its id.
    ToldAgainUnknown,
    /// A route that leads nowhere is closed, and nobody waits for what is on its way back.
    NobodyWaits,
    /// What comes while a connection is being claimed is not passed on to its siblings (as it once was
    /// not).
    ArrivedNotPassedOn,
    /// Whoever is given a second copy of a message names others again (as it once did).
    CopiesAnswered,
    /// Whoever has said that the user is not there, and has not had the message, is taken for one who has
    /// when another says so (as it once was).
    NoIsForgotten,
    /// A sibling is forgotten when the router comes to what has come back, not when that is read (as it
    /// once was).
    SiblingForgottenLate,
}

/// How users are spread.
#[derive(Clone, Debug)]
pub enum Partitions {
    /// By number.
    Modulo(u32),
    /// As a recording says.
    Table(Vec<Partition>),
}

/// What the scripts need to know.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How users are spread.
    pub partitions: Partitions,
    /// What is planted.
    pub bug: Option<Bug>,
    /// Whether what is published between instances is to be confirmed.
    pub confirms: bool,
}

impl Rules {
    /// With nothing planted.
    pub fn new(partitions: Partitions) -> Self {
        Self { partitions, bug: None, confirms: false }
    }

    /// Whether this mistake is planted.
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Where a user lives.
    pub fn partition(&self, user: User) -> Partition {
        match &self.partitions {
            Partitions::Modulo(count) => Partition(user.0 % count),
            Partitions::Table(table) => table[user.0 as usize],
        }
    }

    /// Every partition.
    pub fn all_partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        let count = match &self.partitions {
            Partitions::Modulo(count) => *count,
            Partitions::Table(_) => 0,
        };
        (0..count).map(Partition)
    }
}

/// How far an exploration goes.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Daemons.
    pub instances: u32,
    /// Users.
    pub users: u32,
    /// Devices of each user.
    pub devices: u32,
    /// Whether a device keeps its name when it connects again (fleet.v1), or every connection is
    /// a device of its own (classic).
    pub stable_devices: bool,
    /// Connections that each device makes, one after another or at once.
    pub connects: u32,
    /// Connections that clients close of their own will.
    pub closes: u32,
    /// From which instance to which user, in the order of the mids.
    pub messages: Vec<(InstanceId, User)>,
    /// kill -9.
    pub crashes: u32,
    /// SIGSTOP, and SIGCONT at any later time.
    pub pauses: u32,
    /// An instance is cut off from Redis, and not any more at any later time.
    pub cuts: u32,
    /// FLUSHALL.
    pub flushes: u32,
    /// A replica falls behind, and takes over at any later time.
    pub failovers: u32,
    /// SIGTERM.
    pub stops: u32,
    /// Faults of all kinds together.
    pub faults: u32,
    /// Whether a member may be thought dead that is only slow, and beats again before the kill.
    pub false_suspicion: bool,
    /// Whether nobody connects where a message is sent from.
    pub apart: bool,
    /// Whether what is published between instances is confirmed, or told again. Then the story
    /// begins with the first user at the second instance, and the first instance knows a way there.
    pub confirms: bool,
}

impl Bounds {
    /// Whether messages come in order: while their user moves once, to where they are not sent from.
    pub fn has_order(&self) -> bool {
        self.apart && self.closes <= 1
    }

    /// Nothing happens.
    pub fn new(instances: u32, users: u32, devices: u32) -> Self {
        Self {
            instances,
            users,
            devices,
            stable_devices: false,
            connects: 1,
            closes: 0,
            messages: Vec::new(),
            crashes: 0,
            pauses: 0,
            cuts: 0,
            flushes: 0,
            failovers: 0,
            stops: 0,
            faults: u32::MAX,
            false_suspicion: false,
            apart: false,
            confirms: false,
        }
    }
}
