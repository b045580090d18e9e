//! A user about to be registered, checked field by field.
//!
//! Both directories use this one check, so that a file accepted today can be moved into
//! PostgreSQL tomorrow.

use argon2::password_hash::phc::PasswordHash;
use secrecy::{ExposeSecret, SecretString};

use super::{Error, User};
use crate::ids::UserId;

/// Longest first or last name in bytes: as long as a user name may be.
pub const MAX_FIELD_BYTES: usize = 256;

/// Longest mobile number in characters: 15 digits of E.164 with room for how people group them.
const MAX_MOBILE_CHARS: usize = 32;

/// What is needed to register somebody.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub username: UserId,
    pub first_name: String,
    pub last_name: String,
    pub mobile: Option<String>,
    /// An Argon2 PHC string, as [`super::hash_password`] makes it.
    pub password_hash: Option<SecretString>,
    pub disabled: bool,
}

impl NewUser {
    /// Somebody of whom only the name is known.
    pub fn named(username: UserId) -> Self {
        Self {
            username,
            first_name: String::new(),
            last_name: String::new(),
            mobile: None,
            password_hash: None,
            disabled: false,
        }
    }

    /// Somebody who is registered already, to be registered elsewhere: exported, moved.
    pub fn of(user: &User) -> Self {
        Self {
            username: user.username.clone(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            mobile: user.mobile.clone(),
            password_hash: user.password_hash.clone(),
            disabled: user.disabled,
        }
    }

    /// Refuses what one of the directories could not hold or a terminal should not show.
    pub fn check(&self) -> Result<(), Error> {
        check_text("first_name", &self.first_name)?;
        check_text("last_name", &self.last_name)?;
        self.mobile.as_deref().map_or(Ok(()), check_mobile)?;
        self.password_hash.as_ref().map_or(Ok(()), check_hash)
    }
}

fn check_text(field: &'static str, value: &str) -> Result<(), Error> {
    if value.len() > MAX_FIELD_BYTES {
        return refuse(field, value, "it is longer than 256 bytes");
    }
    if value.chars().any(char::is_control) {
        return refuse(field, value, "it has a control character");
    }
    Ok(())
}

fn check_mobile(value: &str) -> Result<(), Error> {
    let rest = value.strip_prefix('+').unwrap_or(value);
    let shaped = rest.chars().all(|c| c.is_ascii_digit() || " -.()/".contains(c));
    let digits = rest.chars().filter(char::is_ascii_digit).count();
    if shaped && (3..=15).contains(&digits) && value.len() <= MAX_MOBILE_CHARS {
        return Ok(());
    }
    refuse("mobile", value, "write 3 to 15 digits, such as +49 171 5550123")
}

/// The value is not shown: a hash is a secret, and what stands here may be a bare password.
pub(super) fn check_hash(hash: &SecretString) -> Result<(), Error> {
    match PasswordHash::new(hash.expose_secret()) {
        Ok(parsed) if parsed.algorithm.as_str().starts_with("argon2") => Ok(()),
        _ => refuse("password_hash", "(hidden)", "write an Argon2 PHC string or leave it empty"),
    }
}

fn refuse(field: &'static str, value: &str, problem: &'static str) -> Result<(), Error> {
    let value = value.chars().take(MAX_FIELD_BYTES).collect();
    Err(Error::Invalid { field, value, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid() -> NewUser {
        NewUser::named(UserId::parse("Sid").unwrap())
    }

    #[test]
    fn mobile_numbers_are_digits_as_people_group_them() {
        for good in ["+49 171 5550123", "0171/5550123", "(020) 7946-0958", "112"] {
            assert!(NewUser { mobile: Some(good.into()), ..sid() }.check().is_ok(), "{good}");
        }
        for bad in ["", "+", "12", "call me", "+1234567890123456", "1+2+3"] {
            assert!(NewUser { mobile: Some(bad.into()), ..sid() }.check().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bare_password_is_refused_without_being_repeated() {
        let user = NewUser { password_hash: Some("hunter2".into()), ..sid() };
        let refusal = user.check().unwrap_err().to_string();
        assert!(refusal.contains("Argon2 PHC string"), "{refusal}");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }

    #[test]
    fn names_are_bounded_and_free_of_control_characters() {
        assert!(NewUser { first_name: "Zoë".into(), ..sid() }.check().is_ok());
        assert!(NewUser { first_name: "\u{1b}[2J".into(), ..sid() }.check().is_err());
        assert!(NewUser { last_name: "x".repeat(257), ..sid() }.check().is_err());
    }
}
