//! A number of places that can be changed while some are taken.
//!
//! A semaphore cannot be made smaller than what is free of it; here a smaller bound just gives no
//! place away until enough have come back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// What is scarce: less than this part of the places is free.
const SCARCE: usize = 8;

/// A bounded number of places; cheap to clone.
#[derive(Clone, Debug)]
pub struct Places {
    shared: Arc<Shared>,
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bound: AtomicUsize,
    taken: AtomicUsize,
    freed: Notify,
}

impl Places {
    /// So many.
    pub fn new(bound: usize) -> Self {
        let (bound, taken) = (AtomicUsize::new(bound), AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { bound, taken, freed: Notify::new() }) }
    }

    /// Changes how many there are. Places beyond the new bound stay with those who have them.
    pub fn resize(&self, bound: usize) {
        self.shared.bound.store(bound, Ordering::Release);
        self.shared.freed.notify_waiters();
    }

    /// How many there are.
    pub fn bound(&self) -> usize {
        self.shared.bound.load(Ordering::Acquire)
    }

    /// A place, if one is free.
    pub fn try_take(&self) -> Option<Place> {
        let bound = self.bound();
        let taken = &self.shared.taken;
        let one_more = |taken: usize| (taken < bound).then_some(taken + 1);
        taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Place { shared: self.shared.clone() })
    }

    /// A place as soon as one is free. Cancel-safe.
    pub async fn take(&self) -> Place {
        loop {
            let freed = self.shared.freed.notified();
            tokio::pin!(freed);
            // Listens from here on: a place freed after the look below is not missed.
            freed.as_mut().enable();
            if let Some(place) = self.try_take() {
                return place;
            }
            freed.await;
        }
    }
}

impl Place {
    /// Whether hardly any other place is free.
    pub fn is_scarce(&self) -> bool {
        let bound = self.shared.bound.load(Ordering::Relaxed);
        let free = bound.saturating_sub(self.shared.taken.load(Ordering::Relaxed));
        free <= bound / SCARCE
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.taken.fetch_sub(1, Ordering::AcqRel);
        self.shared.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn no_more_are_given_than_there_are() {
        let places = Places::new(2);
        let (first, second) = (places.try_take(), places.try_take());
        assert!(first.is_some() && second.is_some() && places.try_take().is_none());
        drop(first);
        assert!(places.try_take().is_some());
    }

    #[test]
    fn a_smaller_bound_takes_nothing_away_and_gives_nothing_more() {
        let places = Places::new(3);
        let mut taken: Vec<_> = (0..3).map(|_| places.try_take().expect("a place")).collect();
        places.resize(1);
        for _ in 0..2 {
            taken.pop();
            assert!(places.try_take().is_none(), "{} of 1 are taken", taken.len());
        }
        taken.pop();
        assert!(places.try_take().is_some());
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_a_place_and_by_a_larger_bound() {
        let places = Places::new(1);
        let first = places.try_take().expect("a place");
        let mut waiting = Box::pin(places.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        let _second = waiting.await;
        let mut waiting = Box::pin(places.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        places.resize(2);
        waiting.await;
    }

    #[tokio::test]
    async fn of_two_who_wait_none_sleeps_through_two_places() {
        let places = Places::new(2);
        let taken = [places.try_take(), places.try_take()];
        let (mut one, mut other) = (Box::pin(places.take()), Box::pin(places.take()));
        assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        drop(taken);
        let _places = tokio::join!(one, other);
    }

    #[test]
    fn the_last_eighth_is_scarce() {
        let places = Places::new(16);
        let mut taken = Vec::new();
        for free in (0..16).rev() {
            taken.push(places.try_take().expect("a place"));
            assert_eq!(taken[0].is_scarce(), free <= 2, "{free} are free");
        }
    }
}
