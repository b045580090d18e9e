//! The limits of the edge, each changed while connections are open.

use super::reload;
use crate::{
    limits::memory::Account,
    support::{
        fleet::{PATIENCE, eventually},
        instance::Instance,
        raw::{Raw, ask},
    },
};

/// What `count` handshakes in a row are answered: how many get in.
async fn let_in(instance: &Instance, count: usize) -> usize {
    let mut let_in = 0;
    for _ in 0..count {
        let status = ask(instance.app(), "/Dev", &[("username", "Sid")]).await.status;
        let_in += usize::from(status == 101);
    }
    let_in
}

/// How many of `count` messages to itself a client hears; the others are answered.
async fn heard(client: &mut Raw, count: usize) -> usize {
    for _ in 0..count {
        client.say(r#"{"action":"send","to":"Sunil","message":1}"#).await;
    }
    let mut heard = 0;
    for _ in 0..count {
        let frame = client.next().await.expect("an answer or the message");
        heard += usize::from(frame.payload == b"1");
    }
    heard
}

pub async fn more_and_fewer_seats(key: &str) {
    let instance = Instance::start("[limits]\nmax_connections = 1\n");
    let (mut first, second) = (instance.connect("Sunil").await, let_in(&instance, 1).await);
    assert_eq!(second, 0);
    reload(&instance, &format!("{key} = 2\n")).await;
    let second = instance.connect("Sid").await;
    reload(&instance, &format!("{key} = 1\n")).await;
    first.send("Sunil", "\"nobody is sent away\"").await;
    first.expect("\"nobody is sent away\"").await;
    second.close().await;
    eventually("the second has left", PATIENCE, async || {
        instance.log().matches("ended after").count() == 1
    })
    .await;
    assert_eq!(let_in(&instance, 1).await, 0, "one seat is left, and taken");
}

pub async fn more_of_one_user(key: &str) {
    let instance = Instance::start("[limits]\nconnections_per_user = 1\n");
    let _first = instance.connect("Sunil").await;
    assert!(is_refused(&instance).await);
    reload(&instance, &format!("{key} = 2\n")).await;
    let _second = instance.connect("Sunil").await;
    assert!(is_refused(&instance).await);
}

pub async fn who_makes_room(key: &str) {
    let instance = Instance::start("[limits]\nconnections_per_user = 1\n");
    let mut first = instance.connect("Sunil").await;
    assert!(is_refused(&instance).await);
    reload(&instance, &format!("{key} = \"displace-oldest\"\n")).await;
    let _second = instance.connect("Sunil").await;
    assert_eq!(first.expect_close().await.0, 4409);
    reload(&instance, &format!("{key} = \"unlimited\"\n")).await;
    let _third = instance.connect("Sunil").await;
}

/// Whether Sunil has as many connections as he may.
async fn is_refused(instance: &Instance) -> bool {
    ask(instance.app(), "/Dev", &[("username", "Sunil")]).await.status == 403
}

pub async fn a_larger_outbox(key: &str) {
    let instance = Instance::start("[limits]\noutbox_bytes = \"128KiB\"\n");
    let mut sunil = instance.connect("Sunil").await;
    let big = format!("\"{}\"", "x".repeat(30_000));
    // Far more than the small bound and the kernel's buffers take, and less than the large one.
    let mut cut = async || {
        let count = |words: &str| instance.log().matches(words).count();
        let (ended, cut) = (count("ended after"), count("TryAgainLater"));
        let sid = Raw::open_narrow(instance.app()).await.upgraded("Sid").await;
        for number in 0..400 {
            sunil.send("Sid", &big).await;
            sunil.send("Sunil", &number.to_string()).await;
            sunil.expect(&number.to_string()).await;
        }
        drop(sid);
        eventually("Sid's end", PATIENCE, async || count("ended after") > ended).await;
        count("TryAgainLater") > cut
    };
    assert!(cut().await);
    reload(&instance, &format!("{key} = \"64MiB\"\n")).await;
    assert!(!cut().await);
}

pub async fn the_rate_of_connections(key: &str) {
    let instance = Instance::start("[limits]\naccept_burst = 1\n");
    reload(&instance, &format!("{key} = 1\n")).await;
    assert!(let_in(&instance, 20).await < 20);
    reload(&instance, &format!("{key} = 0\n")).await;
    assert_eq!(let_in(&instance, 20).await, 20);
}

pub async fn the_burst_of_connections(key: &str) {
    let instance = Instance::start("[limits]\naccept_rate = 1\naccept_burst = 100\n");
    assert_eq!(let_in(&instance, 20).await, 20);
    reload(&instance, &format!("{key} = 1\n")).await;
    assert!(let_in(&instance, 20).await < 20);
}

pub async fn the_rate_of_an_address(key: &str) {
    let instance = Instance::start("[limits]\naccept_burst_per_address = 1\n");
    assert_eq!(let_in(&instance, 20).await, 20);
    reload(&instance, &format!("{key} = 1\n")).await;
    assert!(let_in(&instance, 20).await < 20);
}

pub async fn the_burst_of_an_address(key: &str) {
    let instance = Instance::start("[limits]\naccept_rate_per_address = 1\n");
    assert_eq!(let_in(&instance, 20).await, 20);
    reload(&instance, &format!("{key} = 1\n")).await;
    assert!(let_in(&instance, 20).await < 20);
}

pub async fn the_rate_of_messages(key: &str) {
    let instance = Instance::start("[limits]\nmessage_burst = 1\n");
    let mut sunil = Raw::connect(instance.app(), "Sunil").await;
    reload(&instance, &format!("{key} = 1\n")).await;
    // The connection was open before.
    assert!(heard(&mut sunil, 8).await < 8);
    reload(&instance, &format!("{key} = 0\n")).await;
    assert_eq!(heard(&mut sunil, 100).await, 100);
}

pub async fn the_burst_of_messages(key: &str) {
    let instance = Instance::start("[limits]\nmessage_rate = 1\nmessage_burst = 1000\n");
    let mut sunil = Raw::connect(instance.app(), "Sunil").await;
    assert_eq!(heard(&mut sunil, 100).await, 100);
    reload(&instance, &format!("{key} = 1\n")).await;
    assert!(heard(&mut sunil, 8).await < 8);
}

pub async fn the_share_of_memory(key: &str) {
    let account = Account::new();
    account.uses(950_000, 0);
    let instance = account.start("");
    assert_eq!(let_in(&instance, 1).await, 0);
    reload(&instance, &format!("{key} = \"off\"\n")).await;
    assert_eq!(let_in(&instance, 1).await, 1);
    reload(&instance, &format!("{key} = \"94%\"\n")).await;
    eventually("it is short again", PATIENCE, async || let_in(&instance, 1).await == 0).await;
}
