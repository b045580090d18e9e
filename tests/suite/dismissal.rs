//! Connections that are closed on somebody's word: kicked, or shut out for good.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_util::sync::{CancellationToken, DropGuard};
use wsfleetd::{
    hub::{About, Connection, Hub},
    ids::{CurrentEpoch, Epoch, IdSource, Origin, UserHash, UserHasher, UserId},
    lifecycle::Tasks,
    protocol::close::Close,
    redis::{self, LinkState, Redis},
    router::{self, Router},
    session::{Bounds, ClaimConfig, Claimed, Dismissal, NotClaimed, Registrar},
    store::{
        Claim, HoldPolicy, Limit, SharedStore, View, memory::MemoryStore, shared::SharedState,
    },
};

use crate::support::{
    client::refusal,
    fleet::{PATIENCE, TestFleet, eventually},
    redis::RedisServer,
};

const NORMAL: (u16, &str) = (1000, "Connection Closed Normally");
const SHUT_OUT: (u16, &str) = (1008, "Log in again");

/// Long enough for any test.
const LONG: Duration = Duration::from_secs(600);

/// A registrar as a daemon has one, and what it works with.
struct Desk {
    registrar: Registrar,
    hub: Hub,
    ids: IdSource,
    hasher: UserHasher,
    store: SharedStore,
    _guard: DropGuard,
}

impl Desk {
    fn alone() -> Self {
        Self::over(Arc::new(MemoryStore::new(policy())), 32.into(), CancellationToken::new())
    }

    /// A member's, though it sends no heartbeat: like a peer of the fleet that uses this Redis.
    async fn beside(server: &RedisServer) -> Self {
        Self::beside_with(server, 32.into()).await
    }

    async fn beside_with(server: &RedisServer, limit: Limit) -> Self {
        let redis = Redis::new(config(server)).expect("a usable URL");
        let (stop, hot) = (CancellationToken::new(), redis.clone());
        let stopped = stop.clone();
        let mut link = redis.watch();
        Tasks::new().spawn("redis", async move { hot.run(stopped).await });
        let up = link.wait_for(|state| matches!(state, LinkState::Up(_)));
        tokio::time::timeout(PATIENCE, up).await.expect("in time").expect("Redis is reached");
        Self::over(Arc::new(SharedState::new(redis, &policy())), limit, stop)
    }

    fn over(store: SharedStore, limit: Limit, stop: CancellationToken) -> Self {
        let (hub, view, epoch) = (Hub::default(), View::default(), CurrentEpoch::default());
        let hasher = UserHasher::new(b"wsfleetd");
        let config = router::Config { hold: true, max_stored_message: 1024, directory: None };
        let router = Router::new(
            config,
            hub.clone(),
            store.clone(),
            view.clone(),
            None,
            hasher.clone(),
            epoch.clone(),
        );
        let bounds = Bounds { connections_per_user: limit, revocation: LONG };
        let config = ClaimConfig { max_stored_message: 1024, bounds };
        let registrar =
            Registrar::new(config, store.clone(), router, view, epoch, Tasks::new(), None);
        let ids = IdSource::new(Origin::random());
        Self { registrar, hub, ids, hasher, store, _guard: stop.drop_guard() }
    }

    fn user(&self, name: &str) -> UserHash {
        self.hasher.hash(name)
    }

    async fn connect(&self, name: &str) -> Result<Claimed, NotClaimed> {
        let (number, id) = self.ids.issue();
        let user = UserId::parse(name).expect("a name");
        let about =
            About { user, client: Ipv4Addr::LOCALHOST.into(), connected: SystemTime::now() };
        let connection = Connection::new(id, number, self.user(name), about, 1024);
        self.registrar.claim(Arc::new(connection)).await
    }
}

fn config(server: &RedisServer) -> redis::Config {
    redis::Config {
        url: server.url().into(),
        cluster: false,
        username: String::new(),
        password: None,
        ca_pem: None,
        prefix: "wsfleetd".to_owned(),
        partitions: 256,
        connect_timeout: PATIENCE,
        command_timeout: Duration::from_secs(2),
        pool_size: 2,
    }
}

fn ordered(claimed: &Claimed) -> Option<Close> {
    claimed.connection().outbox().ordered()
}

fn policy() -> HoldPolicy {
    HoldPolicy { window: None, keeps: false, ttl: LONG, entries: 4, bytes: 100 }
}

fn closed(close: (u16, String)) -> (u16, &'static str) {
    [NORMAL, SHUT_OUT]
        .into_iter()
        .find(|known| *known == (close.0, close.1.as_str()))
        .unwrap_or_else(|| panic!("neither kicked nor shut out: {close:?}"))
}

#[tokio::test]
async fn alone_a_kick_closes_who_is_here_and_refuses_nobody() {
    let desk = Desk::alone();
    let (one, two) = (desk.connect("Sid").await.unwrap(), desk.connect("Sid").await.unwrap());
    let other = desk.connect("Elon").await.unwrap();
    let told = desk.registrar.kick(desk.user("Sid")).await.unwrap();
    assert_eq!(told, Dismissal { here: 2, heard: 1, silent: 0 });
    assert_eq!([&one, &two].map(ordered), [Some(Close::Normal); 2]);
    assert_eq!(ordered(&other), None);
    let again = desk.connect("Sid").await.unwrap();
    assert_eq!(ordered(&again), None);
    let nobody = desk.registrar.kick(desk.user("Nobody")).await.unwrap();
    assert_eq!(nobody, Dismissal::default());
}

#[tokio::test]
async fn alone_who_is_shut_out_is_closed_and_comes_back_as_soon_as_it_is_lifted() {
    let desk = Desk::alone();
    let one = desk.connect("Sid").await.unwrap();
    let told = desk.registrar.revoke(desk.user("Sid")).await.unwrap();
    assert_eq!(told, Dismissal { here: 1, heard: 1, silent: 0 });
    assert_eq!(ordered(&one), Some(Close::Policy));
    assert_eq!(desk.connect("Sid").await.err(), Some(NotClaimed::Revoked));
    desk.connect("Elon").await.unwrap();
    desk.registrar.lift(desk.user("Sid")).await.unwrap();
    let again = desk.connect("Sid").await.unwrap();
    assert_eq!(ordered(&again), None);
}

#[tokio::test]
async fn who_is_shut_out_is_closed_and_refused_on_every_instance() {
    let fleet = TestFleet::start(3).await;
    let desk = Desk::beside(&fleet.redis).await;
    let sid = desk.user("Sid");
    let mut lost = Vec::new();
    for at in [0, 1, 1, 2] {
        lost.push(fleet.connect(at, "Sid").await);
    }
    let mut others = [fleet.connect(0, "Sunil").await, fleet.connect(1, "Elon").await];
    let told = desk.registrar.revoke(sid).await.unwrap();
    assert_eq!(told, Dismissal { here: 0, heard: 3, silent: 0 });
    for client in &mut lost {
        assert_eq!(closed(client.expect_close().await), SHUT_OUT);
    }
    for at in 0..3 {
        let answer = refusal(fleet[at].app(), "/Dev", &[("username", "Sid")]).await;
        assert_eq!(answer.status(), 403);
        let body =
            String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
        assert!(body.starts_with(r#"{"message": "Forbidden","#), "{body}");
    }
    let [sunil, elon] = &mut others;
    sunil.send("Elon", "1").await;
    elon.expect("1").await;
    eventually("their entries are gone", PATIENCE, async || fleet.entries() == 2).await;

    desk.registrar.lift(sid).await.unwrap();
    for at in 0..3 {
        let mut sid = fleet.connect(at, "Sid").await;
        sunil.send("Sid", &at.to_string()).await;
        sid.expect(&at.to_string()).await;
        sid.close().await;
    }
}

#[tokio::test]
async fn an_instance_that_misses_the_word_finds_the_mark_when_it_listens_again() {
    let fleet = TestFleet::start(2).await;
    let desk = Desk::beside(&fleet.redis).await;
    let (mut sid, mut sunil) = (fleet.connect(0, "Sid").await, fleet.connect(1, "Sunil").await);
    let before = fleet.keys("u:*");
    fleet.redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let told = desk.registrar.revoke(desk.user("Sid")).await.unwrap();
    assert_eq!((before.len(), told), (2, Dismissal { here: 0, heard: 0, silent: 1 }));
    assert_eq!(closed(sid.expect_close().await), SHUT_OUT);
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
}

#[tokio::test]
async fn a_kick_reaches_every_instance_and_those_who_come_back_are_let_in() {
    let fleet = TestFleet::start(2).await;
    let desk = Desk::beside(&fleet.redis).await;
    let (mut one, mut two) = (fleet.connect(0, "Sid").await, fleet.connect(1, "Sid").await);
    let mut elon = fleet.connect(0, "Elon").await;
    let told = desk.registrar.kick(desk.user("Sid")).await.unwrap();
    assert_eq!(told, Dismissal { here: 0, heard: 2, silent: 0 });
    for client in [&mut one, &mut two] {
        assert_eq!(closed(client.expect_close().await), NORMAL);
    }
    let mut sid = fleet.connect(1, "Sid").await;
    elon.send("Sid", "1").await;
    sid.expect("1").await;
}

#[tokio::test]
async fn a_late_word_does_not_meet_who_came_later_and_an_unknown_one_nobody() {
    let fleet = TestFleet::start(1).await;
    let desk = Desk::beside(&fleet.redis).await;
    let mut sid = fleet.connect(0, "Sid").await;
    let tag = fleet.tags().remove(0);
    let mut parts = tag[1..].split('.');
    let (epoch, number) = (parts.next().unwrap(), parts.next().unwrap().parse::<u64>().unwrap());
    let say = |kind: &str, body: String| {
        let (channel, length) = (format!("wsfleetd:i:{epoch}"), body.len());
        fleet.redis.ask(&["PUBLISH", &channel, &format!("1{kind}{length}:{body}")])
    };
    let user = desk.user("Sid");
    for kind in ["X", "K"] {
        assert_eq!(say(kind, format!("{user} {},{}", number + 1, number + 2)), "1");
        assert_eq!(say(kind, format!("{user} {number},x")), "1");
        assert_eq!(say(kind, format!("{} {number}", desk.user("Elon"))), "1");
        assert_eq!(say(kind, String::new()), "1");
    }
    assert_eq!(say("Z", format!("{user} {number}")), "1");
    sid.expect_silence().await;
    sid.send("Sid", "1").await;
    sid.expect("1").await;
    assert_eq!(say("K", format!("{user} {},{number}", number + 1)), "1");
    assert_eq!(closed(sid.expect_close().await), NORMAL);
}

#[tokio::test]
async fn who_is_shut_out_while_redis_is_away_is_closed_here_and_the_fleet_is_told_later() {
    let mut server = RedisServer::start();
    let desk = Desk::beside(&server).await;
    let (sid, elon) = (desk.connect("Sid").await.unwrap(), desk.connect("Elon").await.unwrap());
    server.stop();
    for name in ["Sid", "Elon"] {
        assert!(desk.registrar.revoke(desk.user(name)).await.is_err());
    }
    assert!(desk.registrar.lift(desk.user("Elon")).await.is_err());
    assert_eq!([&sid, &elon].map(ordered), [Some(Close::Policy); 2]);
    let ann = desk.connect("Ann").await.unwrap();
    assert!(desk.registrar.kick(desk.user("Ann")).await.is_err());
    assert_eq!(ordered(&ann), Some(Close::Normal));
    server.start_again();
    eventually("the fleet is told", PATIENCE, async || {
        desk.registrar.settle_verdicts().await;
        server.ask(&["--scan", "--pattern", "*:x:*"]).lines().count() == 1
    })
    .await;
    assert_eq!(desk.connect("Sid").await.err(), Some(NotClaimed::Revoked));
    desk.connect("Elon").await.unwrap();
    assert_eq!(desk.store.locate(desk.user("Ann")).await.unwrap(), [], "a kick is not repeated");
    assert!(desk.hub.len() >= 3);
}

#[tokio::test]
async fn a_stop_of_redis_between_word_and_mark_changes_nothing_for_who_is_let_in() {
    let fleet = TestFleet::start(2).await;
    let desk = Desk::beside(&fleet.redis).await;
    let mut sid = fleet.connect(0, "Sid").await;
    desk.registrar.revoke(desk.user("Sid")).await.unwrap();
    assert_eq!(closed(sid.expect_close().await), SHUT_OUT);
    // What a flush forgets the directory still knows; until then nobody is refused for nothing.
    fleet.redis.ask(&["FLUSHALL"]);
    let mut sid = fleet.connect(1, "Sid").await;
    sid.send("Sid", "1").await;
    sid.expect("1").await;
}

#[tokio::test]
async fn what_is_listed_here_and_open_nowhere_makes_room() {
    let server = RedisServer::start();
    let desk = Desk::beside_with(&server, Limit { most: 2, displaces: false }).await;
    let first = desk.connect("Sid").await.expect("the first has a place");
    let epoch = first.connection().registration().expect("it is registered").epoch;
    // Registered behind the back of a connection that has left, and not taken back yet.
    let (user, device) = (desk.user("Sid"), "~gone".to_owned());
    let gone = Claim { user, number: 77, device, since: None };
    desk.store.connect(epoch, &gone, Limit { most: 2, displaces: false }).await.expect("a place");
    let second = desk.connect("Sid").await.expect("the second has a place");
    assert_eq!(desk.store.locate(user).await.expect("an answer").len(), 2);
    assert!(matches!(desk.connect("Sid").await, Err(NotClaimed::Limit { limit: 2 })));
    assert_eq!((ordered(&first), ordered(&second)), (None, None));
}

#[tokio::test]
async fn what_the_dead_left_makes_room_before_the_living() {
    let server = RedisServer::start();
    let limit = Limit { most: 2, displaces: true };
    let (desk, dead) = (Desk::beside_with(&server, limit).await, Epoch::random());
    let sid = desk.user("Sid");
    let living = desk.connect("Sid").await.unwrap();
    let ghost = Claim { user: sid, number: 1, device: "~ghost".to_owned(), since: None };
    desk.store.connect(dead, &ghost, limit).await.unwrap();
    let second = desk.connect("Sid").await.unwrap();
    assert_eq!([&living, &second].map(ordered), [None; 2]);
    let tags = desk.store.locate(sid).await.unwrap();
    assert!(tags.len() == 2 && tags.iter().all(|tag| tag.epoch() != Some(dead)), "{tags:?}");
    let third = desk.connect("Sid").await.unwrap();
    assert_eq!([&living, &second, &third].map(ordered), [Some(Close::Displaced), None, None]);
}
