//! What must always hold, what must hold once all is quiet, and what must be seen to happen.

use stateright::Property;

use crate::{
    envelope::Envelope,
    explore::Explored,
    ids::{Epoch, Mid, Number, User},
    instance::{Answer, Connection, Delivery, Instance, Phase, Returned, Status},
    map::Set,
    redis::{Claimed, Tag},
    world::{Message, World},
};

/// Every property.
pub fn all() -> Vec<Property<Explored>> {
    vec![
        always(LATE_WRITE, has_nothing_behind_tombstones),
        always(WRONG_RELEASE, |_, world| !world.peek_redis().broken.wrong_release),
        always(YOUNGER, |_, world| !world.peek_redis().broken.younger_displaced),
        always(KILLED, |_, world| !world.peek_redis().broken.living_killed),
        always(ONE_OWNER, |_, world| has_one_owner(world)),
        always(TWICE, |_, world| connections(world).all(|(_, _, one)| is_once(one))),
        always(HELD_FIRST, |_, world| connections(world).all(|(_, _, one)| has_page(one))),
        always(ORDER, |model, world| !model.bounds.has_order() || is_in_order(world)),
        always(ONE_HOP, |_, world| takes_one_hop(world)),
        always(ONCE_EACH, |_, world| rests(world)),
        always(GHOST, |model, world| has_no_ghost(world) || !model.is_quiet(world)),
        always(KNOWN, |model, world| is_known(world) || !model.is_quiet(world)),
        always(INDEX, |model, world| has_index(world) || !model.is_quiet(world)),
        always(SIBLINGS, |model, world| has_siblings(world) || !model.is_quiet(world)),
        always(DELIVERED, |model, world| is_delivered(world) || !model.is_quiet(world)),
        always(CONFIRMED, |model, world| is_confirmed(world) || !model.is_quiet(world)),
        always(ROUTE, |model, world| has_no_hit_route(world) || !model.is_quiet(world)),
        sometimes(seen::HAND_OVER, |_, world| {
            connections(world).any(|(_, _, one)| !one.page.is_empty())
        }),
        sometimes(seen::FENCE, |model, world| {
            instances(world).any(|one| one.joined && one.epoch.0 >= model.bounds.instances)
        }),
        sometimes(seen::REAP, |_, world| !world.peek_redis().tombstones.is_empty()),
        sometimes(seen::STALE_ROUTE, |_, world| {
            returned(world, |back| matches!(back, Returned::NotMine(_)))
        }),
        sometimes(seen::DEAF, |_, world| {
            returned(world, |back| matches!(back, Returned::Unheard(..)))
        }),
        sometimes(seen::ALSO_OWNED, |_, world| {
            returned(world, |back| matches!(back, Returned::AlsoOwned(_)))
        }),
        sometimes(seen::TOLD_AGAIN, |_, world| {
            returned(world, |back| matches!(back, Returned::Unconfirmed(..)))
        }),
        sometimes(seen::WAIT, |_, world| instances(world).any(|one| one.waiting.is_some())),
        sometimes(seen::LATE_WRITE, |_, world| {
            let fenced = Some(Answer::Connect(Claimed::Fenced));
            connections(world).any(|(_, _, one)| one.answer == fenced)
        }),
        sometimes(seen::DISPLACED, |_, world| {
            let mut inboxes = world.peek_redis().inboxes.iter();
            inboxes.any(|(_, all)| all.iter().any(|one| matches!(one, Envelope::Displaced(..))))
        }),
        sometimes(seen::REGISTERED_AGAIN, |_, world| {
            instances(world).any(|one| one.asserting.is_some())
        }),
        sometimes(seen::QUIET, |model, world| {
            world.messages().all(|(_, one)| one.sent)
                && connections(world).next().is_some()
                && model.is_quiet(world)
        }),
    ]
}

type Condition = fn(&Explored, &World) -> bool;

fn always(name: &'static str, condition: Condition) -> Property<Explored> {
    Property::always(name, condition)
}

fn sometimes(name: &'static str, condition: Condition) -> Property<Explored> {
    Property::sometimes(name, condition)
}

/// No write by a fenced epoch after its tombstone (I7).
pub const LATE_WRITE: &str = "behind a tombstone stands nothing, and nothing is written";
/// I8.
pub const WRONG_RELEASE: &str = "the release of one connection never removes another";
/// Change 3.
pub const YOUNGER: &str = "a connection never takes the place of a younger one";
/// Change 10.
pub const KILLED: &str = "who has beaten since it was suspected is not killed";
/// I9, at every moment.
pub const ONE_OWNER: &str = "a connection has at most one live owner";
/// None is delivered twice.
pub const TWICE: &str = "no message is given to a connection twice";
/// The hand-over.
pub const HELD_FIRST: &str = "what was held is given first and in order";
/// A sender's messages to a user who moves elsewhere, while nothing fails.
pub const ORDER: &str = "what came back is not overtaken by what is said after it";
/// A stale route costs a hop, and so does a stale sibling, once for whoever sends to it.
pub const ONE_HOP: &str = "a message comes back at most twice for each move of its user";
/// What owners answer comes to an end.
pub const ONCE_EACH: &str = "an owner names others who lack a message once";
/// I5.
pub const GHOST: &str = "when all is quiet no entry is a ghost";
/// I4.
pub const KNOWN: &str = "when all is quiet every open connection is registered";
/// I6.
pub const INDEX: &str = "when all is quiet an index lists exactly its epoch's users";
/// Change 1. One too many may be left when an answer and an envelope cross: it costs a hop.
pub const SIBLINGS: &str = "when all is quiet an owner knows all its siblings";
/// Nothing is lost while nothing fails.
pub const DELIVERED: &str = "without a fault every message is delivered or held";
/// A stale route to an instance that hears nothing costs time, never a message.
pub const CONFIRMED: &str =
    "what a silent peer was sent reaches who is connected where all is well";
/// Change 1: a route is corrected by its owner's answer.
pub const ROUTE: &str = "when all is quiet no route is open over which a message came back";

/// What an exploration must have seen, or it proves nothing.
pub mod seen {
    /// A message was held, and read by the next connect.
    pub const HAND_OVER: &str = "sometimes a message is handed over";
    /// An instance was fenced and has joined again.
    pub const FENCE: &str = "sometimes an instance comes back under a new epoch";
    /// An epoch was reaped.
    pub const REAP: &str = "sometimes an epoch is reaped";
    /// A route led to who did not have the user any more.
    pub const STALE_ROUTE: &str = "sometimes a stale route is taken";
    /// An inbox was heard by nobody.
    pub const DEAF: &str = "sometimes nobody hears an inbox";
    /// An owner named another.
    pub const ALSO_OWNED: &str = "sometimes an owner names another";
    /// What a peer did not confirm was told again.
    pub const TOLD_AGAIN: &str = "sometimes what nobody confirms is told again";
    /// A sender waits for what is coming back.
    pub const WAIT: &str = "sometimes a sender waits behind a closed route";
    /// A claim met its epoch's tombstone.
    pub const LATE_WRITE: &str = "sometimes a late write is refused";
    /// A connection was replaced by one elsewhere.
    pub const DISPLACED: &str = "sometimes a connection is displaced";
    /// Connections were registered again.
    pub const REGISTERED_AGAIN: &str = "sometimes connections are registered again";
    /// The end of the story is reached.
    pub const QUIET: &str = "sometimes all is said and all is quiet";
}

fn instances(world: &World) -> impl Iterator<Item = &Instance> {
    world.instances().map(|(_, one)| one).filter(|one| one.status != Status::Ended)
}

fn connections(world: &World) -> impl Iterator<Item = (&Instance, Number, &Connection)> {
    let all = instances(world);
    all.flat_map(|instance| instance.connections.iter().map(move |(n, one)| (instance, n, one)))
}

fn returned(world: &World, is_meant: impl Fn(&Returned) -> bool) -> bool {
    instances(world).any(|one| one.returns.iter().any(&is_meant))
}

fn tag_of(number: Number, one: &Connection) -> Option<Tag> {
    one.registration.map(|(epoch, since)| Tag { epoch, number, since })
}

/// Whoever holds a device that another has taken over is told, or about to be told.
fn has_one_owner(world: &World) -> bool {
    let redis = world.peek_redis();
    let mut numbers: Vec<_> = redis.entries.iter().map(|(_, tag)| tag.number).collect();
    numbers.sort_unstable();
    let is_single = numbers.windows(2).all(|pair| pair[0] != pair[1]);
    let is_told = |number, one: &Connection| {
        let Some(tag) = tag_of(number, one) else { return true };
        let entry = redis.entries.get((one.user, one.device));
        let told = |envelope: &Envelope| matches!(envelope, Envelope::Displaced(_, _, displaced) if *displaced == tag);
        let is_on_its_way = || {
            redis.inboxes.get(tag.epoch).is_some_and(|inbox| inbox.iter().any(told))
                || connections(world).any(|(_, _, other)| names(other, tag))
        };
        entry.is_none_or(|entry| *entry == tag) || is_on_its_way()
    };
    is_single
        && (world.used.faults() > 0
            || connections(world)
                .filter(|(_, _, one)| one.phase == Phase::Open && !one.ordered)
                .all(|(_, number, one)| is_told(number, one)))
}

/// Whether a connect is on its way back that names this one as displaced.
fn names(one: &Connection, tag: Tag) -> bool {
    matches!(&one.answer, Some(Answer::Connect(Claimed::Registered(answer))) if answer.old == Some(tag))
}

fn has_nothing_behind_tombstones(model: &Explored, world: &World) -> bool {
    let redis = world.peek_redis();
    let mut entries = redis.entries.iter().map(|((user, _), tag)| (*tag, user));
    let is_behind =
        |(tag, user): (Tag, User)| redis.tombstones.has((tag.epoch, model.rules.partition(user)));
    !redis.broken.late_write && !entries.any(is_behind)
}

fn given(one: &Connection) -> Vec<Mid> {
    one.written.iter().copied().chain(one.queue.iter().map(|one| one.mid)).collect()
}

/// What waits at a leaving connection by its id is not written there, and known by who is told of it.
fn is_once(one: &Connection) -> bool {
    let waits = |waiting: &&Delivery| !(one.is_leaving() && waiting.is_named);
    let waiting = one.queue.iter().filter(waits).map(|waiting| waiting.mid);
    let given: Vec<Mid> = one.written.iter().copied().chain(waiting).collect();
    let distinct: Set<Mid> = given.iter().copied().collect();
    distinct.len() == given.len()
}

fn has_page(one: &Connection) -> bool {
    one.phase != Phase::Open || given(one).starts_with(&one.page)
}

fn is_in_order(world: &World) -> bool {
    world.used.faults() > 0 || connections(world).all(|(_, _, one)| has_in_order(world, one))
}

/// What was held goes first, also before what came while the connection was being claimed.
fn has_in_order(world: &World, one: &Connection) -> bool {
    let given = given(one).into_iter().filter(|mid| !one.page.contains(mid)).collect::<Vec<_>>();
    let mut pairs = given
        .iter()
        .enumerate()
        .flat_map(|(place, first)| given[place..].iter().map(|then| (*first, *then)));
    pairs.all(|(first, then)| !world.peek_message(first).behind.has(then))
}

fn takes_one_hop(world: &World) -> bool {
    let moves = world.used.closes + world.used.faults();
    let is_few = |one: &Message| u32::from(one.returns) <= 2 * moves + u32::from(one.passed_on);
    world.used.stops > 0 || world.messages().all(|(_, one)| is_few(one))
}

/// Each epoch that there has been may have named others once.
fn rests(world: &World) -> bool {
    world.messages().all(|(_, one)| u32::from(one.widened) <= world.next_epoch)
}

fn has_no_ghost(world: &World) -> bool {
    world.peek_redis().entries.iter().all(|(_, tag)| {
        connections(world).any(|(instance, number, one)| {
            instance.epoch == tag.epoch && tag_of(number, one) == Some(*tag)
        })
    })
}

fn is_known(world: &World) -> bool {
    connections(world).all(|(instance, number, one)| {
        let entry = world.peek_redis().entries.get((one.user, one.device)).copied();
        entry.is_some_and(|tag| tag.epoch == instance.epoch && tag.number == number)
            && tag_of(number, one) == entry
    })
}

fn has_index(world: &World) -> bool {
    let users: Set<(Epoch, User)> =
        connections(world).map(|(instance, _, one)| (instance.epoch, one.user)).collect();
    world.peek_redis().index == users
}

fn has_siblings(world: &World) -> bool {
    connections(world).all(|(instance, _, one)| {
        let mut others = world.peek_redis().owners(one.user);
        others.remove(instance.epoch);
        let known = instance.siblings.get(one.user).cloned().unwrap_or_default();
        others.keys().all(|other| known.has(other))
    })
}

fn is_delivered(world: &World) -> bool {
    if world.used.faults() > 0 {
        return true;
    }
    let has = |number: Number, mid: Mid| {
        let here = connections(world).find(|(_, other, _)| *other == number);
        here.is_none_or(|(_, _, one)| one.written.contains(&mid))
    };
    world.messages().filter(|(_, one)| one.sent && !one.lost).all(|(mid, one)| {
        one.due.keys().all(|number| has(number, mid))
            && (!one.known || one.reached || is_held(world, one.user, mid))
    })
}

fn is_held(world: &World, user: User, mid: Mid) -> bool {
    let (marker, mailbox) =
        (world.peek_redis().markers.get(user), world.peek_redis().mailboxes.get(user));
    marker.zip(mailbox).is_some_and(|(marker, mailbox)| {
        mailbox.entries.iter().any(|(seq, held)| seq > marker && *held == mid)
    })
}

/// Where instances stand still or die, and nothing else fails. Whoever has been fenced since is excused.
fn is_confirmed(world: &World) -> bool {
    let is_left = |(number, epoch): (Number, Epoch)| {
        connections(world).any(|(instance, other, _)| other == number && instance.epoch == epoch)
    };
    world.used.faults() > world.used.pauses + world.used.crashes
        || world.messages().filter(|(_, one)| one.sent && !one.lost).all(|(mid, one)| {
            one.reached || is_held(world, one.user, mid) || !one.owed.keys().any(is_left)
        })
}

fn has_no_hit_route(world: &World) -> bool {
    instances(world).all(|one| one.routes.iter().all(|(_, route)| route.is_closed || !route.is_hit))
}
