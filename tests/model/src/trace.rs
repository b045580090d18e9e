//! A recorded run of real daemons over a real Redis, replayed as transitions of this model.
//!
//! Redis runs one script at a time, so what MONITOR says is the order of the steps. Each script is
//! executed twice: as a function of the model, and literally, from the commands that it was seen
//! to run. The two must agree after each, or one of them is not the protocol. What the daemons say
//! of themselves is ordered by cause: what they took must have been published before.
//!
//! Behind a failover or a restart another server is recorded, and what it holds stands in the recording:
//! it must be what the one before held at some time.

mod counts;
mod local;
mod mirror;
mod monitor;
mod names;
mod replay;
mod standing;

pub use self::{
    counts::Counts,
    local::LocalEvent,
    monitor::{Loss, Step, script_name, source, steps},
    replay::{Refused, Replay},
};

/// What stands in Redis, a line each: `key field value` for each field of a hash, `key ttl value` for
/// a marker (in milliseconds), `key n seq prev mid` for a message in a mailbox.
pub type Snapshot = Vec<String>;
