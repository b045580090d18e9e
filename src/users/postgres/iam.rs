//! Logging in to RDS by the instance's role: a token signed for one database and one user.
//!
//! The token is a presigned request that is never sent: RDS checks its signature as it would a
//! password (AWS, "IAM database authentication"). Signing needs no network, only credentials, and
//! the SDK finds those; a token is good for 15 minutes, and for connections that are made within
//! them, however long these live.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::identity::Identity;
use secrecy::SecretString;
use tokio::{sync::OnceCell, time::Instant};
use url::Url;

use super::fault::Fault;
use crate::{clock, telemetry::causes};

/// What RDS itself accepts at most.
const TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);

/// A token is not used any more when so much of its life is over: clocks differ, and connecting
/// takes its time.
const TOKEN_USE: Duration = Duration::from_secs(10 * 60);

/// Where, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub host: String,
    pub port: u16,
    pub user: String,
}

/// Makes tokens and keeps the last while it is good; clones share it.
#[derive(Clone)]
pub struct Tokens(Arc<Shared>);

struct Shared {
    login: Login,
    /// The SDK's, read when it is needed first: it may have to ask the instance's metadata.
    config: OnceCell<SdkConfig>,
    /// A std lock: held to look and to set.
    last: Mutex<Option<(SecretString, Instant)>>,
}

impl Tokens {
    /// Calls nothing yet.
    pub fn new(login: Login) -> Self {
        Self(Arc::new(Shared { login, config: OnceCell::new(), last: Mutex::default() }))
    }

    /// One that is good for a connection made now. `Fault::Token` says what the SDK lacks.
    pub async fn get(&self) -> Result<SecretString, Fault> {
        let good = self.last().clone().filter(|(_, made)| made.elapsed() < TOKEN_USE);
        if let Some((token, _)) = good {
            return Ok(token);
        }
        let made = Instant::now();
        let token = self.make().await?;
        *self.last() = Some((token.clone(), made));
        Ok(token)
    }

    async fn make(&self) -> Result<SecretString, Fault> {
        let config = self.0.config.get_or_init(load).await;
        let login = &self.0.login;
        let region = region_of(&login.host).or_else(|| Some(config.region()?.as_ref()));
        let region = region.ok_or_else(|| {
            Fault::Token("no region is known: set AWS_REGION, or name the host as RDS does".into())
        })?;
        let provider = config.credentials_provider();
        let provider = provider.ok_or_else(|| Fault::Token("there are no credentials".into()))?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| Fault::Token(causes(&error)))?;
        token(login, region, credentials, clock::now())
    }

    fn last(&self) -> MutexGuard<'_, Option<(SecretString, Instant)>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the token.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.0.login).finish()
    }
}

/// The token for `login` at `time`.
pub fn token(
    login: &Login,
    region: &str,
    credentials: Credentials,
    time: SystemTime,
) -> Result<SecretString, Fault> {
    let refuse = |error: &dyn std::error::Error| Fault::Token(causes(error));
    let mut url = Url::parse(&format!("https://{}:{}/", login.host, login.port))
        .map_err(|error| refuse(&error))?;
    url.query_pairs_mut().append_pair("Action", "connect").append_pair("DBUser", &login.user);
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(TOKEN_LIFE);
    settings.signature_location = SignatureLocation::QueryParams;
    let identity: Identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| refuse(&error))?
        .into();
    // The crate signs query strings as they are spelled, and RDS wants a space as %20.
    let spelled = url.as_str().replace('+', "%20");
    let request =
        SignableRequest::new("GET", spelled.as_str(), std::iter::empty(), SignableBody::empty())
            .map_err(|error| refuse(&error))?;
    let signed = sign(request, &params).map_err(|error| refuse(&error))?;
    let (instructions, _) = signed.into_parts();
    let mut url = Url::parse(&spelled).map_err(|error| refuse(&error))?;
    for (name, value) in instructions.params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    let text = url.as_str().replace('+', "%20");
    Ok(text.trim_start_matches("https://").to_owned().into())
}

/// As a host's name at RDS holds it: `db.abc.eu-west-1.rds.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let (before, _) = host.split_once(".rds.amazonaws.com")?;
    before.rsplit('.').next().filter(|region| region.contains('-'))
}

/// The environment's, in the end the instance's role; the region, too.
async fn load() -> SdkConfig {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let client = Builder::new().tls_provider(tls).build_https();
    aws_config::defaults(BehaviorVersion::latest()).http_client(client).load().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_from_names_of_rds_only() {
        let name = "fleet.cluster-abc.eu-west-1.rds.amazonaws.com";
        assert_eq!(region_of(name), Some("eu-west-1"));
        assert_eq!(region_of("db.x.cn-north-1.rds.amazonaws.com.cn"), Some("cn-north-1"));
        for other in ["db.example.com", "127.0.0.1", "rds.amazonaws.com"] {
            assert_eq!(region_of(other), None, "{other}");
        }
    }
}
