//! What the daemon and its subcommands open alike: Redis, and what is held there.

use std::{fs, path::Path};

use secrecy::SecretString;

use super::DaemonError;
use crate::{
    config::settings::Settings,
    redis::{self, Redis},
};

/// The ways to Redis; `None`: there is none.
pub fn open_redis(all: &Settings) -> Result<Option<Redis>, DaemonError> {
    let settings = &all.redis;
    let Some(url) = settings.url.clone() else { return Ok(None) };
    let password = match &settings.password_file {
        Some(file) => Some(read_secret("redis.password_file", file)?),
        None => None,
    };
    let ca_pem = settings.ca_file.as_deref().map(|file| read("redis.ca_file", file)).transpose()?;
    let config = redis::Config {
        url,
        cluster: settings.cluster,
        username: settings.username.clone(),
        password,
        ca_pem,
        prefix: settings.prefix.clone(),
        partitions: all.fleet.partitions,
        connect_timeout: settings.connect_timeout,
        command_timeout: settings.command_timeout,
        pool_size: settings.pool_size,
    };
    let redis = Redis::new(config).map_err(|error| DaemonError::Setting(error.to_string()))?;
    Ok(Some(redis))
}

/// A file that a setting names.
pub(super) fn read(key: &str, file: &Path) -> Result<Vec<u8>, DaemonError> {
    fs::read(file).map_err(|error| {
        DaemonError::Setting(format!("{key}: cannot read {}: {error}", file.display()))
    })
}

fn read_secret(key: &str, file: &Path) -> Result<SecretString, DaemonError> {
    let text = String::from_utf8(read(key, file)?)
        .map_err(|_| DaemonError::Setting(format!("{key}: {} is not text", file.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
}
