//! A connection's id: what is read prints as it was, and nothing else is read.

use wsfleetd::ids::{ConnectionId, UserHash};

/// Panics where a property does not hold.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(id) = ConnectionId::parse(text) {
        assert_eq!(id.to_string(), text, "an id has one spelling");
        assert_eq!(text.len(), ConnectionId::LEN);
        assert!(id.to_string().ends_with('='), "11 bytes leave one place of padding");
        let origin = id.origin().to_string();
        assert_eq!(origin, text[..8], "the origin is the first 6 bytes");
    } else {
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let (digits, padding) = text.split_at_checked(15).unwrap_or(("", ""));
        let has_shape = padding == "=" && digits.bytes().all(is_good);
        // Of the last digit's six bits two must be zero: 88 bits are 14 digits and two thirds.
        let last = digits.bytes().last().unwrap_or(0);
        assert!(!has_shape || !b"AEIMQUYcgkosw048".contains(&last), "{text} is an id");
    }
    if let Some(hash) = UserHash::parse(data) {
        assert_eq!(hash.as_str().as_bytes(), data);
        assert!(hash.partition(256) < 256 && hash.spread(64) < 64);
    }
}
