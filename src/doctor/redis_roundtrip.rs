//! A message from here through Redis back to here, the way that instances' envelopes take.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::finding::Finding;
use crate::{
    ids::Epoch,
    lifecycle::Tasks,
    redis::{InboxEvent, LinkState, Parcel, Redis},
};

const CHECK: &str = "redis.message";

/// To connect, subscribe, and hear: what a healthy Redis does in milliseconds.
const BOUND: Duration = Duration::from_secs(3);

/// What is said; told from a probe by the inbox's own.
const WORDS: &[u8] = b"wsfleetd doctor";

/// Says something to an epoch that nobody else has, in a cluster on every partition's channel.
pub async fn examine(redis: &Redis) -> Finding {
    let (stop, tasks) = (CancellationToken::new(), Tasks::new());
    let _guard = stop.clone().drop_guard();
    let hot = redis.clone();
    tasks.spawn("redis", async move { hot.run(stop).await });
    let start = Instant::now();
    match timeout(BOUND, say_and_hear(redis)).await {
        Ok(Ok(took)) => {
            let channels = redis.keys().inboxes();
            let over =
                if channels > 1 { format!(" on {channels} channels") } else { String::new() };
            Finding::ok(CHECK, format!("said and heard{over}")).in_time(took)
        }
        Ok(Err(reason)) => Finding::error(
            CHECK,
            format!("what is published cannot be: {reason}"),
            "compare the permissions of Redis's user with the README's",
        )
        .in_time(start.elapsed()),
        Err(_) => Finding::error(
            CHECK,
            format!("what is published is not heard within {} s", BOUND.as_secs()),
            "look at Redis's log, and whether its user may use the channels of the fleet (&)",
        )
        .in_time(start.elapsed()),
    }
}

async fn say_and_hear(redis: &Redis) -> Result<Duration, String> {
    let mut up = redis.watch();
    up.wait_for(|state| matches!(state, LinkState::Up(_)))
        .await
        .map_err(|error| error.to_string())?;
    let (epoch, channels) = (Epoch::random(), redis.keys().inboxes());
    let mut inbox = redis.inbox(epoch, b"probe".to_vec());
    let mut left: Vec<u16> = (0..channels).collect();
    while !left.is_empty() {
        if let InboxEvent::Hears(place) = inbox.next().await {
            left.retain(|one| *one != place);
        }
    }
    let parcel = |stripe| Parcel { to: epoch, stripe, payload: WORDS.to_vec() };
    let start = Instant::now();
    let published = redis.publish(&(0..channels).map(parcel).collect::<Vec<_>>()).await;
    if let Some(fault) = published.fault {
        return Err(fault.to_string());
    }
    let mut missing = channels;
    while missing > 0 {
        if matches!(inbox.next().await, InboxEvent::Message(_, words) if words == WORDS) {
            missing -= 1;
        }
    }
    Ok(start.elapsed())
}
