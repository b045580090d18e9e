//! What instances say to each other, and how it is spelled.
//!
//! A payload on a channel is one format byte and any number of envelopes, each a kind, the
//! decimal length of its body, a colon, the body. Scripts write the same spelling. No client's
//! text stands in one without a length in front of it, and nothing a client chooses stands in a
//! header. Kinds: `M` and `Q` `A` `S` are kept for later versions; a reader counts and drops
//! what it does not know.
//!
//! | kind | body | meaning |
//! |---|---|---|
//! | `E` | user mid from named payload | deliver; `named` are the epochs it was sent to |
//! | `N` | user mid from named payload | not mine: the user is not here |
//! | `R` | user mid from missing payload | delivered, and these have the user too |
//! | `O` | user epoch | that epoch has its first connection of the user, or registers one again |
//! | `o` | user epoch | that epoch has none of the user any more |
//! | `D` | user device tag | that connection was displaced by a younger one |
//! | `X` | user numbers | the user is shut out: close these connections of theirs |
//! | `K` | user numbers | close these connections of theirs |
//! | `P` | nonce | a probe: of one's own inbox, or whether Redis passes things on to a peer |
//! | `T` | epoch number | the last of its payload, which that epoch wants to be confirmed |
//! | `t` | epoch numbers | that epoch has read these payloads |

use std::io::Write;

use bytes::Bytes;

use crate::ids::{Epoch, MessageId, UserHash};

/// The first byte of every payload. It is the first there is, and the only one that is read.
pub const FORMAT: u8 = b'1';

/// A length of more digits than this is no length: nothing on a channel is near a gigabyte.
const MAX_LENGTH_DIGITS: usize = 9;

/// A message between instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The recipient.
    pub user: UserHash,
    /// Tells a second copy from a second message.
    pub mid: MessageId,
    /// Who wrote this envelope, and hears the answer.
    pub from: Epoch,
    /// For `E` and `N` the epochs it was sent to; for `R` those that it should also go to.
    pub epochs: Vec<Epoch>,
    /// The frame to deliver.
    pub payload: Bytes,
}

/// One thing an instance says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// `E`
    Deliver(Letter),
    /// `N`
    NotMine(Letter),
    /// `R`
    AlsoOwned(Letter),
    /// `O`
    OwnerAdded(UserHash, Epoch),
    /// `o`
    OwnerGone(UserHash, Epoch),
    /// `D`
    Displaced {
        /// Whose connection.
        user: UserHash,
        /// Of which device.
        device: String,
        /// Which connection exactly.
        tag: String,
    },
    /// `X`
    Revoked(UserHash, Vec<u64>),
    /// `K`
    Kicked(UserHash, Vec<u64>),
    /// `P`
    Probe(String),
    /// `T`
    Confirm(Epoch, u64),
    /// `t`
    Confirmed(Epoch, Vec<u64>),
}

impl Letter {
    /// The same, as if it had not been sent to this one.
    pub fn but(mut self, epoch: Epoch) -> Self {
        self.epochs.retain(|other| *other != epoch);
        self
    }

    /// Spells it as kind `kind` onto the end of `out`.
    fn print(&self, kind: u8, out: &mut Vec<u8>) {
        let epochs = (Epoch::LEN + 1) * self.epochs.len();
        let head = UserHash::LEN + MessageId::LEN + Epoch::LEN + 4 + epochs.saturating_sub(1);
        out.push(kind);
        length(head + self.payload.len(), out);
        for (separator, part) in
            [(b':', self.user.as_str()), (b' ', self.mid.as_str()), (b' ', self.from.as_str())]
        {
            out.push(separator);
            out.extend_from_slice(part.as_bytes());
        }
        let mut separator = b' ';
        for epoch in &self.epochs {
            out.push(separator);
            out.extend_from_slice(epoch.as_str().as_bytes());
            separator = b',';
        }
        if self.epochs.is_empty() {
            out.push(b' ');
        }
        out.push(b' ');
        out.extend_from_slice(&self.payload);
    }

    fn parse(body: Bytes) -> Option<Self> {
        let mut parts = body.splitn(5, |b| *b == b' ');
        let user = UserHash::parse(parts.next()?)?;
        let mid = MessageId::parse(parts.next()?)?;
        let from = Epoch::parse(parts.next()?)?;
        let listed = parts.next()?;
        let text = parts.next()?;
        let named = listed.split(|b| *b == b',').filter(|name| !name.is_empty());
        let epochs = named.map(Epoch::parse).collect::<Option<_>>()?;
        let payload = body.slice(body.len() - text.len()..);
        Some(Self { user, mid, from, epochs, payload })
    }
}

impl Envelope {
    /// Whom it is about, if anyone.
    pub fn user(&self) -> Option<UserHash> {
        match self {
            Self::Deliver(letter) | Self::NotMine(letter) | Self::AlsoOwned(letter) => {
                Some(letter.user)
            }
            Self::OwnerAdded(user, _)
            | Self::OwnerGone(user, _)
            | Self::Revoked(user, _)
            | Self::Kicked(user, _)
            | Self::Displaced { user, .. } => Some(*user),
            Self::Probe(_) | Self::Confirm(..) | Self::Confirmed(..) => None,
        }
    }

    /// Spells it onto the end of `out`. Only the kinds that instances, not scripts, write.
    pub fn print(&self, out: &mut Vec<u8>) {
        match self {
            Self::Deliver(letter) => letter.print(b'E', out),
            Self::NotMine(letter) => letter.print(b'N', out),
            Self::AlsoOwned(letter) => letter.print(b'R', out),
            Self::OwnerAdded(user, epoch) => plain(b'O', &format!("{user} {epoch}"), out),
            Self::OwnerGone(user, epoch) => plain(b'o', &format!("{user} {epoch}"), out),
            Self::Displaced { user, device, tag } => {
                plain(b'D', &format!("{user} {device} {tag}"), out);
            }
            Self::Revoked(user, numbers) => plain(b'X', &numbered(user, numbers), out),
            Self::Kicked(user, numbers) => plain(b'K', &numbered(user, numbers), out),
            Self::Probe(nonce) => plain(b'P', nonce, out),
            Self::Confirm(epoch, number) => plain(b'T', &format!("{epoch} {number}"), out),
            Self::Confirmed(epoch, numbers) => plain(b't', &numbered(epoch, numbers), out),
        }
    }

    fn parse(kind: u8, body: Bytes) -> Option<Self> {
        match kind {
            b'E' => Letter::parse(body).map(Self::Deliver),
            b'N' => Letter::parse(body).map(Self::NotMine),
            b'R' => Letter::parse(body).map(Self::AlsoOwned),
            b'O' => pair(&body).map(|(user, epoch)| Self::OwnerAdded(user, epoch)),
            b'o' => pair(&body).map(|(user, epoch)| Self::OwnerGone(user, epoch)),
            b'D' => displaced(&body),
            b'X' => numbers(&body, UserHash::parse).map(|(user, all)| Self::Revoked(user, all)),
            b'K' => numbers(&body, UserHash::parse).map(|(user, all)| Self::Kicked(user, all)),
            b'T' => confirm(&body),
            b't' => numbers(&body, Epoch::parse).map(|(epoch, all)| Self::Confirmed(epoch, all)),
            b'P' => std::str::from_utf8(&body).ok().map(|nonce| Self::Probe(nonce.to_owned())),
            _ => None,
        }
    }
}

/// Reads a payload; stops at the first byte that makes no sense.
pub struct Envelopes {
    rest: Bytes,
    /// Envelopes of a kind or a shape this version does not know.
    pub unknown: u64,
}

impl Envelopes {
    /// `None` if the payload is of another format.
    pub fn read(payload: Bytes) -> Option<Self> {
        let (format, _) = payload.split_first()?;
        (*format == FORMAT).then(|| Self { rest: payload.slice(1..), unknown: 0 })
    }

    /// Takes the next kind and body off the front.
    fn split(&mut self) -> Option<(u8, Bytes)> {
        let kind = *self.rest.first()?;
        let colon = self.rest.iter().take(MAX_LENGTH_DIGITS + 2).position(|b| *b == b':')?;
        let digits = std::str::from_utf8(self.rest.get(1..colon)?).ok()?;
        let length: usize = digits.parse().ok()?;
        let end = colon.checked_add(1)?.checked_add(length)?;
        if end > self.rest.len() {
            return None;
        }
        let body = self.rest.slice(colon + 1..end);
        self.rest = self.rest.slice(end..);
        Some((kind, body))
    }
}

impl Iterator for Envelopes {
    type Item = Envelope;

    fn next(&mut self) -> Option<Envelope> {
        while !self.rest.is_empty() {
            let Some((kind, body)) = self.split() else {
                self.unknown += 1;
                self.rest.clear();
                return None;
            };
            match Envelope::parse(kind, body) {
                Some(envelope) => return Some(envelope),
                None => self.unknown += 1,
            }
        }
        None
    }
}

fn length(bytes: usize, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{bytes}");
}

fn plain(kind: u8, body: &str, out: &mut Vec<u8>) {
    out.push(kind);
    length(body.len(), out);
    out.push(b':');
    out.extend_from_slice(body.as_bytes());
}

fn pair(body: &[u8]) -> Option<(UserHash, Epoch)> {
    let mut parts = body.split(|b| *b == b' ');
    let pair = (UserHash::parse(parts.next()?)?, Epoch::parse(parts.next()?)?);
    parts.next().is_none().then_some(pair)
}

fn numbered(whose: &impl std::fmt::Display, numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    format!("{whose} {}", numbers.join(","))
}

fn numbers<T>(body: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<(T, Vec<u64>)> {
    let (whose, list) = std::str::from_utf8(body).ok()?.split_once(' ')?;
    let numbers = list.split(',').map(|number| number.parse().ok());
    Some((parse(whose.as_bytes())?, numbers.collect::<Option<_>>()?))
}

fn confirm(body: &[u8]) -> Option<Envelope> {
    let (epoch, number) = std::str::from_utf8(body).ok()?.split_once(' ')?;
    Some(Envelope::Confirm(Epoch::parse(epoch.as_bytes())?, number.parse().ok()?))
}

fn displaced(body: &[u8]) -> Option<Envelope> {
    let mut parts = std::str::from_utf8(body).ok()?.split(' ');
    let user = UserHash::parse(parts.next()?.as_bytes())?;
    let (device, tag) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    Some(Envelope::Displaced { user, device, tag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserHasher;

    fn letter(payload: &'static [u8], epochs: usize) -> Letter {
        Letter {
            user: UserHasher::new(b"t").hash("Sid"),
            mid: MessageId::random(),
            from: Epoch::random(),
            epochs: (0..epochs).map(|_| Epoch::random()).collect(),
            payload: Bytes::from_static(payload),
        }
    }

    fn payload(envelopes: &[Envelope]) -> Vec<u8> {
        let mut out = vec![FORMAT];
        envelopes.iter().for_each(|envelope| envelope.print(&mut out));
        out
    }

    #[test]
    fn what_was_written_is_what_is_read() {
        let user = UserHasher::new(b"t").hash("Sid");
        let sent = [
            Envelope::Deliver(letter(b"\"a b: c\"", 2)),
            Envelope::Deliver(letter(b"", 0)),
            Envelope::NotMine(letter(b"\"x\"", 1)),
            Envelope::AlsoOwned(letter(b"1E3:abc", 3)),
            Envelope::OwnerAdded(user, Epoch::random()),
            Envelope::OwnerGone(user, Epoch::random()),
            Envelope::Displaced { user, device: "~x=".into(), tag: "@a.1.2".into() },
            Envelope::Revoked(user, vec![0, u64::MAX]),
            Envelope::Kicked(user, vec![7]),
            Envelope::Probe("17".into()),
            Envelope::Confirmed(Epoch::random(), vec![1, 2, u64::MAX]),
            Envelope::Confirm(Epoch::random(), 8),
        ];
        let mut read = Envelopes::read(payload(&sent).into()).unwrap();
        assert_eq!(read.by_ref().collect::<Vec<_>>(), sent);
        assert_eq!(read.unknown, 0);
    }

    #[test]
    fn unknown_kinds_are_counted_and_skipped() {
        let mut bytes = payload(&[Envelope::Probe("1".into())]);
        bytes.extend_from_slice(b"Z3:abcP1:2");
        let mut read = Envelopes::read(bytes.into()).unwrap();
        assert_eq!(read.by_ref().count(), 2);
        assert_eq!(read.unknown, 1);
    }

    #[test]
    fn garbage_ends_the_payload_and_nothing_else() {
        for garbage in [
            &b"1E"[..],
            b"1E5:ab",
            b"1Exx:ab",
            b"1E99999999999999999999:ab",
            b"1E18446744073709551615:ab",
            b"1E3:a b",
            b"1:",
            b"1D2:ab",
            b"1X2:ab",
            b"1K25:aaaaaaaaaaaaaaaaaaaaaa 1,",
            b"1T11:aaaaaaaaaaa",
            b"1T13:aaaaaaaaaaa x",
            b"1t12:aaaaaaaaaaa ",
        ] {
            let mut read = Envelopes::read(Bytes::from_static(garbage)).unwrap();
            assert_eq!((read.by_ref().count(), read.unknown), (0, 1), "{garbage:?}");
        }
        assert!(Envelopes::read(Bytes::new()).is_none());
        assert!(Envelopes::read(Bytes::from_static(b"9P1:1")).is_none());
    }
}
