//! What systemd hands over: directories, and secrets as credentials.
//!
//! The directories win over the files, because the unit made them and nothing else is writable.
//! A credential fills in only where the operator named no file.

use std::{
    env::split_paths,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{
    forms::file::check_readable, layers::Variables, mistakes::Mistake, origin::Origin,
    settings::Settings, source, walk::Walk,
};

/// A credential and the key it stands in for.
struct Credential {
    name: &'static str,
    key: &'static str,
    field: fn(&mut Settings) -> &mut Option<PathBuf>,
}

const CREDENTIALS: [Credential; 5] = [
    Credential {
        name: "wsfleetd.auth-secret",
        key: "auth.token.key_file",
        field: |settings| &mut settings.auth.token_key_file,
    },
    Credential {
        name: "wsfleetd.redis-password",
        key: "redis.password_file",
        field: |settings| &mut settings.redis.password_file,
    },
    Credential {
        name: "wsfleetd.database-password",
        key: "database.password_file",
        field: |settings| &mut settings.database.password_file,
    },
    Credential {
        name: "wsfleetd.tls-certificate",
        key: "listen.tls_certificate",
        field: |settings| &mut settings.listen.tls_certificate,
    },
    Credential {
        name: "wsfleetd.tls-key",
        key: "listen.tls_key",
        field: |settings| &mut settings.listen.tls_key,
    },
];

/// Fills in what the variables `STATE_DIRECTORY`, `RUNTIME_DIRECTORY` and
/// `CREDENTIALS_DIRECTORY` say.
pub fn apply(variables: &Variables, walk: &mut Walk) {
    if let Some(path) = directory(variables, "STATE_DIRECTORY") {
        walk.settings.instance.state_dir = path;
        walk.origins.insert("instance.state_dir", Origin::Variable("STATE_DIRECTORY".into()));
    }
    if let Some(path) = directory(variables, "RUNTIME_DIRECTORY") {
        walk.settings.instance.runtime_dir = path;
        walk.origins.insert("instance.runtime_dir", Origin::Variable("RUNTIME_DIRECTORY".into()));
    }
    // systemd names one; for commands by hand there are several.
    for directory in variables.get(OsStr::new(source::CREDENTIALS)).iter().flat_map(split_paths) {
        CREDENTIALS.iter().for_each(|credential| fill_in(credential, &directory, walk));
    }
}

fn fill_in(credential: &Credential, directory: &Path, walk: &mut Walk) {
    let path = directory.join(credential.name);
    let named = (credential.field)(&mut walk.settings).is_some();
    if named || walk.refused.contains(credential.key) || !path.exists() {
        return;
    }
    if let Err(problem) = check_readable(&path) {
        walk.refused.insert(credential.key);
        walk.mistakes.push(unusable(credential, problem));
    }
    *(credential.field)(&mut walk.settings) = Some(path);
    walk.origins.insert(credential.key, Origin::Credential(credential.name));
}

/// systemd joins several directories with colons; the first is the unit's main one.
fn directory(variables: &Variables, name: &str) -> Option<PathBuf> {
    let first = variables.get(OsStr::new(name))?.to_str()?.split(':').next()?;
    (!first.is_empty()).then(|| first.into())
}

fn unusable(credential: &Credential, problem: String) -> Mistake {
    Mistake {
        origin: Origin::Credential(credential.name),
        key: Some(credential.key.into()),
        value: None,
        problem,
        remedy: format!(
            "store the secret in /etc/credstore/{} and restart the service, or set {}",
            credential.name, credential.key
        ),
    }
}
