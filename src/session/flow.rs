//! How fast a client may speak, and how it is told that it speaks too fast.
//!
//! A message over the rate is answered, not delivered, and the socket stays open. A few bytes
//! would buy a hundred that way, so the answers have a rate of their own: who has used it up is
//! not read from until the next answer is due. Every refused message is answered, and a client
//! that floods is held back by TCP and costs next to nothing.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::limit::{Bucket, Rate, Reached};

/// Answers a second to a client that goes on, and before it is held back.
const ANSWERS: (u32, u32) = (4, 8);

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    messages: Arc<Rate>,
    answers: Arc<Rate>,
    reached: Reached,
}

/// The buckets of one connection.
#[derive(Debug, Default)]
pub struct Flow {
    messages: Bucket,
    answers: Bucket,
}

impl Config {
    /// `messages` is `limits.message_rate`, and may change; `reached` is told when it is.
    pub fn new(messages: Arc<Rate>, reached: Reached) -> Self {
        Self { messages, answers: Arc::new(Rate::new(ANSWERS.0, ANSWERS.1)), reached }
    }

    /// Who is told of a client that speaks too fast.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// The rate in force, for the log.
    pub fn per_second(&self) -> u64 {
        self.messages.per_second()
    }
}

impl Flow {
    /// Whether one more message may be taken.
    pub fn admits(&mut self, config: &Config, now: Instant) -> bool {
        config.messages.admits(&mut self.messages, now)
    }

    /// After an answer to a message that was not: how long not to read on.
    pub fn answered(&mut self, config: &Config, now: Instant) -> Option<Duration> {
        config.answers.admits(&mut self.answers, now);
        Some(config.answers.wait(&self.answers, now)).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{lifecycle::Tasks, limit::Reporter};

    fn config(per_second: u32, burst: u32) -> Config {
        let reporter = Reporter::new(Tasks::new(), CancellationToken::new());
        let messages = Arc::new(Rate::new(per_second, burst));
        Config::new(messages, reporter.limit("limits.test"))
    }

    #[tokio::test]
    async fn who_is_refused_again_and_again_is_read_from_no_faster_than_it_is_answered() {
        let (config, mut flow) = (config(1, 1), Flow::default());
        let mut now = Instant::now();
        assert!(flow.admits(&config, now));
        for _ in 0..ANSWERS.1 - 1 {
            assert!(!flow.admits(&config, now));
            assert_eq!(flow.answered(&config, now), None, "a few at once are read");
        }
        for _ in 0..3 {
            let pause = flow.answered(&config, now).expect("a pause");
            assert_eq!(pause, Duration::from_secs(1) / ANSWERS.0);
            now += pause;
        }
    }

    #[test]
    fn a_connection_pays_two_numbers_for_it() {
        assert_eq!(size_of::<Flow>(), 16);
    }
}
