//! A payload of envelopes: what is understood prints as something that is understood the same.

use bytes::Bytes;
use wsfleetd::relay::{
    Envelope,
    envelope::{Envelopes, FORMAT},
};

/// Panics where a property does not hold.
pub fn check(data: &[u8]) {
    let Some(mut envelopes) = Envelopes::read(Bytes::copy_from_slice(data)) else {
        assert_ne!(data.first(), Some(&FORMAT), "the format is ours");
        return;
    };
    let read: Vec<_> = envelopes.by_ref().collect();
    // The shortest is `P0:`.
    let count = read.len() as u64 + envelopes.unknown;
    assert!(count * 3 <= data.len() as u64 + 2, "{count} envelopes in {} bytes", data.len());
    assert!(envelopes.next().is_none(), "the end is the end");
    let payload_bytes: usize = read.iter().map(payload).sum();
    assert!(payload_bytes <= data.len(), "payloads are parts of what was read");
    let mut printed = vec![FORMAT];
    read.iter().for_each(|envelope| envelope.print(&mut printed));
    let mut again = Envelopes::read(printed.into()).expect("our own format");
    assert_eq!(again.by_ref().collect::<Vec<_>>(), read);
    assert_eq!(again.unknown, 0, "what we print we understand");
}

fn payload(envelope: &Envelope) -> usize {
    match envelope {
        Envelope::Deliver(letter) | Envelope::NotMine(letter) | Envelope::AlsoOwned(letter) => {
            letter.payload.len()
        }
        _ => 0,
    }
}
