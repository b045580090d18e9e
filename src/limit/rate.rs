//! How often something may happen: a token bucket kept as one number (GCRA).
//!
//! The number is the time at which the bucket will be full again. Everything else, the rate and
//! the burst, is shared: a connection pays eight bytes for its bucket, and a change of the rate
//! concerns those that are open too. The crate `governor` keeps rate, burst and start with every
//! bucket, five times as much, and cannot change them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Duration, Instant};

const SECOND_NS: u64 = 1_000_000_000;

/// A rate and a burst; both may change.
#[derive(Debug)]
pub struct Rate {
    /// Times are counted from here, so that one fits into 64 bits.
    start: Instant,
    /// Nanoseconds that one takes from a bucket; 0: nothing is bounded.
    one_ns: AtomicU64,
    /// Nanoseconds that a bucket holds.
    burst_ns: AtomicU64,
}

/// How full one user's bucket is. The default is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket(u64);

/// A bucket that many take from.
#[derive(Debug, Default)]
pub struct SharedBucket(AtomicU64);

impl Rate {
    /// `per_second` on average, `burst` at once; 0 a second: no bound.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let start = Instant::now();
        let rate = Self { start, one_ns: AtomicU64::new(0), burst_ns: AtomicU64::new(0) };
        rate.set(per_second, burst);
        rate
    }

    /// Changes both, for every bucket.
    pub fn set(&self, per_second: u32, burst: u32) {
        let one = SECOND_NS.checked_div(u64::from(per_second)).unwrap_or(0);
        self.burst_ns.store(one * u64::from(burst.max(1)), Ordering::Relaxed);
        self.one_ns.store(one, Ordering::Relaxed);
    }

    /// How many a second; 0: no bound.
    pub fn per_second(&self) -> u64 {
        SECOND_NS.checked_div(self.one_ns.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Takes one from `bucket`, if it is not empty.
    pub fn admits(&self, bucket: &mut Bucket, now: Instant) -> bool {
        let next = self.next(bucket.0, now);
        bucket.0 = next.unwrap_or(bucket.0);
        next.is_some()
    }

    /// The same for one that is shared.
    pub fn admits_shared(&self, bucket: &SharedBucket, now: Instant) -> bool {
        let next = |full_at| self.next(full_at, now);
        bucket.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// How long until `bucket` has one.
    pub fn wait(&self, bucket: &Bucket, now: Instant) -> Duration {
        let one = self.one_ns.load(Ordering::Relaxed);
        if one == 0 {
            return Duration::ZERO;
        }
        let has_one_at = (bucket.0 + one).saturating_sub(self.burst_ns.load(Ordering::Relaxed));
        Duration::from_nanos(has_one_at.saturating_sub(self.elapsed(now)))
    }

    /// When a bucket that is full at `full_at` will be full again after one was taken; `None` if
    /// none can be taken.
    fn next(&self, full_at: u64, now: Instant) -> Option<u64> {
        let (one, now) = (self.one_ns.load(Ordering::Relaxed), self.elapsed(now));
        if one == 0 {
            return Some(now);
        }
        let next = full_at.max(now) + one;
        (next - now <= self.burst_ns.load(Ordering::Relaxed)).then_some(next)
    }

    /// In nanoseconds, good for 584 years.
    fn elapsed(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `asked` are admitted at `now`.
    fn admitted(rate: &Rate, bucket: &mut Bucket, now: Instant, asked: usize) -> usize {
        (0..asked).filter(|_| rate.admits(bucket, now)).count()
    }

    #[test]
    fn a_burst_then_the_rate_then_a_burst_again() {
        let (rate, mut bucket) = (Rate::new(10, 30), Bucket::default());
        let start = Instant::now();
        assert_eq!(admitted(&rate, &mut bucket, start, 100), 30);
        for second in 1..5 {
            let now = start + Duration::from_secs(second);
            assert_eq!(admitted(&rate, &mut bucket, now, 100), 10, "second {second}");
        }
        let later = start + Duration::from_secs(3600);
        assert_eq!(admitted(&rate, &mut bucket, later, 100), 30, "no more than a burst is saved");
    }

    #[test]
    fn the_wait_is_as_long_as_it_takes() {
        let (rate, mut bucket) = (Rate::new(4, 2), Bucket::default());
        let now = Instant::now();
        assert_eq!(rate.wait(&bucket, now), Duration::ZERO);
        assert_eq!(admitted(&rate, &mut bucket, now, 9), 2);
        let wait = rate.wait(&bucket, now);
        assert_eq!(wait, Duration::from_millis(250));
        assert_eq!(admitted(&rate, &mut bucket, now + wait, 9), 1);
    }

    #[test]
    fn none_a_second_means_no_bound_and_a_change_concerns_old_buckets() {
        let (rate, mut bucket) = (Rate::new(0, 0), Bucket::default());
        let now = Instant::now();
        assert_eq!(admitted(&rate, &mut bucket, now, 100_000), 100_000);
        assert_eq!((rate.per_second(), rate.wait(&bucket, now)), (0, Duration::ZERO));
        rate.set(2000, 4000);
        assert_eq!(rate.per_second(), 2000);
        assert_eq!(admitted(&rate, &mut bucket, now, 100_000), 4000);
        rate.set(1_000_000, 1);
        assert_eq!(admitted(&rate, &mut bucket, now, 10), 0, "and an empty one stays empty");
        assert_eq!(admitted(&rate, &mut bucket, now + Duration::from_secs(3), 10), 1);
        rate.set(1, 1);
        assert_eq!(admitted(&rate, &mut bucket, now + Duration::from_secs(5), 10), 1);
        rate.set(0, 0);
        assert_eq!(admitted(&rate, &mut bucket, now + Duration::from_secs(5), 10), 10);
    }

    #[test]
    fn many_who_share_a_bucket_get_no_more_than_one_would() {
        let (rate, bucket, now) = (Rate::new(100, 1000), SharedBucket::default(), Instant::now());
        let take = || (0..1000).filter(|_| rate.admits_shared(&bucket, now)).count();
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            takers.into_iter().map(|taker| taker.join().expect("it counts")).sum()
        });
        assert_eq!(taken, 1000);
    }
}
