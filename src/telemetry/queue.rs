//! The bounded queue between those who log and the one thread that may wait for the log.
//!
//! A full queue drops the record and counts it: the daemon serves its clients first. The thread is
//! a plain one, not a task, because what it does blocks.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How often a flush looks whether the full queue has room again.
const FLUSH_RETRY: Duration = Duration::from_millis(5);

/// Where the queue's thread takes records. Both calls may block.
pub(super) trait Sink<T>: Send + 'static {
    /// Writes one record.
    fn write(&mut self, record: T);

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
    lost: Arc<AtomicU64>,
}

enum Item<T> {
    Record(T),
    Flush(SyncSender<()>),
}

impl<T: Send + 'static> Queue<T> {
    /// Holds up to `bound` records for `sink`, which lives in a thread of its own for as long as
    /// the process does.
    pub(super) fn start(bound: usize, sink: impl Sink<T>) -> io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(bound);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = lost.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&receiver, &counter, sink))?;
        Ok(Arc::new(Self { sender, lost }))
    }

    /// Hands `record` over, or counts it as lost; never waits.
    pub(super) fn push(&self, record: T) {
        if self.sender.try_send(Item::Record(record)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
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

/// The thread: writes what comes, and reports a loss as soon as a write has got through again.
fn write_all<T>(receiver: &Receiver<Item<T>>, lost: &AtomicU64, mut sink: impl Sink<T>) {
    while let Ok(item) = receiver.recv() {
        match item {
            Item::Record(record) => sink.write(record),
            // The one who waits may have given up.
            Item::Flush(done) => drop(done.send(())),
        }
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            sink.report_loss(count);
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
        fn write(&mut self, record: u32) {
            let _ = self.open.recv();
            self.written.lock().unwrap().push(record.to_string());
        }

        fn report_loss(&mut self, count: u64) {
            self.written.lock().unwrap().push(format!("lost {count}"));
        }
    }

    type Written = Arc<Mutex<Vec<String>>>;

    fn gated(bound: usize) -> (Arc<Queue<u32>>, SyncSender<()>, Written) {
        let (key, open) = mpsc::sync_channel(0);
        let written = Written::default();
        let queue = Queue::start(bound, Gate { open, written: written.clone() }).unwrap();
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
    fn a_log_that_keeps_up_loses_nothing_and_keeps_the_order() {
        let (queue, key, written) = gated(16);
        drop(key);
        (0..10).for_each(|record| queue.push(record));
        assert!(queue.flush(Duration::from_secs(5)));
        let expected: Vec<_> = (0..10).map(|n: u32| n.to_string()).collect();
        assert_eq!(*written.lock().unwrap(), expected);
    }
}
