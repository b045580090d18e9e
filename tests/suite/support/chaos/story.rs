//! A story: a fleet, a crowd, the checkers, and an end at which they pronounce.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Fleet, Life, Plan, Settings,
    actor::Actor,
    census::Census,
    ledger::{Ledger, PATIENCE},
    machine,
    timeline::{T, Timeline},
    verdict::{Check, Verdict},
};
use crate::support::{fleet::eventually, instance::USERS};

/// Who talks in stories that name nobody: place, user.
const REGULARS: [(usize, &str); 6] =
    [(0, "Sunil"), (1, "Sid"), (2, "Ann"), (0, "Elon"), (1, "Alok"), (2, "Sid")];

/// Who passes by: first those who are no regulars.
const PASSERS_BY: [&str; 8] = ["Smith", "Bob", "Zoë", "Sid", "Ann", "Sunil", "Elon", "Alok"];

/// A machine that stands still for more than one part in so many of a story's time spoils it.
const MOST_STALLED: u32 = 4;

/// What a busy machine may add to the recovery before a story goes on.
const BUSY: Duration = Duration::from_secs(2);

/// A story that is being told; it derefs to its [`Fleet`], whose verbs break things.
pub struct Story {
    fleet: Fleet,
    timeline: Arc<Timeline>,
    verdict: Arc<Verdict>,
    ledger: Ledger,
    seed: u64,
    actors: u64,
    tasks: TaskTracker,
    stop_actors: CancellationToken,
    stop_census: CancellationToken,
}

impl Story {
    /// Three instances and nobody there yet.
    pub async fn begin() -> Self {
        Self::with(Settings::of(3), 0).await
    }

    /// The same with six clients on them, who talk to each other all the time and stay.
    pub async fn of_regulars() -> Self {
        let mut story = Self::begin().await;
        story.regulars().await;
        story
    }

    /// A fleet set up like this, the dice of its crowd thrown by `seed`.
    pub async fn with(settings: Settings, seed: u64) -> Self {
        let timeline = Arc::new(Timeline::new(settings.suspect));
        let verdict = Arc::new(Verdict::default());
        let fleet = Fleet::start(settings, timeline.clone()).await;
        let ledger = Ledger::new(timeline.clone(), verdict.clone());
        let (tasks, stop_census) = (TaskTracker::new(), CancellationToken::new());
        let census =
            Census::new(ledger.clone(), timeline.clone(), verdict.clone(), fleet.port.subscribe());
        tasks.spawn(census.run(stop_census.clone()));
        tasks.spawn(machine::watch(timeline.clone(), stop_census.clone()));
        Self {
            fleet,
            timeline,
            verdict,
            ledger,
            seed,
            actors: 0,
            tasks,
            stop_actors: CancellationToken::new(),
            stop_census,
        }
    }

    /// A client joins the crowd.
    pub fn admit(&mut self, plan: Plan) {
        let actor = Actor {
            plan,
            rng: Actor::dice(self.seed, self.actors),
            seats: self.fleet.seats.clone(),
            ledger: self.ledger.clone(),
            timeline: self.timeline.clone(),
            verdict: self.verdict.clone(),
        };
        self.actors += 1;
        self.tasks.spawn(actor.run(self.stop_actors.clone()));
    }

    /// Six clients of five users join, and all are there.
    pub async fn regulars(&mut self) {
        let names: Vec<_> = REGULARS.iter().map(|(_, user)| *user).collect();
        for (at, user) in REGULARS {
            let to = names.clone();
            self.admit(Plan { user, at: Some(at), life: Life::Stays, to, gap: 200 });
        }
        self.are_there(REGULARS.len()).await;
    }

    /// So many more come and go, anywhere, and talk to everybody; first those who are nobody's
    /// second device, so that they are away at times, and owed what is said meanwhile.
    pub fn passers_by(&mut self, number: usize) {
        for n in 0..number {
            let life = Life::Comes { stay: (500, 5000), away: (0, 3000), rude: 4 };
            let (user, to) = (PASSERS_BY[n % PASSERS_BY.len()], USERS.to_vec());
            self.admit(Plan { user, at: None, life, to, gap: 300 });
        }
    }

    /// Waits until so many clients are connected.
    pub async fn are_there(&self, number: usize) {
        let open = || self.ledger.look(|all| all.iter().filter(|g| g.closed.is_none()).count());
        eventually("all are there", T, async || open() >= number).await;
    }

    /// Entries of connections that the instance at a place has.
    pub fn entries_of(&self, at: usize) -> usize {
        let devices = "local all = {} for _, key in ipairs(redis.call('KEYS', '*:u:*')) do \
                       for _, device in ipairs(redis.call('HKEYS', key)) do \
                       all[#all + 1] = device end end return all";
        let devices = self.fleet.redis().ask(&["EVAL", devices, "0"]);
        let number = self.fleet.nodes[at].number;
        self.ledger.look(|guests| {
            let its = guests.iter().filter(|guest| guest.instance == number);
            its.filter(|guest| devices.contains(&guest.id)).count()
        })
    }

    /// Time passes.
    pub async fn passes(&self, seconds: f64) {
        sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Everything has had the time to recover, and what is said after that is judged.
    pub async fn recovers(&self) {
        self.passes((T + PATIENCE + BUSY).as_secs_f64()).await;
    }

    /// Says what happens.
    pub fn tell(&self, what: &str) {
        println!("[{:7.2} s] {what}", self.verdict.elapsed().as_secs_f64());
    }

    /// The checkers' place.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The same, for who looks while the story goes on.
    pub fn verdict_handle(&self) -> Arc<Verdict> {
        self.verdict.clone()
    }

    /// How long the story has been told on a machine that moved.
    pub fn told(&self) -> Duration {
        self.verdict.elapsed().saturating_sub(self.timeline.stalled())
    }

    /// Messages said so far.
    pub fn said(&self) -> usize {
        self.ledger.said()
    }

    /// Troubles so far.
    pub fn troubles(&self) -> usize {
        self.timeline.len()
    }

    /// All leave, nothing may be left, and the checkers pronounce; `more` must have checked
    /// something beside those that always must.
    pub async fn ends(self, more: &[Check]) {
        self.conclude().await;
        let must = [&Check::ALWAYS[..], more].concat();
        let (stalled, elapsed) = (self.timeline.stalled(), self.verdict.elapsed());
        println!(
            "{} messages, {} troubles; the machine stood still for {stalled:.1?} of {elapsed:.1?}",
            self.said(),
            self.troubles()
        );
        self.verdict.pronounce(&must);
        assert!(stalled < elapsed / MOST_STALLED, "the machine is too busy to prove anything");
    }

    /// All leave, and nothing may be left.
    async fn conclude(&self) {
        self.stop_actors.cancel();
        self.tasks.close();
        sleep(PATIENCE + Duration::from_secs(1)).await;
        let began = Instant::now();
        while began.elapsed() < T + BUSY && self.is_anything_left() {
            sleep(Duration::from_millis(200)).await;
        }
        if self.is_anything_left() {
            let what = format!("left behind after all have gone: {}", self.entries());
            self.verdict.blame(Check::Outlives, what);
        }
        self.stop_census.cancel();
        self.tasks.wait().await;
    }

    fn is_anything_left(&self) -> bool {
        self.entries() != "0"
    }

    /// Entries and listed users, those of a tombstone not counted.
    fn entries(&self) -> String {
        let count = "local n = 0 for _, key in ipairs(redis.call('KEYS', 'wsfleetd:{w*}:[uo]:*')) do \
                     n = n + redis.call('HLEN', key) - redis.call('HEXISTS', key, '!') end return n";
        self.fleet.redis().ask(&["EVAL", count, "0"])
    }
}

impl Deref for Story {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        &self.fleet
    }
}

impl DerefMut for Story {
    fn deref_mut(&mut self) -> &mut Fleet {
        &mut self.fleet
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        self.stop_actors.cancel();
        self.stop_census.cancel();
    }
}
