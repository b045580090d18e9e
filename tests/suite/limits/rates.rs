//! The rates of new connections, everybody's and one address's.

use super::told_of;
use crate::{
    handshake::{SUNIL, assert_refused, assert_retry_after, faces},
    support::{fleet::get, instance::Instance, raw::ask},
};

#[tokio::test]
async fn new_connections_over_the_rate_are_told_when_to_come_again() {
    let instance =
        Instance::start("[limits]\naccept_rate = 1\naccept_burst = 3\nmax_connections = 2\n");
    let (_first, _second) = (instance.connect("Sunil").await, instance.connect("Sid").await);
    // The third takes the last of the burst, and there is no seat for it.
    assert_refused(&ask(instance.app(), "/Dev", &[SUNIL]).await, 503, "Service Unavailable");
    let mut refused = 0;
    for _ in 0..20 {
        for face in faces(&instance) {
            // Before the seat and before the credential.
            let answer = ask(face, "/Dev", &[]).await;
            if answer.status == 429 {
                assert_refused(&answer, 429, "Too Many Requests");
                assert_retry_after(&answer);
                refused += 1;
            }
        }
    }
    assert!(refused >= 30, "{refused} of 40, and one may come a second");
    // What is wrong with the request is said first, and health is not asked for at any rate.
    assert_refused(&ask(instance.app(), "/nowhere", &[SUNIL]).await, 404, "Not Found");
    for face in faces(&instance) {
        assert_eq!(get(face, "/healthz").await.0, 200);
    }
    let told = told_of(&instance, "limits.accept_rate");
    assert_eq!(told.len(), 1, "one line, not one for each: {told:#?}");
    assert!(told[0].contains("more than 1 new connections a second"), "{told:#?}");
    assert!(told_of(&instance, "limits.max_connections").len() == 1);
}

#[tokio::test]
async fn those_who_come_again_in_time_are_let_in() {
    let instance = Instance::start("[limits]\naccept_rate = 50\naccept_burst = 1\n");
    let start = std::time::Instant::now();
    let (mut let_in, mut refused) = (0, 0);
    while let_in < 20 {
        match ask(instance.app(), "/Dev", &[SUNIL]).await.status {
            101 => let_in += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
        assert!(start.elapsed().as_secs() < 20, "{let_in} in, {refused} refused");
    }
    let least = std::time::Duration::from_millis(19 * 20);
    assert!(start.elapsed() >= least, "20 within {:?}", start.elapsed());
}

#[tokio::test]
async fn one_address_over_its_rate_is_refused_and_no_other() {
    let proxies = ["env", "WSFLEETD__LISTEN__TRUSTED_PROXIES=127.0.0.0/8"];
    let limits = "[limits]\naccept_rate_per_address = 1\naccept_burst_per_address = 2\n";
    let instance = Instance::start_wrapped(&proxies, limits);
    let connect = async |from: &str| {
        let headers = [SUNIL, ("X-Forwarded-For", from)];
        ask(instance.app(), "/Dev", &headers).await
    };
    for _ in 0..2 {
        assert_eq!(connect("203.0.113.1").await.status, 101);
    }
    let start = std::time::Instant::now();
    let mut let_in = 0;
    for spoofed in 0..20 {
        // Whatever the client writes left of what the proxy adds.
        let answer = connect(&format!("198.51.100.{spoofed}, 203.0.113.1")).await;
        match answer.status {
            101 => let_in += 1,
            _ => {
                assert_refused(&answer, 429, "Too Many Requests");
                assert_retry_after(&answer);
            }
        }
    }
    assert!(let_in <= start.elapsed().as_secs() + 1, "{let_in} in {:?}", start.elapsed());
    for other in ["203.0.113.2", "2001:db8:1::1", "2001:db8:2::1"] {
        assert_eq!(connect(other).await.status, 101, "{other}");
    }
    let told = told_of(&instance, "limits.accept_rate_per_address");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("203.0.113.1 opens more than 1 connections a second"), "{told:#?}");
}
