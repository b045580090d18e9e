//! Signals become stops and reloads.
//!
//! `SIGTERM`, `SIGINT` and `SIGUSR2` ask for a soft stop, the second of them for a hard one;
//! `SIGHUP` asks for a reload. The unit sends `SIGUSR2` on `systemctl restart`, where the next
//! process takes the listeners over.

use std::{io, process, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::sleep,
};
use tracing::{info, warn};

use super::{Exit, Stop};
use crate::telemetry::events;

/// After a hard stop the daemon has this long to return from `main` by itself.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// The stop signal of a process that another one follows.
const HAND_OVER: &str = "SIGUSR2";

/// Changes each time a reload is asked for; requests that come during a reload become one.
pub type Reloads = watch::Receiver<()>;

/// The signals this process listens for.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hand_over: Signal,
    hang_up: Signal,
    reload: watch::Sender<()>,
}

impl Signals {
    /// Takes over the signals' handling at once, so that none kills a process that is starting.
    /// Needs a tokio runtime.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hand_over: signal(SignalKind::user_defined2())?,
            hang_up: signal(SignalKind::hangup())?,
            reload: watch::channel(()).0,
        })
    }

    /// Where reloads are heard of.
    pub fn reloads(&self) -> Reloads {
        self.reload.subscribe()
    }

    /// Obeys signals for as long as the process lives. After the second stop signal the process
    /// exits with [`Exit::Failure`], if need be from here.
    pub async fn obey(mut self, stop: Stop) {
        let first = self.stop_signal().await;
        info!(message_id = events::DRAINING, "{first} received: stopping politely");
        if first == HAND_OVER {
            stop.begin_hand_over();
        } else {
            stop.begin();
        }

        let second = self.stop_signal().await;
        warn!(message_id = events::ABORTED, "{second} received while stopping: aborting");
        stop.abort();

        sleep(ABORT_GRACE).await;
        process::exit(i32::from(Exit::Failure as u8));
    }

    /// Waits for a signal that asks to stop; passes on reloads meanwhile.
    async fn stop_signal(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hand_over.recv() => return HAND_OVER,
                _ = self.hang_up.recv() => self.reload.send_replace(()),
            }
        }
    }
}
