//! Users who are shut out, and connections that are closed on somebody's word.

use std::time::Duration;

use wsfleetd::{
    ids::{Epoch, UserHash},
    store::{Claim, Claimed},
};

use super::{Desk, LIMIT, claim, contract, policy};

const LONG: Duration = Duration::from_secs(600);

contract!(
    who_is_shut_out_is_refused_until_it_is_lifted,
    an_assertion_of_who_is_shut_out_is_refused,
    a_revocation_ends_by_itself,
    the_owners_of_who_is_dismissed_are_named,
    a_kick_refuses_nobody,
    being_shut_out_is_said_before_any_limit,
);

async fn who_is_shut_out_is_refused_until_it_is_lifted(desk: &Desk) {
    let (here, there, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let (tag, _) = desk.enter(here, &claim(sid, 1)).await;
    for _ in 0..2 {
        desk.store.revoke(sid, LONG).await.unwrap();
        assert_eq!(desk.connect(here, &claim(sid, 2)).await, Claimed::Revoked);
        assert_eq!(desk.connect(there, &claim(sid, 3)).await, Claimed::Revoked);
    }
    assert_eq!(desk.locate(sid).await, std::slice::from_ref(&tag), "its owner lets it go");
    desk.enter(here, &claim(desk.user("Elon"), 4)).await;
    assert!(desk.leave(here, &claim(sid, 1), &tag).await.removed);
    for number in [5, 6] {
        desk.store.lift(sid).await.unwrap();
        desk.enter(there, &claim(sid, number)).await;
    }
}

async fn an_assertion_of_who_is_shut_out_is_refused(desk: &Desk) {
    let here = Epoch::random();
    let names = (0..).map(|n| desk.user(&format!("user{n}")));
    let users: Vec<UserHash> =
        names.filter(|uh| uh.partition(desk.store.partitions()) == 0).take(3).collect();
    let mut batch = Vec::new();
    for (number, user) in (1..).zip(&users) {
        let (tag, _) = desk.enter(here, &claim(*user, number)).await;
        batch.push(Claim { since: Some(tag.since()), ..claim(*user, number) });
    }
    desk.store.revoke(users[1], LONG).await.unwrap();
    let answers = desk.store.assert(here, 0, &batch, LIMIT.most).await.unwrap();
    let is_revoked: Vec<_> = answers.iter().map(|one| *one == Claimed::Revoked).collect();
    assert_eq!(is_revoked, [false, true, false], "nobody else of the batch: {answers:?}");
    desk.store.lift(users[1]).await.unwrap();
    assert!(matches!(desk.assert(here, &batch[1]).await, Claimed::Registered { .. }));
}

async fn a_revocation_ends_by_itself(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    desk.store.revoke(sid, Duration::from_secs(1)).await.unwrap();
    assert_eq!(desk.connect(here, &claim(sid, 1)).await, Claimed::Revoked);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    desk.enter(here, &claim(sid, 1)).await;
}

async fn the_owners_of_who_is_dismissed_are_named(desk: &Desk) {
    let (here, deaf, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    let nobody = desk.store.kick(sid).await.unwrap();
    assert!(nobody.owners.is_empty() && nobody.heard.is_empty(), "{nobody:?}");
    desk.listen(here).await;
    for number in [1, 2] {
        desk.enter(here, &claim(sid, number)).await;
    }
    desk.enter(deaf, &claim(sid, 3)).await;
    let heard = if desk.real.is_some() { vec![here] } else { Vec::new() };
    let mut both = vec![here, deaf];
    both.sort_unstable();
    let kicked = desk.store.kick(sid).await.unwrap();
    let revoked = desk.store.revoke(sid, LONG).await.unwrap();
    for mut told in [kicked, revoked] {
        told.owners.sort_unstable();
        assert_eq!((told.owners, told.heard), (both.clone(), heard.clone()));
    }
}

async fn a_kick_refuses_nobody(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let (tag, _) = desk.enter(here, &claim(sid, 1)).await;
    desk.store.kick(sid).await.unwrap();
    assert_eq!(desk.locate(sid).await, [tag], "its owner lets it go");
    desk.enter(here, &claim(sid, 2)).await;
}

async fn being_shut_out_is_said_before_any_limit(desk: &Desk) {
    let (here, dead, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    desk.enter(here, &claim(sid, 1)).await;
    desk.store.revoke(sid, LONG).await.unwrap();
    assert_eq!(desk.store.connect(here, &claim(sid, 2), 1.into()).await.unwrap(), Claimed::Revoked);
    let older = Claim { since: Some(1), ..claim(sid, 1) };
    assert_eq!(desk.assert(here, &older).await, Claimed::Revoked);
    desk.reap(dead).await;
    assert_eq!(desk.connect(dead, &claim(sid, 3)).await, Claimed::Fenced, "and after a fence");
}
