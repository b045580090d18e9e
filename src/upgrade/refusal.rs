//! Every way a handshake can end without a connection, in the order in which it is checked.

use http::{HeaderName, HeaderValue, StatusCode, header};
use rand::RngExt;

use crate::session::NotClaimed;

/// What a client that is refused for now is told to wait, in seconds: long enough for a peer to
/// be found by the load balancer, short enough for a person, and not the same for all of those who
/// are refused together.
const RETRY_AFTER_S: std::ops::RangeInclusive<u32> = 3..=8;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an upgrade by RFC 6455 §4.2.1.
    #[error("not a WebSocket handshake: {0}")]
    NotAnUpgrade(&'static str),
    /// Another version of the protocol than 13.
    #[error("a WebSocket version other than 13")]
    Version,
    /// Not one of `websocket.paths`.
    #[error("no WebSocket at this path")]
    NotFound,
    /// Not one of `websocket.allowed_origins`.
    #[error("the origin is not allowed")]
    Origin,
    /// `limits.accept_rate_per_address`
    #[error("too many new connections from this address")]
    AddressTooFast,
    /// `limits.accept_rate`
    #[error("too many new connections")]
    TooFast,
    /// `limits.max_connections`
    #[error("the instance is full")]
    Full,
    /// `limits.memory_admission`
    #[error("the instance is short of memory")]
    ShortOfMemory,
    /// None of the credentials in `auth.modes`.
    #[error("no credential")]
    NoCredential,
    /// A credential that proves nothing.
    #[error("the credential is not valid: {0}")]
    BadCredential(&'static str),
    /// The key that the credential was signed with cannot be had now.
    #[error("the load balancer's key cannot be had")]
    KeysAway,
    /// Proven, but not in the directory.
    #[error("the user is not registered")]
    UnknownUser,
    /// In the directory, but not to be let in.
    #[error("the user is disabled")]
    Disabled,
    /// `limits.connections_per_user`
    #[error("the user has too many connections")]
    TooManyConnections,
    /// The directory cannot be asked, and nobody is cached.
    #[error("the directory cannot be reached")]
    DirectoryAway,
    /// `websocket.handshake_timeout`: whoever had to be asked did not answer in time.
    #[error("the handshake took too long")]
    Late,
}

impl Refusal {
    /// The status line.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotAnUpgrade(_) => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Origin | Self::Disabled | Self::TooManyConnections => StatusCode::FORBIDDEN,
            Self::NoCredential | Self::BadCredential(_) | Self::UnknownUser => {
                StatusCode::UNAUTHORIZED
            }
            Self::AddressTooFast | Self::TooFast => StatusCode::TOO_MANY_REQUESTS,
            Self::Full
            | Self::ShortOfMemory
            | Self::KeysAway
            | Self::DirectoryAway
            | Self::Late => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The body's `message`: the original's words where it had any, and nothing that would help
    /// to guess.
    pub fn message(self) -> &'static str {
        match self {
            Self::NotAnUpgrade(_) => "Bad Request",
            Self::Version => "Upgrade Required",
            Self::NotFound => "Not Found",
            Self::Origin | Self::Disabled => "Forbidden",
            Self::TooManyConnections => "Too many connections",
            Self::NoCredential | Self::BadCredential(_) => "Unauthorized",
            Self::UnknownUser => "Cannot identify user.",
            Self::AddressTooFast | Self::TooFast => "Too Many Requests",
            Self::Full
            | Self::ShortOfMemory
            | Self::KeysAway
            | Self::DirectoryAway
            | Self::Late => "Service Unavailable",
        }
    }

    /// What else the client is told.
    pub fn headers(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Version => Some((header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            Self::NoCredential | Self::BadCredential(_) => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            _ if self.is_passing() => {
                let seconds = rand::rng().random_range(RETRY_AFTER_S);
                Some((header::RETRY_AFTER, seconds.into()))
            }
            _ => None,
        }
    }

    /// Whether the same request may be let in a little later.
    fn is_passing(self) -> bool {
        let status = self.status();
        status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
    }
}

impl From<NotClaimed> for Refusal {
    fn from(reason: NotClaimed) -> Self {
        match reason {
            NotClaimed::Limit { .. } => Self::TooManyConnections,
            NotClaimed::Revoked => Self::Disabled,
        }
    }
}
