//! How one connection to PostgreSQL is made: URL, password, timeouts.
//!
//! What an operator wrote once for `psql` should work here; what cannot work is refused at
//! start, what may work later (a password file, a server that is down) at the connection.

use std::{str::FromStr, time::Duration};

use bb8::ManageConnection;
use bb8_postgres::PostgresConnectionManager;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{
    Client, Connection, Socket,
    config::{Config, TargetSessionAttrs},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{fault::Fault, secret::Secret, tls::Tls};
use crate::{config::settings::Database, users::Error};

/// Sent bytes unanswered for so long: the peer is gone, whatever TCP's retries hope.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle connection is probed after 30 s, below the 350 s of AWS's NAT and load balancers.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Between two probes; three lost ones end the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection's other half, which carries what is said in either direction.
pub type Driven = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Makes connections as the settings say.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Config,
    tls: Tls,
    secret: Secret,
    limit: Duration,
    query_timeout: Duration,
    statement_timeout: Duration,
}

impl Connector {
    /// To the primary. Checks the settings; no message repeats the URL, which may hold a password.
    pub fn new(database: &Database) -> Result<Self, Error> {
        let mut config = parse("database.url", database.url.as_ref(), database)?;
        // Of several hosts the primary is meant, whichever that is now.
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Self::with("database.url", config, database)
    }

    /// To the replica, if there is one.
    pub fn to_replica(database: &Database) -> Result<Option<Self>, Error> {
        let Some(url) = &database.replica_url else { return Ok(None) };
        let config = parse("database.replica_url", Some(url), database)?;
        Self::with("database.replica_url", config, database).map(Some)
    }

    fn with(key: &'static str, mut config: Config, database: &Database) -> Result<Self, Error> {
        let secret = Secret::new(key, &mut config, database)?;
        // Each host of the URL gets its own chance.
        let hosts = config.get_hosts().len().max(1);
        Ok(Self {
            tls: Tls::new(database, &config)?,
            limit: database.connect_timeout.saturating_mul(hosts.try_into().unwrap_or(u32::MAX)),
            secret,
            query_timeout: database.query_timeout,
            statement_timeout: database.statement_timeout,
            config,
        })
    }

    /// The longest [`connect`](Self::connect) takes.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// `database.query_timeout`
    pub fn query_timeout(&self) -> Duration {
        self.query_timeout
    }

    /// A connection that is logged in, its statements bounded by
    /// `database.statement_timeout`.
    pub async fn connect(&self) -> Result<Client, Fault> {
        self.connect_with(self.statement_timeout).await
    }

    /// The same with another bound on statements.
    pub async fn connect_with(&self, statement_timeout: Duration) -> Result<Client, Fault> {
        let connecting = self.connect_now(statement_timeout);
        tokio::time::timeout(self.limit, connecting)
            .await
            .unwrap_or(Err(Fault::ConnectTimeout(self.limit)))
    }

    /// A connection that is logged in and left to its owner to drive; in `pg_stat_activity` it is
    /// told from the others by its name.
    pub async fn connect_raw(&self) -> Result<(Client, Driven), Fault> {
        let connecting = async {
            let mut config = self.config_with_password().await?;
            let name = config.get_application_name().unwrap_or_default();
            config.application_name(format!("{name} listener"));
            Ok(config.connect(self.tls.connect()).await?)
        };
        tokio::time::timeout(self.limit, connecting)
            .await
            .unwrap_or(Err(Fault::ConnectTimeout(self.limit)))
    }

    async fn connect_now(&self, statement_timeout: Duration) -> Result<Client, Fault> {
        let config = self.config_with_password().await?;
        let client = PostgresConnectionManager::new(config, self.tls.connect()).connect().await?;
        // Not a start-up option, which poolers such as PgBouncer refuse. The server stops what
        // nobody here waits for any more; 0 would mean for ever.
        let limit = statement_timeout.as_millis().clamp(1, i32::MAX as u128);
        client.batch_execute(&format!("SET statement_timeout = {limit}")).await?;
        Ok(client)
    }

    async fn config_with_password(&self) -> Result<Config, Fault> {
        let mut config = self.config.clone();
        if let Some(password) = self.secret.get().await? {
            config.password(password.expose_secret());
        }
        Ok(config)
    }
}

fn parse(
    key: &'static str,
    url: Option<&SecretString>,
    database: &Database,
) -> Result<Config, Error> {
    let url = url.map(|url| url.expose_secret()).unwrap_or_default();
    let mut config =
        Config::from_str(&strict_modes(url)).map_err(|error| url_error(key, &error))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(setting(key, "it names no host: write postgres://user@host/database"));
    }
    config
        .connect_timeout(database.connect_timeout)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    if config.get_application_name().is_none() {
        config.application_name("wsfleetd");
    }
    Ok(config)
}

/// libpq's stricter modes are what `require` means here; the driver knows only that word.
fn strict_modes(url: &str) -> String {
    let Some((head, query)) = url.split_once('?') else { return url.into() };
    let strict = |option| match option {
        "sslmode=verify-full" | "sslmode=verify-ca" => "sslmode=require",
        other => other,
    };
    let query: Vec<_> = query.split('&').map(strict).collect();
    format!("{head}?{}", query.join("&"))
}

/// Only messages of the driver that name an option of its own are repeated: what it takes for an
/// unknown option may be half a password that was not percent-encoded.
fn url_error(key: &'static str, error: &tokio_postgres::Error) -> Error {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let cause = match cause.starts_with("invalid value for option") {
        true => cause,
        false => "not a PostgreSQL URL this daemon understands".into(),
    };
    let remedy = "write postgres://user@host:5432/database?sslmode=require, special characters \
                  percent-encoded; sslmode is disable, prefer, require or verify-full, and the CA \
                  goes to database.ca_file";
    setting(key, &format!("{cause}: {remedy}"))
}

/// A refusal of a setting that can never work.
pub fn setting(key: &'static str, problem: &str) -> Error {
    Error::Setting { key, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::*;

    fn config_of(url: &str) -> Result<Config, Error> {
        parse("database.url", Some(&url.into()), &Database::default())
    }

    #[test]
    fn libpqs_strict_modes_mean_require() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let config = config_of(&format!("postgres://db/app?sslmode={mode}&user=me")).unwrap();
            assert_eq!(config.get_ssl_mode(), SslMode::Require, "{mode}");
            assert_eq!(config.get_user(), Some("me"));
        }
        assert_eq!(config_of("postgres://db/app").unwrap().get_ssl_mode(), SslMode::Prefer);
    }

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        for url in [
            "postgres://me@db/app?secret=1",
            "postgres://me:secret@db/app?sslmode=maybe",
            "postgres://me:secret@db:port/app",
            "secret",
        ] {
            let refusal = config_of(url).unwrap_err().to_string();
            assert!(refusal.starts_with("database.url: "), "{refusal}");
            assert!(refusal.contains("sslmode is disable, prefer, require"), "{refusal}");
            assert!(!refusal.contains("cret"), "{refusal}");
        }
    }

    #[test]
    fn a_url_without_a_host_is_refused() {
        let refusal = config_of("postgres:///app").unwrap_err().to_string();
        assert!(refusal.contains("names no host"), "{refusal}");
    }
}
