//! The key that tokens are checked with.
//!
//! A fleet's is the operator's to give. An instance that is alone makes its own on its first
//! start, so that an installed package works before anybody has configured it, and keeps it, so
//! that a restart logs nobody out.

use std::{fs, io, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use rand::RngExt;
use secrecy::SecretSlice;
use tracing::info;

use super::DaemonError;
use crate::{config::settings::Settings, upgrade::auth::KeyError};

/// Below the state directory.
const FILE: &str = "auth-secret";

/// Random bytes of a key made here; printed as 64 characters.
const KEY_BYTES: usize = 48;

/// The key's bytes, without a final line break.
pub fn load(settings: &Settings) -> Result<SecretSlice<u8>, DaemonError> {
    match &settings.auth.token_key_file {
        Some(file) => read(file).map_err(|error| unusable("auth.token.key_file", file, &error)),
        None => {
            let file = settings.instance.state_dir.join(FILE);
            let key = read(&file).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => make(&file),
                _ => Err(error),
            });
            key.map_err(|error| unusable("instance.state_dir", &file, &error))
        }
    }
}

/// Says which file holds a key that cannot be used.
pub fn rejected(settings: &Settings, error: &KeyError) -> DaemonError {
    let own = settings.instance.state_dir.join(FILE);
    let file = settings.auth.token_key_file.as_deref().unwrap_or(&own).display();
    DaemonError::Setting(format!(
        "auth.token.key_file {file}: {error}; make another, as with `openssl rand -base64 48`"
    ))
}

fn read(file: &Path) -> io::Result<SecretSlice<u8>> {
    let mut key = fs::read(file)?;
    // An editor's or a shell's doing; anything else belongs to the key.
    if key.last() == Some(&b'\n') {
        key.pop();
    }
    Ok(key.into())
}

fn make(file: &Path) -> io::Result<SecretSlice<u8>> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let key = STANDARD.encode(rand::rng().random::<[u8; KEY_BYTES]>());
    let mut open = fs::OpenOptions::new();
    let mut opened = open.write(true).create_new(true).mode(0o600).open(file)?;
    opened.write_all(key.as_bytes())?;
    opened.sync_all()?;
    info!("made a key for tokens in {}", file.display());
    Ok(key.into_bytes().into())
}

fn unusable(key: &str, file: &Path, error: &io::Error) -> DaemonError {
    DaemonError::Setting(format!("{key}: cannot use {} as token key: {error}", file.display()))
}
