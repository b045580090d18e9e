//! A connection's id stays good as long as its socket is open: it says the same, and leads to the
//! live epoch that has the connection, whatever became of the one before.

use std::time::Duration;

use tokio::time::sleep;

use super::{HASTY, T};
use crate::support::{
    client::Client,
    fleet::{TestFleet, eventually},
    instance::USERS,
};

/// Characters of an id that name the process which issued it.
const ORIGIN: usize = 8;

/// A client, and what the server calls its connection.
struct Guest {
    at: usize,
    user: &'static str,
    client: Client,
    id: String,
}

/// Two on each instance, no two of one user.
async fn guests(fleet: &TestFleet, size: usize) -> Vec<Guest> {
    let mut guests = Vec::new();
    for (n, user) in USERS.iter().enumerate().take(2 * size) {
        guests.push(guest(fleet, n % size, user).await);
    }
    guests
}

async fn guest(fleet: &TestFleet, at: usize, user: &'static str) -> Guest {
    let mut client = fleet.connect(at, user).await;
    let id = client.ask_id().await;
    Guest { at, user, client, id }
}

/// The epoch to which an id leads: that of its origin, if it is a member's and has the connection.
fn owner_of(fleet: &TestFleet, id: &str) -> Option<String> {
    let epoch = fleet.redis.ask(&["HGET", "wsfleetd:{m}:origin", &id[..ORIGIN]]);
    let device = format!("~{id}");
    let mut entries =
        fleet.keys("u:*").into_iter().map(|key| fleet.redis.ask(&["HGET", &key, &device]));
    let has_it = entries.any(|tag| tag.starts_with(&format!("@{epoch}.")));
    (has_it && fleet.epochs().contains(&epoch)).then_some(epoch)
}

fn owners_of(fleet: &TestFleet, guests: &[Guest]) -> Vec<Option<String>> {
    guests.iter().map(|guest| owner_of(fleet, &guest.id)).collect()
}

/// Everybody's id leads somewhere again, and is the same; who comes now has an id of the same origin
/// that nobody had. Answers the owners.
async fn all_are_good(fleet: &TestFleet, guests: &mut [Guest]) -> Vec<String> {
    let took = eventually("every id leads to a live epoch", T, async || {
        owners_of(fleet, guests).iter().all(Option::is_some)
    })
    .await;
    println!("{} ids are good after {took:?}", guests.len());
    let owners = owners_of(fleet, guests).into_iter().flatten().collect();
    for guest in guests.iter_mut() {
        assert_eq!(
            guest.client.ask_id().await,
            guest.id,
            "{} is called something else",
            guest.user
        );
    }
    for at in 0..=guests.iter().map(|guest| guest.at).max().unwrap_or(0) {
        let new = guest(fleet, at, "Zoë").await;
        assert!(guests.iter().all(|old| old.id != new.id), "{} was given out twice", new.id);
        let origin = guests.iter().find(|old| old.at == at).map(|old| &old.id[..ORIGIN]);
        assert_eq!(origin, Some(&new.id[..ORIGIN]), "the process is the same");
        assert!(owner_of(fleet, &new.id).is_some());
        new.client.close().await;
    }
    owners
}

#[tokio::test]
async fn an_id_is_good_after_redis_has_forgotten_everything() {
    let mut fleet = TestFleet::with_settings(3, HASTY).await;
    let mut guests = guests(&fleet, 3).await;
    let before = all_are_good(&fleet, &mut guests).await;
    fleet.redis.ask(&["FLUSHALL"]);
    assert_eq!(owners_of(&fleet, &guests), [const { None }; 6], "they lead nowhere");
    let flushed = all_are_good(&fleet, &mut guests).await;
    assert!(flushed.iter().all(|epoch| !before.contains(epoch)), "all epochs are new");
    fleet.redis.stop();
    sleep(Duration::from_millis(500)).await;
    fleet.redis.start_again();
    let restarted = all_are_good(&fleet, &mut guests).await;
    assert!(restarted.iter().all(|epoch| !flushed.contains(epoch)), "and again");
}

#[tokio::test]
async fn an_id_is_good_all_the_time_when_its_instance_freezes_for_longer_than_its_lease() {
    // Nobody is given up before 4.5 s.
    let patient = "[fleet]\nheartbeat = \"250ms\"\nsuspect_rounds = 20\nlease = \"600ms\"\n";
    let fleet = TestFleet::with_settings(2, patient).await;
    let mut guests = guests(&fleet, 2).await;
    let before = all_are_good(&fleet, &mut guests).await;
    fleet[1].signal("STOP");
    for _ in 0..8 {
        sleep(Duration::from_millis(200)).await;
        let owners: Vec<_> = owners_of(&fleet, &guests).into_iter().flatten().collect();
        assert_eq!(owners, before, "it may be back at any moment");
    }
    fleet[1].signal("CONT");
    assert_eq!(all_are_good(&fleet, &mut guests).await, before);
}

#[tokio::test]
async fn an_id_is_good_again_when_its_instance_comes_back_from_the_dead() {
    let fleet = TestFleet::with_settings(3, HASTY).await;
    let mut guests = guests(&fleet, 3).await;
    let before = all_are_good(&fleet, &mut guests).await;
    fleet[1].signal("STOP");
    eventually("it counts as dead, and its ids lead nowhere", T, async || {
        owners_of(&fleet, &guests)
            .iter()
            .zip(&guests)
            .all(|(owner, guest)| owner.is_none() == (guest.at == 1))
    })
    .await;
    fleet[1].signal("CONT");
    let after = all_are_good(&fleet, &mut guests).await;
    for (guest, (before, after)) in guests.iter().zip(before.iter().zip(&after)) {
        assert_eq!(before != after, guest.at == 1, "only one has a new epoch");
    }
}

#[tokio::test]
async fn an_id_is_good_after_a_fence_by_hand() {
    let fleet = TestFleet::with_settings(2, HASTY).await;
    let mut guests = guests(&fleet, 2).await;
    let mut before = all_are_good(&fleet, &mut guests).await;
    for _ in 0..3 {
        let fenced = before[1].clone();
        assert_eq!(fleet[0].asks(&["fleet", "purge", "--force", &fenced]).code, Some(0));
        let after = all_are_good(&fleet, &mut guests).await;
        assert!(after[0] == before[0] && after[1] != fenced && after[1] == after[3]);
        before = after;
    }
}
