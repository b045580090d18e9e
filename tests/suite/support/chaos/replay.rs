//! A random run as transitions of the model: from its first command to the first fault behind which
//! another server stands, or the same with another memory.
//!
//! What is behind such a fault is not replayed: no MONITOR tells what Redis did before it was
//! connected.

use wsfleetd_model::trace::Replay;

use super::{Fault, Fleet};
use crate::support::recorder::{Recorder, Tape};

/// Commands kept in memory, some 300 bytes each; behind them the recording ends.
const MOST: usize = 1_000_000;

/// What daemons must say, for the replay.
pub const TRACED: (&str, &str) =
    ("WSFLEETD__TELEMETRY__LEVEL", "info,wsfleetd=debug,wsfleetd::trace=trace");

/// The recording of a fleet.
#[derive(Default)]
pub struct Recorded {
    pub(super) recorder: Option<Recorder>,
    /// What ended instances have said.
    pub(super) said: Vec<String>,
    /// What was recorded, and before which fault that ended.
    tape: Option<(Tape, Vec<String>, String)>,
}

impl Recorded {
    pub(super) fn by(recorder: Option<Recorder>) -> Self {
        Self { recorder, ..Self::default() }
    }
}

impl Fleet {
    /// A fault is about to come: the recording ends before one that it would not survive.
    pub(super) fn record_until(&mut self, fault: Fault) {
        let is_last =
            matches!(fault, Fault::RestartEmpty | Fault::RestartWithData | Fault::FailOver);
        let is_full = self.recorded.recorder.as_ref().is_some_and(|one| one.len() > MOST);
        if is_last || is_full {
            self.end_recording(&format!("{fault:?}"));
        }
    }

    fn end_recording(&mut self, before: &str) {
        let Some(recorder) = self.recorded.recorder.take() else { return };
        // What is said later may have been caused by what is not recorded any more.
        let mut logs = std::mem::take(&mut self.recorded.said);
        for node in &self.nodes {
            logs.extend(node.instance.log().lines().map(str::to_owned));
        }
        let tape = recorder.cut(self.redis());
        self.recorded.tape = Some((tape, logs, before.to_owned()));
    }

    /// The run is over: as far as it was recorded it was one of the model's.
    pub fn replays(&mut self) {
        self.end_recording("the end");
        let (tape, logs, before) = self.recorded.tape.take().expect("something was recorded");
        let recording = tape.read(self.redis(), &logs);
        let (steps, locals) = (recording.steps.len(), recording.locals.len());
        match Replay::run(&recording.steps, &recording.locals, &recording.snapshot) {
            Ok(counts) => {
                println!("replayed {steps} steps and {locals} local ones up to {before}: {counts}");
                assert!(counts.of("connect") > 0, "no connect was replayed");
                assert!(counts.of("deliver") > 0, "no delivery was replayed");
            }
            Err(refused) => panic!("the model does not do this: {refused}"),
        }
    }
}
