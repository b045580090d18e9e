//! A daemon that really runs out of descriptors.

use std::time::Duration;

use super::told_of;
use crate::support::{
    client::Client,
    fleet::{PATIENCE, eventually},
    instance::Instance,
    process::{cpu, descriptors},
    raw::Raw,
};

/// All it may have, although its settings promise more connections.
const LIMIT: usize = 150;

#[tokio::test]
async fn without_descriptors_it_neither_dies_nor_spins_and_serves_again() {
    let limit = format!("--nofile={LIMIT}:{LIMIT}");
    let more = "[limits]\nmax_connections = 5000\n[websocket]\nhandshake_timeout = \"60s\"\n";
    let instance = Instance::start_wrapped(&["prlimit", &limit], more);
    assert!(instance.log().contains("raise LimitNOFILE"), "{}", instance.log());
    let (mut sunil, mut sid) = (instance.connect("Sunil").await, instance.connect("Sid").await);
    // The kernel accepts them all; the daemon as many as it can.
    let mut silent = Vec::new();
    for _ in 0..2 * LIMIT {
        silent.push(Raw::open(instance.app()).await);
    }
    instance.logs("listen.app: cannot accept: Too many open files").await;
    println!("{} descriptors are open", descriptors(instance.pid()));
    let before = cpu(instance.pid());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = cpu(instance.pid()) - before;
    println!("{spent:?} of CPU in 2 s without descriptors");
    assert!(spent < Duration::from_millis(400), "it spins: {spent:?} in 2 s");
    // Those who are in are served.
    sunil.send("Sid", "\"still here?\"").await;
    sid.expect("\"still here?\"").await;
    let told = told_of(&instance, "listen.app");
    assert_eq!(told.len(), 1, "one line, not one for each try: {told:#?}");
    silent.clear();
    eventually("new clients are served again", PATIENCE, async || {
        Client::try_connect(instance.app(), "/Dev", "Ann").await.is_ok()
    })
    .await;
    eventually("no descriptor is kept", PATIENCE, async || descriptors(instance.pid()) < LIMIT / 2)
        .await;
}
