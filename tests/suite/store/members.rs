//! Who is a member: joined, alive, killed only by whoever saw it last, gone.

use wsfleetd::{
    ids::{Epoch, Origin},
    store::{Beat, Joined, Member, Schemas},
};

use super::{Desk, contract, policy};

contract!(
    members_see_each_other_beat,
    who_leaves_is_gone,
    who_has_moved_is_not_killed,
    the_killed_are_named_to_all_who_are_left,
    an_origin_belongs_to_one_living_instance,
);

async fn members_see_each_other_beat(desk: &Desk) {
    let (a, b) = (member(), member());
    assert_eq!(beat(desk, &a).await, None, "no member before it has joined");
    join(desk, &a).await;
    join(desk, &b).await;
    let counter = |counters: &[(Epoch, u64)], of: &Member| {
        counters.iter().find(|(epoch, _)| *epoch == of.epoch).map(|(_, counter)| *counter)
    };
    let (first, _) = beat(desk, &a).await.expect("a member");
    let (second, _) = beat(desk, &a).await.expect("a member");
    assert_eq!(second.len(), 2);
    assert_eq!(counter(&second, &a), counter(&first, &a).map(|count| count + 1));
    assert_eq!(counter(&second, &b), counter(&first, &b), "only its own beat moves it");
    join(desk, &a).await;
    let (third, _) = beat(desk, &a).await.expect("a member");
    assert!(
        counter(&third, &a) > counter(&second, &a),
        "to join again, the answer being lost, starts nothing anew"
    );
}

async fn who_leaves_is_gone(desk: &Desk) {
    let (a, b) = (member(), member());
    join(desk, &a).await;
    join(desk, &b).await;
    desk.store.leave(a.epoch, a.origin).await.unwrap();
    desk.store.leave(a.epoch, a.origin).await.unwrap();
    assert_eq!(beat(desk, &a).await, None);
    let (counters, dead) = beat(desk, &b).await.expect("a member");
    assert_eq!(counters.len(), 1);
    assert!(dead.is_empty(), "it went in good order");
}

async fn who_has_moved_is_not_killed(desk: &Desk) {
    let (a, b) = (member(), member());
    join(desk, &a).await;
    join(desk, &b).await;
    beat(desk, &a).await;
    let (seen, _) = beat(desk, &b).await.expect("a member");
    let counter = seen.iter().find(|(epoch, _)| *epoch == a.epoch).expect("listed").1;
    beat(desk, &a).await;
    assert!(!desk.store.kill(a.epoch, counter).await.unwrap());
    assert!(beat(desk, &a).await.is_some());
    assert!(!desk.store.kill(Epoch::random(), 0).await.unwrap(), "nor who was never here");
}

async fn the_killed_are_named_to_all_who_are_left(desk: &Desk) {
    let (a, b, c) = (member(), member(), member());
    for one in [&a, &b, &c] {
        join(desk, one).await;
    }
    beat(desk, &a).await;
    assert!(desk.store.kill(a.epoch, 1).await.unwrap());
    assert!(!desk.store.kill(a.epoch, 1).await.unwrap(), "one of them wins");
    assert_eq!(beat(desk, &a).await, None);
    for one in [&b, &c, &b] {
        let (counters, dead) = beat(desk, one).await.expect("a member");
        assert_eq!((counters.len(), dead), (2, vec![a.epoch]));
    }
    // To reap is not to kill: an orphan that was never a member is nobody's news.
    desk.reap(Epoch::random()).await;
    assert_eq!(beat(desk, &b).await.expect("a member").1, [a.epoch]);
}

async fn an_origin_belongs_to_one_living_instance(desk: &Desk) {
    let first = member();
    join(desk, &first).await;
    let thief = Member { origin: first.origin, ..member() };
    assert_eq!(desk.store.join(&thief).await.unwrap(), Joined::OriginTaken);
    assert_eq!(beat(desk, &thief).await, None, "refused, it is no member");
    let renewed = with_epoch(&first, Some(first.epoch));
    join(desk, &renewed).await;
    desk.store.leave(first.epoch, first.origin).await.unwrap();
    assert_eq!(
        desk.store.join(&thief).await.unwrap(),
        Joined::OriginTaken,
        "the old epoch's leave does not free what the new one has"
    );
    assert!(desk.store.kill(renewed.epoch, 0).await.unwrap());
    join(desk, &thief).await;
}

/// Counters and the recently killed; `None`: fenced.
async fn beat(desk: &Desk, member: &Member) -> Option<(Vec<(Epoch, u64)>, Vec<Epoch>)> {
    match desk.store.heartbeat(member.epoch).await.unwrap() {
        Beat::Alive { counters, dead } => Some((counters, dead)),
        Beat::Fenced => None,
    }
}

async fn join(desk: &Desk, member: &Member) {
    assert_eq!(desk.store.join(member).await.unwrap(), Joined::Member);
}

pub fn member() -> Member {
    let (epoch, origin) = (Epoch::random(), Origin::random());
    let info = format!(r#"{{"instance":"i-0","origin":"{origin}"}}"#);
    Member {
        epoch,
        origin,
        before: None,
        info,
        secret_check: "check".to_owned(),
        schemas: Schemas::KNOWN,
    }
}

fn with_epoch(member: &Member, before: Option<Epoch>) -> Member {
    Member { epoch: Epoch::random(), before, ..member.clone() }
}
