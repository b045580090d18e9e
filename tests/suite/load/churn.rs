//! Connections that come and go by the thousand, and what they leave behind: nothing.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;

use crate::support::{
    client::Client,
    fleet::{eventually, get},
    instance::Instance,
    process::{descriptors, resident},
    redis::RedisServer,
};

const ROUNDS: usize = 5;

/// Opened at a time.
const BATCH: usize = 100;

/// Connections of one user.
const DEVICES: usize = 10;

/// How long a round may take to be forgotten: the marker of who has just left stands for a second.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// What memory may grow by between the second round and the last: what glibc keeps differs from
/// round to round by some pages for each thread's arena.
const GROWTH: usize = 6 * 1024 * 1024;

fn user(number: usize) -> String {
    format!("u{}", number / DEVICES)
}

/// Each connection is used once before it leaves.
async fn round(instance: &Instance, connections: usize) -> usize {
    let mut clients = Vec::with_capacity(connections);
    for first in (0..connections).step_by(BATCH) {
        let some = (first..first + BATCH).map(async |number| {
            let mut client = Client::connect(instance.app(), "/Dev", &user(number)).await;
            client.send("nobody", "1").await;
            client
        });
        clients.extend(join_all(some).await);
    }
    let open = descriptors(instance.pid());
    while !clients.is_empty() {
        let some = clients.split_off(clients.len().saturating_sub(BATCH));
        // Half of them say goodbye, half are just gone.
        join_all(some.into_iter().enumerate().map(async |(nth, client)| match nth % 2 {
            0 => client.close().await,
            _ => drop(client),
        }))
        .await;
    }
    open
}

async fn churn(connections: usize) {
    let redis = RedisServer::start();
    let rows: String = (0..connections / DEVICES).map(|n| format!("u{n},,,,,\n")).collect();
    let users = format!("username,first_name,last_name,mobile,password_hash,disabled\n{rows}");
    let more = format!(
        "[redis]\nurl = \"{}\"\n[delivery]\nhandover_window = \"1s\"\n[limits]\naccept_rate = 0\n",
        redis.url()
    );
    let quiet = ["env", "WSFLEETD__TELEMETRY__LEVEL=info"];
    let mut instance = Instance::start_under(&quiet, r#"modes = ["header"]"#, &users, &more);
    eventually("the instance is ready", FORGOTTEN, async || {
        get(instance.admin(), "/readyz").await.0 == 200
    })
    .await;
    let keys = || {
        let all = redis.ask(&["KEYS", "*"]);
        // One for each partition, however many come: the epochs that ever wrote there.
        let ours = all.lines().filter(|key| !key.ends_with("}:b"));
        ours.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    // Before the first round, one connection: what the first one needs is nothing left behind.
    Client::connect(instance.app(), "/Dev", "u0").await.close().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (keys_before, descriptors_before) = (keys(), descriptors(instance.pid()));
    let mut memory = Vec::new();
    for number in 1..=ROUNDS {
        let open = round(&instance, connections).await;
        assert!(open >= connections, "{open} descriptors for {connections} connections");
        eventually("every descriptor is given back", FORGOTTEN, async || {
            descriptors(instance.pid()) <= descriptors_before
        })
        .await;
        eventually("every key is gone", FORGOTTEN, async || {
            keys().difference(&keys_before).next().is_none()
        })
        .await;
        memory.push(resident(instance.pid()));
        println!("round {number}: {} KiB resident", memory[number - 1] / 1024);
    }
    let grown = memory[ROUNDS - 1].saturating_sub(memory[1]);
    assert!(grown < GROWTH, "{grown} bytes more after the last round than after the second");
    // A task that were left would be waited for, and named.
    let (status, took) = instance.stop();
    assert!(status.success(), "{status}: {}", instance.log());
    assert!(took < Duration::from_secs(5), "the end took {took:?}");
}

#[tokio::test]
async fn hundreds_of_connections_come_and_go_and_leave_nothing() {
    churn(300).await;
}

#[tokio::test]
#[ignore = "long: 25,000 connections are opened and closed"]
async fn thousands_of_connections_come_and_go_and_leave_nothing() {
    churn(5000).await;
}
