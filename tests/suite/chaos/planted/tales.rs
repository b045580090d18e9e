//! How bugs are provoked, and how they show.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{BOUND, foreigner::Foreigner};
use crate::support::{
    chaos::{Life, Plan, Settings, Story},
    client::Client,
    fleet::eventually,
    instance::USERS,
    proxy::{
        Line, Meddler,
        bugs::{Dawdler, Several},
    },
    raw::{Raw, handshake},
};

/// How long an instance may take to act on what it was told.
const SOON: Duration = Duration::from_secs(4);

/// A way to provoke bugs.
pub enum Tale {
    /// Devices come and go on three instances; one is killed, one stands still, Redis forgets.
    Crowd,
    /// Users with two devices leave with both at once, while they are spoken to.
    Leavers,
    /// A younger owner takes a connection's device.
    Displaced,
    /// The same while the instance cannot hear it, and must find out when it asserts.
    LateAssert,
    /// A peer that was silent moves again just before it is killed.
    LateKill,
    /// An instance that was taken for dead wakes with clients at its door.
    Zombie,
}

impl Tale {
    /// Tells it; by what something wrong was found, if it was.
    pub async fn tell(self, meddler: Option<Arc<dyn Meddler>>) -> Option<String> {
        let settings = Settings { meddler, ..Settings::hasty(3) };
        match self {
            Self::Crowd => crowd(settings).await,
            Self::Leavers => leavers(settings).await,
            Self::Displaced => displaced(settings).await,
            Self::LateAssert => late_assert(settings).await,
            Self::LateKill => late_kill(settings).await,
            Self::Zombie => zombie(settings).await,
        }
    }
}

async fn crowd(settings: Settings) -> Option<String> {
    let mut story = Story::with(settings, 1).await;
    for n in 0..16 {
        // Two users are always there, with three devices each; four are sometimes, with two or
        // three, and mostly leave in good order: what is said meanwhile is owed to them.
        let stays = n < 6;
        let comes = Life::Comes { stay: (300, 7000), away: (200, 4000), rude: 8 };
        story.admit(Plan {
            user: if stays { USERS[n % 2] } else { USERS[2 + n % 4] },
            at: stays.then_some(n % 3),
            life: if stays { Life::Stays } else { comes },
            to: USERS[..6].to_vec(),
            gap: 250,
        });
    }
    until_wrong(&mut story, async |story| {
        story.are_there(6).await;
        story.passes(32.0).await;
        story.kill(2);
        story.passes(16.0).await;
        story.replace(2).await;
        story.flush_redis();
        story.passes(24.0).await;
    })
    .await
}

async fn leavers(settings: Settings) -> Option<String> {
    let mut story = Story::with(settings, 1).await;
    for user in &USERS[..4] {
        story.admit(Plan {
            user,
            at: Some(0),
            life: Life::Stays,
            to: USERS[4..7].to_vec(),
            gap: 40,
        });
    }
    story.are_there(4).await;
    let verdict = async |story: &mut Story| {
        for _ in 0..10 {
            let pairs = USERS[4..7].iter().map(async |user| {
                let pair = (
                    Client::connect(story.instance(1).app(), "/Dev", user).await,
                    Client::connect(story.instance(2).app(), "/Dev", user).await,
                );
                sleep(Duration::from_millis(1500)).await;
                tokio::join!(pair.0.close(), pair.1.close());
                sleep(Duration::from_millis(500)).await;
                let mut back = story.instance(1).connect(user).await;
                let mut heard = back.hear_until_silence_for(Duration::from_millis(20)).await;
                back.close().await;
                let count = heard.len();
                heard.sort();
                heard.dedup();
                count - heard.len()
            });
            let twice: usize = futures_util::future::join_all(pairs).await.into_iter().sum();
            if twice > 0 {
                return Some(format!("{twice} messages heard twice"));
            }
        }
        None
    };
    let caught = verdict(&mut story).await;
    caught.or_else(|| wrong_of(&story))
}

async fn displaced(settings: Settings) -> Option<String> {
    let meddler = settings.meddler.clone();
    let story = Story::with(settings, 1).await;
    let foreigner = Foreigner::arrive(story.redis().port(), meddler).await;
    for round in 0..5 {
        let mut sid = story.instance(round % 3).connect("Sid").await;
        let id = sid.ask_id().await;
        let tag = foreigner.claim("Sid", &id).await;
        if let Some(wrong) = must_yield(sid, &foreigner, &tag, SOON).await {
            return Some(wrong);
        }
    }
    None
}

async fn late_assert(settings: Settings) -> Option<String> {
    let meddler = settings.meddler.clone();
    let story = Story::with(settings, 1).await;
    let foreigner = Foreigner::arrive(story.redis().port(), meddler).await;
    for round in 0..3 {
        let mut sid = story.instance(0).connect("Sid").await;
        let id = sid.ask_id().await;
        story.set_line(0, if round == 0 { Line::Cut } else { Line::Blackhole });
        let tag = foreigner.claim("Sid", &id).await;
        story.passes(1.0).await;
        story.heal(0);
        if let Some(wrong) = must_yield(sid, &foreigner, &tag, 2 * SOON).await {
            return Some(wrong);
        }
    }
    None
}

/// The old owner closes its socket with 4409, and its goodbye takes nothing along.
async fn must_yield(
    mut old: Client,
    foreigner: &Foreigner,
    tag: &wsfleetd::store::Tag,
    within: Duration,
) -> Option<String> {
    match timeout(within, old.expect_close()).await {
        Err(_) => return Some(format!("4409 was not said within {within:?}")),
        Ok((code, _)) if code != 4409 => return Some(format!("{code} was said instead of 4409")),
        Ok(_) => {}
    }
    // Its release follows its goodbye.
    drop(old);
    for _ in 0..10 {
        sleep(Duration::from_millis(50)).await;
        if !foreigner.has("Sid", tag).await {
            return Some("the younger owner's entry is gone".to_owned());
        }
    }
    None
}

async fn late_kill(settings: Settings) -> Option<String> {
    let dawdler = Dawdler::new(b"kill", Duration::from_millis(600));
    let mut chain: Vec<Arc<dyn Meddler>> = vec![dawdler.clone()];
    chain.extend(settings.meddler.clone());
    let story =
        Story::with(Settings { meddler: Some(Arc::new(Several(chain))), ..settings }, 1).await;
    let before = story.epochs();
    assert_eq!(before.len(), 3);
    story.stand_still(2);
    timeout(4 * SOON, dawdler.seen()).await.expect("somebody wants to kill it");
    story.go_on(2);
    story.passes(4.0).await;
    let after = story.epochs();
    (before != after).then(|| format!("epochs {before:?} are {after:?}"))
}

async fn zombie(settings: Settings) -> Option<String> {
    let mut story = Story::with(settings, 1).await;
    story.regulars().await;
    until_wrong(&mut story, async |story| {
        for _ in 0..3 {
            story.stand_still(1);
            let mut door = Vec::new();
            for n in 0..40 {
                let mut raw = Raw::open(story.instance(1).app()).await;
                let user = USERS[n % USERS.len()];
                raw.write(handshake("/Dev", &[("username", user)]).as_bytes()).await;
                door.push(raw);
            }
            let gone = || story.redis().ask(&["HLEN", "wsfleetd:{m}:hb"]) == "2";
            eventually("it counts as dead", 4 * SOON, async || gone()).await;
            // And is reaped everywhere.
            story.passes(4.0).await;
            story.go_on(1);
            story.passes(2.0).await;
            drop(door);
            story.passes(2.0).await;
        }
    })
    .await
}

/// Plays until the end, or until something is wrong.
async fn until_wrong(story: &mut Story, play: impl AsyncFnOnce(&mut Story)) -> Option<String> {
    let verdict = story.verdict_handle();
    tokio::select! {
        () = play(story) => {}
        _ = verdict.wrong() => {}
        () = sleep(BOUND) => {}
    }
    println!("{}", verdict.summary());
    wrong_of(story)
}

fn wrong_of(story: &Story) -> Option<String> {
    let (check, at, what) = story.verdict().first_wrong()?;
    Some(format!("{check:?} after {at:.1?}: {what}"))
}
