//! Whether there is room for one more connection: its address's rate, everybody's rate, a seat,
//! memory.
//!
//! Asked before anything that costs more than a look: no credential is checked and nobody is
//! asked for a client that cannot stay. All of it can be changed while connections are open.

mod addresses;
mod memory;

use std::net::IpAddr;

use tokio::time::Instant;

use self::addresses::Addresses;
pub use self::memory::Memory;
use super::Refusal;
use crate::limit::{Place, Places, Rate, Reached, Reporter, SharedBucket, Subject};

/// What may be changed while connections are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `limits.max_connections`, resolved: the most that may be open. Those beyond a bound that
    /// was lowered stay.
    pub max_connections: usize,
    /// `limits.accept_rate`: new connections a second; 0: any.
    pub accept_rate: u32,
    /// `limits.accept_burst`: and so many at once.
    pub accept_burst: u32,
    /// `limits.accept_rate_per_address`: the same for one address; 0: any.
    pub accept_rate_per_address: u32,
    /// `limits.accept_burst_per_address`
    pub accept_burst_per_address: u32,
    /// `limits.memory_admission`, in percent; `None`: memory is not looked at.
    pub memory_admission: Option<u8>,
    /// `limits.message_rate`: messages a second of one connection; 0: any. Holds for connections
    /// that are open too.
    pub message_rate: u32,
    /// `limits.message_burst`
    pub message_burst: u32,
    /// `limits.outbox_bytes`: for connections to come.
    pub outbox_bytes: usize,
}

/// Lets in, or says why not.
pub struct Gate {
    addresses: Addresses,
    rate: Rate,
    bucket: SharedBucket,
    seats: Places,
    memory: Memory,
    reached: Words,
}

/// What is said of each limit here.
struct Words {
    address: Reached,
    rate: Reached,
    seats: Reached,
    memory: Reached,
}

impl Gate {
    /// With these limits, over this process's memory.
    pub fn new(limits: &Limits, memory: Memory, reporter: &Reporter) -> Self {
        let gate = Self {
            addresses: Addresses::new(),
            rate: Rate::new(0, 0),
            bucket: SharedBucket::default(),
            seats: Places::new(0),
            memory,
            reached: Words {
                address: reporter.limit("limits.accept_rate_per_address"),
                rate: reporter.limit("limits.accept_rate"),
                seats: reporter.limit("limits.max_connections"),
                memory: reporter.limit("limits.memory_admission"),
            },
        };
        gate.set(limits);
        gate
    }

    /// Changes the limits.
    pub fn set(&self, limits: &Limits) {
        self.addresses.set(limits.accept_rate_per_address, limits.accept_burst_per_address);
        self.rate.set(limits.accept_rate, limits.accept_burst);
        self.seats.resize(limits.max_connections);
        self.memory.set(limits.memory_admission);
    }

    /// Connections at most.
    pub fn seats(&self) -> usize {
        self.seats.bound()
    }

    /// A seat for a client at this address.
    ///
    /// The address comes first: who is refused for it takes nothing from everybody's rate.
    pub fn enter(&self, client: IpAddr, who: &Subject<'_>) -> Result<Place, Refusal> {
        let now = Instant::now();
        if !self.addresses.admit(client, now) {
            let rate = self.addresses.per_second();
            let what = format_args!("{client} opens more than {rate} connections a second");
            self.reached.address.hit(who, what);
            return Err(Refusal::AddressTooFast);
        }
        if !self.rate.admits_shared(&self.bucket, now) {
            let rate = self.rate.per_second();
            let what = format_args!("more than {rate} new connections a second; refusing with 429");
            self.reached.rate.hit(who, what);
            return Err(Refusal::TooFast);
        }
        let Some(seat) = self.seats.try_take() else {
            let bound = self.seats.bound();
            let what = format_args!("all {bound} connections are open; refusing with 503");
            self.reached.seats.hit(who, what);
            return Err(Refusal::Full);
        };
        if let Some(short) = self.memory.shortage(now) {
            let what = format_args!("{short}; refusing new connections with 503");
            self.reached.memory.hit(who, what);
            return Err(Refusal::ShortOfMemory);
        }
        Ok(seat)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::lifecycle::Tasks;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn limits() -> Limits {
        Limits {
            max_connections: 100,
            accept_rate: 0,
            accept_burst: 1,
            accept_rate_per_address: 0,
            accept_burst_per_address: 1,
            memory_admission: None,
            message_rate: 0,
            message_burst: 1,
            outbox_bytes: 1,
        }
    }

    fn gate(limits: &Limits) -> Gate {
        let reporter = Reporter::new(Tasks::new(), CancellationToken::new());
        Gate::new(limits, Memory::unbounded(), &reporter)
    }

    fn enter(gate: &Gate, client: IpAddr) -> Result<Place, Refusal> {
        gate.enter(client, &Subject::default())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_for_the_address_takes_nothing_from_the_others() {
        let gate = gate(&Limits {
            accept_rate: 10,
            accept_burst: 10,
            accept_rate_per_address: 1,
            accept_burst_per_address: 2,
            ..limits()
        });
        let refused = (0..1000).filter_map(|_| enter(&gate, CLIENT).err()).collect::<Vec<_>>();
        assert_eq!(refused, [Refusal::AddressTooFast; 998]);
        assert!(enter(&gate, OTHER).is_ok(), "the rate of all is not used up");
    }

    #[tokio::test]
    async fn the_rate_comes_before_the_seat_and_gives_none_back() {
        let gate =
            gate(&Limits { accept_rate: 1, accept_burst: 2, max_connections: 1, ..limits() });
        let seat = enter(&gate, CLIENT).expect("a seat");
        assert_eq!(enter(&gate, CLIENT).err(), Some(Refusal::Full));
        drop(seat);
        assert_eq!(enter(&gate, CLIENT).err(), Some(Refusal::TooFast));
    }

    #[tokio::test]
    async fn every_limit_can_be_changed() {
        let gate = gate(&Limits { max_connections: 1, ..limits() });
        let first = enter(&gate, CLIENT).expect("a seat");
        assert_eq!(enter(&gate, CLIENT).err(), Some(Refusal::Full));
        gate.set(&Limits { max_connections: 2, ..limits() });
        let second = enter(&gate, CLIENT).expect("a second seat");
        gate.set(&Limits { max_connections: 1, ..limits() });
        drop(second);
        assert_eq!(enter(&gate, CLIENT).err(), Some(Refusal::Full), "one still sits");
        drop(first);
        gate.set(&Limits { accept_rate: 1, ..limits() });
        assert!(enter(&gate, CLIENT).is_ok());
        assert_eq!(enter(&gate, CLIENT).err(), Some(Refusal::TooFast));
        gate.set(&Limits { accept_rate_per_address: 1, ..limits() });
        assert!(enter(&gate, CLIENT).is_ok());
        assert_eq!(enter(&gate, CLIENT).err(), Some(Refusal::AddressTooFast));
        gate.set(&limits());
        assert!((0..100).all(|_| enter(&gate, CLIENT).is_ok()));
    }
}
