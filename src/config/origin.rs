//! Where a setting came from, so that a mistake can be found and an effective value explained.

use std::{fmt, path::PathBuf};

/// The place that had the last word on a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A configuration file.
    File {
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters; known only where the file's syntax is at fault.
        column: Option<usize>,
    },
    /// A configuration file as a whole, when it cannot be read.
    Path(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// The systemd credential of this name.
    Credential(&'static str),
    /// Another setting, which implies this one.
    Implied(&'static str),
}

impl Origin {
    /// A line of a file.
    pub fn line(path: impl Into<PathBuf>, line: usize) -> Self {
        Self::File { path: path.into(), line, column: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column: None } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line, column: Some(column) } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Implied(key) => write!(f, "{key}"),
        }
    }
}
