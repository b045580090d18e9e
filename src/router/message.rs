//! A message on its slow way, and who has had it.

use bytes::Bytes;

use crate::{
    ids::{Epoch, MessageId, UserHash, UserId},
    store::Keep,
};

/// A message that needs the store; give it to [`super::Router::deliver_slowly`], in order.
#[derive(Debug)]
pub struct SlowMessage {
    /// For the directory, where that will be asked.
    pub(super) name: Option<UserId>,
    pub(super) message: Undelivered,
}

impl SlowMessage {
    /// One that nobody has had.
    pub(super) fn new(user: UserHash, name: Option<UserId>, text: Bytes) -> Self {
        let message = Undelivered::new(user, MessageId::random(), text, Keep::Awaited);
        Self { name, message }
    }

    /// One that these have had, and who else has the user should have.
    pub(super) fn also(user: UserHash, mid: MessageId, text: Bytes, tried: Vec<Epoch>) -> Self {
        let message = Undelivered { tried, ..Undelivered::new(user, mid, text, Keep::No) };
        Self { name: None, message }
    }
}

/// A message on the slow path, and who has had it.
#[derive(Debug)]
pub(super) struct Undelivered {
    pub user: UserHash,
    pub mid: MessageId,
    pub text: Bytes,
    pub tried: Vec<Epoch>,
    pub deaf: Vec<Epoch>,
    pub keep: Keep,
}

impl Undelivered {
    /// One that nobody has had.
    pub fn new(user: UserHash, mid: MessageId, text: Bytes, keep: Keep) -> Self {
        Self { user, mid, text, tried: Vec::new(), deaf: Vec::new(), keep }
    }
}
