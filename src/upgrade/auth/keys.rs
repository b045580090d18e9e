//! The keys that tokens are checked with: one from a file of its own, any number from a JWKS.
//!
//! Each key knows its one algorithm, and a token is only checked with keys of the algorithm that
//! its header names, so that a public key can never be taken for a shared secret. A token that
//! names its key (`kid`) is checked with that key, and with such as have no name.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey, Header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;

/// HS256 needs a key of at least its hash's size (RFC 7518 §3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// Keys of one issuer, old and new, are a handful; a token without a name is tried with each.
const MAX_KEYS: usize = 32;

/// What a PEM file begins with.
const PEM: &[u8] = b"-----BEGIN ";

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A shared secret that can be guessed.
    #[error("the token key has {0} bytes; HS256 needs at least {MIN_KEY_BYTES}")]
    TooShort(usize),
    /// PEM, but not a public key of these.
    #[error("it is PEM, but no public key for RS256 (RSA), ES256 (P-256) or EdDSA (Ed25519)")]
    Pem,
    /// Not a JSON Web Key Set.
    #[error("it is no JSON Web Key Set: {0}")]
    NoSet(String),
    /// One without a key that could be used.
    #[error("it holds no key for HS256, RS256, ES256 or EdDSA")]
    NoneUsable,
    /// More than anybody needs.
    #[error("it holds more than {MAX_KEYS} keys")]
    TooMany,
}

/// Keys to check tokens with.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: Vec<Key>,
}

/// One of them.
#[derive(Clone)]
pub struct Key {
    /// `kid`
    id: Option<String>,
    /// The only algorithm it is used with.
    pub algorithm: Algorithm,
    /// Itself.
    pub key: DecodingKey,
}

impl KeyRing {
    /// Adds the content of a key's file: a public key in PEM, else a shared secret.
    pub fn add_file(&mut self, bytes: &[u8]) -> Result<(), KeyError> {
        let (algorithm, key) = if bytes.starts_with(PEM) {
            public_key(bytes)?
        } else if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyError::TooShort(bytes.len()));
        } else {
            (Algorithm::HS256, DecodingKey::from_secret(bytes))
        };
        self.keys.push(Key { id: None, algorithm, key });
        Ok(())
    }

    /// Adds the keys of a JWKS. Keys for other purposes or of other kinds are passed over: issuers
    /// publish them in the same set.
    pub fn add_jwks(&mut self, json: &[u8]) -> Result<(), KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set =
            serde_json::from_slice(json).map_err(|error| KeyError::NoSet(error.to_string()))?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let before = self.keys.len();
        self.keys.extend(set.keys.into_iter().filter_map(usable));
        if self.keys.len() == before { Err(KeyError::NoneUsable) } else { Ok(()) }
    }

    /// Those with which a token of this header may be checked.
    pub fn for_token<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = &'a Key> {
        let is_its = |key: &&Key| match (&key.id, &header.kid) {
            (Some(ours), Some(named)) => ours == named,
            _ => true,
        };
        self.keys.iter().filter(|key| key.algorithm == header.alg).filter(is_its)
    }

    /// Whether any key is of this algorithm.
    pub fn knows(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.algorithm == algorithm)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

/// A public key in PEM, and what it is for.
pub fn public_key(pem: &[u8]) -> Result<(Algorithm, DecodingKey), KeyError> {
    let rsa = || DecodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key));
    let ec = || DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key));
    let ed = || DecodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key));
    rsa().or_else(|_| ec()).or_else(|_| ed()).map_err(|_| KeyError::Pem)
}

fn usable(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs =
        jwk.common.public_key_use.as_ref().is_none_or(|its| *its == PublicKeyUse::Signature);
    let algorithm = algorithm(&jwk).filter(|_| signs)?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { id: jwk.common.key_id, algorithm, key })
}

/// What a key is for: what it says, if that is one of ours and fits its kind, else what its kind
/// is used for.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        _ => return None,
    };
    match (jwk.common.key_algorithm, kind) {
        (None, _)
        | (Some(KeyAlgorithm::RS256), Algorithm::RS256)
        | (Some(KeyAlgorithm::ES256), Algorithm::ES256)
        | (Some(KeyAlgorithm::EdDSA), Algorithm::EdDSA)
        | (Some(KeyAlgorithm::HS256), Algorithm::HS256) => Some(kind),
        _ => None,
    }
}

/// Why, in words that do not repeat the token.
pub fn reason(error: &jsonwebtoken::errors::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidIssuer => "the token is from another issuer",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks a claim",
        _ => "the token cannot be read",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::{Command, Stdio};

    use jsonwebtoken::EncodingKey;
    use serde_json::{Value, json};

    use super::*;

    /// A fresh key pair of openssl's, in PEM: private, public.
    pub fn pair(arguments: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let openssl = |arguments: &[&str], input: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), input).unwrap();
            let output = Command::new("openssl")
                .args(arguments)
                .stdin(std::fs::File::open(file.path()).unwrap())
                .stderr(Stdio::null())
                .output()
                .expect("openssl runs");
            assert!(output.status.success(), "openssl {arguments:?}");
            output.stdout
        };
        let private = openssl(&[&["genpkey"], arguments].concat(), b"");
        let public = openssl(&["pkey", "-pubout"], &private);
        (private, public)
    }

    pub const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    pub const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    pub const ED25519: &[&str] = &["-algorithm", "ED25519"];

    pub fn signer(algorithm: Algorithm, pem: &[u8]) -> EncodingKey {
        match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem).unwrap(),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem).unwrap(),
            _ => EncodingKey::from_ed_pem(pem).unwrap(),
        }
    }

    fn jwk(algorithm: Algorithm, pem: &[u8], id: &str) -> Value {
        let jwk = Jwk::from_encoding_key(&signer(algorithm, pem), algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = id.into();
        jwk
    }

    fn header(algorithm: Algorithm, id: Option<&str>) -> Header {
        Header { kid: id.map(str::to_owned), ..Header::new(algorithm) }
    }

    #[test]
    fn a_file_is_a_secret_or_a_public_key_of_each_kind() {
        for (arguments, algorithm) in
            [(RSA, Algorithm::RS256), (P256, Algorithm::ES256), (ED25519, Algorithm::EdDSA)]
        {
            let mut ring = KeyRing::default();
            ring.add_file(&pair(arguments).1).unwrap();
            assert!(ring.knows(algorithm) && !ring.knows(Algorithm::HS256), "{algorithm:?}");
        }
        let mut ring = KeyRing::default();
        ring.add_file(&[7; MIN_KEY_BYTES]).unwrap();
        assert!(ring.knows(Algorithm::HS256));
        assert_eq!(ring.add_file(b"short"), Err(KeyError::TooShort(5)));
        assert_eq!(ring.add_file(b"-----BEGIN CERTIFICATE-----\n"), Err(KeyError::Pem));
    }

    #[test]
    fn a_set_gives_its_usable_keys_by_name() {
        let (rsa, ec) = (pair(RSA).0, pair(P256).0);
        let mut encrypts = jwk(Algorithm::RS256, &rsa, "c");
        encrypts["use"] = "enc".into();
        let set = json!({"keys": [
            jwk(Algorithm::RS256, &rsa, "a"),
            jwk(Algorithm::ES256, &ec, "b"),
            encrypts,
            {"kty": "of tomorrow", "kid": "d"},
        ]});
        let mut ring = KeyRing::default();
        ring.add_jwks(set.to_string().as_bytes()).unwrap();
        assert_eq!(ring.keys.len(), 2);
        let named = |algorithm, id| ring.for_token(&header(algorithm, id)).count();
        assert_eq!(named(Algorithm::RS256, Some("a")), 1);
        assert_eq!(named(Algorithm::RS256, None), 1, "one without a name is tried with all");
        assert_eq!(named(Algorithm::RS256, Some("b")), 0, "a name of another algorithm's key");
        assert_eq!(named(Algorithm::HS256, Some("a")), 0, "a public key is no shared secret");
    }

    #[test]
    fn a_set_that_is_none_or_holds_nothing_is_refused() {
        let add = |text: String| KeyRing::default().add_jwks(text.as_bytes()).unwrap_err();
        assert!(matches!(add("{}".into()), KeyError::NoSet(_)));
        assert!(matches!(add("garbage".into()), KeyError::NoSet(_)));
        assert_eq!(add(r#"{"keys":[]}"#.into()), KeyError::NoneUsable);
        assert_eq!(add(r#"{"keys":[{"kty":"oct"}]}"#.into()), KeyError::NoneUsable);
        let many: Vec<_> = (0..=MAX_KEYS).map(|n| json!({"kty": "oct", "kid": n})).collect();
        assert_eq!(add(json!({"keys": many}).to_string()), KeyError::TooMany);
    }
}
