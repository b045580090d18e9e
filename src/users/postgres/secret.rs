//! With what one logs in: a password from a file, a token of the instance's role, or what stands in
//! the URL.
//!
//! Asked for anew with each connection: passwords are rotated and tokens run out, and neither
//! needs a restart.

use std::path::PathBuf;

use secrecy::SecretString;
use tokio_postgres::config::Config;
#[cfg(feature = "aws")]
use tokio_postgres::config::{Host, SslMode};

use super::fault::Fault;
#[cfg(feature = "aws")]
use super::iam::{Login, Tokens};
use crate::{
    config::settings::{Database, DatabaseAuth},
    users::{Error, postgres::connect::setting},
};

/// PostgreSQL's own, where the URL names none.
#[cfg(feature = "aws")]
const DEFAULT_PORT: u16 = 5432;

/// Where it comes from.
#[derive(Clone, Debug)]
pub enum Secret {
    /// The URL holds it, or none is needed.
    Url,
    File(PathBuf),
    #[cfg(feature = "aws")]
    Tokens(Tokens),
}

impl Secret {
    /// As the settings say. A token makes TLS a duty: `config` is changed accordingly.
    pub fn new(key: &'static str, config: &mut Config, database: &Database) -> Result<Self, Error> {
        Ok(match (database.auth, &database.password_file) {
            (DatabaseAuth::Password, None) => Self::Url,
            (DatabaseAuth::Password, Some(path)) => Self::File(path.clone()),
            (DatabaseAuth::RdsIam, _) => Self::tokens(key, config)?,
        })
    }

    #[cfg(feature = "aws")]
    fn tokens(key: &'static str, config: &mut Config) -> Result<Self, Error> {
        if config.get_ssl_mode() == SslMode::Disable {
            return Err(setting(key, "database.auth = \"rds-iam\" sends no token without TLS"));
        }
        let [Host::Tcp(host)] = config.get_hosts() else {
            let problem = "database.auth = \"rds-iam\" signs for one host: name that of the \
                           instance or cluster, which follows its primary";
            return Err(setting(key, problem));
        };
        let Some(user) = config.get_user() else {
            return Err(setting(key, "it names no user, whom a token must name"));
        };
        let port = config.get_ports().first().copied().unwrap_or(DEFAULT_PORT);
        let login = Login { host: host.clone(), port, user: user.into() };
        config.ssl_mode(SslMode::Require);
        Ok(Self::Tokens(Tokens::new(login)))
    }

    #[cfg(not(feature = "aws"))]
    fn tokens(_: &'static str, _: &mut Config) -> Result<Self, Error> {
        Err(setting("database.auth", "this wsfleetd was built without AWS and can sign no token"))
    }

    /// For a connection that is made now; `None`: nothing but the URL.
    pub async fn get(&self) -> Result<Option<SecretString>, Fault> {
        match self {
            Self::Url => Ok(None),
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path)
                    .await
                    .map_err(|error| Fault::PasswordFile { path: path.clone(), error })?;
                Ok(Some(text.trim_end_matches(['\r', '\n']).into()))
            }
            #[cfg(feature = "aws")]
            Self::Tokens(tokens) => tokens.get().await.map(Some),
        }
    }
}
