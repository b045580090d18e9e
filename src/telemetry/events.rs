//! Operator-facing events, each with the MESSAGE_ID the journal and the catalog know it by.
//!
//! An id is for ever: runbooks and alarms filter by it (`journalctl MESSAGE_ID=…`) and
//! `systemd/wsfleetd.catalog` explains it, while the wording of a message may change. Give one to
//! what an operator acts on or waits for, not to every line:
//! `warn!(message_id = events::REDIS_LOST, "Redis at {host} does not answer: {error}")`.

/// Declares the ids and, from the same words, the list the catalog is checked against.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $id;)*

        /// Every event: its name here and its MESSAGE_ID.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $id)),*];
    };
}

/// The target of what a checker wants to know of each message, and nobody else; off unless named
/// in `telemetry.level`. No text of a client and no name stands there, only hashes.
pub const TRACE: &str = "wsfleetd::trace";

events! {
    /// The process has read its configuration and begins to build itself.
    STARTED = "0ec46a3c58bd480d8603031e0033f8d7";
    /// Sockets are bound, clients are served.
    READY = "0b17cce41d1c49399e413155a93684bd";
    /// A stop was asked for: no new work, the clients are being sent away.
    DRAINING = "4c615161ac49489cb9a0440047682800";
    /// The last connection is closed and released.
    DRAINED = "6e6b076643d14cbabd419b1285ad1384";
    /// A second signal ended the drain before its time.
    ABORTED = "382015a9027a4739b8928069d592500f";
    /// This instance could not renew its lease and has let go of what it owned.
    LEASE_LOST = "743abc27c61d46d487bf0aa344b797f6";
    /// This instance is in the fleet again, under a new epoch.
    REJOINED = "0845fe0cfd8f47ff94135d610ed7c3dd";
    /// Redis cannot be reached from here and is well elsewhere: this instance sends its clients away.
    CUT_OFF = "a58b004f138f4b36903ec6877ae423d1";
    /// Redis does not answer.
    REDIS_LOST = "fd0aafb6f9f040cab316c0957d820125";
    /// Redis answers again.
    REDIS_BACK = "b6aa79f122644c969da76406a957556b";
    /// PostgreSQL does not answer.
    DATABASE_LOST = "13aa09e3c48d48b6afcca9229bb3adc5";
    /// PostgreSQL answers again.
    DATABASE_BACK = "d652e8bff7534cba82003635204cb028";
    /// The read replica does not answer.
    REPLICA_LOST = "4c39938c30554a93b47c7dbe24e4c414";
    /// The read replica answers again.
    REPLICA_BACK = "83322c0929784072945d92d98e735526";
    /// A user was disabled or removed; their connections are being closed.
    USER_REVOKED = "9869d4ec171042edb112d9179b8e6352";
    /// A peer was found dead and what it owned was freed.
    PEER_REAPED = "0a8f01207e454f029bac845f3399c012";
    /// Messages may have been lost, and how many at most.
    POSSIBLE_LOSS = "1da36a04e7874422981dcb323ce0377d";
    /// The configuration is wrong; the message names key, value, source and remedy.
    CONFIG_REJECTED = "3d9d074640fc4f2cafe1a7fec84fa77f";
    /// A reload has taken over what can be changed in a running daemon.
    RELOADED = "b2c302096bc24842a89b6bb69c8b19b1";
    /// A reload has left keys as they are, because they take a restart.
    RESTART_NEEDED = "e21f105b237c4776a16f5a40ec4ac550";
    /// New connections get another certificate from now on, or none.
    CERTIFICATE_RELOADED = "e01674a2a6264b918ad077729992ad47";
    /// The certificate of the listeners expires within days, or has expired.
    CERTIFICATE_EXPIRING = "66afc802fcaf498096c630f3af8a8281";
    /// A configured limit refuses or closes connections.
    LIMIT_REACHED = "de6e641356eb475f91ff40724098ae05";
    /// The descriptor limit is below what the configured connections need.
    DESCRIPTORS_LOW = "d7bdf3098df34dc18115fdb77d9e2b21";
    /// A call to AWS was refused; the daemon goes on without its answer.
    AWS_DENIED = "127b70f8a4f8443e9b099e6eece9cf0c";
    /// A part of the daemon makes no progress; the watchdog is no longer fed.
    STALLED = "dc814d558bbf4cc3a9fc6d32358bc39a";
    /// A task of the daemon panicked: a defect.
    PANICKED = "55a45e0edb3346019ab261fad4c49aea";
    /// Log records were dropped because the log could not keep up.
    RECORDS_DROPPED = "77508acd944a498bbcc6ab242a9b8482";
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const CATALOG: &str = include_str!("../../systemd/wsfleetd.catalog");

    /// Id to entry, as `journalctl --update-catalog` reads it: an entry that no empty line comes before
    /// belongs to the one above.
    fn catalog() -> BTreeMap<&'static str, &'static str> {
        let entries = CATALOG.split("\n\n-- ").skip(1);
        entries.map(|entry| entry.split_once('\n').expect("an entry has a body")).collect()
    }

    #[test]
    fn every_event_has_a_catalog_entry_and_every_entry_an_event() {
        let ours: BTreeSet<_> = ALL.iter().map(|(_, id)| *id).collect();
        let explained: BTreeSet<_> = catalog().into_keys().collect();
        assert_eq!(ours, explained);
        assert_eq!(CATALOG.matches("\n-- ").count(), ALL.len(), "an entry stands twice");
    }

    #[test]
    fn ids_are_128_bits_of_hex_and_never_shared() {
        for (name, id) in ALL {
            let hex = id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            assert!(id.len() == 32 && hex, "{name} has the malformed id {id}");
            assert_eq!(ALL.iter().filter(|(_, other)| other == id).count(), 1, "{name}");
        }
    }

    #[test]
    fn every_entry_explains_and_says_what_to_do() {
        for (id, entry) in catalog() {
            assert!(entry.contains("Subject: "), "{id} has no subject");
            assert!(entry.contains("Defined-By: wsfleetd\n"), "{id} does not say whose it is");
            assert!(entry.contains("\n\nWhat to do: "), "{id} leaves the operator alone");
        }
    }
}
