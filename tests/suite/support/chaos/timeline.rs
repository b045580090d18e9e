//! What was broken when, and what may therefore not be demanded.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long after the end of a trouble all must be as before, and how long an entry may outlive
/// its owner (COORDINATION, T); counted in time during which Redis answers.
pub const T: Duration = Duration::from_secs(12);

/// What a mass of silent instances may add (COORDINATION, change 10).
pub const MASS_WAIT: Duration = Duration::from_secs(30);

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An instance, by the number of its start: it is dead, stands still, or is cut off.
    Instance(usize),
    /// Redis does not answer, or has forgotten, for everybody.
    Redis {
        /// Whether it has lost something: then new epochs are in order.
        forgets: bool,
    },
    /// The machine that all of this runs on stood still, or nearly.
    Machine,
    /// Redis answers slowly: no excuse for a message, but time that counts for nothing.
    Pace,
}

/// One trouble.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Where.
    pub place: Place,
    /// Since when.
    pub from: Instant,
    /// Until when; `None`: it lasts.
    pub to: Option<Instant>,
    /// Whether the process is gone for good.
    pub is_death: bool,
}

impl Trouble {
    fn overlaps(&self, from: Instant, to: Instant) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }

    /// Whether instances that had it may have been taken for dead: it began up to a heartbeat
    /// after the last that was counted.
    fn is_long(&self, now: Instant, suspect: Duration) -> bool {
        self.is_death || self.lasted(now) >= suspect.mul_f64(0.7)
    }

    /// Whether instances that had it may have been counted among the silent ones of a mass: half the
    /// rounds suffice, and it began up to a heartbeat after the last that was counted.
    fn is_noticed(&self, now: Instant, suspect: Duration) -> bool {
        self.is_death || self.lasted(now) >= suspect.mul_f64(0.2)
    }

    fn lasted(&self, now: Instant) -> Duration {
        self.to.unwrap_or(now).duration_since(self.from)
    }
}

/// All troubles, and all times during which Redis did not answer the watcher.
pub struct Timeline {
    /// Silent for less than this, an instance is not even suspect.
    suspect: Duration,
    /// Std locks, held for a look.
    troubles: Mutex<Vec<Trouble>>,
    /// Instances that are sending their clients away.
    leaving: Mutex<HashSet<usize>>,
    outages: Mutex<Vec<(Instant, Option<Instant>)>>,
}

impl Timeline {
    /// An empty one for a fleet in which who is silent for `suspect` may count as dead.
    pub fn new(suspect: Duration) -> Self {
        let (troubles, outages, leaving) = Default::default();
        Self { suspect, troubles, leaving, outages }
    }

    /// The machine has stood still since `from`, and until now.
    pub fn stall(&self, from: Instant) {
        let to = Some(Instant::now());
        self.troubles().push(Trouble { place: Place::Machine, from, to, is_death: false });
    }

    /// How long the machine has stood still in all.
    pub fn stalled(&self) -> Duration {
        let troubles = self.troubles();
        let stalls = troubles.iter().filter(|one| one.place == Place::Machine);
        stalls.filter_map(|one| Some(one.to?.duration_since(one.from))).sum()
    }

    /// Something breaks now.
    pub fn begin(&self, place: Place) {
        self.note(place, false);
    }

    /// A process dies now, for good.
    pub fn die(&self, instance: usize) {
        self.note(Place::Instance(instance), true);
    }

    /// An instance sends its clients away, until it is said to [`Self::keep`] them.
    pub fn send_away(&self, instance: usize) {
        self.leaving().insert(instance);
    }

    /// It keeps them again.
    pub fn keep(&self, instance: usize) {
        self.leaving().remove(&instance);
    }

    /// Whether it sends its clients away.
    pub fn is_sending_away(&self, instance: usize) -> bool {
        self.leaving().contains(&instance)
    }

    /// The troubles of a place end now, but a death.
    pub fn end(&self, is_meant: impl Fn(Place) -> bool) {
        for trouble in self.troubles().iter_mut().filter(|one| one.to.is_none() && !one.is_death) {
            if is_meant(trouble.place) {
                trouble.to = Some(Instant::now());
            }
        }
    }

    /// Redis answers the watcher, or does not.
    pub fn hear_redis(&self, answers: bool) {
        let mut outages = self.outages();
        let ongoing = outages.last_mut().filter(|(_, end)| end.is_none());
        match (ongoing, answers) {
            (Some(outage), true) => outage.1 = Some(Instant::now()),
            (None, false) => outages.push((Instant::now(), None)),
            _ => {}
        }
    }

    /// Whether an instance is dead.
    pub fn is_dead(&self, instance: usize) -> bool {
        let place = Place::Instance(instance);
        self.troubles().iter().any(|one| one.place == place && one.is_death)
    }

    /// Whether something is broken now at one of these instances, or was between the two moments.
    pub fn is_troubled(&self, instance: usize, from: Instant, to: Instant) -> bool {
        let places = [Place::Instance(instance), Place::Machine];
        self.troubles().iter().any(|one| places.contains(&one.place) && one.overlaps(from, to))
    }

    /// Whether any instance was in trouble between the two moments.
    pub fn is_any_troubled(&self, from: Instant, to: Instant) -> bool {
        let is_instance = |one: &&Trouble| matches!(one.place, Place::Instance(_));
        self.troubles().iter().filter(is_instance).any(|one| one.overlaps(from, to))
    }

    /// Whether everything that these instances need has been well between the two moments, and
    /// had had the time to recover before.
    pub fn is_calm(&self, instances: &[usize], from: Instant, to: Instant) -> bool {
        self.troubles().iter().all(|one| match one.place {
            Place::Instance(instance) if !instances.contains(&instance) => true,
            Place::Pace => true,
            _ => one.from > to || one.to.is_some_and(|end| self.answered(end, from) >= T),
        })
    }

    /// Whether an instance may have got a new epoch between the two moments, or is about to.
    pub fn may_renew(&self, instance: usize, from: Instant, to: Instant) -> bool {
        self.troubles().iter().any(|one| {
            let is_near = one.from <= to && one.to.is_none_or(|end| self.answered(end, from) <= T);
            is_near
                && match one.place {
                    Place::Instance(other) => other == instance && one.is_long(to, self.suspect),
                    Place::Redis { forgets } => forgets,
                    // Its other processes may have slept longer than the one that noticed.
                    Place::Machine => true,
                    Place::Pace => false,
                }
        })
    }

    /// When the clock of T starts for something of `instance` that was over at `from`: not before
    /// the troubles are over that met it meanwhile. An instance that is silent for good, though,
    /// is cleaned up after by the others.
    pub fn due_from(&self, instance: usize, from: Instant, now: Instant) -> Instant {
        let mut due = from;
        for one in self.troubles().iter().filter(|one| one.overlaps(from, now)) {
            due = due.max(match (one.place, one.to) {
                (Place::Instance(other), _) if other != instance => continue,
                (Place::Instance(_), None) => one.from,
                (_, to) => to.unwrap_or(now),
            });
        }
        due
    }

    /// How long an instance's present trouble has lasted, if it has one.
    pub fn silent_since(&self, instance: usize) -> Option<Instant> {
        let place = Place::Instance(instance);
        let troubles = self.troubles();
        let ongoing = troubles.iter().filter(|one| one.place == place && one.to.is_none());
        ongoing.map(|one| one.from).min()
    }

    /// What an entry may outlive its owner by: more when so many were silent at once that the
    /// fleet had to doubt itself.
    pub fn allowance(&self, from: Instant, to: Instant) -> Duration {
        let troubles = self.troubles();
        let silent: Vec<_> = troubles
            .iter()
            .filter(|one| {
                matches!(one.place, Place::Instance(_)) && one.is_noticed(to, self.suspect)
            })
            // A dead one is listed until it is found.
            .map(|one| (one.place, one.from, one.to.unwrap_or(to).min(one.from + T + MASS_WAIT)))
            .filter(|(_, start, end)| *start <= to && *end >= from)
            .collect();
        let mut pairs = silent.iter().enumerate().flat_map(|(n, a)| {
            silent[..n].iter().map(move |b| a.0 != b.0 && a.1 <= b.2 && b.1 <= a.2)
        });
        if pairs.any(|is_mass| is_mass) { T + MASS_WAIT } else { T }
    }

    /// How much of the time between the two moments Redis answered.
    pub fn answered(&self, from: Instant, to: Instant) -> Duration {
        let outages = self.outages();
        let silent: Duration = outages
            .iter()
            .map(|(start, end)| {
                end.unwrap_or(to).min(to).saturating_duration_since((*start).max(from))
            })
            .sum();
        to.saturating_duration_since(from).saturating_sub(silent)
    }

    /// How many troubles there were; those of the machine itself do not count.
    pub fn len(&self) -> usize {
        self.troubles().iter().filter(|one| one.place != Place::Machine).count()
    }

    fn note(&self, place: Place, is_death: bool) {
        self.troubles().push(Trouble { place, from: Instant::now(), to: None, is_death });
    }

    fn troubles(&self) -> MutexGuard<'_, Vec<Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outages(&self) -> MutexGuard<'_, Vec<(Instant, Option<Instant>)>> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
