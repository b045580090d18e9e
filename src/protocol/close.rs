//! Every close code this daemon sends, in one table: code, reason, may the client reconnect.
//!
//! PROTOCOL §4 holds the meaning; API Gateway's own reasons are kept where it has one.

/// Why a connection is closed by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Answering the peer's own close, or on an operator's word.
    Normal,
    /// Silence, end of life, or an instance that leaves.
    GoingAway,
    /// Unmasked frame, reserved bits or opcodes, bad continuation.
    ProtocolError,
    /// A binary message: API Gateway refuses those too.
    Binary,
    /// Text that is not UTF-8.
    BadUtf8,
    /// The credential no longer holds.
    Policy,
    /// A message or frame over its limit.
    TooLarge,
    /// Our own failure.
    Internal,
    /// The client reads too slowly for its outbox, or the instance is full.
    TryAgainLater,
    /// A newer connection took this one's place.
    Displaced,
}

impl Close {
    /// All of them, for tests and documents.
    pub const ALL: [Self; 10] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::Binary,
        Self::BadUtf8,
        Self::Policy,
        Self::TooLarge,
        Self::Internal,
        Self::TryAgainLater,
        Self::Displaced,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// The text beside it; at most 123 bytes (RFC 6455 §5.5).
    pub const fn reason(self) -> &'static str {
        self.row().1
    }

    /// Whether the client may connect again by itself.
    pub const fn may_reconnect(self) -> bool {
        self.row().2
    }

    const fn row(self) -> (u16, &'static str, bool) {
        match self {
            Self::Normal => (1000, "Connection Closed Normally", true),
            Self::GoingAway => (1001, "Going away", true),
            Self::ProtocolError => (1002, "Protocol error", true),
            Self::Binary => (1003, "Binary messages are not supported", true),
            Self::BadUtf8 => (1007, "Text is not UTF-8", true),
            Self::Policy => (1008, "Log in again", false),
            Self::TooLarge => (1009, "Message too large", true),
            Self::Internal => (1011, "Internal error", true),
            Self::TryAgainLater => (1013, "Try again later", true),
            Self::Displaced => (4409, "Displaced by a newer connection", false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_reasons_fit_a_control_frame() {
        let mut codes: Vec<_> = Close::ALL.iter().map(|close| close.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Close::ALL.len());
        for close in Close::ALL {
            assert!(close.reason().len() <= 123, "{close:?}");
        }
    }
}
