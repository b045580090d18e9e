//! What waits for a user who has just left.

use std::time::Duration;

use bytes::Bytes;
use wsfleetd::{
    ids::{Epoch, MessageId},
    store::{Claim, Claimed, Fate, HoldPolicy, HoldRequest, Keep, Release},
};

use super::{Desk, claim, contract, policy, request, texts};

contract!(
    nothing_is_held_for_who_was_never_here,
    what_was_held_is_read_once_and_in_order,
    replay_starts_at_the_first_message_held,
    a_user_who_is_heard_is_never_held_for,
    owners_who_may_still_answer_are_waited_for,
    what_no_owner_hears_is_kept,
    a_retry_is_kept_once,
    a_mailbox_is_full_by_entries,
    a_mailbox_is_full_by_bytes,
    what_was_read_makes_room,
    what_must_not_be_kept_is_not,
    who_exists_is_kept_for_in_any_case,
    a_closing_connection_leaves_what_it_could_not_write,
    a_reaped_user_is_held_for,
    an_assertion_tells_that_something_waits,
    any_bytes_survive,
    places_in_a_mailbox_only_grow,
);

async fn nothing_is_held_for_who_was_never_here(desk: &Desk) {
    let answer = desk.hold(desk.user("Sid"), "hi", &[]).await;
    assert_eq!((answer.heard, answer.fate), (0, Fate::NotKept));
    assert!(answer.owners.is_empty());
    let (_, held) = desk.enter(Epoch::random(), &claim(desk.user("Sid"), 1)).await;
    assert!(held.is_empty());
}

async fn what_was_held_is_read_once_and_in_order(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    visit(desk, here, 1).await;
    let places = [desk.keep(sid, "1").await, desk.keep(sid, "2").await, desk.keep(sid, "3").await];
    let (_, held) = desk.enter(here, &claim(sid, 2)).await;
    assert_eq!(texts(&held), ["1", "2", "3"]);
    assert_eq!(held.iter().map(|one| one.seq).collect::<Vec<_>>(), places);
    let (_, second) = desk.enter(here, &claim(sid, 3)).await;
    assert!(second.is_empty(), "reading removes the marker");
}

async fn replay_starts_at_the_first_message_held(desk: &Desk) {
    let here = Epoch::random();
    for (number, text) in (1..).zip(["a", "b", "c"]) {
        visit(desk, here, number).await;
        desk.keep(desk.user("Sid"), text).await;
        let held = visit(desk, here, number + 100).await;
        assert_eq!(held, [text], "and not what was read before");
    }
}

async fn a_user_who_is_heard_is_never_held_for(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    desk.listen(here).await;
    desk.enter(here, &claim(sid, 1)).await;
    let answer = desk.hold(sid, "live", &[]).await;
    assert_eq!((answer.owners, answer.fate), (vec![here], Fate::NotKept));
    assert_eq!(answer.heard, u64::from(desk.real.is_some()), "inboxes are Redis's");
    let (_, held) = desk.enter(here, &claim(sid, 2)).await;
    assert!(held.is_empty());
}

async fn owners_who_may_still_answer_are_waited_for(desk: &Desk) {
    let (a, b, sid) = (Epoch::random(), Epoch::random(), desk.user("Sid"));
    desk.enter(a, &claim(sid, 1)).await;
    desk.enter(b, &claim(sid, 2)).await;
    let message = HoldRequest { tried: vec![a, b], deaf: vec![a], ..request(sid, "x") };
    let answer = desk.store.hold(&message).await.unwrap();
    assert_eq!((answer.heard, answer.fate), (0, Fate::NotKept), "b will answer for itself");
    let nobody = HoldRequest { deaf: vec![a, b], ..message };
    assert!(matches!(desk.store.hold(&nobody).await.unwrap().fate, Fate::Kept(_)));
}

async fn what_no_owner_hears_is_kept(desk: &Desk) {
    let (dead, sid) = (Epoch::random(), desk.user("Sid"));
    desk.enter(dead, &claim(sid, 1)).await;
    let answer = desk.hold(sid, "to a dead instance", &[dead]).await;
    assert!(matches!(answer.fate, Fate::Kept(_)), "{answer:?}");
    assert_eq!(answer.owners, [dead]);
    // Its reap must not move the point from which is read.
    desk.reap(dead).await;
    let (_, held) = desk.enter(Epoch::random(), &claim(sid, 2)).await;
    assert_eq!(texts(&held), ["to a dead instance"]);
}

async fn a_retry_is_kept_once(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    visit(desk, here, 1).await;
    let message = request(sid, "once");
    assert!(matches!(desk.store.hold(&message).await.unwrap().fate, Fate::Kept(_)));
    desk.keep(sid, "between").await;
    assert_eq!(desk.store.hold(&message).await.unwrap().fate, Fate::Duplicate);
    let held = visit(desk, here, 2).await;
    assert_eq!(held, ["once", "between"]);
    assert_eq!(desk.store.hold(&message).await.unwrap().fate, Fate::Duplicate, "though read");
}

async fn a_mailbox_is_full_by_entries(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    visit(desk, here, 1).await;
    for text in ["1", "2", "3", "4"] {
        desk.keep(sid, text).await;
    }
    assert_eq!(desk.hold(sid, "5", &[]).await.fate, Fate::Full);
    assert_eq!(visit(desk, here, 2).await, ["1", "2", "3", "4"], "the oldest are not dropped");
}

async fn a_mailbox_is_full_by_bytes(desk: &Desk) {
    const FORTY: &str = "0123456789012345678901234567890123456789";
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    for number in [1, 2, 3] {
        visit(desk, here, number).await;
        desk.keep(sid, FORTY).await;
        desk.keep(sid, FORTY).await;
        assert_eq!(desk.hold(sid, FORTY, &[]).await.fate, Fate::Full);
        desk.keep(sid, "01234567890123456789").await;
        assert_eq!(desk.hold(sid, "x", &[]).await.fate, Fate::Full, "100 bytes and no more");
        assert_eq!(visit(desk, here, number + 100).await.len(), 3);
    }
}

async fn what_was_read_makes_room(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    for round in 1..6 {
        visit(desk, here, round).await;
        for text in ["1", "2", "3", "4"] {
            desk.keep(sid, text).await;
        }
        assert_eq!(visit(desk, here, round + 100).await.len(), 4, "round {round}");
    }
}

async fn what_must_not_be_kept_is_not(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    visit(desk, here, 1).await;
    let fleeting = HoldRequest { keep: Keep::No, ..request(sid, "typing") };
    assert_eq!(desk.store.hold(&fleeting).await.unwrap().fate, Fate::NotKept);
    assert!(visit(desk, here, 2).await.is_empty());
}

async fn who_exists_is_kept_for_in_any_case(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let known = |text| HoldRequest { keep: Keep::Always, ..request(sid, text) };
    for text in ["1", "2"] {
        let answer = desk.store.hold(&known(text)).await.unwrap();
        assert!(matches!(answer.fate, Fate::Kept(_)), "{answer:?}");
    }
    // From the first on, he is expected like one who has just left.
    desk.keep(sid, "3").await;
    assert_eq!(visit(desk, here, 1).await, ["1", "2", "3"]);
    assert!(visit(desk, here, 2).await.is_empty());
    desk.listen(here).await;
    desk.enter(here, &claim(sid, 3)).await;
    assert_eq!(desk.store.hold(&known("live")).await.unwrap().fate, Fate::NotKept);
}

async fn a_closing_connection_leaves_what_it_could_not_write(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let (phone, laptop) = (claim(sid, 1), claim(sid, 2));
    let (first, _) = desk.enter(here, &phone).await;
    let (second, _) = desk.enter(here, &laptop).await;
    let released = desk.leave_with(here, &phone, &first, &["the other has it"]).await;
    assert_eq!((released.left, released.kept), (1, 0));
    let released = desk.leave_with(here, &laptop, &second, &["1", "2", "3", "4", "5"]).await;
    assert_eq!((released.removed, released.left, released.kept), (true, 0, 4), "four fit");
    assert_eq!(visit(desk, here, 3).await, ["1", "2", "3", "4"]);
}

async fn a_reaped_user_is_held_for(desk: &Desk) {
    let (dead, sid) = (Epoch::random(), desk.user("Sid"));
    let phone = claim(sid, 1);
    let (tag, _) = desk.enter(dead, &phone).await;
    desk.reap(dead).await;
    desk.keep(sid, "1").await;
    // The dead one was only frozen: what it has not written is the user's, whoever it was.
    let released = desk.leave_with(dead, &phone, &tag, &["2"]).await;
    assert_eq!((released.removed, released.kept), (false, 1));
    assert_eq!(visit(desk, Epoch::random(), 2).await, ["1", "2"]);
}

async fn an_assertion_tells_that_something_waits(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let (tag, _) = desk.enter(here, &claim(sid, 1)).await;
    let known = Claim { since: Some(tag.since()), ..claim(sid, 1) };
    assert!(!more_held(desk.assert(here, &known).await));
    assert!(matches!(desk.hold(sid, "while deaf", &[here]).await.fate, Fate::Kept(_)));
    assert!(more_held(desk.assert(here, &known).await));
    assert!(more_held(desk.assert(here, &known).await), "asking takes nothing");
    let (_, held) = desk.enter(here, &known).await;
    assert_eq!(texts(&held), ["while deaf"]);
    assert!(!more_held(desk.assert(here, &known).await));
}

async fn any_bytes_survive(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let odd: [&'static [u8]; 4] =
        [b" 1 2 x 3 ", b"a\r\n\nb\0c %s %1", b"\xff\xfe\x80 \xc3\x28", b""];
    visit(desk, here, 1).await;
    for payload in odd {
        let message = HoldRequest { payload: Bytes::from_static(payload), ..request(sid, "") };
        assert!(matches!(desk.store.hold(&message).await.unwrap().fate, Fate::Kept(_)));
    }
    let again = claim(sid, 2);
    let (tag, held) = desk.enter(here, &again).await;
    assert_eq!(held.iter().map(|one| &one.payload[..]).collect::<Vec<_>>(), odd);
    let unwritten = odd.map(|payload| (MessageId::random(), Bytes::from_static(payload))).to_vec();
    let release = Release { user: sid, device: again.device, tag, unwritten };
    assert_eq!(desk.store.disconnect(here, &release).await.unwrap().kept, 4);
    let (_, held) = desk.enter(here, &claim(sid, 3)).await;
    assert_eq!(held.iter().map(|one| &one.payload[..]).collect::<Vec<_>>(), odd);
}

async fn places_in_a_mailbox_only_grow(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let mut last = 0;
    for number in 1..40 {
        visit(desk, here, number).await;
        for _ in 0..3 {
            let seq = desk.keep(sid, "x").await;
            assert!(seq > last, "{seq} after {last}");
            assert!(seq < 1 << 53, "exact in every client's numbers");
            last = seq;
        }
    }
}

#[tokio::test]
async fn memory_forgets_when_the_window_is_over() {
    forgets_when_the_window_is_over(&Desk::memory(short())).await;
}

#[tokio::test]
async fn redis_forgets_when_the_window_is_over() {
    forgets_when_the_window_is_over(&Desk::redis(short()).await).await;
}

async fn forgets_when_the_window_is_over(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let over = Duration::from_millis(2200);
    visit(desk, here, 1).await;
    tokio::time::sleep(over).await;
    assert_eq!(desk.hold(sid, "too late", &[]).await.fate, Fate::NotKept);
    assert!(visit(desk, here, 2).await.is_empty());
    desk.hold(sid, "in time", &[]).await;
    tokio::time::sleep(over).await;
    assert!(visit(desk, here, 3).await.is_empty(), "who comes later finds nothing");
}

#[tokio::test]
async fn memory_keeps_each_message_for_its_own_time() {
    keeps_each_message_for_its_own_time(&Desk::memory(lasting())).await;
}

#[tokio::test]
async fn redis_keeps_each_message_for_its_own_time() {
    keeps_each_message_for_its_own_time(&Desk::redis(lasting()).await).await;
}

async fn keeps_each_message_for_its_own_time(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    visit(desk, here, 1).await;
    for _ in 0..4 {
        desk.keep(sid, "old").await;
    }
    assert_eq!(desk.hold(sid, "5", &[]).await.fate, Fate::Full);
    tokio::time::sleep(LASTING * 2 / 3).await;
    assert_eq!(visit(desk, here, 2).await.len(), 4);
    desk.keep(sid, "middle").await;
    tokio::time::sleep(LASTING * 2 / 3).await;
    desk.keep(sid, "young").await;
    tokio::time::sleep(LASTING * 2 / 3).await;
    // The first is too old by now, and does not take the other with it.
    assert_eq!(visit(desk, here, 3).await, ["young"]);
    for _ in 0..4 {
        desk.keep(sid, "old").await;
    }
    tokio::time::sleep(LASTING * 4 / 3).await;
    let known = HoldRequest { keep: Keep::Always, ..request(sid, "new") };
    let fate = desk.store.hold(&known).await.unwrap().fate;
    assert!(matches!(fate, Fate::Kept(_)), "what is too old takes no room: {fate:?}");
    assert_eq!(visit(desk, here, 4).await, ["new"]);
}

#[tokio::test]
async fn memory_never_holds_under_drop() {
    never_holds_under_drop(&Desk::memory(HoldPolicy { window: None, ..policy() })).await;
}

#[tokio::test]
async fn redis_never_holds_under_drop() {
    never_holds_under_drop(&Desk::redis(HoldPolicy { window: None, ..policy() }).await).await;
}

async fn never_holds_under_drop(desk: &Desk) {
    let (here, sid) = (Epoch::random(), desk.user("Sid"));
    let phone = claim(sid, 1);
    let (tag, _) = desk.enter(here, &phone).await;
    assert_eq!(desk.leave_with(here, &phone, &tag, &["unwritten"]).await.kept, 0);
    assert_eq!(desk.hold(sid, "after", &[]).await.fate, Fate::NotKept);
    let (tag, _) = desk.enter(here, &phone).await;
    assert_eq!(desk.hold(sid, "to the deaf", &[here]).await.fate, Fate::NotKept);
    desk.leave(here, &phone, &tag).await;
    desk.enter(here, &phone).await;
    desk.reap(here).await;
    assert_eq!(desk.hold(sid, "after the reap", &[]).await.fate, Fate::NotKept);
    assert!(visit(desk, Epoch::random(), 2).await.is_empty());
}

const LASTING: Duration = Duration::from_secs(3);

fn lasting() -> HoldPolicy {
    HoldPolicy { window: Some(LASTING), ttl: LASTING, keeps: true, ..policy() }
}

fn short() -> HoldPolicy {
    HoldPolicy { window: Some(Duration::from_secs(2)), ..policy() }
}

/// Sid comes, reads what was held, and goes.
async fn visit(desk: &Desk, epoch: Epoch, number: u64) -> Vec<String> {
    let claim = claim(desk.user("Sid"), number);
    let (tag, held) = desk.enter(epoch, &claim).await;
    assert!(desk.leave(epoch, &claim, &tag).await.removed);
    texts(&held).into_iter().map(str::to_owned).collect()
}

fn more_held(claimed: Claimed) -> bool {
    match claimed {
        Claimed::Registered { more_held, .. } => more_held,
        other => panic!("expected a registration, got {other:?}"),
    }
}
