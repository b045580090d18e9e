//! Who takes a message, who has had it, and who is left with it.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    clock,
    ids::{IdSource, Origin, UserHasher, UserId},
};

struct Desk {
    hub: Hub,
    ids: IdSource,
    hasher: UserHasher,
}

impl Desk {
    fn new() -> Self {
        let ids = IdSource::new(Origin::random());
        Self { hub: Hub::default(), ids, hasher: UserHasher::new(b"test") }
    }

    fn connect(&self, user: &str, room: usize) -> Arc<Connection> {
        let (number, id) = self.ids.issue();
        let about = About {
            user: UserId::parse(user).unwrap(),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            connected: clock::now(),
        };
        let user = self.hasher.hash(user);
        let connection = Arc::new(Connection::new(id, number, user, about, room));
        self.hub.insert(connection.clone());
        connection
    }

    fn send(&self, user: &str, text: &'static str) -> LocalDelivery {
        self.hub.deliver(self.hasher.hash(user), &Delivery::unnamed(text.into()))
    }
}

fn texts(connection: &Connection) -> Vec<String> {
    told(&connection.outbox().close())
}

fn told(all: &[Delivery]) -> Vec<String> {
    all.iter().map(|d| String::from_utf8(d.text.to_vec()).unwrap()).collect()
}

#[test]
fn every_connection_of_a_user_gets_the_message_and_nobody_else_does() {
    let desk = Desk::new();
    let (phone, laptop) = (desk.connect("Sid", 100), desk.connect("Sid", 100));
    let other = desk.connect("Alok", 100);
    assert_eq!(desk.send("Sid", "hi").delivered, 2);
    assert!(!desk.send("Elon", "hi").known);
    assert_eq!((texts(&phone), texts(&laptop)), (vec!["hi".into()], vec!["hi".into()]));
    assert!(texts(&other).is_empty());
}

#[test]
fn a_full_outbox_is_told_apart_from_an_absent_user() {
    let desk = Desk::new();
    desk.connect("Sid", 4);
    assert_eq!(desk.send("Sid", "1234").delivered, 1);
    let second = desk.send("Sid", "5");
    assert_eq!((second.full, second.known), (1, true));
}

#[test]
fn what_comes_while_the_last_connection_leaves_is_not_lost() {
    let desk = Desk::new();
    let phone = desk.connect("Sid", 100);
    desk.send("Sid", "1");
    assert_eq!(texts(&phone), ["1"]);
    assert!(desk.send("Sid", "2").known, "a leaving connection takes it");
    let rest = desk.hub.remove_if_drained(&phone);
    assert_eq!(rest.len(), 1, "and stays until it was handed on");
    assert!(desk.send("Sid", "3").known);
    assert_eq!(desk.hub.remove_if_drained(&phone).len(), 1);
    assert!(desk.hub.remove_if_drained(&phone).is_empty());
    assert!(!desk.send("Sid", "4").known);
    assert!(desk.hub.is_empty());
    let laptop = desk.connect("Sid", 100);
    laptop.outbox().close();
    desk.send("Sid", "5");
    assert_eq!(desk.hub.remove(&laptop).len(), 1, "nor by whoever waits no longer");
    assert!(desk.hub.is_empty());
}

#[test]
fn what_comes_to_a_leaving_connection_has_the_name_by_which_its_siblings_get_it() {
    let desk = Desk::new();
    let (phone, sibling) = (desk.connect("Sid", 100), Epoch::random());
    let sid = desk.hasher.hash("Sid");
    assert_eq!(desk.send("Sid", "0").mid, None, "nobody else is told");
    desk.hub.add_sibling(sid, sibling);
    let open = desk.send("Sid", "1");
    assert!(open.mid.is_some_and(|mid| !desk.hub.note_seen(sid, mid)), "a copy may come back");
    assert_eq!(phone.outbox().close().pop().and_then(|one| one.mid), open.mid);
    let left = desk.send("Sid", "2");
    assert_eq!((left.known, left.is_open(), left.siblings.len()), (true, false, 1));
    let there = MessageId::random();
    assert!(!desk.hub.deliver(sid, &Delivery::named(there, "3".into())).is_open());
    let all = desk.hub.remove_if_drained(&phone);
    assert_eq!(all.iter().map(|one| one.mid).collect::<Vec<_>>(), [left.mid, Some(there)]);
    assert!(all.iter().all(|one| one.also() == [sibling]), "who answers for it too");
    assert!(desk.hub.remove_if_drained(&phone).is_empty(), "nothing is handed on twice");
}

#[test]
fn who_is_still_being_claimed_is_absent_for_senders_here_and_present_for_those_elsewhere() {
    let desk = Desk::new();
    let phone = desk.connect("Sid", 100);
    let (sid, hello) = (desk.hasher.hash("Sid"), Delivery::unnamed("1".into()));
    assert!(!desk.hub.deliver_from_here(sid, &hello).known);
    assert_eq!(desk.hub.deliver_to_claimed(sid, &hello), 0);
    assert!(desk.hub.deliver(sid, &hello).is_open());
    assert_eq!(desk.hub.deliver_to_open(sid, &hello), 1);
    phone.end_claim();
    assert!(desk.hub.deliver_from_here(sid, &hello).is_open());
    assert_eq!(desk.hub.deliver_to_claimed(sid, &hello), 1);
    assert_eq!(texts(&phone).len(), 4);
}

#[test]
fn a_copy_that_comes_again_is_dropped_unless_the_first_was_not_written() {
    let desk = Desk::new();
    let (sid, mid) = (desk.hasher.hash("Sid"), MessageId::random());
    let phone = desk.connect("Sid", 100);
    let copy = || Delivery::named(mid, "1".into());
    assert_eq!(desk.hub.deliver(sid, &copy()).delivered, 1);
    assert_eq!(desk.hub.deliver(sid, &copy()).delivered, 0, "the user is known, and has it");
    let again = desk.hub.deliver(sid, &copy());
    assert!(again.known && again.had);
    assert_eq!(desk.hub.deliver_to_open(sid, &copy()), 1, "had is as good as taken");
    assert!(!desk.hub.note_seen(sid, mid));
    let unwritten = phone.outbox().close();
    assert_eq!(unwritten.len(), 1);
    let _laptop = desk.connect("Sid", 100);
    assert_eq!(desk.hub.let_go(&phone, unwritten).len(), 1);
    assert_eq!(desk.hub.deliver(sid, &copy()).delivered, 1);
    let other = MessageId::random();
    assert!(desk.hub.note_seen(sid, other));
    assert_eq!(desk.hub.deliver(sid, &Delivery::named(other, "2".into())).delivered, 0);
}

#[test]
fn who_has_no_room_for_a_message_has_had_it_all_the_same() {
    let desk = Desk::new();
    let (sid, mid) = (desk.hasher.hash("Sid"), MessageId::random());
    let copy = || Delivery::named(mid, "2345".into());
    let phone = desk.connect("Sid", 4);
    desk.send("Sid", "1");
    assert_eq!(desk.hub.deliver_to_open(sid, &copy()), 1, "it may still be written");
    assert!(desk.hub.deliver(sid, &copy()).had, "and is not added to what is left over");
    let unwritten = phone.outbox().close();
    assert_eq!(told(&desk.hub.let_go(&phone, unwritten)), ["1", "2345"]);
    assert!(desk.hub.note_seen(sid, mid), "it was not");
}

#[test]
fn a_copy_that_a_leaving_connection_has_not_written_is_not_read_by_who_has_had_one_since() {
    let desk = Desk::new();
    let (sid, mid) = (desk.hasher.hash("Sid"), MessageId::random());
    let copy = || Delivery::named(mid, "1".into());
    let phone = desk.connect("Sid", 100);
    phone.outbox().order(Close::GoingAway);
    assert_eq!(desk.hub.deliver(sid, &copy()).delivered, 0, "it is leaving");
    let laptop = desk.connect("Sid", 100);
    assert_eq!(desk.hub.deliver(sid, &copy()).delivered, 1, "it is told again");
    assert_eq!(told(&desk.hub.let_go(&phone, phone.outbox().close())), ["1"]);
    assert!(!desk.hub.note_seen(sid, mid), "out of the mailbox comes what the laptop has had");
    // What the laptop has not written either has been had by nobody, what it was handed included.
    let handed = MessageId::random();
    assert_eq!(desk.hub.hand_on(sid, &Delivery::named(handed, "2".into())), 1);
    assert_eq!(told(&desk.hub.let_go(&laptop, laptop.outbox().close())), ["1", "2"]);
    assert!(desk.hub.note_seen(sid, mid) && desk.hub.note_seen(sid, handed));
}

#[test]
fn what_was_not_written_is_handed_on_by_the_last_who_was_given_it() {
    let desk = Desk::new();
    let sid = desk.hasher.hash("Sid");
    let let_go = |one: &Connection| desk.hub.let_go(one, one.outbox().close());
    let phone = desk.connect("Sid", 100);
    desk.send("Sid", "1");
    let laptop = desk.connect("Sid", 100);
    desk.send("Sid", "2");
    let left = let_go(&phone);
    assert_eq!(told(&left), ["1"], "the laptop was given the other one too");
    assert_eq!(desk.hub.hand_on(sid, &left[0]), 1);
    desk.hub.remove(&phone);
    // Behind what it was handed comes what is new, and one that has left is given nothing.
    desk.send("Sid", "3");
    let tablet = desk.connect("Sid", 100);
    laptop.outbox().order(Close::GoingAway);
    desk.send("Sid", "4");
    let left = let_go(&laptop);
    assert_eq!(told(&left), ["2", "1", "3"]);
    assert_eq!(told(&let_go(&tablet)), ["4"], "which nobody else was given");
}

#[test]
fn of_two_that_were_handed_it_together_the_last_hands_on() {
    let desk = Desk::new();
    let (sid, mid) = (desk.hasher.hash("Sid"), MessageId::random());
    let let_go = |one: &Connection| desk.hub.let_go(one, one.outbox().close());
    let phone = desk.connect("Sid", 100);
    desk.hub.deliver(sid, &Delivery::named(mid, "1".into()));
    let (laptop, tablet) = (desk.connect("Sid", 100), desk.connect("Sid", 100));
    let left = let_go(&phone);
    assert_eq!(desk.hub.hand_on(sid, &left[0]), 2);
    desk.hub.remove(&phone);
    assert!(let_go(&laptop).is_empty(), "the tablet has it, too");
    assert!(!desk.hub.note_seen(sid, mid));
    assert_eq!(told(&let_go(&tablet)), ["1"]);
    assert!(desk.hub.note_seen(sid, mid));
}

#[test]
fn of_two_that_let_go_together_the_last_hands_on() {
    let desk = Desk::new();
    let (phone, laptop) = (desk.connect("Sid", 100), desk.connect("Sid", 100));
    desk.send("Sid", "1");
    let (of_phone, of_laptop) = (phone.outbox().close(), laptop.outbox().close());
    assert!(desk.hub.let_go(&laptop, of_laptop).is_empty(), "the phone answers for it");
    assert_eq!(desk.hub.let_go(&phone, of_phone).len(), 1);
}

#[test]
fn siblings_are_remembered_while_the_user_is_here() {
    let desk = Desk::new();
    let user = desk.hasher.hash("Sid");
    let (here, dead) = (Epoch::random(), Epoch::random());
    desk.hub.add_sibling(user, here);
    assert!(desk.send("Sid", "1").siblings.is_empty(), "no connection, no siblings");
    desk.connect("Sid", 100);
    desk.hub.add_sibling(user, here);
    desk.hub.add_sibling(user, here);
    desk.hub.add_sibling(user, dead);
    desk.hub.retain_siblings(|epoch| epoch != dead);
    assert_eq!(desk.send("Sid", "2").siblings.as_slice(), [here]);
    desk.hub.remove_sibling(user, here);
    assert!(desk.send("Sid", "3").siblings.is_empty());
}
