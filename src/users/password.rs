//! Turns a password into what may be stored.
//!
//! Argon2id, because whoever steals the table must pay in memory for each guess.

use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher};
use secrecy::{ExposeSecret, SecretString};

use super::Error;

/// OWASP's floor for Argon2id with two passes. A login storm on an instance of 2 cores must
/// not need more memory than its connections do.
const MEMORY_KIB: u32 = 19 * 1024;
/// Two passes over that memory take some 20 ms on a present server's core.
const PASSES: u32 = 2;
/// One lane: instances are small, and their other core has connections to serve.
const LANES: u32 = 1;

/// The PHC string of `password` under a fresh random salt. Takes milliseconds of CPU: call it
/// where blocking is allowed.
pub fn hash(password: &SecretString) -> Result<SecretString, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(refuse)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.expose_secret().as_bytes()).map_err(refuse)?;
    Ok(hash.to_string().into())
}

fn refuse(error: impl std::fmt::Display) -> Error {
    Error::Password(error.to_string())
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordVerifier, phc::PasswordHash};

    use super::*;

    #[test]
    fn a_hash_opens_with_its_password_only() {
        let stored = hash(&"correct horse".into()).unwrap();
        let parsed = PasswordHash::new(stored.expose_secret()).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"correct hors", &parsed).is_err());
        assert!(stored.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[test]
    fn equal_passwords_have_different_hashes() {
        let (one, two) = (hash(&"same".into()).unwrap(), hash(&"same".into()).unwrap());
        assert_ne!(one.expose_secret(), two.expose_secret());
    }
}
