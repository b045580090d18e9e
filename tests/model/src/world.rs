//! All instances, their Redis, and the clients.

use std::sync::Arc;

use crate::{
    ids::{Device, Epoch, InstanceId, Mid, Number, User},
    instance::{Answer, Instance, Status},
    map::{Map, Set},
    redis::{Broken, Claimed, Redis},
    rules::{Bounds, Rules},
};

/// A message that some client sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Where its sender is.
    pub from: InstanceId,
    /// To whom.
    pub user: User,
    /// It has been said.
    pub sent: bool,
    /// Connections that were open and registered when it was said.
    pub due: Set<Number>,
    /// The fleet knew the user then: a connection, or a marker.
    pub known: bool,
    /// Connections that were open where all was well, also if nobody knew of them; only where what
    /// is published is confirmed.
    pub owed: Set<(Number, Epoch)>,
    /// What its sender has said to this user before, if some of that had come back by then.
    pub behind: Set<Mid>,
    /// Some client has it.
    pub reached: bool,
    /// How often it came back.
    pub returns: u8,
    /// To how many siblings it was sent by who had been claimed meanwhile.
    pub passed_on: u8,
    /// How often an owner named others who had not had it.
    pub widened: u8,
    /// A fault took it, and it was counted as a possible loss.
    pub lost: bool,
}

/// How much of the bounds has been used up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Used {
    /// Connections that clients closed.
    pub closes: u32,
    /// kill -9.
    pub crashes: u32,
    /// SIGSTOP.
    pub pauses: u32,
    /// Cut off.
    pub cuts: u32,
    /// FLUSHALL.
    pub flushes: u32,
    /// Failovers to a replica that had fallen behind.
    pub failovers: u32,
    /// SIGTERM.
    pub stops: u32,
    /// False suspicions.
    pub suspicions: u32,
}

impl Used {
    /// Faults of all kinds.
    pub fn faults(&self) -> u32 {
        self.crashes + self.pauses + self.cuts + self.flushes + self.failovers + self.suspicions
    }
}

/// Everything. Copies share what has not changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    redis: Arc<Redis>,
    /// What a replica holds that has fallen behind.
    pub replica: Option<Arc<Redis>>,
    instances: Vec<Arc<Instance>>,
    messages: Vec<Arc<Message>>,
    /// Connections made so far, by user and device of the bounds.
    pub opened: Map<(User, Device), u32>,
    /// The next connection's number.
    pub next_number: u32,
    /// The next epoch.
    pub next_epoch: u32,
    /// What has happened.
    pub used: Used,
}

impl World {
    /// Everybody has joined and nothing has happened.
    pub fn new(bounds: &Bounds) -> Self {
        let epochs: Set<Epoch> = (0..bounds.instances).map(Epoch).collect();
        let mut redis = Redis::default();
        for epoch in epochs.keys() {
            redis.join(epoch);
            redis.inboxes.or_default(epoch);
        }
        let instances = epochs.keys().map(|epoch| Arc::new(Instance::new(epoch, epochs.clone())));
        let messages = bounds.messages.iter().map(|(from, user)| {
            Arc::new(Message {
                from: *from,
                user: *user,
                sent: false,
                due: Set::default(),
                known: false,
                owed: Set::default(),
                behind: Set::default(),
                reached: false,
                returns: 0,
                passed_on: 0,
                widened: 0,
                lost: false,
            })
        });
        Self {
            redis: Arc::new(redis),
            replica: None,
            instances: instances.collect(),
            messages: messages.collect(),
            opened: Map::default(),
            next_number: 0,
            next_epoch: bounds.instances,
            used: Used::default(),
        }
    }

    /// Redis, to be looked at.
    pub fn peek_redis(&self) -> &Redis {
        &self.redis
    }

    /// Redis, to be changed.
    pub fn redis(&mut self) -> &mut Redis {
        Arc::make_mut(&mut self.redis)
    }

    /// A replica gets nothing of what is written from now on.
    pub fn fall_behind(&mut self) {
        let mut replica = Redis::clone(&self.redis);
        replica.inboxes.clear();
        replica.broken = Broken::default();
        self.replica = Some(Arc::new(replica));
    }

    /// An instance, to be looked at.
    pub fn peek(&self, at: InstanceId) -> &Instance {
        &self.instances[at.0 as usize]
    }

    /// An instance, to be changed.
    pub fn instance(&mut self, at: InstanceId) -> &mut Instance {
        Arc::make_mut(&mut self.instances[at.0 as usize])
    }

    /// Every instance.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        self.instances.iter().enumerate().map(|(at, one)| (InstanceId(at as u32), &**one))
    }

    /// A message, to be looked at.
    pub fn peek_message(&self, mid: Mid) -> &Message {
        &self.messages[mid.0 as usize]
    }

    /// A message, to be changed.
    pub fn message(&mut self, mid: Mid) -> &mut Message {
        Arc::make_mut(&mut self.messages[mid.0 as usize])
    }

    /// Every message.
    pub fn messages(&self) -> impl Iterator<Item = (Mid, &Message)> {
        self.messages.iter().enumerate().map(|(mid, one)| (Mid(mid as u32), &**one))
    }

    /// Notes who must get a message that is said now.
    pub fn note_sent(&mut self, rules: &Rules, mid: Mid) {
        let user = self.messages[mid.0 as usize].user;
        let due = self.owners_here(user).filter(|at| self.is_known_to_all(*at, user));
        let due = due.flat_map(|at| {
            let of_user = self.peek(at).of_user(user);
            of_user.filter(|(_, one)| one.is_open() && !one.is_claiming()).map(|(n, _)| n)
        });
        let due = due.collect();
        let known = self.redis.entries_of(user).next().is_some() || self.redis.markers.has(user);
        let owed = if rules.confirms { self.well_connected(user) } else { Set::default() };
        let message = self.message(mid);
        (message.sent, message.due, message.known) = (true, due, known);
        message.owed = owed;
    }

    /// Notes that this message must not overtake those before it.
    pub fn note_behind(&mut self, mid: Mid) {
        let Message { from, user, .. } = *self.messages[mid.0 as usize];
        let before =
            |(other, one): &(Mid, &Message)| *other < mid && one.from == from && one.user == user;
        let behind = self.messages().filter(before).map(|(other, _)| other).collect();
        self.message(mid).behind = behind;
    }

    /// The instances under whose present epoch the user is registered.
    fn owners_here(&self, user: User) -> impl Iterator<Item = InstanceId> {
        let owners = self.redis.owners(user);
        self.instances().filter(move |(_, one)| owners.has(one.epoch)).map(|(at, _)| at)
    }

    /// The others who have the user, if only somebody who is leaving, know of this one: until they have
    /// taken its `O`, a message that one of them delivers is as good as sent before this one connected.
    fn is_known_to_all(&self, at: InstanceId, user: User) -> bool {
        let epoch = self.peek(at).epoch;
        let has_user = |one: &Instance| one.of_user(user).any(|(_, one)| !one.is_claiming());
        let mut others = self.instances().filter(|(other, one)| *other != at && has_user(one));
        others.all(|(_, other)| other.siblings.get(user).is_some_and(|all| all.has(epoch)))
    }

    /// Notes that a fault took these.
    pub fn lose(&mut self, mids: &[Mid]) {
        for mid in mids {
            self.message(*mid).lost = true;
        }
    }

    /// A `since` that is younger than any of this device that anybody remembers.
    pub fn now(&self, user: User, device: Device) -> u64 {
        let entry = self.redis.entries.get((user, device)).map_or(0, |tag| tag.since);
        let connections = self.instances().flat_map(|(_, instance)| instance.of_user(user));
        let known = connections.filter(|(_, one)| one.device == device).map(|(_, one)| {
            let registered = one.registration.map_or(0, |(_, since)| since);
            let answered = match &one.answer {
                Some(Answer::Connect(Claimed::Registered(answer))) => answer.tag.since,
                _ => 0,
            };
            registered.max(answered)
        });
        known.max().unwrap_or(0).max(entry) + 1
    }

    /// A process is no more, and with it its sockets.
    pub fn end(&mut self, at: InstanceId) {
        let taken: Vec<Mid> = self.mids_within(at);
        self.lose(&taken);
        let instance = self.instance(at);
        let (epoch, listening) = (instance.epoch, instance.listening);
        let mut ended = Instance::new(epoch, Set::default());
        ended.status = Status::Ended;
        *instance = ended;
        if let Some(listening) = listening {
            self.redis().inboxes.take(listening);
        }
    }

    /// Messages that end with this process.
    fn mids_within(&self, at: InstanceId) -> Vec<Mid> {
        let instance = self.peek(at);
        let waiting = instance.connections.iter().flat_map(|(_, one)| one.queue.iter());
        let waiting = waiting.map(|one| one.mid);
        let calls = instance.calls.iter().map(|(_, call)| call.request.mid);
        let unconfirmed = instance.unconfirmed.iter().flat_map(|(_, all)| all);
        let unconfirmed = unconfirmed.flat_map(|payload| payload.letters.iter().map(|one| one.mid));
        waiting.chain(calls).chain(unconfirmed).chain(instance.mids_on_their_way()).collect()
    }
}
