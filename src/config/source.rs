//! Where a configuration is read from, at the start and again at each reload.

use std::path::{Path, PathBuf};

use super::{Loaded, Mistakes, load};

/// Read when no file is named, if it exists.
const DEFAULT_FILE: &str = "/etc/wsfleetd/wsfleetd.toml";

/// The file, its `conf.d` and the process's environment.
#[derive(Clone, Debug)]
pub struct Source {
    file: Option<PathBuf>,
}

impl Source {
    /// `file` must exist; without one the package's own is read, if it is there.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// Reads everything as it is now.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(&self) -> Result<Loaded, Mistakes> {
        let default = Path::new(DEFAULT_FILE);
        let file = self.file.as_deref().or_else(|| default.exists().then_some(default));
        load(file, std::env::vars_os())
    }
}
