//! Says that a limit is reached: at once, and then once a minute with what it met meanwhile.
//!
//! A limit is there for the day on which it is met thousands of times a second; a line for each
//! would be the next flood. The minute's sum comes from a task that lives only while there is
//! something to sum up.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    ids::{ConnectionId, UserId},
    lifecycle::Tasks,
    telemetry::events,
};

/// Between two lines about one limit.
const PERIOD: Duration = Duration::from_secs(60);

/// Makes the words of each limit; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter {
    tasks: Tasks,
    stop: CancellationToken,
}

/// The word about one limit; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reached {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The setting, as an operator would look for it.
    key: &'static str,
    reporter: Reporter,
    /// A std lock: held to count.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A line was written less than a period ago.
    is_told: bool,
    /// Met since that line.
    untold: u64,
}

/// Who met a limit, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The client as far as it can be believed.
    pub client: Option<IpAddr>,
    /// The connection that was refused, or the one that is open.
    pub connection: Option<ConnectionId>,
    /// Its proven name.
    pub user: Option<&'a UserId>,
}

/// What stands behind the words about a limit: plain `journalctl` shows no fields.
impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            self.user.map(|user| format!("user {user}")),
            self.client.map(|client| format!("from {client}")),
            self.connection.map(|connection| format!("connection {connection}")),
        ];
        let named: Vec<_> = named.into_iter().flatten().collect();
        match named.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", named.join(", ")),
        }
    }
}

impl Reporter {
    /// Sums up in `tasks` until `stop`.
    pub fn new(tasks: Tasks, stop: CancellationToken) -> Self {
        Self { tasks, stop }
    }

    /// For the limit `key`.
    pub fn limit(&self, key: &'static str) -> Reached {
        let (reporter, state) = (self.clone(), Mutex::default());
        Reached { shared: Arc::new(Shared { key, reporter, state }) }
    }
}

impl Reached {
    /// Counts one more that met the limit, and says `what` happens to it if nothing was said within
    /// the last minute. Never waits.
    pub fn hit(&self, subject: &Subject<'_>, what: impl fmt::Display) {
        if !self.lock().is_first() {
            return;
        }
        let key = self.shared.key;
        warn!(
            message_id = events::LIMIT_REACHED,
            config.key = key,
            peer.ip = subject.client.map(display),
            conn.id = subject.connection.map(display),
            user.name = subject.user.map(|user| display(user.as_str())),
            "{key}: {what}{subject}"
        );
        let (reached, stop) = (self.clone(), self.shared.reporter.stop.clone());
        self.shared.reporter.tasks.spawn("limit", async move {
            while timeout(PERIOD, stop.cancelled()).await.is_err() && reached.sum_up() {}
        });
    }

    /// Says what came since the last line; whether anything did.
    fn sum_up(&self) -> bool {
        let Some(count) = self.lock().take() else { return false };
        let key = self.shared.key;
        warn!(
            message_id = events::LIMIT_REACHED,
            config.key = key,
            count,
            "{key}: reached {count} times more within {} s",
            PERIOD.as_secs()
        );
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts one; whether it is the first after a quiet period.
    fn is_first(&mut self) -> bool {
        let is_first = !self.is_told;
        self.untold += u64::from(!is_first);
        self.is_told = true;
        is_first
    }

    /// What came since the last line; `None`, and the next one is a first again, if nothing did.
    fn take(&mut self) -> Option<u64> {
        self.is_told = self.untold > 0;
        Some(std::mem::take(&mut self.untold)).filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn whoever_met_it_stands_in_the_text_as_far_as_known() {
        let sunil = UserId::parse("Sunil").unwrap();
        let client = Some("192.0.2.1".parse().unwrap());
        let both = Subject { client, connection: None, user: Some(&sunil) };
        assert_eq!(both.to_string(), " (user Sunil, from 192.0.2.1)");
        assert_eq!(Subject { client, ..Subject::default() }.to_string(), " (from 192.0.2.1)");
        assert_eq!(Subject::default().to_string(), "");
    }

    #[test]
    fn one_is_told_at_once_and_the_others_are_summed_up() {
        let mut state = State::default();
        assert_eq!([state.is_first(), state.is_first(), state.is_first()], [true, false, false]);
        assert_eq!(state.take(), Some(2));
        assert!(!state.is_first(), "the period after a sum is no first again");
        assert_eq!((state.take(), state.take()), (Some(1), None));
        assert!(state.is_first(), "after a quiet period it is");
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_that_sums_up_ends_with_the_first_quiet_period_and_with_the_daemon() {
        let (tasks, stop) = (Tasks::new(), CancellationToken::new());
        let reached = Reporter::new(tasks.clone(), stop.clone()).limit("limits.test");
        for _ in 0..1000 {
            reached.hit(&Subject::default(), "told");
        }
        sleep(PERIOD + Duration::from_secs(1)).await;
        assert_eq!(tasks.len(), 1, "one task, however many hits, and another period");
        sleep(PERIOD).await;
        assert!(tasks.is_empty());
        reached.hit(&Subject::default(), "told again");
        assert_eq!(tasks.len(), 1);
        stop.cancel();
        assert_eq!(tasks.finish(Duration::from_secs(1)).await, Ok(()));
    }
}
