//! The exit codes, which systemd and scripts act upon (`RestartPreventExitStatus=78`).

use std::process::{ExitCode, Termination};

/// How the process ended, numbered as `sysexits.h` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well; for the daemon: drained and left.
    Ok = 0,
    /// Something failed while running, or a second signal ended the drain.
    Failure = 1,
    /// Nobody is called so.
    NoUser = 67,
    /// What the daemon needs to start cannot be reached or bound; trying again may help.
    Unavailable = 69,
    /// The configuration is wrong; trying again will not help.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}
