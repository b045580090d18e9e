//! A sender's route leads to an instance that hears nothing any more, and the user is elsewhere: a
//! stale route costs time, never a message.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::support::{
    client::Client,
    fleet::{PATIENCE, TestFleet, eventually, get},
    instance::Instance,
    proxy::{Line, Meddler, Proxy, bugs::Mute},
};

/// How long a message may take whose first way has led nowhere; the detector takes 5.4 s at least,
/// so that it cannot be what helps.
const DETOUR: Duration = Duration::from_millis(4500);

/// What a sender says waits behind one that waits for what comes back, for 250 ms; the rest is the
/// machine's.
const HOLD_UP: Duration = Duration::from_millis(600);

/// Two instances at Redis, a third behind a line of its own.
struct Fleet {
    direct: TestFleet,
    line: Proxy,
    behind: Instance,
}

impl Fleet {
    async fn start() -> Self {
        Self::with(None).await
    }

    async fn with(meddler: Option<Arc<dyn Meddler>>) -> Self {
        let direct = TestFleet::start(2).await;
        let line = Proxy::to_port(direct.redis.port());
        if let Some(meddler) = meddler {
            line.meddle(meddler);
        }
        let behind = Instance::start(&format!("[redis]\nurl = \"{}\"\n", line.url()));
        eventually("the instance is ready", PATIENCE, async || {
            get(behind.admin(), "/readyz").await.0 == 200 && direct.members() == 3
        })
        .await;
        Self { direct, line, behind }
    }

    /// Sunil here and Sid behind the line; what Sunil says travels over a route.
    async fn acquaint(&self) -> (Client, Client) {
        let mut sunil = self.direct.connect(0, "Sunil").await;
        let mut sid = self.behind.connect("Sid").await;
        for n in ["1", "2", "3"] {
            sunil.send("Sid", n).await;
            sid.expect(n).await;
        }
        // All of it has been confirmed.
        sleep(Duration::from_millis(400)).await;
        (sunil, sid)
    }
}

/// Says some things, of which each is heard, once and in order.
async fn all_is_heard(speaker: &mut Client, hearer: &mut Client) {
    let said: Vec<String> = (100..110).map(|n| n.to_string()).collect();
    let began = Instant::now();
    for text in &said {
        speaker.send("Sid", text).await;
        sleep(Duration::from_millis(50)).await;
    }
    for text in &said {
        hearer.expect(text).await;
    }
    println!("all was heard after {:?}", began.elapsed());
    assert!(began.elapsed() < DETOUR, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn who_has_left_an_instance_that_is_cut_off_hears_everything_elsewhere() {
    let fleet = Fleet::start().await;
    let (mut sunil, sid) = fleet.acquaint().await;
    sid.close().await;
    eventually("Sid is gone", PATIENCE, async || fleet.direct.entries() == 1).await;
    fleet.line.set(Line::Blackhole);
    let mut sid = fleet.direct.connect(1, "Sid").await;
    all_is_heard(&mut sunil, &mut sid).await;
    fleet.line.set(Line::Open);
    sid.expect_silence().await;
}

#[tokio::test]
async fn a_laptop_that_wakes_up_elsewhere_hears_everything_while_its_old_instance_is_deaf() {
    let fleet = Fleet::start().await;
    let (mut sunil, _half_open) = fleet.acquaint().await;
    fleet.line.set(Line::Blackhole);
    let mut sid = fleet.direct.connect(1, "Sid").await;
    all_is_heard(&mut sunil, &mut sid).await;
    fleet.line.set(Line::Open);
    sid.expect_silence().await;
}

#[tokio::test]
async fn the_first_that_is_said_to_an_instance_that_is_cut_off_is_heard_elsewhere() {
    let fleet = Fleet::start().await;
    let _half_open = fleet.behind.connect("Sid").await;
    let mut sunil = fleet.direct.connect(0, "Sunil").await;
    fleet.line.set(Line::Blackhole);
    // There is no route yet: Redis itself publishes it, to whom it takes for the owner.
    sunil.send("Sid", "1").await;
    sleep(Duration::from_millis(300)).await;
    let mut sid = fleet.direct.connect(1, "Sid").await;
    let began = Instant::now();
    sid.expect("1").await;
    assert!(began.elapsed() < DETOUR, "it took {:?}", began.elapsed());
    sid.expect_silence().await;
}

#[tokio::test]
async fn who_comes_back_elsewhere_from_an_instance_that_stands_still_hears_everything() {
    let fleet = Fleet::start().await;
    let (mut sunil, sid) = fleet.acquaint().await;
    sid.close().await;
    eventually("Sid is gone", PATIENCE, async || fleet.direct.entries() == 1).await;
    fleet.behind.signal("STOP");
    let mut sid = fleet.direct.connect(1, "Sid").await;
    all_is_heard(&mut sunil, &mut sid).await;
    fleet.behind.signal("CONT");
    sid.expect_silence().await;
}

#[tokio::test]
async fn what_was_read_and_is_not_confirmed_is_heard_once() {
    let mute = Mute::new(b't');
    let fleet = Fleet::with(Some(mute.clone())).await;
    let (mut sunil, mut sid) = fleet.acquaint().await;
    for n in 0..40 {
        sunil.send("Sid", &n.to_string()).await;
        sleep(Duration::from_millis(100)).await;
    }
    let heard = sid.hear_until_silence_for(Duration::from_secs(3)).await;
    let said: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(heard, said, "each once, in order");
    assert!(mute.swallowed() > 5, "nothing was confirmed");
}

#[tokio::test]
async fn a_peer_that_confirms_nothing_holds_up_nothing_that_is_said_to_others() {
    let fleet = Fleet::with(Some(Mute::new(b't'))).await;
    let (mut sunil, _sid) = fleet.acquaint().await;
    let mut ann = fleet.direct.connect(0, "Ann").await;
    let mut longest = Duration::ZERO;
    // For longer than it takes until what is not confirmed is told again.
    for n in 0..60 {
        let text = n.to_string();
        sunil.send("Sid", &text).await;
        let began = Instant::now();
        sunil.send("Ann", &text).await;
        ann.expect(&text).await;
        longest = longest.max(began.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    println!("Ann has waited for {longest:?}");
    assert!(longest < HOLD_UP, "Ann has waited for {longest:?}");
}

#[tokio::test]
async fn what_comes_over_an_old_way_while_a_device_connects_there_reaches_the_others_too() {
    let fleet = Fleet::start().await;
    let (mut sunil, old) = fleet.acquaint().await;
    old.close().await;
    let mut phone = fleet.direct.connect(1, "Sid").await;
    // The message is there before the store has answered that there is another device.
    fleet.line.set(Line::Stalled);
    let (mut laptop, ()) = tokio::join!(fleet.behind.connect("Sid"), async {
        sleep(Duration::from_millis(100)).await;
        sunil.send("Sid", "9").await;
        sleep(Duration::from_millis(100)).await;
        fleet.line.set(Line::Open);
    });
    laptop.expect("9").await;
    phone.expect("9").await;
    laptop.expect_silence().await;
    phone.expect_silence().await;
}

#[tokio::test]
async fn a_sibling_that_could_not_be_heard_for_a_while_hears_again_what_is_said_beside_it() {
    let fleet = Fleet::start().await;
    let mut sunil = fleet.direct.connect(0, "Sunil").await;
    let mut here = fleet.direct.connect(0, "Sid").await;
    let mut there = fleet.behind.connect("Sid").await;
    sunil.send("Sid", "1").await;
    here.expect("1").await;
    there.expect("1").await;
    // What an instance registers once more when it has just begun to listen is done.
    sleep(Duration::from_millis(2000)).await;
    fleet.line.set(Line::Cut);
    eventually("its inbox is gone", PATIENCE, async || fleet.direct.inboxes() == 2).await;
    sunil.send("Sid", "2").await;
    here.expect("2").await;
    // So that it comes back unheard.
    sleep(Duration::from_millis(500)).await;
    fleet.line.set(Line::Open);
    eventually("its inbox is back", PATIENCE, async || fleet.direct.inboxes() == 3).await;
    let mut tries = 2;
    eventually("both hear it", PATIENCE, async || {
        tries += 1;
        let text = tries.to_string();
        sunil.send("Sid", &text).await;
        here.expect(&text).await;
        there.hear_until_silence().await.contains(&text)
    })
    .await;
}
