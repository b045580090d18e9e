//! What instances say to each other; the kinds of `relay/envelope.rs`.

use crate::{
    ids::{Device, Epoch, Mid, User},
    map::Set,
    redis::Tag,
};

/// A message between instances.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Letter {
    /// The recipient.
    pub user: User,
    /// Which message.
    pub mid: Mid,
    /// Who wrote this envelope, and hears the answer.
    pub from: Epoch,
    /// To whom it was sent; in `AlsoOwned`, to whom it should also go.
    pub epochs: Set<Epoch>,
}

impl Letter {
    /// `Letter::but`
    pub fn but(mut self, epoch: Epoch) -> Self {
        self.epochs.remove(epoch);
        self
    }
}

/// One thing an instance says to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// `E`
    Deliver(Letter),
    /// `N`
    NotMine(Letter),
    /// `R`
    AlsoOwned(Letter),
    /// `O`
    OwnerAdded(User, Epoch),
    /// `o`
    OwnerGone(User, Epoch),
    /// `D`
    Displaced(User, Device, Tag),
    /// `T`: the end of a payload, by whom and of which number.
    Confirm(Epoch, u8),
    /// `t`: who has read which.
    Confirmed(Epoch, u8),
}

impl Envelope {
    /// The message it carries, if any.
    pub fn mid(&self) -> Option<Mid> {
        match self {
            Self::Deliver(letter) | Self::NotMine(letter) | Self::AlsoOwned(letter) => {
                Some(letter.mid)
            }
            _ => None,
        }
    }
}
