//! Where a configuration is read from, at the start and again at each reload.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{Loaded, Mistakes, load};

/// Read when no file is named, if it exists.
const DEFAULT_FILE: &str = "/etc/wsfleetd/wsfleetd.toml";

/// Where systemd names the directory of a service's credentials.
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Where systemd finds them (systemd.exec(5), `LoadCredential=`); the first are the machine's own.
const CREDSTORES: &str =
    "/run/credentials/@system:/etc/credstore:/run/credstore:/usr/lib/credstore";

/// The file, its `conf.d` and the process's environment.
#[derive(Clone, Debug)]
pub struct Source {
    file: Option<PathBuf>,
    by_hand: bool,
}

impl Source {
    /// `file` must exist; without one the package's own is read, if it is there.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, by_hand: false }
    }

    /// For a command that somebody types: where systemd has handed over no credentials, they are read
    /// where it would have found them. Only root can.
    pub fn by_hand(self) -> Self {
        Self { by_hand: true, ..self }
    }

    /// Reads everything as it is now.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(&self) -> Result<Loaded, Mistakes> {
        let default = Path::new(DEFAULT_FILE);
        let file = self.file.as_deref().or_else(|| default.exists().then_some(default));
        load(file, env::vars_os().chain(self.credentials(env::var_os(CREDENTIALS))))
    }

    /// The variable that stands for those that systemd has not handed over.
    fn credentials(&self, handed_over: Option<OsString>) -> Option<(OsString, OsString)> {
        let is_missing = self.by_hand && handed_over.is_none();
        is_missing.then(|| (CREDENTIALS.into(), CREDSTORES.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_credentials_are_read_where_systemd_finds_them_unless_it_handed_some_over() {
        let given = |service: Option<&str>, source: Source| {
            source.credentials(service.map(OsString::from)).map(|(_, value)| value)
        };
        let (service, by_hand) = (Source::new(None), Source::new(None).by_hand());
        assert_eq!(given(None, service.clone()), None);
        assert_eq!(given(None, by_hand.clone()), Some(CREDSTORES.into()));
        assert_eq!(given(Some("/run/credentials/x"), by_hand), None, "what is set stays");
    }
}
