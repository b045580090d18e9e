//! The one place tasks are spawned: each has a name, and the process ends when all have ended.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug_span};

/// Spawns named tasks and waits for them; clones share the tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    running: Arc<Running>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `work`, at level debug in a span that carries `name`. Dropping the handle does not
    /// end the task.
    #[expect(clippy::disallowed_methods, reason = "this is the place all others are sent to")]
    pub fn spawn<F>(&self, name: &'static str, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let work = Named { work, _entry: Entry::new(self.running.clone(), name) };
        // Of nobody's: a task that spawns another is not where the other one's records come from.
        self.tracker.spawn(work.instrument(debug_span!(parent: None, "task", task.name = name)))
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until all tasks have ended, those spawned meanwhile included, for `within` at most;
    /// then says which are left.
    pub async fn finish(&self, within: Duration) -> Result<(), Leftover> {
        self.tracker.close();
        timeout(within, self.tracker.wait()).await.map_err(|_| self.running.leftover())
    }
}

pin_project! {
    /// A future and its entry. Not an async block, because that would keep the future twice: as
    /// what it captured and as what it waits for; there is one per connection.
    struct Named<F> {
        #[pin]
        work: F,
        _entry: Entry,
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().work.poll(context)
    }
}

/// The tasks that had not ended in time: `2 relay, 1 reaper`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Leftover(BTreeMap<&'static str, usize>);

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (name, count)) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {name}")?;
        }
        Ok(())
    }
}

/// How many tasks run under each name.
///
/// A std lock, because it is held for one map access and never across an await.
#[derive(Debug, Default)]
struct Running(Mutex<BTreeMap<&'static str, usize>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leftover(&self) -> Leftover {
        Leftover(self.lock().clone())
    }
}

/// Counts a task for as long as it lives, also when it panics or is aborted.
struct Entry {
    running: Arc<Running>,
    name: &'static str,
}

impl Entry {
    fn new(running: Arc<Running>, name: &'static str) -> Self {
        *running.lock().entry(name).or_default() += 1;
        Self { running, name }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
        }
        running.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::lifecycle::Stop;

    #[tokio::test(start_paused = true)]
    async fn tasks_that_heed_the_stop_are_waited_for() {
        let (tasks, stop) = (Tasks::new(), Stop::new());
        for _ in 0..3 {
            let stop = stop.clone();
            tasks.spawn("session", async move { stop.soft().cancelled().await });
        }
        assert_eq!(tasks.len(), 3);
        stop.begin();
        assert_eq!(tasks.finish(Duration::from_secs(10)).await, Ok(()));
        assert!(tasks.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_do_not_end_are_named() {
        let tasks = Tasks::new();
        tasks.spawn("relay", pending::<()>());
        tasks.spawn("relay", pending::<()>());
        tasks.spawn("reaper", pending::<()>());
        tasks.spawn("sweep", async {}).await.unwrap();
        let left = tasks.finish(Duration::from_secs(10)).await.expect_err("three are left");
        assert_eq!(left.to_string(), "1 reaper, 2 relay");
    }

    #[tokio::test]
    async fn a_task_that_panics_counts_as_ended() {
        let tasks = Tasks::new();
        let task = tasks.spawn("session", async { panic!("a defect") });
        assert!(task.await.is_err_and(|error| error.is_panic()));
        assert_eq!(tasks.finish(Duration::from_secs(10)).await, Ok(()));
    }
}
