//! What can be changed about a registered user.
//!
//! One fact at a time, so that two operators who change different things about one user do not
//! undo each other's change.

use secrecy::SecretString;

use super::{Error, NewUser, new_user::check_hash};

/// One fact and its new value.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Whether the user is not to be let in.
    Disabled(bool),
    /// An Argon2 PHC string, as [`super::hash_password`] makes it; `None`: no login by password.
    Password(Option<SecretString>),
}

impl Edit {
    /// Refuses what one of the directories could not hold.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Password(Some(hash)) => check_hash(hash),
            Self::Password(None) | Self::Disabled(_) => Ok(()),
        }
    }

    /// Makes it so.
    pub(super) fn apply(&self, user: &mut NewUser) {
        match self {
            Self::Disabled(disabled) => user.disabled = *disabled,
            Self::Password(hash) => user.password_hash.clone_from(hash),
        }
    }
}
