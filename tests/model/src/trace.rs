//! A recorded run of real daemons over a real Redis, replayed as transitions of this model.
//!
//! Redis runs one script at a time, so what MONITOR says is the order of the steps. Each script is
//! executed twice: as a function of the model, and literally, from the commands that it was seen
//! to run. The two must agree after each, or one of them is not the protocol. What the daemons say
//! of themselves is ordered by cause: what they took must have been published before.

mod local;
mod mirror;
mod monitor;
mod names;
mod replay;

pub use self::{
    local::LocalEvent,
    monitor::{Step, script_name, source, steps},
    replay::{Counts, Refused, Replay},
};

/// What stands in Redis: `key field value`, for each field of each hash.
pub type Snapshot = Vec<String>;
