//! How many connections a user may have, and who makes room.

use wsfleetd::{
    ids::Epoch,
    store::{Claim, Claimed, Limit, Tag},
};

use super::{Desk, claim, contract, policy};

contract!(
    the_oldest_makes_room_for_a_new_one,
    a_lower_limit_makes_more_of_them_go,
    a_known_device_displaces_nobody,
    an_assertion_never_displaces,
    who_was_displaced_takes_nothing_with_it,
    many_at_once_never_exceed_the_limit,
);

fn displacing(most: u32) -> Limit {
    Limit { most, displaces: true }
}

async fn enter(desk: &Desk, epoch: Epoch, claim: &Claim, limit: Limit) -> (Tag, Vec<Tag>) {
    match desk.store.connect(epoch, claim, limit).await.unwrap() {
        Claimed::Registered { tag, displaced, .. } => (tag, displaced),
        other => panic!("expected a registration, got {other:?}"),
    }
}

async fn the_oldest_makes_room_for_a_new_one(desk: &Desk) {
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let mut tags = Vec::new();
    // Devices and numbers grow against the ages: neither decides.
    for number in [9, 8, 7, 6, 5] {
        let epoch = if number % 2 == 0 { here } else { there };
        let (tag, displaced) = enter(desk, epoch, &claim(sid, number), displacing(3)).await;
        tags.push(tag);
        let expected: Vec<_> =
            tags.len().checked_sub(4).map(|at| tags[at].clone()).into_iter().collect();
        assert_eq!(displaced, expected);
    }
    let mut left = tags.split_off(2);
    left.sort_by_key(|tag| tag.as_str().to_owned());
    assert_eq!(desk.locate(sid).await, left);
}

async fn a_lower_limit_makes_more_of_them_go(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let mut tags = Vec::new();
    for number in 1..6 {
        tags.push(desk.enter(here, &claim(sid, number)).await.0);
    }
    let (tag, displaced) = enter(desk, here, &claim(sid, 6), displacing(2)).await;
    assert_eq!(displaced, tags[..4]);
    assert_eq!(desk.locate(sid).await, [tags[4].clone(), tag]);
}

async fn a_known_device_displaces_nobody(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let (first, _) = enter(desk, here, &claim(sid, 1), displacing(2)).await;
    enter(desk, here, &claim(sid, 2), displacing(2)).await;
    let again = Claim { number: 3, ..claim(sid, 2) };
    let (second, displaced) = enter(desk, here, &again, displacing(2)).await;
    assert_eq!((displaced, desk.locate(sid).await), (vec![], vec![first, second]));
}

async fn an_assertion_never_displaces(desk: &Desk) {
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let (first, _) = enter(desk, here, &claim(sid, 1), displacing(1)).await;
    let (second, displaced) = enter(desk, there, &claim(sid, 2), displacing(1)).await;
    assert_eq!(displaced, std::slice::from_ref(&first));
    let known = Claim { since: Some(first.since()), ..claim(sid, 1) };
    let partition = sid.partition(desk.store.partitions());
    let answers =
        desk.store.assert(here, partition, std::slice::from_ref(&known), 1).await.unwrap();
    assert_eq!(answers, [Claimed::Limit(vec![second.clone()])]);
    // Not by another way either.
    let again = desk.store.connect(here, &known, displacing(1)).await.unwrap();
    assert_eq!(again, Claimed::Limit(vec![second.clone()]));
    assert_eq!(desk.locate(sid).await, [second]);
}

async fn who_was_displaced_takes_nothing_with_it(desk: &Desk) {
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let (first, _) = enter(desk, here, &claim(sid, 1), displacing(1)).await;
    let (second, _) = enter(desk, there, &claim(sid, 2), displacing(1)).await;
    let released = desk.leave_with(here, &claim(sid, 1), &first, &["unwritten"]).await;
    assert_eq!((released.removed, released.left, released.kept), (false, 1, 0));
    assert_eq!(desk.locate(sid).await, std::slice::from_ref(&second));
    let released = desk.leave(there, &claim(sid, 2), &second).await;
    assert_eq!((released.removed, released.left), (true, 0));
}

async fn many_at_once_never_exceed_the_limit(desk: &Desk) {
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let epoch_of = |number: u64| if number.is_multiple_of(2) { here } else { there };
    for limit in [displacing(2), Limit::from(3)] {
        let claims: Vec<_> = (0..20).map(|number| claim(sid, number)).collect();
        let all = claims.iter().map(|one| desk.store.connect(epoch_of(one.number), one, limit));
        let answers = futures_util::future::join_all(all).await;
        let mut left: Vec<Tag> = Vec::new();
        let mut displaced = Vec::new();
        for answer in answers {
            if let Claimed::Registered { tag, displaced: gone, .. } = answer.unwrap() {
                left.push(tag);
                displaced.extend(gone);
            }
        }
        assert_eq!(displaced.len(), if limit.displaces { 18 } else { 0 }, "each goes once");
        left.retain(|tag| !displaced.contains(tag));
        left.sort_by_key(|tag| tag.as_str().to_owned());
        assert_eq!(left.len(), limit.most as usize);
        assert_eq!(desk.locate(sid).await, left);
        desk.store.prune(sid, &[here, there], &left).await.unwrap();
    }
}
