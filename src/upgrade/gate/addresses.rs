//! The rate of new connections of each address, in a table of bounded size.
//!
//! A flood from more addresses than the table holds pushes out those that were not seen for
//! longest, so that one who goes on trying goes on being refused. An address that is forgotten
//! starts with a full bucket, as it would have after that long a silence anyway.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};
use tokio::time::Instant;

use crate::limit::{Rate, SharedBucket};

/// Addresses remembered: some 15 MB when a flood fills the table.
const REMEMBERED: u64 = 65_536;

/// An address that was not seen for so long is forgotten: its bucket is full again.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// What of an IPv6 address tells clients apart: everybody has the rest to themselves.
const NETWORK_BITS: u32 = 64;

/// The buckets of all addresses.
pub struct Addresses {
    rate: Rate,
    buckets: Cache<IpAddr, Arc<SharedBucket>>,
}

impl Addresses {
    /// Without a bound.
    pub fn new() -> Self {
        Self::remembering(REMEMBERED)
    }

    fn remembering(most: u64) -> Self {
        let buckets = Cache::builder()
            .max_capacity(most)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(FORGET_AFTER)
            .build();
        Self { rate: Rate::new(0, 0), buckets }
    }

    /// Changes the rate; 0: no bound, and nobody is remembered.
    pub fn set(&self, per_second: u32, burst: u32) {
        let was_bounded = self.per_second() > 0;
        self.rate.set(per_second, burst);
        if was_bounded && per_second == 0 {
            self.buckets.invalidate_all();
        }
    }

    /// How many a second one address may open; 0: any number.
    pub fn per_second(&self) -> u64 {
        self.rate.per_second()
    }

    /// Whether one more may come from `client` now.
    pub fn admit(&self, client: IpAddr, now: Instant) -> bool {
        if self.per_second() == 0 {
            return true;
        }
        let bucket = self.buckets.get_with(network(client), Arc::default);
        self.rate.admits_shared(&bucket, now)
    }
}

/// Whom an address stands for.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn bounded(per_second: u32, burst: u32) -> Addresses {
        let addresses = Addresses::new();
        addresses.set(per_second, burst);
        addresses
    }

    #[test]
    fn each_address_has_a_rate_of_its_own_and_a_network_of_ipv6_is_one() {
        let (addresses, now) = (bounded(1, 2), Instant::now());
        let mut admit = |text: &str| addresses.admit(text.parse().expect("an address"), now);
        assert_eq!(["192.0.2.1"; 3].map(&mut admit), [true, true, false]);
        assert!(admit("192.0.2.2"));
        assert!(!admit("::ffff:192.0.2.1"), "the same address, written as IPv6");
        let one_customer = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::1", "2001:db8:1:2::2"];
        assert_eq!(one_customer.map(&mut admit), [true, true, false]);
        assert!(admit("2001:db8:1:3::1"));
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_frees_nobody_who_goes_on() {
        const MOST: u64 = 2000;
        let (addresses, now) = (Addresses::remembering(MOST), Instant::now());
        addresses.set(1, 1);
        let stubborn = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        assert!(addresses.admit(stubborn, now));
        for flood in 0..5 * MOST as u32 {
            addresses.admit(Ipv4Addr::from_bits(0x0a00_0000 + flood).into(), now);
            if flood % 500 == 0 {
                assert!(!addresses.admit(stubborn, now), "after {flood} others");
            }
        }
        addresses.buckets.run_pending_tasks();
        assert!(addresses.buckets.entry_count() <= MOST);
        assert!(addresses.buckets.entry_count() > MOST / 2, "the flood was seen");
        addresses.set(0, 1);
        addresses.buckets.run_pending_tasks();
        assert_eq!(addresses.buckets.entry_count(), 0);
    }
}
