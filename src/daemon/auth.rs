//! Turns `[auth]` into who checks credentials, and reads the keys for that.

use std::{fs, path::Path};

use secrecy::ExposeSecret;

use super::{DaemonError, token_key};
use crate::{
    config::settings::{AuthMode, Settings},
    upgrade::auth::{
        AlbConfig, AlbVerifier, Authenticator, KeyError, KeyRing, Mode, TokenConfig, TokenVerifier,
        alb::{Fetcher, Source},
    },
};

/// The configured modes with their keys as they are now; and the shared secret, if there is one, for
/// the demo to sign with.
pub fn authenticator(settings: &Settings) -> Result<(Authenticator, Vec<u8>), DaemonError> {
    let (mut modes, mut secret) = (Vec::new(), Vec::new());
    for mode in &settings.auth.modes {
        modes.push(match mode {
            AuthMode::Header => {
                Mode::Header { trusted_proxies: settings.auth.header_trusted_proxies.clone() }
            }
            AuthMode::Token => {
                let (keys, shared) = token_keys(settings)?;
                secret = shared;
                Mode::Token(Box::new(TokenVerifier::new(&token_config(settings, keys))))
            }
            AuthMode::Alb => Mode::Alb(Box::new(load_balancer(settings)?)),
        });
    }
    Ok((Authenticator::new(modes), secret))
}

fn token_config(settings: &Settings, keys: KeyRing) -> TokenConfig {
    let auth = &settings.auth;
    TokenConfig {
        keys,
        allow_query: auth.token_allow_query,
        audience: auth.token_audience.clone(),
        issuer: auth.token_issuer.clone(),
        leeway: auth.token_leeway,
    }
}

/// Without a file of either kind an instance makes a secret of its own.
fn token_keys(settings: &Settings) -> Result<(KeyRing, Vec<u8>), DaemonError> {
    let auth = &settings.auth;
    let (mut keys, mut secret) = (KeyRing::default(), Vec::new());
    if auth.token_key_file.is_some() || auth.token_jwks_file.is_none() {
        let key = token_key::load(settings)?;
        let added = keys.add_file(key.expose_secret());
        added.map_err(|error| token_key::rejected(settings, &error))?;
        secret = key.expose_secret().to_vec();
    }
    if let Some(file) = &auth.token_jwks_file {
        let added = keys.add_jwks(&read("auth.token.jwks_file", file)?);
        added.map_err(|error| unusable("auth.token.jwks_file", file, &error))?;
    }
    Ok((keys, secret))
}

fn load_balancer(settings: &Settings) -> Result<AlbVerifier, DaemonError> {
    let auth = &settings.auth;
    let source = match &auth.alb_key_file {
        Some(file) => Source::file(&read("auth.alb.key_file", file)?)
            .map_err(|error| unusable("auth.alb.key_file", file, &error))?,
        None => {
            let endpoint = endpoint(&auth.alb_endpoint, &auth.alb_signer);
            let fetcher = Fetcher::new(&endpoint);
            let setting = |error| DaemonError::Setting(format!("auth.alb.endpoint: {error}"));
            Source::Region(fetcher.map_err(setting)?)
        }
    };
    let (signer, claim) = (auth.alb_signer.clone(), auth.alb_claim.clone());
    Ok(AlbVerifier::new(AlbConfig { signer, claim, leeway: auth.token_leeway }, source))
}

/// AWS's own for the region that stands in the load balancer's ARN (Elastic Load Balancing's user
/// guide, "Authenticate users").
fn endpoint(configured: &str, signer: &str) -> String {
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let mut parts = signer.split(':').skip(1);
    let (partition, region) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    match partition {
        "aws-us-gov" => {
            format!("https://s3-{region}.amazonaws.com/aws-elb-public-keys-prod-{region}")
        }
        _ => format!("https://public-keys.auth.elb.{region}.amazonaws.com"),
    }
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>, DaemonError> {
    fs::read(file).map_err(|error| {
        DaemonError::Setting(format!("{key}: cannot read {}: {error}", file.display()))
    })
}

fn unusable(key: &str, file: &Path, error: &KeyError) -> DaemonError {
    DaemonError::Setting(format!("{key} {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_of_the_load_balancer_has_its_keys() {
        let arn = "arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/app/chat/5";
        assert_eq!(endpoint("", arn), "https://public-keys.auth.elb.eu-west-1.amazonaws.com");
        let arn = "arn:aws-us-gov:elasticloadbalancing:us-gov-west-1:1:loadbalancer/app/chat/5";
        assert_eq!(
            endpoint("", arn),
            "https://s3-us-gov-west-1.amazonaws.com/aws-elb-public-keys-prod-us-gov-west-1"
        );
        assert_eq!(endpoint("http://mirror", arn), "http://mirror");
    }
}
