//! From credential to identity: the first mode whose credential is present decides.
//!
//! A bad credential is refused, never passed on to the next mode: otherwise a forged token would
//! be as good as none where a weaker mode follows.

pub mod alb;
mod header;
pub mod keys;
pub mod token;

use ipnet::IpNet;

use super::{Refusal, request::Handshake};
use crate::ids::UserId;
pub use alb::{AlbConfig, AlbVerifier};
pub use keys::{KeyError, KeyRing};
pub use token::{TokenConfig, TokenVerifier};

/// One way to say who one is.
#[derive(Debug)]
pub enum Mode {
    /// `username: Sunil`, believed from these networks and from loopback.
    Header {
        /// `auth.header.trusted_proxies`; empty: whoever can reach a loopback listener.
        trusted_proxies: Vec<IpNet>,
    },
    /// A signed token.
    Token(Box<TokenVerifier>),
    /// What the load balancer says of who has logged in at it.
    Alb(Box<AlbVerifier>),
}

/// The configured modes, in order.
#[derive(Debug)]
pub struct Authenticator {
    modes: Vec<Mode>,
}

impl Authenticator {
    /// Tries `modes` in this order.
    pub fn new(modes: Vec<Mode>) -> Self {
        Self { modes }
    }

    /// Whether a browser sends a credential by itself, whatever page has opened the connection.
    pub fn is_ambient(&self) -> bool {
        self.modes.iter().any(|mode| matches!(mode, Mode::Alb(_)))
    }

    /// Who the client proves to be.
    pub async fn identify(&self, handshake: &Handshake<'_>) -> Result<UserId, Refusal> {
        for mode in &self.modes {
            let found = match mode {
                Mode::Header { trusted_proxies } => header::find(handshake, trusted_proxies),
                Mode::Token(verifier) => verifier.find(handshake),
                Mode::Alb(verifier) => verifier.find(handshake).await,
            };
            if let Some(identity) = found {
                return identity;
            }
        }
        Err(Refusal::NoCredential)
    }
}
