//! Stories about a fleet that is being broken, watched from outside by checkers that never sleep.
//!
//! A [`Story`] is real instances, each behind a line of its own to a real Redis, and a crowd of
//! clients that talk all the time. Its verbs are faults. What the crowd says and hears goes into
//! the [`Ledger`], what stands in Redis is looked at several times a second by the [`Census`], and
//! every trouble that a verb makes is noted in the [`Timeline`], by which the checkers know what
//! they may still demand. All of them report to one [`Verdict`]: how many things each has checked,
//! and what was wrong. A checker that has checked nothing has failed.

mod actor;
mod census;
mod faults;
mod fleet;
mod ledger;
mod machine;
mod replay;
mod snapshot;
mod story;
mod timeline;
mod verdict;

pub use self::{
    actor::{Life, Plan},
    faults::{Fault, QUICK_DRAIN},
    fleet::{Fleet, Settings},
    replay::TRACED,
    story::Story,
    verdict::Check,
};
