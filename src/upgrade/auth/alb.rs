//! What an Application Load Balancer says about who has logged in at it: `x-amzn-oidc-data`.
//!
//! The load balancer signs it with a key of its region (ES256), so it does not matter who delivers
//! it, only whether it was *our* load balancer that signed it: every account's can, hence `signer`.
//! It is a JWT but for its base64, which is padded; `jsonwebtoken` reads none of that, so the three
//! parts are taken apart here, and the signature is checked with its functions.

mod fetch;

use std::{fmt, sync::Arc, time::Duration};

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::fetch::{BadEndpoint, Fetcher};
use super::{
    super::{Refusal, request::Handshake},
    keys::{self, KeyError},
};
use crate::{clock, ids::UserId};

/// Where the load balancer puts it.
const HEADER: &str = "x-amzn-oidc-data";

/// A key's name is a UUID; it becomes part of a URL and of a cache.
const MAX_KEY_ID: usize = 64;

/// Padded or not: AWS pads, and tomorrow may not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What this module needs to know.
#[derive(Clone, Debug)]
pub struct AlbConfig {
    /// The load balancer's own ARN.
    pub signer: String,
    /// The claim that is the username.
    pub claim: String,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Where the load balancer's public keys come from.
pub enum Source {
    /// One key, whatever its name.
    File(DecodingKey),
    /// The region's endpoint.
    Region(Fetcher),
}

/// Checks the header.
pub struct AlbVerifier {
    config: AlbConfig,
    source: Source,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: String,
    signer: String,
    exp: u64,
}

impl Source {
    /// The content of a file with the public key in PEM.
    pub fn file(pem: &[u8]) -> Result<Self, KeyError> {
        match keys::public_key(pem)? {
            (Algorithm::ES256, key) => Ok(Self::File(key)),
            _ => Err(KeyError::Pem),
        }
    }
}

impl AlbVerifier {
    /// With the keys of `source`.
    pub fn new(config: AlbConfig, source: Source) -> Self {
        Self { config, source }
    }

    /// The user whom the load balancer names, if it names one.
    pub(super) async fn find(&self, handshake: &Handshake<'_>) -> Option<Result<UserId, Refusal>> {
        let value = handshake.headers.get(HEADER)?;
        Some(match value.to_str() {
            Ok(text) => self.verify(text).await,
            Err(_) => Err(bad("the header is not text")),
        })
    }

    async fn verify(&self, text: &str) -> Result<UserId, Refusal> {
        let (signed, signature) = text.rsplit_once('.').ok_or(bad("it has no three parts"))?;
        let (head, claims) = signed.split_once('.').ok_or(bad("it has no three parts"))?;
        let head: Head = part(head)?;
        self.check_head(&head)?;
        let key = self.key(&head.kid).await?;
        let signature = signature.trim_end_matches('=');
        let holds =
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, Algorithm::ES256);
        if !holds.unwrap_or(false) {
            return Err(bad("its signature is wrong"));
        }
        let claims: Map<String, Value> = part(claims)?;
        let name = claims.get(&self.config.claim).and_then(Value::as_str);
        let name = name.ok_or(bad("it lacks the claim that is the username"))?;
        UserId::parse(name).ok_or(Refusal::UnknownUser)
    }

    /// Before the key is asked for: only what our load balancer may have signed is worth a fetch.
    fn check_head(&self, head: &Head) -> Result<(), Refusal> {
        if head.alg != "ES256" {
            return Err(bad("its algorithm is not ES256"));
        }
        if head.signer != self.config.signer {
            return Err(bad("another load balancer has signed it"));
        }
        let now = clock::micros() / 1_000_000;
        if head.exp.saturating_add(self.config.leeway.as_secs()) < now {
            return Err(bad("it has expired"));
        }
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        if head.kid.is_empty() || head.kid.len() > MAX_KEY_ID || !head.kid.bytes().all(is_plain) {
            return Err(bad("its key has no possible name"));
        }
        Ok(())
    }

    async fn key(&self, id: &str) -> Result<Arc<DecodingKey>, Refusal> {
        match &self.source {
            Source::File(key) => Ok(Arc::new(key.clone())),
            Source::Region(fetcher) => fetcher.key(id).await.ok_or(Refusal::KeysAway),
        }
    }
}

impl fmt::Debug for AlbVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlbVerifier").field("config", &self.config).finish_non_exhaustive()
    }
}

fn bad(reason: &'static str) -> Refusal {
    Refusal::BadCredential(reason)
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    let json = BASE64.decode(text).map_err(|_| bad("it cannot be read"))?;
    serde_json::from_slice(&json).map_err(|_| bad("it cannot be read"))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE as PADDED;
    use serde_json::json;

    use super::{
        super::keys::tests::{P256, RSA, pair, signer},
        *,
    };

    const ARN: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/chat/50dc6c495c0c9188";

    struct LoadBalancer {
        private: Vec<u8>,
        verifier: AlbVerifier,
    }

    impl LoadBalancer {
        fn new() -> Self {
            let (private, public) = pair(P256);
            let leeway = Duration::from_secs(30);
            let config = AlbConfig { signer: ARN.into(), claim: "sub".into(), leeway };
            let verifier = AlbVerifier::new(config, Source::file(&public).unwrap());
            Self { private, verifier }
        }

        /// As AWS writes it: padded, all three parts.
        fn sign(&self, head: &Value, claims: &Value) -> String {
            let text = |value: &Value| PADDED.encode(value.to_string());
            let signed = format!("{}.{}", text(head), text(claims));
            let key = signer(Algorithm::ES256, &self.private);
            let signature =
                jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::ES256).unwrap();
            let padding = "=".repeat((4 - signature.len() % 4) % 4);
            format!("{signed}.{signature}{padding}")
        }

        async fn verify(&self, text: &str) -> Result<String, Refusal> {
            self.verifier.verify(text).await.map(|user| user.to_string())
        }
    }

    fn head() -> Value {
        let exp = clock::micros() / 1_000_000 + 120;
        json!({"typ":"JWT","alg":"ES256","kid":"12345678-1234-1234-1234-123456789012",
            "signer":ARN,"iss":"https://idp.example","client":"chat","exp":exp})
    }

    #[tokio::test]
    async fn what_the_load_balancer_signs_names_its_user() {
        let alb = LoadBalancer::new();
        for name in ["Sid", "Zoë", "a name that needs padding"] {
            let text = alb.sign(&head(), &json!({"sub": name, "email": "x@example"}));
            assert_eq!(alb.verify(&text).await, Ok(name.into()));
        }
    }

    #[tokio::test]
    async fn whatever_else_is_refused_for_its_reason() {
        let (alb, other) = (LoadBalancer::new(), LoadBalancer::new());
        let claims = json!({"sub": "Sid"});
        let with = |key: &str, value: Value| {
            let mut head = head();
            head[key] = value;
            alb.sign(&head, &claims)
        };
        let good = alb.sign(&head(), &claims);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (first, _) = signed.split_once('.').unwrap();
        let forged = PADDED.encode(r#"{"sub":"Elon"}"#);
        for (text, reason) in [
            (with("alg", "none".into()), "its algorithm is not ES256"),
            (with("signer", format!("{ARN}0").into()), "another load balancer has signed it"),
            (with("exp", 1.into()), "it has expired"),
            (with("kid", "../../x".into()), "its key has no possible name"),
            (other.sign(&head(), &claims), "its signature is wrong"),
            (format!("{first}.{forged}.{signature}"), "its signature is wrong"),
            (format!("{signed}."), "its signature is wrong"),
            (alb.sign(&head(), &json!({"name": "Sid"})), "it lacks the claim that is the username"),
            ("garbage".into(), "it has no three parts"),
            ("a.b.c".into(), "it cannot be read"),
        ] {
            assert_eq!(alb.verify(&text).await, Err(Refusal::BadCredential(reason)), "{text}");
        }
    }

    #[test]
    fn only_a_key_for_es256_is_one_of_a_load_balancer() {
        assert_eq!(Source::file(&pair(RSA).1).err(), Some(KeyError::Pem));
        assert_eq!(Source::file(b"garbage").err(), Some(KeyError::Pem));
    }
}
