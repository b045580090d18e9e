//! An instance that stops reads its inbox to the end: what was sent to it while it left is
//! answered, and finds its users where they are by then.

use std::time::Duration;

use tokio::time::interval;

use crate::support::{
    fleet::{PATIENCE, eventually, get},
    instance::Instance,
    proxy::Proxy,
    redis::RedisServer,
};

/// Who is written to, without a pause, while their instance stops.
const WRITTEN_TO: [&str; 4] = ["Sid", "Ann", "Bob", "Smith"];

/// Each command of the instance that stops arrives this much later, so that a lot is under way.
const SLOW: Duration = Duration::from_millis(60);

/// Between two messages to all of them.
const PACE: Duration = Duration::from_millis(4);

/// How often they are written to behind the signal: for longer than the instance lasts.
const BEHIND: usize = 500;

/// Room for all of them in a mailbox.
const ROOM: &str = "[delivery]\nmailbox_entries = 1000\n";

async fn ready(instance: &Instance) {
    eventually("it is ready", PATIENCE, async || get(instance.admin(), "/readyz").await.0 == 200)
        .await;
}

#[tokio::test]
async fn what_is_sent_to_an_instance_while_it_stops_is_not_lost() {
    let redis = RedisServer::start();
    let line = Proxy::to_port(redis.port());
    let start = |url: &str| Instance::start(&format!("[redis]\nurl = \"{url}\"\n{ROOM}"));
    let (stays, mut stops) = (start(&redis.url()), start(&line.url()));
    ready(&stays).await;
    ready(&stops).await;
    let mut sunil = stays.connect("Sunil").await;
    let mut clients = Vec::new();
    for user in WRITTEN_TO {
        clients.push(stops.connect(user).await);
    }
    // The first learns the way, the second goes it.
    for number in 0..2 {
        for (user, client) in WRITTEN_TO.iter().zip(&mut clients) {
            sunil.send(user, &number.to_string()).await;
            client.expect(&number.to_string()).await;
        }
    }
    line.slow_down(SLOW);
    let leave = clients.into_iter().map(|mut client| async move {
        let mut heard = Vec::new();
        while let Some(text) = client.hear_until_close().await {
            heard.push(text);
        }
        heard
    });
    let leave = futures_util::future::join_all(leave);
    let talk = async {
        let mut pace = interval(PACE);
        for number in 2..BEHIND + 52 {
            pace.tick().await;
            for user in WRITTEN_TO {
                sunil.send(user, &number.to_string()).await;
            }
            if number == 52 {
                stops.signal("TERM");
            }
        }
    };
    let (mut heard, ()) = tokio::join!(leave, talk);
    let status = stops.wait();
    assert_eq!(status.code(), Some(0), "{}", stops.log());
    // Whoever has gone finds the rest in the mailbox.
    for (user, heard) in WRITTEN_TO.iter().zip(&mut heard) {
        let mut client = stays.connect(user).await;
        heard.extend(client.hear_until_silence_for(Duration::from_secs(1)).await);
    }
    let mut checked = 0;
    for (user, heard) in WRITTEN_TO.iter().zip(heard) {
        let numbers = heard.iter().filter_map(|text| text.parse::<usize>().ok());
        let mut numbers: Vec<_> = numbers.collect();
        checked += numbers.len();
        // While a user moves, what is not stored may come in another order.
        numbers.sort_unstable();
        let missing: Vec<_> = (2..BEHIND + 52).filter(|one| !numbers.contains(one)).collect();
        assert!(missing.is_empty(), "{user} misses {missing:?}");
        assert_eq!(numbers.len(), BEHIND + 50, "{user} has heard some of it twice: {numbers:?}");
    }
    println!("checked {checked} messages");
    assert_eq!(checked, WRITTEN_TO.len() * (BEHIND + 50));
}
