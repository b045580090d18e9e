//! A signed token: JWT with HS256, RS256, ES256 or EdDSA, from wherever a client can put one.
//!
//! A browser cannot set headers on a WebSocket, hence the subprotocol; and some cannot do that
//! either, hence the query, which is off by default because it ends up in access logs.

use std::{fmt, time::Duration};

use http::header;
use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation, errors::Error};
use serde::{Deserialize, Serialize};

use super::{
    super::{Refusal, request::Handshake},
    keys::{KeyRing, reason},
};
use crate::{clock, ids::UserId};

/// What this module needs to know.
#[derive(Clone)]
pub struct TokenConfig {
    /// What tokens are checked with.
    pub keys: KeyRing,
    /// Whether `?token=` counts.
    pub allow_query: bool,
    /// Expected `aud`; empty: not checked.
    pub audience: String,
    /// Expected `iss`; empty: not checked.
    pub issuer: String,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// The claims this daemon reads; all others are let be.
#[derive(Debug, Deserialize, Serialize)]
struct Claims {
    sub: String,
    exp: u64,
}

/// Checks tokens.
pub struct TokenVerifier {
    keys: KeyRing,
    validation: Validation,
    allow_query: bool,
}

impl TokenVerifier {
    /// Over the keys of `config`; without any, every token is refused.
    pub fn new(config: &TokenConfig) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = config.leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_aud = !config.audience.is_empty();
        if validation.validate_aud {
            validation.set_audience(&[&config.audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if !config.issuer.is_empty() {
            validation.set_issuer(&[&config.issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Self { keys: config.keys.clone(), validation, allow_query: config.allow_query }
    }

    /// The user of the token, if there is one.
    pub(super) fn find(&self, handshake: &Handshake<'_>) -> Option<Result<UserId, Refusal>> {
        let token = bearer(handshake)
            .or_else(|| subprotocol(handshake))
            .or_else(|| self.allow_query.then(|| query(handshake)).flatten())?;
        Some(self.verify(token))
    }

    fn verify(&self, token: &str) -> Result<UserId, Refusal> {
        let bad = |error: &Error| Refusal::BadCredential(reason(error));
        let header = jsonwebtoken::decode_header(token).map_err(|error| bad(&error))?;
        if !self.keys.knows(header.alg) {
            return Err(Refusal::BadCredential("no key is for the token's algorithm"));
        }
        let mut refusal = Refusal::BadCredential("the token's key is not known");
        for key in self.keys.for_token(&header) {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![key.algorithm];
            match jsonwebtoken::decode::<Claims>(token, &key.key, &validation) {
                Ok(token) => return UserId::parse(&token.claims.sub).ok_or(Refusal::UnknownUser),
                Err(error) => refusal = bad(&error),
            }
        }
        Err(refusal)
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").finish_non_exhaustive()
    }
}

/// Signs a token for `user`, good for `lifetime` from now.
pub fn issue(key: &[u8], user: &UserId, lifetime: Duration) -> Option<String> {
    let expires = clock::micros() / 1_000_000 + lifetime.as_secs();
    let claims = Claims { sub: user.to_string(), exp: expires };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key))
        .ok()
}

fn bearer<'a>(handshake: &Handshake<'a>) -> Option<&'a str> {
    let value = handshake.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn subprotocol<'a>(handshake: &Handshake<'a>) -> Option<&'a str> {
    let lines = handshake.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let offered = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    offered.map(str::trim).find_map(|protocol| protocol.strip_prefix("bearer."))
}

/// A token is base64url and dots: nothing in it is ever escaped.
fn query<'a>(handshake: &Handshake<'a>) -> Option<&'a str> {
    handshake.query?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn config() -> TokenConfig {
        let mut keys = KeyRing::default();
        keys.add_file(KEY).unwrap();
        TokenConfig {
            keys,
            allow_query: false,
            audience: String::new(),
            issuer: String::new(),
            leeway: Duration::from_secs(30),
        }
    }

    fn signed(claims: &serde_json::Value, algorithm: Algorithm, key: &[u8]) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key))
            .unwrap()
    }

    fn in_an_hour() -> u64 {
        clock::micros() / 1_000_000 + 3600
    }

    fn verify(config: &TokenConfig, token: &str) -> Result<String, Refusal> {
        TokenVerifier::new(config).verify(token).map(|user| user.to_string())
    }

    #[test]
    fn a_good_token_names_its_user() {
        let sid = UserId::parse("Sid").unwrap();
        let token = issue(KEY, &sid, Duration::from_secs(60)).unwrap();
        assert_eq!(verify(&config(), &token), Ok("Sid".into()));
    }

    #[test]
    fn bad_tokens_are_refused_each_for_its_reason() {
        let now = in_an_hour() - 3600;
        let cases = [
            (
                signed(&serde_json::json!({"sub":"Sid","exp":now - 60}), Algorithm::HS256, KEY),
                "the token has expired",
            ),
            (
                signed(
                    &serde_json::json!({"sub":"Sid","exp":now + 60,"nbf":now + 50}),
                    Algorithm::HS256,
                    KEY,
                ),
                "the token is not valid yet",
            ),
            (
                signed(
                    &serde_json::json!({"sub":"Sid","exp":now + 60}),
                    Algorithm::HS256,
                    b"another key",
                ),
                "the token's signature is wrong",
            ),
            (
                signed(&serde_json::json!({"sub":"Sid","exp":now + 60}), Algorithm::HS512, KEY),
                "no key is for the token's algorithm",
            ),
            (
                signed(&serde_json::json!({"sub":"Sid"}), Algorithm::HS256, KEY),
                "the token cannot be read",
            ),
            (
                "eyJhbGciOiJub25lIn0.eyJzdWIiOiJTaWQiLCJleHAiOjk5OTk5OTk5OTl9.".into(),
                "the token cannot be read",
            ),
            ("garbage".into(), "the token cannot be read"),
        ];
        for (token, reason) in cases {
            assert_eq!(verify(&config(), &token), Err(Refusal::BadCredential(reason)), "{token}");
        }
    }

    #[test]
    fn audience_and_issuer_count_when_configured() {
        let strict = TokenConfig { audience: "chat".into(), issuer: "idp".into(), ..config() };
        let exp = in_an_hour();
        let good = serde_json::json!({"sub":"Sid","exp":exp,"aud":["chat"],"iss":"idp"});
        let other = serde_json::json!({"sub":"Sid","exp":exp,"aud":"mail","iss":"idp"});
        let none = serde_json::json!({"sub":"Sid","exp":exp});
        let verify = |claims| verify(&strict, &signed(claims, Algorithm::HS256, KEY));
        assert_eq!(verify(&good), Ok("Sid".into()));
        assert!(verify(&other).is_err());
        assert!(verify(&none).is_err());
    }

    #[test]
    fn a_token_is_found_in_header_subprotocol_and_allowed_query() {
        let find = |config: &TokenConfig, builder: http::request::Builder| {
            let request = builder
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
                .body(())
                .unwrap();
            let peer = std::net::Ipv4Addr::LOCALHOST.into();
            let handshake = Handshake::read(&request, peer).unwrap();
            TokenVerifier::new(config).find(&handshake).map(|found| found.is_ok())
        };
        let token = issue(KEY, &UserId::parse("Sid").unwrap(), Duration::from_secs(60)).unwrap();
        let plain = || Request::get("/ws");
        assert_eq!(find(&config(), plain()), None);
        assert_eq!(
            find(&config(), plain().header("Authorization", format!("bearer {token}"))),
            Some(true)
        );
        let offered = format!("fleet.v1, bearer.{token}");
        assert_eq!(find(&config(), plain().header("Sec-WebSocket-Protocol", offered)), Some(true));
        let in_query = || Request::get(format!("/ws?a=b&token={token}"));
        assert_eq!(find(&config(), in_query()), None);
        assert_eq!(find(&TokenConfig { allow_query: true, ..config() }, in_query()), Some(true));
    }

    #[test]
    fn each_algorithm_is_checked_with_its_own_key_and_with_no_other() {
        use super::super::keys::tests::{ED25519, P256, RSA, pair, signer};
        let claims = serde_json::json!({"sub": "Sid", "exp": in_an_hour()});
        let kinds =
            [(RSA, Algorithm::RS256), (P256, Algorithm::ES256), (ED25519, Algorithm::EdDSA)];
        for (arguments, algorithm) in kinds {
            let ((private, public), (stranger, _)) = (pair(arguments), pair(arguments));
            let mut keys = KeyRing::default();
            keys.add_file(&public).unwrap();
            let config = TokenConfig { keys, ..config() };
            let by = |pem: &[u8]| {
                let key = signer(algorithm, pem);
                jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap()
            };
            assert_eq!(verify(&config, &by(&private)), Ok("Sid".into()), "{algorithm:?}");
            let wrong = Refusal::BadCredential("the token's signature is wrong");
            assert_eq!(verify(&config, &by(&stranger)), Err(wrong), "{algorithm:?}");
            // The oldest trick: the public key, which everybody has, as a shared secret.
            let forged = signed(&claims, Algorithm::HS256, &public);
            let other = Refusal::BadCredential("no key is for the token's algorithm");
            assert_eq!(verify(&config, &forged), Err(other), "{algorithm:?}");
        }
    }
}
