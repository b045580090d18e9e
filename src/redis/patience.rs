//! How long an answer is waited for by a process that may have stood still meanwhile.
//!
//! A machine that is paused for longer than the limit wakes up with every limit passed and the
//! answers in its sockets. To take these for silence would throw away a connection that is good,
//! and with it whatever was to be said before the next one is dialled.

use std::{io, time::Duration};

use redis::RedisError;
use tokio::time::{Instant, timeout};

/// A timer that is later than this was not looked at: the process stood still, or is starved of
/// processor time.
const OVERSLEPT: Duration = Duration::from_millis(250);

/// Looks at the socket: whoever oversleeps each of them gets too little done to be of use.
const LOOKS: usize = 3;

/// What `work` answers within `limit`, not counting a time in which this process stood still.
pub(super) async fn within<T, E: From<RedisError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::pin!(work);
    for _ in 0..LOOKS {
        let start = Instant::now();
        if let Ok(answer) = timeout(limit, &mut work).await {
            return answer;
        }
        if start.elapsed() < limit + OVERSLEPT {
            break;
        }
    }
    Err(RedisError::from(io::Error::from(io::ErrorKind::TimedOut)).into())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;
    use tokio::{
        sync::oneshot,
        time::{advance, pause},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn silence_is_a_timeout() {
        pause();
        let start = Instant::now();
        let answer = within(LIMIT, std::future::pending::<Result<(), RedisError>>()).await;
        assert!(answer.is_err_and(|error| error.is_timeout()));
        assert_eq!(start.elapsed().as_millis(), LIMIT.as_millis() + 1, "timers are rounded up");
    }

    #[tokio::test]
    async fn whoever_has_slept_through_the_limit_looks_again() {
        pause();
        let (answer, answered) = oneshot::channel::<Result<u32, RedisError>>();
        let mut waiting = pin!(within(LIMIT, async { answered.await.expect("an answer") }));
        assert!(poll!(waiting.as_mut()).is_pending());
        advance(4 * LIMIT).await;
        assert!(poll!(waiting.as_mut()).is_pending(), "the answer may be in the socket");
        answer.send(Ok(1)).expect("it is still waited for");
        assert_eq!(waiting.await.expect("an answer"), 1);
    }
}
