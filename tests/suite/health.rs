//! What load balancers and operators are told about an instance's health.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    fleet::{PATIENCE, TestFleet, eventually, get},
    instance::Instance,
    raw::{Raw, ask},
};

/// A load balancer gives a health check 5 s.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

async fn assert_healthy(instance: &Instance) {
    for (address, path) in [
        (instance.app(), "/healthz"),
        (instance.api(), "/healthz"),
        (instance.api(), "/api/healthz"),
        (instance.admin(), "/healthz"),
    ] {
        let start = Instant::now();
        assert_eq!(get(address, path).await, (200, "ok\n".into()), "{address}{path}");
        assert!(start.elapsed() < CHECK_TIMEOUT, "{address}{path}: {:?}", start.elapsed());
    }
}

async fn readiness(instance: &Instance) -> (u16, Value) {
    let (status, body) = get(instance.admin(), "/readyz").await;
    (status, serde_json::from_str(&body).expect("a JSON body"))
}

#[tokio::test]
async fn an_instance_alone_is_healthy_and_ready() {
    let instance = Instance::start("");
    assert_healthy(&instance).await;
    assert_eq!(readiness(&instance).await, (200, json!({"ready": true, "failing": {}})));
}

#[tokio::test]
async fn without_redis_an_instance_is_not_ready_and_healthy_all_the_same() {
    let mut fleet = TestFleet::start(1).await;
    assert_healthy(&fleet[0]).await;
    fleet.redis.stop();
    eventually("the loss is told", PATIENCE, async || {
        let (status, body) = readiness(&fleet[0]).await;
        status == 503 && body["ready"] == false && body["failing"].get("redis").is_some()
    })
    .await;
    assert_healthy(&fleet[0]).await;
    fleet.redis.start_again();
    eventually("all is well again", Duration::from_secs(20), async || {
        readiness(&fleet[0]).await == (200, json!({"ready": true, "failing": {}}))
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_told_too() {
    let fleet = TestFleet::start(1).await;
    fleet.redis.freeze();
    eventually("the loss is told", Duration::from_secs(20), async || {
        readiness(&fleet[0]).await.0 == 503
    })
    .await;
    assert_healthy(&fleet[0]).await;
    fleet.redis.thaw();
    eventually("all is well again", Duration::from_secs(20), async || {
        readiness(&fleet[0]).await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_is_gone_is_named() {
    let mut postgres = crate::support::postgres::Postgres::start();
    crate::users::migrated(&postgres).await;
    let instance = Instance::start(&format!("[database]\nurl = \"{}\"\n", postgres.url()));
    assert_eq!(readiness(&instance).await.0, 200);
    postgres.stop();
    let (status, body) = readiness(&instance).await;
    assert_eq!(status, 503, "{body}");
    assert!(body["failing"].get("users").is_some(), "{body}");
    assert_healthy(&instance).await;
}

#[tokio::test]
async fn a_full_instance_is_healthy() {
    let instance = Instance::start("[limits]\nmax_connections = 1\n");
    let _only = instance.connect("Sunil").await;
    assert_eq!(ask(instance.app(), "/Dev", &[("username", "Sid")]).await.status, 503);
    assert_healthy(&instance).await;
}

#[tokio::test]
async fn many_checks_may_share_a_connection_and_what_is_not_there_is_404() {
    let instance = Instance::start("");
    let mut balancer = Raw::open(instance.api()).await;
    for (method, path, status) in [
        ("GET", "/api/healthz", 200),
        ("HEAD", "/api/nothing", 404),
        ("POST", "/healthz", 404),
        ("GET", "/readyz", 404),
        ("GET", "/api/healthz?x=1", 200),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", instance.api());
        balancer.write(request.as_bytes()).await;
        let is_head = method == "HEAD";
        let answer = if is_head { balancer.head().await } else { balancer.answer().await };
        assert_eq!(answer.status, status, "{method} {path}");
    }
}
