//! A change in the directory is felt by those who are connected, on every instance, in a second.

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, Instant},
};

use wsfleetd::{config::settings::Database, ids::UserId, users};

use crate::{
    support::{
        client::{Client, refusal},
        fleet::{PATIENCE, TestFleet, eventually},
        instance::{Instance, binary},
        postgres::Postgres,
    },
    users::changes::CUT,
};

/// The promise, with which a user is out once the change is made.
const PROMPTLY: Duration = Duration::from_secs(1);

/// More connected users than are read at once.
const MANY: usize = 600;

const HEADER: &str = "username,first_name,last_name,mobile,password_hash,disabled\n";

/// A fleet whose users stand in PostgreSQL: Sunil, Sid and Mia.
struct Shared {
    fleet: TestFleet,
    postgres: Postgres,
}

impl Shared {
    async fn start(size: usize) -> Self {
        let postgres = with_users().await;
        let settings = format!("[database]\nurl = \"{}\"\n", postgres.url());
        Self { fleet: TestFleet::with_settings(size, &settings).await, postgres }
    }

    /// `wsfleetd users …`, as an operator types it on some machine.
    fn users(&self, line: &str) -> Output {
        let done = Command::new(binary())
            .arg("users")
            .args(line.split(' '))
            .env("WSFLEETD__DATABASE__URL", self.postgres.url())
            .output()
            .expect("wsfleetd runs");
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        done
    }

    async fn listens(&self, ears: usize) {
        let count = "SELECT count(*) FROM pg_stat_activity \
                     WHERE application_name LIKE '%listener' AND state = 'idle'";
        eventually("every instance listens", PATIENCE, async || {
            self.postgres.sql(count) == ears.to_string()
        })
        .await;
    }
}

async fn with_users() -> Postgres {
    let postgres = Postgres::start();
    let database = Database { url: Some(postgres.url().into()), ..Database::default() };
    users::migrate(&database).await.expect("the schema is made");
    postgres.sql("INSERT INTO users (username) VALUES ('Sunil'), ('Sid'), ('Mia')");
    postgres
}

async fn status(instance: &Instance, user: &str) -> u16 {
    refusal(instance.app(), "/Dev", &[("username", user)]).await.status().as_u16()
}

/// Closes with 1008 within the promise; how long that took.
async fn out(client: &mut Client, since: Instant) -> Duration {
    assert_eq!(client.expect_close().await, (1008, "Log in again".to_owned()));
    let took = since.elapsed();
    assert!(took < PROMPTLY, "{took:?}");
    took
}

async fn let_in(instance: &Instance, user: &str, since: Instant) -> (Client, Duration) {
    loop {
        match Client::try_connect(instance.app(), "/Dev", user).await {
            Ok(client) => return (client, since.elapsed()),
            Err(refused) => assert!(since.elapsed() < PROMPTLY, "{refused}"),
        }
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_everywhere_and_an_enabled_one_comes_back_at_once() {
    let shared = Shared::start(2).await;
    let (fleet, postgres) = (&shared.fleet, &shared.postgres);
    shared.listens(2).await;
    let mut sunil = fleet.connect(0, "Sunil").await;
    type Act<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let acts: [(Act<'_>, Act<'_>, u16); 3] = [
        (
            ("users disable", Box::new(|| drop(shared.users("disable Sid")))),
            ("users enable", Box::new(|| drop(shared.users("enable Sid")))),
            403,
        ),
        (
            ("users remove", Box::new(|| drop(shared.users("remove Sid")))),
            ("users add", Box::new(|| drop(shared.users("add Sid")))),
            401,
        ),
        (
            (
                "UPDATE",
                Box::new(|| drop(postgres.sql("UPDATE users SET disabled = username = 'Sid'"))),
            ),
            ("UPDATE back", Box::new(|| drop(postgres.sql("UPDATE users SET disabled = false")))),
            403,
        ),
    ];
    for ((shut, act), (open, undo), refused) in acts {
        let mut sids = [fleet.connect(0, "Sid").await, fleet.connect(1, "Sid").await];
        act();
        let since = Instant::now();
        for sid in &mut sids {
            println!("{shut}: closed {:?} after the command's end", out(sid, since).await);
        }
        for at in 0..2 {
            assert_eq!(status(&fleet[at], "Sid").await, refused, "{shut}");
        }
        undo();
        let since = Instant::now();
        for at in 0..2 {
            let (sid, took) = let_in(&fleet[at], "Sid", since).await;
            println!("{open}: let in {took:?} after the command's end");
            sid.close().await;
        }
    }
    sunil.send("Sunil", r#""untouched""#).await;
    sunil.expect(r#""untouched""#).await;
    fleet[0].logs("Sid is disabled or gone").await;
}

#[tokio::test]
async fn a_change_in_the_moment_in_which_nobody_listens_is_felt_as_fast() {
    let shared = Shared::start(2).await;
    let (fleet, postgres) = (&shared.fleet, &shared.postgres);
    shared.listens(2).await;
    let (mut here, mut there) = (fleet.connect(0, "Sid").await, fleet.connect(1, "Sid").await);
    let mut sunil = fleet.connect(1, "Sunil").await;
    postgres.sql(&format!("{CUT}; UPDATE users SET disabled = true WHERE username = 'Sid'"));
    let since = Instant::now();
    println!("with every listener cut: closed {:?} after it", out(&mut here, since).await);
    println!("with every listener cut: closed {:?} after it", out(&mut there, since).await);
    sunil.send("Sunil", r#""untouched""#).await;
    sunil.expect(r#""untouched""#).await;
    shared.listens(2).await;

    // Only one is cut, and comes back late: the other's word reaches it through Redis.
    postgres.sql("UPDATE users SET disabled = false");
    let (mut here, _) = let_in(&fleet[0], "Sid", Instant::now()).await;
    let (mut there, _) = let_in(&fleet[1], "Sid", Instant::now()).await;
    postgres.sql(&format!("{CUT} LIMIT 1; DELETE FROM users WHERE username = 'Sid'"));
    let since = Instant::now();
    println!("with one listener cut: closed {:?} after it", out(&mut here, since).await);
    println!("with one listener cut: closed {:?} after it", out(&mut there, since).await);
}

#[tokio::test]
async fn an_instance_alone_with_its_database_does_the_same() {
    let postgres = with_users().await;
    let instance = Instance::start(&format!("[database]\nurl = \"{}\"\n", postgres.url()));
    let ears = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%listener'";
    eventually("it listens", PATIENCE, async || postgres.sql(ears) == "1").await;
    let mut sid = instance.connect("Sid").await;
    postgres.sql("UPDATE users SET disabled = true WHERE username = 'Sid'");
    out(&mut sid, Instant::now()).await;
    assert_eq!(status(&instance, "Sid").await, 403);
    postgres.sql("UPDATE users SET disabled = false");
    let_in(&instance, "Sid", Instant::now()).await;
}

#[tokio::test]
async fn whom_the_database_lets_in_again_while_nobody_listens_is_let_in() {
    let shared = Shared::start(2).await;
    shared.listens(2).await;
    let mut sid = shared.fleet.connect(0, "Sid").await;
    shared.users("disable Sid");
    out(&mut sid, Instant::now()).await;
    // The mark in Redis stays: the change that would lift it is told to nobody.
    shared.postgres.sql("ALTER TABLE users DISABLE TRIGGER ALL");
    shared.postgres.sql("UPDATE users SET disabled = false");
    for at in 0..2 {
        // So that what it remembers is not what refuses him.
        shared.fleet[at].signal("HUP");
        shared.fleet[at].logs("reloaded").await;
        let mut sid = shared.fleet.connect(at, "Sid").await;
        sid.send("Sid", r#""back""#).await;
        sid.expect(r#""back""#).await;
    }
}

#[tokio::test]
async fn a_user_struck_from_the_file_is_out_of_the_fleet_with_the_reload() {
    let fleet = TestFleet::start(2).await;
    let (mut here, mut there) = (fleet.connect(0, "Sid").await, fleet.connect(1, "Sid").await);
    let mut ann = fleet.connect(0, "Ann").await;
    let path = fleet[0].dir().join("users.csv");
    let users = |line: &str| {
        let done = Command::new(binary())
            .arg("users")
            .args(line.split(' '))
            .env("WSFLEETD__USERS__FILE", &path)
            .status();
        assert!(done.expect("wsfleetd runs").success(), "{line}");
    };
    users("disable Sid");
    users("remove Bob");
    assert_eq!(fleet.connect(0, "Bob").await.close_hearing().await, Vec::<String>::new());
    fleet[0].signal("HUP");
    let since = Instant::now();
    println!("the file's change: closed {:?} after SIGHUP", out(&mut here, since).await);
    println!("the file's change: closed {:?} after SIGHUP", out(&mut there, since).await);
    assert_eq!(status(&fleet[0], "Sid").await, 403);
    assert_eq!(status(&fleet[0], "Bob").await, 401);
    assert_eq!(status(&fleet[1], "Sid").await, 403, "though its own file says nothing of it");

    users("enable Sid");
    fleet[0].signal("HUP");
    let since = Instant::now();
    let_in(&fleet[0], "Sid", since).await;
    let_in(&fleet[1], "Sid", since).await;
    ann.send("Ann", r#""untouched""#).await;
    ann.expect(r#""untouched""#).await;
}

#[tokio::test]
async fn garbage_in_the_file_is_named_by_its_line_and_changes_nothing() {
    let instance = Instance::start("");
    let mut sid = instance.connect("Sid").await;
    let path = instance.dir().join("users.csv");
    fs::write(&path, format!("{HEADER}Elon,,,,,\nSid,,,,,perhaps\n\u{1},,,,,\n")).unwrap();
    instance.signal("HUP");
    instance.logs("line 3: disabled \"perhaps\"").await;
    instance.logs("line 4: username \"\\u{1}\"").await;
    sid.send("Sid", r#""still here""#).await;
    sid.expect(r#""still here""#).await;
    instance.connect("Ann").await.close().await;

    fs::write(&path, format!("{HEADER}Sid,,,,,\n")).unwrap();
    instance.signal("HUP");
    eventually("Ann is a stranger now", PATIENCE, async || {
        Client::try_connect(instance.app(), "/Dev", "Ann").await.is_err()
    })
    .await;
    sid.send("Sid", r#""still here""#).await;
    sid.expect(r#""still here""#).await;
}

#[tokio::test]
async fn everybody_who_is_connected_is_read_again_after_a_change_of_many() {
    let shared = Shared::start(1).await;
    let (fleet, postgres) = (&shared.fleet, &shared.postgres);
    shared.listens(1).await;
    postgres.sql("INSERT INTO users (username) SELECT 'user' || n FROM generate_series(1, 600) n");
    let mut clients = Vec::new();
    for some in (1..=MANY).collect::<Vec<_>>().chunks(40) {
        let connecting =
            some.iter().map(async |n| (*n, fleet.connect(0, &format!("user{n}")).await));
        clients.extend(futures_util::future::join_all(connecting).await);
    }
    postgres.sql("UPDATE users SET disabled = true WHERE username ~ '^user[0-9]*7$'");
    let since = Instant::now();
    for (n, client) in &mut clients {
        if *n % 10 == 7 {
            assert_eq!(client.expect_close().await.0, 1008, "user{n}");
        }
    }
    println!("the last of {} was closed {:?} after the change of many", MANY / 10, since.elapsed());
    for (n, client) in clients.iter_mut().filter(|(n, _)| *n % 97 == 0 && *n % 10 != 7) {
        client.send(&format!("user{n}"), "1").await;
        client.expect("1").await;
    }
    let name = UserId::parse("user7").expect("a name");
    assert_eq!(status(&fleet[0], name.as_str()).await, 403);
}
