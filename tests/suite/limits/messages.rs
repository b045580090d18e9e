//! `limits.message_rate`: who says too much is told, stays, and costs nobody else anything.

use std::time::{Duration, Instant};

use super::told_of;
use crate::support::{
    instance::Instance,
    process::cpu,
    raw::{FIN, Raw, TEXT, masked},
};

const TOO_MANY: &str = r#"{"message": "Too Many Requests", "connectionId":""#;

#[tokio::test]
async fn each_message_over_the_rate_is_answered_and_the_socket_stays_open() {
    let instance = Instance::start("[limits]\nmessage_rate = 10\nmessage_burst = 20\n");
    let mut sunil = instance.connect("Sunil").await;
    let start = Instant::now();
    for number in 0..28 {
        sunil.send("Sunil", &number.to_string()).await;
    }
    let (mut delivered, mut refused) = (Vec::new(), 0);
    while delivered.len() + refused < 28 {
        let text = sunil.hear().await;
        match text.parse::<usize>() {
            Ok(number) => delivered.push(number),
            Err(_) => {
                assert!(text.starts_with(TOO_MANY), "{text}");
                let ids = &text[TOO_MANY.len()..];
                assert!(ids.contains(r#"=", "requestId":""#) && ids.ends_with(r#"="}"#), "{text}");
                refused += 1;
            }
        }
    }
    let most = 20 + 10 * (start.elapsed().as_secs() as usize + 1);
    assert!((20..=most).contains(&delivered.len()), "{} delivered", delivered.len());
    assert!(refused > 0 || start.elapsed() > Duration::from_millis(800), "nobody was refused");
    assert!(delivered.is_sorted() && delivered[..20] == *(0..20).collect::<Vec<_>>());
    // A quiet second later it may speak again.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for number in 100..105 {
        sunil.send("Sunil", &number.to_string()).await;
        sunil.expect(&number.to_string()).await;
    }
    let told = told_of(&instance, "limits.message_rate");
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[tokio::test]
async fn who_floods_is_held_back_and_heard_no_more_than_others_answered_no_more_than_due() {
    let instance = Instance::start_wrapped(
        &["env", "WSFLEETD__TELEMETRY__LEVEL=info"],
        "[limits]\nmessage_rate = 100\nmessage_burst = 100\n",
    );
    let mut ann = instance.connect("Ann").await;
    let flooder = Raw::connect(instance.app(), "Sunil").await.into_stream();
    let (mut ear, mut mouth) = flooder.into_split();
    let message = masked(FIN | TEXT, br#"{"action":"send","to":"Nobody","message":1}"#);
    let flood = message.repeat(1000);
    let time = Duration::from_secs(3);
    let (start, before) = (Instant::now(), cpu(instance.pid()));
    let flooding = async {
        use tokio::io::AsyncWriteExt;
        let mut taken = 0;
        while start.elapsed() < time {
            let left = time.saturating_sub(start.elapsed());
            match tokio::time::timeout(left, mouth.write_all(&flood)).await {
                Ok(written) => written.expect("the socket stays open"),
                Err(_) => break,
            }
            taken += flood.len();
        }
        taken
    };
    let hearing = async {
        use tokio::io::AsyncReadExt;
        let (mut heard, mut chunk) = (0, vec![0; 64 * 1024]);
        while let Some(left) = time.checked_sub(start.elapsed()) {
            match tokio::time::timeout(left, ear.read(&mut chunk)).await {
                Ok(length) => heard += length.expect("the socket stays open"),
                Err(_) => break,
            }
        }
        heard
    };
    let talking = async {
        let mut slowest = Duration::ZERO;
        while start.elapsed() < time {
            let asked = Instant::now();
            ann.send("Ann", "1").await;
            ann.expect("1").await;
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slowest
    };
    let (taken, heard, slowest) = tokio::join!(flooding, hearing, talking);
    let spent = cpu(instance.pid()) - before;
    println!("{taken} bytes taken, {heard} answered, {spent:?} of CPU, Ann waited {slowest:?}");
    // Eight at once and four a second, of some 110 bytes each.
    assert!(heard < 4000, "{heard} bytes of answers");
    assert!(heard >= 8 * 100, "it is told: {heard} bytes");
    assert!(spent < time / 3, "a flood costs {spent:?} of {time:?}");
    assert!(slowest < Duration::from_secs(2), "Ann waited {slowest:?}");
    // Its socket is open still, and what was not taken comes in as it may.
    assert!(instance.log().lines().filter(|line| line.contains("message_rate")).count() == 1);
}
