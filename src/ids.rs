//! The names things carry: parsed once at the edge, then trusted.
//!
//! Each is a small value type, so that a function's signature says which identity it wants and
//! a user's name can never be passed where an instance's epoch belongs.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngExt;
use tokio::sync::watch;

/// Longest user name in bytes; long enough for an e-mail address, short enough for a log line.
pub const MAX_USER_BYTES: usize = 256;

/// What the ids that travel as base64url without padding have in common.
macro_rules! impl_base64url {
    ($name:ident, $length:literal) => {
        impl $name {
            /// Characters of the printed form.
            pub const LEN: usize = $length;

            /// Reads the printed form.
            pub fn parse(text: &[u8]) -> Option<Self> {
                let is_base64url = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
                let ok = text.iter().all(is_base64url);
                if ok { text.try_into().ok().map(Self) } else { None }
            }

            /// The printed form.
            pub fn as_str(&self) -> &str {
                ascii(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A registered user's exact, case-sensitive name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Accepts 1 to [`MAX_USER_BYTES`] bytes without control characters.
    pub fn parse(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= MAX_USER_BYTES;
        (fits && !name.chars().any(char::is_control)).then(|| Self(name.into()))
    }

    /// The name as the directory spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What stands for a user in Redis: 16 bytes of a keyed hash, 22 characters of base64url.
///
/// Of bounded size, free of `{}`, and, because it is keyed by the fleet's secret, not to be
/// aimed at a chosen slot by choosing a name (COORDINATION §4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserHash([u8; UserHash::LEN]);

impl_base64url!(UserHash, 22);

/// For maps: 48 of the bits, which are as good as any hash of all of them.
impl Hash for UserHash {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        hasher.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl UserHash {
    /// The partition this user lives in, of `partitions`.
    pub fn partition(&self, partitions: u16) -> u16 {
        let mut head = [0u8; 6];
        let _ = URL_SAFE_NO_PAD.decode_slice(&self.0[..8], &mut head);
        let number = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        (number % u32::from(partitions.max(1))) as u16
    }

    /// One of `places` in this process's memory; cheaper than a partition.
    pub fn spread(&self, places: u16) -> u16 {
        let [.., a, b, c, d, _] = self.0;
        // The characters are random, their bits are not: a golden-ratio multiple's high ones are.
        let mixed = u32::from_be_bytes([a, b, c, d]).wrapping_mul(0x9E37_79B1);
        ((u64::from(mixed) * u64::from(places)) >> 32) as u16
    }
}

/// Turns names into [`UserHash`]es with the fleet's key.
#[derive(Clone)]
pub struct UserHasher([u8; 32]);

impl UserHasher {
    /// `secret` is the content of `fleet.secret_file`, or the Redis prefix when that is unset.
    pub fn new(secret: &[u8]) -> Self {
        Self(blake3::derive_key("wsfleetd 2026 user hash", secret))
    }

    /// The hash of `user`.
    pub fn hash(&self, user: &str) -> UserHash {
        let digest = blake3::keyed_hash(&self.0, user.as_bytes());
        let mut text = [0u8; UserHash::LEN];
        let _ = URL_SAFE_NO_PAD.encode_slice(&digest.as_bytes()[..16], &mut text);
        UserHash(text)
    }

    /// What two instances compare to learn whether they share a secret, without showing it.
    pub fn check_value(&self) -> String {
        let digest = blake3::keyed_hash(&self.0, b"check value");
        URL_SAFE_NO_PAD.encode(&digest.as_bytes()[..12])
    }
}

/// One life of an instance in the fleet: 64 random bits, new at every start and after every
/// fence. Not a counter and not a clock, because a flushed Redis would repeat either.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch([u8; Epoch::LEN]);

impl_base64url!(Epoch, 11);

impl Epoch {
    /// A fresh epoch.
    pub fn random() -> Self {
        let mut text = [0u8; Self::LEN];
        let _ = URL_SAFE_NO_PAD.encode_slice(rand::rng().random::<[u8; 8]>(), &mut text);
        Self(text)
    }
}

/// The epoch this instance has now, and its changes; cheap to clone.
#[derive(Clone, Debug)]
pub struct CurrentEpoch(Arc<watch::Sender<Epoch>>);

impl Default for CurrentEpoch {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Epoch::random())))
    }
}

impl CurrentEpoch {
    /// The epoch now.
    pub fn get(&self) -> Epoch {
        *self.0.borrow()
    }

    /// Takes a fresh one; answers it.
    pub fn renew(&self) -> Epoch {
        let epoch = Epoch::random();
        self.0.send_replace(epoch);
        epoch
    }

    /// The epoch now and every later one.
    pub fn watch(&self) -> watch::Receiver<Epoch> {
        self.0.subscribe()
    }
}

/// Names the process for its whole life, also across epochs: the first 6 bytes of each of its
/// connection ids. `{m}:origin` maps it to the present epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin([u8; 6]);

impl Origin {
    /// A fresh origin, still to be claimed.
    pub fn random() -> Self {
        Self(rand::rng().random())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 11 bytes printed as 16 characters of padded URL-safe base64: the shape of API Gateway's ids.
///
/// A connection's is its origin and a permuted counter; a request's is drawn the same way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId([u8; ConnectionId::BYTES]);

impl ConnectionId {
    const BYTES: usize = 11;

    /// Characters of the printed form.
    pub const LEN: usize = 16;

    /// Reads the printed form; `None` for anything this fleet could not have issued.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Who issued it.
    pub fn origin(&self) -> Origin {
        let mut origin = [0u8; 6];
        origin.copy_from_slice(&self.0[..6]);
        Origin(origin)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; Self::LEN];
        let _ = URL_SAFE.encode_slice(self.0, &mut text);
        f.write_str(ascii(&text))
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Issues connection ids that never repeat in this process's life.
#[derive(Debug)]
pub struct IdSource {
    origin: Origin,
    next: AtomicU64,
    odd: u64,
    offset: u64,
}

/// Ids count in 40 bits: at 100,000 connections a second they last four months.
const COUNTER_MASK: u64 = (1 << 40) - 1;

impl IdSource {
    /// Counts from 1 under `origin`, in an order nobody outside can follow.
    pub fn new(origin: Origin) -> Self {
        let mut rng = rand::rng();
        Self { origin, next: AtomicU64::new(1), odd: rng.random::<u64>() | 1, offset: rng.random() }
    }

    /// The next number and the id that carries it.
    pub fn issue(&self) -> (u64, ConnectionId) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number, self.id_of(number))
    }

    /// The origin all its ids share.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Multiplying by an odd number and adding are both one-to-one modulo 2^40, so distinct
    /// numbers give distinct ids.
    fn id_of(&self, number: u64) -> ConnectionId {
        let mixed = number.wrapping_mul(self.odd).wrapping_add(self.offset) & COUNTER_MASK;
        let mut bytes = [0u8; ConnectionId::BYTES];
        bytes[..6].copy_from_slice(&self.origin.0);
        bytes[6..].copy_from_slice(&mixed.to_be_bytes()[3..]);
        ConnectionId(bytes)
    }
}

/// A request's id in an error frame or a refusal: same shape, drawn at random.
pub fn request_id() -> ConnectionId {
    ConnectionId(rand::rng().random())
}

/// A message's id on its way between instances: unique, so that a retry can be told.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId([u8; MessageId::LEN]);

impl_base64url!(MessageId, 16);

impl MessageId {
    /// 96 random bits: two never meet.
    pub fn random() -> Self {
        let mut text = [0u8; Self::LEN];
        let _ = URL_SAFE_NO_PAD.encode_slice(rand::rng().random::<[u8; 12]>(), &mut text);
        Self(text)
    }
}

/// The EC2 instance id, or whatever the operator called this instance: a label, never a proof.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// Takes any text; it is only shown.
    pub fn new(label: &str) -> Self {
        Self(label.into())
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All printed forms here are base64url, hence ASCII.
fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn connection_ids_have_api_gateways_shape_and_never_repeat() {
        let source = IdSource::new(Origin::random());
        let ids: HashSet<_> = (0..100_000).map(|_| source.issue().1).collect();
        assert_eq!(ids.len(), 100_000);
        for id in ids.iter().take(100) {
            let text = id.to_string();
            assert_eq!((text.len(), &text[15..]), (16, "="));
            assert_eq!(ConnectionId::parse(&text), Some(*id));
            assert_eq!(id.origin(), source.origin());
        }
    }

    #[test]
    fn malformed_connection_ids_are_refused() {
        for bad in ["", "=", "WDGT8fY4joECJrQ=test", "ZWh4vfMoiYcAcjg", "ZWh4vfMoi!cAcjg="] {
            assert_eq!(ConnectionId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn another_secret_gives_other_hashes() {
        let (ours, theirs) = (UserHasher::new(b"a"), UserHasher::new(b"b"));
        assert_eq!(ours.hash("Sid"), ours.hash("Sid"));
        assert_ne!(ours.hash("Sid"), theirs.hash("Sid"));
        assert_ne!(ours.hash("Sid"), ours.hash("sid"));
        assert_ne!(ours.check_value(), theirs.check_value());
        assert_eq!(UserHash::parse(ours.hash("Sid").as_str().as_bytes()), Some(ours.hash("Sid")));
    }

    #[test]
    fn users_spread_over_all_partitions() {
        let hasher = UserHasher::new(b"secret");
        let used: HashSet<_> =
            (0..10_000).map(|n| hasher.hash(&format!("user{n}")).partition(256)).collect();
        assert_eq!(used.len(), 256);
        let mut places = [0; 64];
        for n in 0..6400 {
            places[usize::from(hasher.hash(&format!("user{n}")).spread(64))] += 1;
        }
        assert!(places.iter().all(|users| (50..200).contains(users)), "{places:?}");
    }

    #[test]
    fn user_names_are_bounded_and_free_of_control_characters() {
        assert!(UserId::parse("Sunil").is_some());
        assert!(UserId::parse("Zoë 李").is_some());
        assert!(UserId::parse("").is_none());
        assert!(UserId::parse("a\nb").is_none());
        assert!(UserId::parse(&"x".repeat(257)).is_none());
    }
}
