//! An instance stands still for longer than its lease, and a client goes on writing to it.

use std::time::Duration;

use tokio::time::sleep;

use super::{BUSY, HASTY, T};
use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually},
};

/// What is written into the frozen socket, to each.
const COUNT: usize = 30;

/// Longer than the lease and the detector together, several times.
const FROZEN: Duration = Duration::from_secs(4);

/// All of them, in order and each once.
async fn hears_all(who: &str, client: &mut Client) {
    let mut heard = Vec::new();
    while heard.len() < COUNT {
        let text = client.hear().await;
        heard.push(text.parse::<usize>().unwrap_or_else(|_| panic!("{who} hears {text}")));
    }
    assert_eq!(heard, (0..COUNT).collect::<Vec<_>>(), "what {who} hears");
    client.expect_silence().await;
}

/// To who stayed there, who lives elsewhere, who has moved meanwhile and who has gone meanwhile:
/// it reaches them where they are by then, though the instance that read it believes, for a moment,
/// what was so before.
#[tokio::test]
async fn what_is_written_to_it_meanwhile_reaches_everybody_where_they_are_by_then() {
    for round in 0..3 {
        let fleet = TestFleet::with_settings(3, HASTY).await;
        let mut sid = fleet.connect(0, "Sid").await;
        let (mut stayed, mut elsewhere) =
            (fleet.connect(0, "Ann").await, fleet.connect(1, "Bob").await);
        let (mut before, gone) = (fleet.connect(0, "Elon").await, fleet.connect(1, "Zoë").await);
        sid.send("Bob", "0").await;
        elsewhere.expect("0").await;
        fleet[0].signal("STOP");
        let mut moved = fleet.connect(2, "Elon").await;
        for number in 0..COUNT {
            for to in ["Ann", "Bob", "Elon", "Zoë"] {
                sid.send(to, &number.to_string()).await;
            }
        }
        gone.close().await;
        sleep(FROZEN).await;
        assert_eq!(fleet.members(), 2, "it counts as dead");
        eventually("its users are gone", BUSY, async || fleet.entries() == 2).await;

        fleet[0].signal("CONT");
        hears_all("who lives elsewhere", &mut elsewhere).await;
        hears_all("who stayed", &mut stayed).await;
        hears_all("who moved", &mut moved).await;
        eventually("all are held for who went", PATIENCE, async || fleet.held() >= COUNT).await;
        let mut back = fleet.connect(1, "Zoë").await;
        hears_all("who went", &mut back).await;
        // The connection that was left behind is as good as any.
        let left: Vec<_> = before.hear_until_silence().await;
        assert!(left.len() <= COUNT, "{left:?}");
        eventually("it has joined again", T, async || fleet.members() == 3).await;
        assert!(fleet.has_no_ghosts());
        println!("round {round}: {} messages found their way", 4 * COUNT);
    }
}
