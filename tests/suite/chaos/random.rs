//! Faults drawn by dice, for as long as one likes, with every checker on.
//!
//! `WSFLEETD_CHAOS_MINUTES` says how long (2); `WSFLEETD_SEED` throws the dice as before;
//! `WSFLEETD_CHAOS_FAULTS`, as `Kill,FailOver`, leaves the other faults out; into
//! `WSFLEETD_CHAOS_RECORD`, a directory, go the instances' logs and every command that Redis did.
//! What Redis did, over every failover and restart, is replayed by the model (`tests/model`).
//! One fleet at a time: T is a bound on time, and a machine that is busy with two keeps neither's.

use std::{env, path::PathBuf, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::support::{
    chaos::{Check, Fault, Life, Plan, QUICK_DRAIN, Settings, Story, TRACED},
    instance::USERS,
    proxy::Line,
};

const MINUTES: f64 = 2.0;
const SIZE: usize = 3;

/// Devices that come and go, and those that stay; between eight users.
const COMERS: usize = 12;
const STAYERS: usize = 6;

/// What may happen, once for each time it stands here.
const FAULTS: [Fault; 17] = [
    Fault::Kill,
    Fault::Kill,
    Fault::Terminate,
    Fault::StandStill,
    Fault::StandStill,
    Fault::Line(Line::Cut),
    Fault::Line(Line::Blackhole),
    Fault::Line(Line::Deaf),
    Fault::Line(Line::Stalled),
    Fault::CutOff,
    Fault::RestartEmpty,
    Fault::RestartWithData,
    Fault::Freeze,
    Fault::Flush,
    Fault::FailOver,
    Fault::FailOver,
    Fault::Slow,
];

/// Seconds a fault lasts: from too short to be noticed to longer than any lease, and not so long
/// that an instance would send its clients away, which is a fault of its own.
const LASTS: std::ops::Range<f64> = 0.5..12.5;

/// Seconds between two faults: mostly enough to recover and be held to everything again.
const CALM: std::ops::Range<f64> = 3.0..30.0;

/// One fault of so many comes while another lasts.
const TOGETHER: u32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "random: a step of its own in tests/run --all, longer in tests/run --soak"]
async fn whatever_happens_the_fleet_converges() {
    let minutes: f64 = number("WSFLEETD_CHAOS_MINUTES").unwrap_or(MINUTES);
    let seed: u64 = number("WSFLEETD_SEED").unwrap_or_else(|| rand::rng().random());
    println!("{minutes} minutes with seed {seed}");
    let replay = Replay { seed, minutes };
    let mut story = Story::with(settings(), seed).await;
    admit_crowd(&mut story, seed).await;
    let mut drama = Drama::new(seed, faults());
    while story.told().as_secs_f64() < minutes * 60.0 && story.verdict().wrongs() == 0 {
        drama.scene(&mut story).await;
    }
    story.recovers().await;
    println!(
        "{:.1} minutes with seed {seed}: {} faults, {} messages",
        story.told().as_secs_f64() / 60.0,
        drama.scenes,
        story.said()
    );
    let mut must = vec![Check::Handover, Check::Mailbox, Check::Outlives, Check::Welcome];
    must.extend(drama.has_buried.then_some(Check::Tombstone));
    let recording = story.recording();
    story.replays(&recording);
    story.ends(&must).await;
    drop(replay);
}

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// Those that `WSFLEETD_CHAOS_FAULTS` names, or all.
fn faults() -> Vec<Fault> {
    let Ok(wanted) = env::var("WSFLEETD_CHAOS_FAULTS") else { return FAULTS.to_vec() };
    let is_wanted = |fault: &Fault| {
        let name = format!("{fault:?}");
        wanted.split(',').any(|word| name.starts_with(word.trim()))
    };
    let faults: Vec<_> = FAULTS.into_iter().filter(is_wanted).collect();
    assert!(!faults.is_empty(), "WSFLEETD_CHAOS_FAULTS names none of {FAULTS:?}");
    faults
}

fn settings() -> Settings {
    let record = env::var_os("WSFLEETD_CHAOS_RECORD").map(PathBuf::from);
    if let Some(record) = &record {
        std::fs::create_dir_all(record).expect("a directory for the record");
    }
    let config = QUICK_DRAIN.to_owned();
    let variables = vec![(TRACED.0.to_owned(), TRACED.1.to_owned())];
    let kind = Settings { is_durable: true, has_replica: true, ..Settings::of(SIZE) };
    Settings { config, record, variables, is_replayed: true, ..kind }
}

async fn admit_crowd(story: &mut Story, seed: u64) {
    let mut rng = StdRng::seed_from_u64(!seed);
    for n in 0..STAYERS + COMERS {
        let stays = n < STAYERS;
        let life = if stays {
            Life::Stays
        } else {
            Life::Comes { stay: (500, 25_000), away: (0, 12_000), rude: 4 }
        };
        // Some are always there, some with one device only, some with several.
        let user = if stays { n % 3 } else { 2 + rng.random_range(0..USERS.len() - 2) };
        let plan = Plan {
            user: USERS[user],
            at: stays.then_some(n % SIZE),
            life,
            to: USERS.to_vec(),
            gap: 700,
        };
        story.admit(plan);
    }
    story.are_there(STAYERS).await;
}

/// Draws what happens.
struct Drama {
    rng: StdRng,
    faults: Vec<Fault>,
    scenes: usize,
    /// Whether an epoch has ended without leaving in good order, so that tombstones must stand.
    has_buried: bool,
}

impl Drama {
    fn new(seed: u64, faults: Vec<Fault>) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), faults, scenes: 0, has_buried: false }
    }

    /// A calm, a fault, sometimes a second one in the midst of it, and its end.
    async fn scene(&mut self, story: &mut Story) {
        let calm = self.rng.random_range(CALM);
        story.passes(calm).await;
        let (fault, at) = self.draw();
        let lasts = self.rng.random_range(LASTS);
        let second = (self.rng.random_range(0..TOGETHER) == 0).then(|| self.draw());
        let second = second.filter(|(other, where_)| are_compatible(fault, at, *other, *where_));
        self.begin(story, fault, at).await;
        if let Some((other, there)) = second {
            story.passes(lasts / 3.0).await;
            self.begin(story, other, there).await;
            story.passes(lasts / 3.0).await;
            self.end(story, other, there).await;
            story.passes(lasts / 3.0).await;
        } else {
            story.passes(lasts).await;
        }
        self.end(story, fault, at).await;
    }

    fn draw(&mut self) -> (Fault, usize) {
        let fault = *self.faults.choose(&mut self.rng).expect("there are faults");
        (fault, self.rng.random_range(0..SIZE))
    }

    async fn begin(&mut self, story: &mut Story, fault: Fault, at: usize) {
        self.scenes += 1;
        self.has_buried |= matches!(fault, Fault::Kill | Fault::Flush | Fault::RestartEmpty);
        story.tell(&if fault.is_of_one() {
            format!("{fault:?} at {at}")
        } else {
            format!("{fault:?}")
        });
        story.inflict(fault, at).await;
    }

    async fn end(&self, story: &mut Story, fault: Fault, at: usize) {
        story.tell(&format!("end of {fault:?}"));
        story.mend(fault, at).await;
    }
}

/// Whether a second fault can be begun and ended while a first lasts.
fn are_compatible(first: Fault, at: usize, second: Fault, there: usize) -> bool {
    let of_redis = |fault: Fault| !fault.is_of_one();
    match (first, second) {
        // Whoever is cut off must be so alone, or it stays.
        (Fault::CutOff, _) | (_, Fault::CutOff) => false,
        (Fault::Slow, _) => second != Fault::Slow,
        // A replica must follow to take over, and a server must answer to be told anything.
        (one, other) if of_redis(one) && of_redis(other) => false,
        (one, other) if !of_redis(one) && !of_redis(other) => at != there,
        // An instance that is started while Redis is away is not ready.
        (one, Fault::Kill | Fault::Terminate) => !of_redis(one),
        _ => true,
    }
}

/// Says how to do the same again, if it comes to a bad end.
struct Replay {
    seed: u64,
    minutes: f64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, minutes } = self;
            eprintln!(
                "again: WSFLEETD_SEED={seed} WSFLEETD_CHAOS_MINUTES={minutes} cargo nextest run \
                 --profile random --run-ignored all whatever_happens"
            );
        }
    }
}

#[test]
fn the_dice_fall_as_before_with_the_same_seed() {
    let draw = |seed: u64| {
        let mut drama = Drama::new(seed, FAULTS.to_vec());
        (0..100).map(|_| drama.draw()).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    let faults: std::collections::HashSet<_> =
        draw(7).into_iter().map(|(fault, _)| format!("{fault:?}")).collect();
    assert!(faults.len() > 10, "{faults:?}");
    assert!(Duration::from_secs_f64(LASTS.end) > Duration::from_secs(12));
}
