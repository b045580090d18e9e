//! Whom the bench measures.

use std::{fmt, path::PathBuf};

/// What stands for one column of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A build of wsfleetd with so many `instance.workers`; 0 is its default.
    Daemon {
        /// The build.
        binary: PathBuf,
        /// `instance.workers`
        workers: usize,
        /// The column's name.
        name: &'static str,
    },
    /// The bare stack.
    Floor,
}

impl Subject {
    /// From the command line: this build, `--before BINARY` if there is one, each with each of
    /// `--workers N,N,…`; and the floor.
    pub fn of(words: &[&str]) -> Vec<Self> {
        let option = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            Some(*words.get(at + 1).unwrap_or_else(|| panic!("{name} wants a value")))
        };
        let mut builds = vec![("wsfleetd", PathBuf::from(env!("CARGO_BIN_EXE_wsfleetd")))];
        builds.extend(option("--before").map(|binary| ("before", binary.into())));
        let workers = option("--workers").unwrap_or("0").split(',');
        let workers = workers.map(|n| n.parse().expect("--workers wants numbers"));
        let workers: Vec<usize> = workers.collect();
        let daemons = builds.iter().flat_map(|(name, binary)| {
            workers.iter().map(|n| Self::Daemon { binary: binary.clone(), workers: *n, name })
        });
        daemons.chain([Self::Floor]).collect()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon { name, workers: 0, .. } => f.pad(name),
            Self::Daemon { name, workers, .. } => f.pad(&format!("{name}:{workers}")),
            Self::Floor => f.pad("floor"),
        }
    }
}
