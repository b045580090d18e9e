//! The bounded queue between those who log and the one thread that may wait for the log.
//!
//! A full queue drops the record and counts it: the daemon serves its clients first. Some room is kept
//! for what must not be missed. The thread is a plain one, not a task, because what it does blocks.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How often a flush looks whether the full queue has room again.
const FLUSH_RETRY: Duration = Duration::from_millis(5);

/// Between two reports of a loss that goes on, and how long the thread waits for a record before it
/// looks whether one is due.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// Where the queue's thread takes records. All calls may block.
pub(super) trait Sink<T>: Send + 'static {
    /// Writes one record; false: it was let go, and counts as dropped.
    fn write(&mut self, record: T) -> bool;

    /// Reports that `count` records were dropped.
    fn report_loss(&mut self, count: u64);
}

/// Waits for what has been logged so far.
pub(super) trait Flush: Send + Sync {
    /// Returns when all of it is written, or after `within`; says which.
    fn flush(&self, within: Duration) -> bool;
}

/// The sending side.
pub(super) struct Queue<T> {
    sender: SyncSender<Item<T>>,
    bound: usize,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

enum Item<T> {
    Record(T),
    Flush(SyncSender<()>),
}

impl<T: Send + 'static> Queue<T> {
    /// Holds up to `bound` records for `sink`, which lives in a thread of its own for as long as
    /// the process does, and `reserve` more that are important.
    pub(super) fn start(bound: usize, reserve: usize, sink: impl Sink<T>) -> io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(bound + reserve);
        let counts = Arc::<Counts>::default();
        let counting = counts.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || Writer::new(&counting, sink).run(&receiver))?;
        Ok(Arc::new(Self { sender, bound, counts }))
    }

    /// Hands `record` over, or counts it as lost; never waits.
    pub(super) fn push(&self, record: T) {
        let is_full = self.counts.waiting.load(Ordering::Relaxed) >= self.bound;
        if is_full {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            self.push_important(record);
        }
    }

    /// The same, using the reserve too.
    pub(super) fn push_important(&self, record: T) {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(Item::Record(record)).is_err() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T: Send> Flush for Queue<T> {
    fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let (done, written) = sync_channel(1);
        let mut marker = Item::Flush(done);
        while let Err(refused) = self.sender.try_send(marker) {
            let TrySendError::Full(back) = refused else { return false };
            if Instant::now() >= deadline {
                return false;
            }
            marker = back;
            thread::sleep(FLUSH_RETRY);
        }
        written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// The thread: writes what comes, and reports a loss as soon as a write has got through again, but
/// one that goes on once a second.
struct Writer<'a, S> {
    counts: &'a Counts,
    sink: S,
    reported: Option<Instant>,
}

impl<'a, S> Writer<'a, S> {
    fn new(counts: &'a Counts, sink: S) -> Self {
        Self { counts, sink, reported: None }
    }

    fn run<T>(mut self, receiver: &Receiver<Item<T>>)
    where
        S: Sink<T>,
    {
        loop {
            match receiver.recv_timeout(REPORT_PAUSE) {
                Ok(Item::Record(record)) => {
                    self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                    if !self.sink.write(record) {
                        self.counts.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(Item::Flush(done)) => {
                    self.reported = None;
                    self.report();
                    // The one who waits may have given up.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.report();
        }
    }

    fn report<T>(&mut self)
    where
        S: Sink<T>,
    {
        if self.reported.is_some_and(|at| at.elapsed() < REPORT_PAUSE) {
            return;
        }
        let count = self.counts.lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            self.sink.report_loss(count);
            self.reported = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// A log that takes nothing until it is opened.
    struct Gate {
        open: Receiver<()>,
        written: Written,
    }

    impl Sink<u32> for Gate {
        fn write(&mut self, record: u32) -> bool {
            let _ = self.open.recv();
            self.written.lock().unwrap().push(record.to_string());
            true
        }

        fn report_loss(&mut self, count: u64) {
            self.written.lock().unwrap().push(format!("lost {count}"));
        }
    }

    type Written = Arc<Mutex<Vec<String>>>;

    fn gated(bound: usize) -> (Arc<Queue<u32>>, SyncSender<()>, Written) {
        let (key, open) = mpsc::sync_channel(0);
        let written = Written::default();
        let queue = Queue::start(bound, 2, Gate { open, written: written.clone() }).unwrap();
        (queue, key, written)
    }

    #[test]
    fn a_log_that_stands_still_costs_records_but_no_time() {
        let (queue, key, written) = gated(4);
        let start = Instant::now();
        for record in 0..1000 {
            queue.push(record);
        }
        assert!(start.elapsed() < Duration::from_millis(500), "logging waited for the log");
        assert!(!queue.flush(Duration::from_millis(20)), "nothing can have been written");

        drop(key);
        assert!(queue.flush(Duration::from_secs(5)));
        let written = written.lock().unwrap();
        let losses: Vec<u64> =
            written.iter().filter_map(|line| line.strip_prefix("lost ")?.parse().ok()).collect();
        let records = (written.len() - losses.len()) as u64;
        assert!((4..=5).contains(&records), "four wait and one may be in the writer's hand");
        assert_eq!(losses.iter().sum::<u64>(), 1000 - records, "each lost record is counted once");
        assert!(
            written[1].starts_with("lost "),
            "the loss is told at the first chance: {written:?}"
        );
    }

    #[test]
    fn what_must_not_be_missed_finds_room_in_a_full_queue() {
        let (queue, key, written) = gated(4);
        (0..1000).for_each(|record| queue.push(record));
        queue.push_important(1001);
        (2000..3000).for_each(|record| queue.push(record));
        queue.push_important(1002);
        drop(key);
        assert!(queue.flush(Duration::from_secs(5)));
        let written = written.lock().unwrap();
        for important in ["1001", "1002"] {
            assert!(written.iter().any(|line| line == important), "{important} not in {written:?}");
        }
    }

    #[test]
    fn a_loss_that_goes_on_is_told_now_and_then_and_in_the_end() {
        struct Refusing(Written);
        impl Sink<u32> for Refusing {
            fn write(&mut self, _: u32) -> bool {
                false
            }
            fn report_loss(&mut self, count: u64) {
                self.0.lock().unwrap().push(count.to_string());
            }
        }
        let written = Written::default();
        let queue = Queue::start(5000, 0, Refusing(written.clone())).unwrap();
        (0..1000).for_each(|record| queue.push(record));
        thread::sleep(REPORT_PAUSE * 3);
        let told: Vec<u64> = written.lock().unwrap().iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(told.iter().sum::<u64>(), 1000);
        assert!(told.len() <= 3, "{told:?}");
    }

    #[test]
    fn a_log_that_keeps_up_loses_nothing_and_keeps_the_order() {
        let (queue, key, written) = gated(16);
        drop(key);
        (0..10).for_each(|record| queue.push(record));
        assert!(queue.flush(Duration::from_secs(5)));
        let expected: Vec<_> = (0..10).map(|n: u32| n.to_string()).collect();
        assert_eq!(*written.lock().unwrap(), expected);
    }
}
