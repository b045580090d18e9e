//! The classic protocol on one instance: every row of its input table, to the byte.

use crate::support::{client::Client, instance::Instance};

/// What the daemon answers to what it cannot do, with ids of API Gateway's shape.
async fn expect_fault(client: &mut Client, message: &str) -> String {
    let frame = client.hear().await;
    let rest = frame.strip_prefix(&format!(r#"{{"message": "{message}", "connectionId":""#));
    let ids = rest.and_then(|rest| rest.strip_suffix(r#""}"#)).unwrap_or_else(|| panic!("{frame}"));
    let (connection, request) = ids.split_once(r#"", "requestId":""#).expect("two ids");
    assert_eq!((connection.len(), request.len()), (16, 16), "{frame}");
    assert!(connection.ends_with('=') && request.ends_with('='), "{frame}");
    assert_ne!(connection, request);
    connection.to_owned()
}

/// Nothing but what answers this comes: a message to oneself takes the same way.
async fn expect_nothing_but_own(client: &mut Client, user: &str) {
    client.send(user, "\"mark\"").await;
    client.expect("\"mark\"").await;
}

#[tokio::test]
async fn frames_no_route_takes_are_forbidden_and_the_socket_stays_open() {
    let instance = Instance::start("");
    let mut sunil = instance.connect("Sunil").await;
    let mut ids = Vec::new();
    for frame in [
        "hello",
        "",
        "[]",
        "1",
        "null",
        r#""send""#,
        r#"{"action":"send""#,
        "{}",
        r#"{"to":"Sid","message":"no action"}"#,
        r#"{"action":"sendmessage","to":"Sid","message":"x"}"#,
        r#"{"action":"Send","to":"Sid","message":"x"}"#,
        r#"{"action":null,"to":"Sid","message":"x"}"#,
    ] {
        sunil.say(frame).await;
        ids.push(expect_fault(&mut sunil, "Forbidden").await);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "a connection keeps its id");
    expect_nothing_but_own(&mut sunil, "Sunil").await;
}

#[tokio::test]
async fn sends_without_a_recipient_or_a_message_fail_and_the_socket_stays_open() {
    let instance = Instance::start("");
    let mut sunil = instance.connect("Sunil").await;
    for frame in [
        r#"{"action":"send"}"#,
        r#"{"action":"send","to":"Sid"}"#,
        r#"{"action":"send","message":"x"}"#,
        r#"{"action":"send","to":1,"message":"x"}"#,
        r#"{"action":"send","to":null,"message":"x"}"#,
        r#"{"action":"send","to":["Sid"],"message":"x"}"#,
    ] {
        sunil.say(frame).await;
        expect_fault(&mut sunil, "Internal server error").await;
    }
    expect_nothing_but_own(&mut sunil, "Sunil").await;
}

#[tokio::test]
async fn a_send_reaches_its_recipient_alone_and_is_not_answered() {
    let instance = Instance::start("");
    let (mut sunil, mut sid) = (instance.connect("Sunil").await, instance.connect("Sid").await);
    let mut elon = instance.connect("Elon").await;
    sunil.say(r#"{"action":"send", "to":"Sid", "message":"Hey!!"}"#).await;
    sid.expect(r#""Hey!!""#).await;
    sunil.expect_silence().await;
    elon.expect_silence().await;
    expect_nothing_but_own(&mut sid, "Sid").await;
}

#[tokio::test]
async fn recipients_who_are_unknown_or_away_are_met_with_silence() {
    let instance = Instance::start("");
    let mut sunil = instance.connect("Sunil").await;
    for to in ["Sid", "Nobody", "", "sunil", " Sunil", "{w1}:u:*"] {
        sunil.send(to, "\"anyone there?\"").await;
    }
    sunil.expect_silence().await;
    expect_nothing_but_own(&mut sunil, "Sunil").await;
    // Sid had never been there: nothing was held.
    instance.connect("Sid").await.expect_silence().await;
}

#[tokio::test]
async fn every_connection_of_the_recipient_hears_also_the_sending_one() {
    let instance = Instance::start("");
    let mut first = instance.connect("Zoë").await;
    let mut second = Client::connect(instance.api(), "/api", "Zoë").await;
    first.send("Zoë", r#"{"n":1.0, "s":"é\ud83d\ude00", "l":[ ]}"#).await;
    for client in [&mut first, &mut second] {
        client.expect(r#"{"n": 1.0, "s": "\u00e9\ud83d\ude00", "l": []}"#).await;
    }
}

#[tokio::test]
async fn big_messages_arrive_whole_even_when_escaping_makes_them_bigger() {
    let instance = Instance::start("");
    let (mut sunil, mut sid) = (instance.connect("Sunil").await, instance.connect("Sid").await);
    let plain = format!("\"{}\"", "x".repeat(32 * 1024 - 100));
    sunil.send("Sid", &plain).await;
    sid.expect(&plain).await;
    // Two bytes become six: delivered frames may exceed what a client may send.
    let count = 16_000;
    sunil.send("Sid", &format!("\"{}\"", "é".repeat(count))).await;
    sid.expect(&format!("\"{}\"", "\\u00e9".repeat(count))).await;
}

#[tokio::test]
async fn a_thousand_messages_arrive_in_order_from_each_of_two_senders() {
    let instance = Instance::start("");
    let (mut sunil, mut elon) = (instance.connect("Sunil").await, instance.connect("Elon").await);
    let mut sid = instance.connect("Sid").await;
    let send = async |sender: &mut Client, name: &str| {
        for number in 0..1000 {
            sender.send("Sid", &format!("[\"{name}\", {number}]")).await;
        }
    };
    let hear = async {
        let mut next = [0, 0];
        for _ in 0..2000 {
            let (name, number): (String, usize) =
                serde_json::from_str(&sid.hear().await).expect("what was sent");
            let next = &mut next[usize::from(name == "Elon")];
            assert_eq!(number, *next, "{name}'s messages are out of order");
            *next += 1;
        }
        assert_eq!(next, [1000, 1000]);
    };
    tokio::join!(send(&mut sunil, "Sunil"), send(&mut elon, "Elon"), hear);
    sid.expect_silence().await;
}

#[tokio::test]
async fn what_clients_say_is_not_in_the_log() {
    let instance = Instance::start("");
    let (mut sunil, mut sid) = (instance.connect("Sunil").await, instance.connect("Sid").await);
    sunil.send("Sid", "\"a secret of ours\"").await;
    sid.expect("\"a secret of ours\"").await;
    sunil.say("a secret of mine").await;
    expect_fault(&mut sunil, "Forbidden").await;
    sunil.close().await;
    let log = instance.log();
    assert!(!log.contains("secret of"), "{log}");
    assert!(log.contains("ready: instance"), "the log was looked at: {log}");
}
