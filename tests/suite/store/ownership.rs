//! Who owns which connection: claimed, displaced, released, reaped.

use wsfleetd::{
    ids::{Epoch, UserHash},
    store::{Claim, Claimed, Swept, Tag},
};

use super::{Desk, claim, contract, policy};

contract!(
    a_connection_is_located_until_it_disconnects,
    a_late_disconnect_never_removes_a_younger_connection,
    a_registration_asserted_again_keeps_its_age,
    a_younger_connection_is_never_pushed_aside_by_an_assertion,
    after_its_reap_an_epoch_writes_nothing,
    reaping_spares_everybody_else_and_may_be_repeated,
    who_has_enough_connections_gets_a_list_of_them,
    only_the_exact_entry_is_pruned,
    who_is_pruned_is_listed_no_more_unless_a_connection_is_left,
    owners_of_one_user_are_told_of_each_other,
    a_batch_is_answered_in_its_order,
    a_sweep_lists_whom_an_epoch_has,
);

async fn a_connection_is_located_until_it_disconnects(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    assert!(desk.locate(sid).await.is_empty());
    let (phone, laptop) = (claim(sid, 1), claim(sid, 2));
    let (tag, _) = desk.enter(here, &phone).await;
    assert_eq!((tag.epoch(), tag.number()), (Some(here), Some(1)));
    let (other, _) = desk.enter(here, &laptop).await;
    assert_eq!(desk.locate(sid).await, [tag.clone(), other.clone()]);
    assert!(desk.locate(desk.user("sid")).await.is_empty());

    let released = desk.leave(here, &phone, &tag).await;
    assert_eq!((released.removed, released.left), (true, 1));
    assert_eq!(desk.locate(sid).await, std::slice::from_ref(&other));
    let released = desk.leave(here, &laptop, &other).await;
    assert_eq!((released.removed, released.left), (true, 0));
    assert!(desk.locate(sid).await.is_empty());
}

async fn a_late_disconnect_never_removes_a_younger_connection(desk: &Desk) {
    let (old, new, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let before = claim(sid, 1);
    let after = Claim { number: 7, ..before.clone() };
    let (first, _) = desk.enter(old, &before).await;
    let (second, _) = desk.enter(new, &after).await;
    assert_eq!(desk.locate(sid).await, std::slice::from_ref(&second), "one entry per device");
    let released = desk.leave(old, &before, &first).await;
    assert_eq!((released.removed, released.left), (false, 1));
    assert_eq!(desk.locate(sid).await, std::slice::from_ref(&second));
    // The same with everything equal but the time of registration.
    let since = second.since() + 1;
    let stranger = Tag::new(new, 7, since);
    assert!(!desk.leave(new, &after, &stranger).await.removed);
    assert_eq!(desk.locate(sid).await, [second]);
}

async fn a_registration_asserted_again_keeps_its_age(desk: &Desk) {
    let (before, after, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let new = claim(sid, 3);
    let (tag, _) = desk.enter(before, &new).await;
    let known = Claim { since: Some(tag.since()), ..new };
    let Claimed::Registered { tag: same, .. } = desk.assert(before, &known).await else {
        panic!("an equal one is the same connection")
    };
    assert_eq!(same, tag);
    let Claimed::Registered { tag: moved, .. } = desk.assert(after, &known).await else {
        panic!("a fence changes the epoch and nothing else")
    };
    assert_eq!(moved, Tag::new(after, 3, tag.since()));
    assert_eq!(desk.locate(sid).await, [moved]);
}

async fn a_younger_connection_is_never_pushed_aside_by_an_assertion(desk: &Desk) {
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    // 99 is less than 100 as a number, and more as text.
    for (old, young) in [(100, 200), (99, 100)] {
        let younger = Claim { since: Some(young), ..claim(sid, 1) };
        let older = Claim { since: Some(old), number: 2, ..younger.clone() };
        assert!(matches!(desk.assert(here, &older).await, Claimed::Registered { .. }));
        assert!(matches!(desk.assert(here, &younger).await, Claimed::Registered { .. }));
        assert_eq!(desk.assert(there, &older).await, Claimed::Displaced);
        let tag = Tag::new(here, 1, young);
        assert_eq!(desk.locate(sid).await, std::slice::from_ref(&tag));
        desk.leave(here, &younger, &tag).await;
    }
}

async fn after_its_reap_an_epoch_writes_nothing(desk: &Desk) {
    let (dead, alive, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let (zombie, mine) = (claim(sid, 1), claim(sid, 2));
    let (old, _) = desk.enter(dead, &zombie).await;
    let (tag, _) = desk.enter(alive, &mine).await;
    assert_eq!(desk.reap(dead).await, 1);
    assert_eq!(desk.locate(sid).await, std::slice::from_ref(&tag));

    assert_eq!(desk.connect(dead, &zombie).await, Claimed::Fenced);
    let again = Claim { since: Some(old.since()), ..zombie.clone() };
    assert_eq!(desk.assert(dead, &again).await, Claimed::Fenced);
    let released = desk.leave(dead, &zombie, &old).await;
    assert_eq!((released.removed, released.left), (false, 1));
    for partition in 0..desk.store.partitions() {
        assert_eq!(desk.store.sweep(dead, partition).await.unwrap(), Swept::Fenced);
    }
    // Not even where it had nobody.
    assert_eq!(desk.connect(dead, &claim(desk.user("Elon"), 9)).await, Claimed::Fenced);
    assert_eq!(desk.locate(sid).await, [tag]);
    assert!(desk.locate(desk.user("Elon")).await.is_empty());
}

async fn reaping_spares_everybody_else_and_may_be_repeated(desk: &Desk) {
    let (dead, alive) = (Epoch::random(), Epoch::random());
    let users: Vec<UserHash> = (0..20).map(|n| desk.user(&format!("user{n}"))).collect();
    for (number, user) in users.iter().enumerate() {
        desk.enter(dead, &claim(*user, number as u64)).await;
        if number % 2 == 0 {
            desk.enter(alive, &claim(*user, 100 + number as u64)).await;
        }
    }
    assert_eq!(desk.reap(dead).await, 20);
    assert_eq!(desk.reap(dead).await, 0);
    for (number, user) in users.iter().enumerate() {
        let left = desk.locate(*user).await;
        assert_eq!(left.len(), usize::from(number % 2 == 0));
        assert!(left.iter().all(|tag| tag.epoch() == Some(alive)));
    }
}

async fn who_has_enough_connections_gets_a_list_of_them(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let mut tags = vec![desk.enter(here, &claim(sid, 1)).await.0];
    tags.push(desk.enter(here, &claim(sid, 2)).await.0);
    let third = claim(sid, 3);
    let Claimed::Limit(mut listed) = desk.store.connect(here, &third, 2.into()).await.unwrap()
    else {
        panic!("two are enough")
    };
    listed.sort_by_key(Tag::number);
    assert_eq!(listed, tags);
    assert_eq!(desk.locate(sid).await, tags, "the refused one left nothing");
    let again = Claim { since: Some(tags[0].since()), ..claim(sid, 1) };
    let known = desk.store.connect(here, &again, 2.into()).await.unwrap();
    assert!(matches!(known, Claimed::Registered { .. }), "a known device is not one more");
}

async fn only_the_exact_entry_is_pruned(desk: &Desk) {
    let (dead, sid) = (Epoch::random(), desk.user("Sid"));
    let (one, two) = (claim(sid, 1), claim(sid, 2));
    let (first, _) = desk.enter(dead, &one).await;
    let (second, _) = desk.enter(dead, &two).await;
    let moved = Tag::new(dead, 1, first.since() + 1);
    assert_eq!(desk.store.prune(sid, &[dead], &[moved]).await.unwrap(), 0);
    let (elon, tags) = (desk.user("Elon"), std::slice::from_ref(&first));
    assert_eq!(desk.store.prune(elon, &[dead], tags).await.unwrap(), 0);
    assert_eq!(desk.store.prune(sid, &[dead], &[first.clone(), first]).await.unwrap(), 1);
    assert_eq!(desk.locate(sid).await, [second]);
    let new = desk.store.connect(Epoch::random(), &claim(sid, 3), 2.into()).await.unwrap();
    assert!(matches!(new, Claimed::Registered { .. }), "there is room again");
}

async fn who_is_pruned_is_listed_no_more_unless_a_connection_is_left(desk: &Desk) {
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let partition = sid.partition(desk.store.partitions());
    desk.listen(here).await;
    let (first, _) = desk.enter(here, &claim(sid, 1)).await;
    let (second, _) = desk.enter(here, &claim(sid, 2)).await;
    desk.enter(there, &claim(sid, 3)).await;
    desk.store.prune(sid, &[here, there], &[first]).await.unwrap();
    assert_eq!(sweep(desk, here, partition).await.1, [sid], "one connection is left");
    assert_eq!(sweep(desk, there, partition).await.1, [sid], "and the other's");
    desk.store.prune(sid, &[here, there], std::slice::from_ref(&second)).await.unwrap();
    assert!(sweep(desk, here, partition).await.1.is_empty());
    assert_eq!(sweep(desk, there, partition).await.1, [sid]);
    // An entry that went another way, its index left: nothing is removed but that.
    desk.enter(here, &claim(sid, 2)).await;
    let moved = Claim { number: 4, ..claim(sid, 2) };
    desk.enter(there, &moved).await;
    assert_eq!(sweep(desk, here, partition).await.1, [sid]);
    assert_eq!(desk.store.prune(sid, &[here], &[]).await.unwrap(), 0);
    assert!(sweep(desk, here, partition).await.1.is_empty());
    assert_eq!(desk.locate(sid).await.len(), 2);
}

async fn owners_of_one_user_are_told_of_each_other(desk: &Desk) {
    let (a, b, c) = (Epoch::random(), Epoch::random(), Epoch::random());
    let sid = desk.user("Sid");
    let siblings = |claimed| match claimed {
        Claimed::Registered { mut siblings, .. } => {
            siblings.sort_unstable();
            siblings
        }
        other => panic!("expected a registration, got {other:?}"),
    };
    let sorted = |mut epochs: Vec<Epoch>| {
        epochs.sort_unstable();
        epochs
    };
    assert!(siblings(desk.connect(a, &claim(sid, 1)).await).is_empty());
    assert!(siblings(desk.connect(a, &claim(sid, 2)).await).is_empty(), "oneself is no sibling");
    assert_eq!(siblings(desk.connect(b, &claim(sid, 3)).await), [a]);
    assert_eq!(siblings(desk.assert(c, &claim(sid, 4)).await), sorted(vec![a, b]));
    assert_eq!(siblings(desk.assert(a, &claim(sid, 1)).await), sorted(vec![b, c]));
    desk.reap(b).await;
    assert_eq!(siblings(desk.connect(a, &claim(sid, 5)).await), [c]);
}

async fn a_batch_is_answered_in_its_order(desk: &Desk) {
    let (here, there) = (Epoch::random(), Epoch::random());
    let partitions = desk.store.partitions();
    let names = (0..).map(|n| desk.user(&format!("user{n}")));
    let users: Vec<_> = names.filter(|uh| uh.partition(partitions) == 0).take(3).collect();
    desk.enter(there, &claim(users[1], 1)).await;
    let young = Claim { since: Some(200), ..claim(users[2], 2) };
    desk.assert(there, &young).await;
    let batch = [
        Claim { since: Some(10), ..claim(users[0], 10) },
        Claim { since: Some(11), ..claim(users[1], 11) },
        Claim { since: Some(12), ..young.clone() },
        Claim { since: Some(13), ..claim(users[0], 13) },
    ];
    let answers = desk.store.assert(here, 0, &batch, 1).await.unwrap();
    assert_eq!(answers.len(), 4);
    let Claimed::Registered { tag, more_held: false, .. } = &answers[0] else {
        panic!("{:?}", answers[0])
    };
    assert_eq!(*tag, Tag::new(here, 10, 10));
    assert!(matches!(&answers[1], Claimed::Limit(tags) if tags[0].epoch() == Some(there)));
    assert_eq!(answers[2], Claimed::Displaced);
    assert_eq!(answers[3], Claimed::Limit(vec![tag.clone()]));
    desk.reap(here).await;
    let fenced = desk.store.assert(here, 0, &batch, 1).await.unwrap();
    assert_eq!(fenced, vec![Claimed::Fenced; 4]);
}

async fn a_sweep_lists_whom_an_epoch_has(desk: &Desk) {
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    desk.listen(here).await;
    let partition = sid.partition(desk.store.partitions());
    let (phone, laptop) = (claim(sid, 1), claim(sid, 2));
    let (first, _) = desk.enter(here, &phone).await;
    let (second, _) = desk.enter(here, &laptop).await;
    desk.enter(there, &claim(sid, 3)).await;
    assert_eq!(sweep(desk, here, partition).await, (1, vec![sid]));
    desk.leave(here, &phone, &first).await;
    assert_eq!(sweep(desk, here, partition).await.1, [sid], "one connection is left");
    desk.leave(here, &laptop, &second).await;
    assert!(sweep(desk, here, partition).await.1.is_empty());
    let Swept::Alive { epochs, .. } = desk.store.sweep(here, partition).await.unwrap() else {
        panic!("not fenced")
    };
    assert!(epochs.contains(&there) && epochs.contains(&here), "who ever wrote here: {epochs:?}");
    desk.reap(there).await;
    let Swept::Alive { epochs, .. } = desk.store.sweep(here, partition).await.unwrap() else {
        panic!("not fenced")
    };
    assert!(!epochs.contains(&there), "and has not been reaped: {epochs:?}");
}

async fn sweep(desk: &Desk, epoch: Epoch, partition: u16) -> (u64, Vec<UserHash>) {
    match desk.store.sweep(epoch, partition).await.unwrap() {
        Swept::Alive { heard, users, .. } => (heard, users),
        Swept::Fenced => panic!("not fenced"),
    }
}
