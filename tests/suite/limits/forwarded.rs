//! Whose connection it is when it comes through a proxy: `listen.trusted_proxies`.

use crate::{
    handshake::SUNIL,
    support::{
        instance::Instance,
        raw::{Raw, handshake},
    },
};

/// The client as the log names it, having been refused with these headers added.
async fn logged(instance: &Instance, headers: &[(&str, &str)]) -> String {
    let before = instance.log().lines().count();
    let mut client = Raw::open(instance.app()).await;
    let nobody = ("username", "Nobody");
    let headers = [&[nobody][..], headers].concat();
    client.write(handshake("/Dev", &headers).as_bytes()).await;
    assert_eq!(client.answer().await.status, 401);
    instance.logs_beyond(before, "refused ").await
}

fn client_in(line: &str) -> &str {
    line.split_once(" from ").and_then(|(_, rest)| rest.split(": ").next()).unwrap_or(line)
}

#[tokio::test]
async fn only_the_last_word_of_a_trusted_proxy_counts() {
    let trusting = |networks: &str| {
        let proxies = format!("WSFLEETD__LISTEN__TRUSTED_PROXIES={networks}");
        Instance::start_wrapped(&["env", &proxies], "")
    };
    let (trusting, mistrusting) = (trusting("127.0.0.1/32"), trusting("10.0.0.0/8"));
    const FORWARDED: &str = "X-Forwarded-For";
    for (headers, client) in [
        (&[(FORWARDED, "203.0.113.9")][..], "203.0.113.9"),
        (&[(FORWARDED, "6.6.6.6, 203.0.113.9")], "203.0.113.9"),
        (&[(FORWARDED, "6.6.6.6"), (FORWARDED, "203.0.113.9")], "203.0.113.9"),
        (&[(FORWARDED, "203.0.113.9:4711")], "203.0.113.9"),
        (&[(FORWARDED, "[2001:db8::1]:4711")], "2001:db8::1"),
        (&[(FORWARDED, "::ffff:203.0.113.9")], "203.0.113.9"),
        (&[(FORWARDED, "6.6.6.6, nonsense")], "127.0.0.1"),
        (&[(FORWARDED, "6.6.6.6,")], "127.0.0.1"),
        (&[("Forwarded", "for=6.6.6.6"), ("X-Real-IP", "6.6.6.6")], "127.0.0.1"),
    ] {
        let line = logged(&trusting, headers).await;
        assert_eq!(client_in(&line), client, "{headers:?}: {line}");
        let line = logged(&mistrusting, headers).await;
        assert_eq!(client_in(&line), "127.0.0.1", "{headers:?}: {line}");
    }
    // Through one connection of a proxy come several clients.
    let mut proxy = Raw::open(trusting.app()).await;
    for client in ["203.0.113.1", "203.0.113.2"] {
        let before = trusting.log().lines().count();
        let headers = [("X-Forwarded-For", client)];
        proxy.write(handshake("/nowhere", &[&headers[..], &[SUNIL]].concat()).as_bytes()).await;
        assert_eq!(proxy.answer().await.status, 404);
        let line = trusting.logs_beyond(before, "refused ").await;
        assert_eq!(client_in(&line), client, "{line}");
    }
}
