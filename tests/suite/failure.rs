//! Instances die and freeze, Redis goes and comes back: who is still heard, and how soon all is
//! as before.

mod frozen;
mod ids;
mod instance;
mod redis;
mod routes;
mod strangers;
mod users;

use std::time::Duration;

use crate::support::{client::Client, fleet::eventually};

/// How long an entry may outlive its owner (COORDINATION, T), and what a busy machine adds.
const T: Duration = Duration::from_secs(12);
const BUSY: Duration = Duration::from_secs(6);

/// A detector six times as fast as the default, where the story is not about its figures.
pub const HASTY: &str = "[fleet]\nheartbeat = \"250ms\"\nsuspect_rounds = 4\nlease = \"800ms\"\n";

/// Waits until what `sender` says to `to` is heard; answers how long that took.
///
/// Each try says something else, and what was heard before is heard once.
async fn until_heard(sender: &mut Client, to: &str, hearer: &mut Client) -> Duration {
    let mut tries = 0;
    let mut heard: Vec<String> = Vec::new();
    let took = eventually("it is heard", T + BUSY, async || {
        tries += 1;
        sender.send(to, &format!("\"try {tries}\"")).await;
        heard.append(&mut hearer.hear_until_silence().await);
        heard.contains(&format!("\"try {tries}\""))
    })
    .await;
    assert_once(&heard);
    took
}

/// Nothing was heard twice.
pub fn assert_once(heard: &[String]) {
    let mut seen = std::collections::HashSet::new();
    let twice: Vec<_> = heard.iter().filter(|text| !seen.insert(*text)).collect();
    assert!(twice.is_empty(), "heard twice: {twice:?}");
}
