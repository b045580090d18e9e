//! What `systemctl status` says of a daemon that serves, lacks something, or leaves.

use std::time::Duration;

use crate::support::{
    fleet::{PATIENCE, eventually},
    instance::Instance,
    raw::Raw,
    redis::RedisServer,
    systemd::Manager,
};

/// The line is made anew every 10 s.
const PERIOD: Duration = Duration::from_secs(10);

#[tokio::test]
async fn it_says_how_full_it_is_and_what_it_leans_on() {
    let (manager, mut redis) = (Manager::new(), RedisServer::start());
    let instance =
        Instance::start_managed(&manager, &format!("[redis]\nurl = \"{}\"\n", redis.url()));
    let ready = manager.hears("READY=1").await;
    assert!(ready.contains("STATUS=serving 0 connections"), "{ready}");
    let mut sid = instance.connect("Sid").await;
    for _ in 0..100 {
        sid.send("Sid", "1").await;
        sid.expect("1").await;
    }
    let fine = manager.hears("STATUS=serving 1 connections, ").await;
    let (count, rest) = fine.split_once(" messages/s; ").expect("a rate");
    assert!(
        count.rsplit(' ').next().expect("a rate").parse::<u32>().expect("a number") > 0,
        "{fine}"
    );
    assert_eq!(rest, "Redis ok; users from a file");
    redis.stop();
    eventually("the line says it", PERIOD + PATIENCE, async || {
        manager.heard().iter().any(|line| line.contains("; Redis: not connected; "))
    })
    .await;
}

#[tokio::test]
async fn a_drain_says_how_far_it_is_and_asks_for_time_while_it_goes_on() {
    let manager = Manager::new();
    let mut instance = Instance::start_managed(&manager, "[drain]\nstop_timeout = \"4s\"\n");
    // It does not answer the goodbye: the session waits for it.
    let _mute = Raw::connect(instance.app(), "Sid").await;
    instance.signal("TERM");
    assert_eq!(instance.wait().code(), Some(0), "{}", instance.log());
    let heard = manager.heard();
    let at = |words: &str| {
        let found = heard.iter().position(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("no {words:?} in {heard:#?}"))
    };
    let stopping = at("STOPPING=1\nSTATUS=draining: 1 of 1 connections left, 0 s of 4 s");
    assert!(stopping < at("EXTEND_TIMEOUT_USEC=10000000"));
    assert!(at("EXTEND_TIMEOUT_USEC") < at("STATUS=draining: 1 of 1 connections left, 1 s of 4 s"));
    let after = &heard[stopping..];
    assert!(!after.iter().any(|line| line.contains("serving")), "{after:#?}");
}
