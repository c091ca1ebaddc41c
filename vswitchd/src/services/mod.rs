//! What routers serve their networks: addresses (DHCP, DHCPv6), names (DNS), and to guests what they are (metadata).
//!
//! A thread of its own takes the packets that the fabric has handed over, answers them, and hands frames back to the
//! worker. What it knows lies behind a lock that it shares with the control side, never with the worker. Packets come
//! by a bounded queue; when the thread falls behind, the fabric drops, and counts, what finds no room.
//!
//! The parts that decide are pure and are told the time: [`dhcp4`], [`dhcp6`], [`pool`], [`dns`], [`metadata`]. This file and
//! [`server`] bring clocks, sockets and files.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub mod book;
mod decode;
pub mod dhcp4;
pub mod dhcp6;
pub mod dns;
mod frame;
mod guest_name;
pub mod journal;
pub mod leases;
pub mod metadata;
pub mod pool;
mod rates;
pub mod served;
pub mod server;
pub mod tcp;

use book::Book;
use journal::Journal;
use leases::{Lease, Leases};
use server::Way;
use tcp::Line;

/// Where an answer of the name service goes.
#[derive(Clone, Debug)]
pub enum Back {
    /// To who asked by UDP.
    Datagram(Way),
    /// To a connection of an interface.
    Connection(u16, Line),
}

/// What the services know.
#[derive(Debug)]
pub struct State {
    /// Leases.
    pub book: Book,
    /// Names.
    pub dns: dns::Desk<Back>,
    /// Metadata.
    pub metadata: metadata::Desk,
}

/// The services, for the control side and for their own thread.
#[derive(Clone, Debug)]
pub struct Services(Arc<Mutex<State>>);

impl Default for Services {
    /// Services that keep nothing over a restart.
    fn default() -> Services {
        Services::with(Journal::none(new_duid()), Leases::default())
    }
}

impl Services {
    fn with(journal: Journal, leases: Leases) -> Services {
        Services(Arc::new(Mutex::new(State {
            book: Book::new(journal, leases),
            dns: dns::Desk::default(),
            metadata: metadata::Desk::new(metadata_key()),
        })))
    }

    /// Services whose leases are kept in a file.
    ///
    /// # Errors
    /// Where it can be neither read nor written; names it.
    pub fn kept_in(path: &Path) -> Result<Services, String> {
        let (journal, leases) = Journal::open(path, now_s(), new_duid())?;
        Ok(Services::with(journal, leases))
    }

    /// What they know. Keep it short: guests wait meanwhile.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held would have been in one of the pure parts, which leave it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Addresses that guests hold, by port: what a port may send from. In order of place and address.
    pub fn held(&self) -> Vec<Lease> {
        let (state, now_s) = (self.state(), now_s());
        state.book.leases.iter().filter(|lease| lease.is_live(now_s)).cloned().collect()
    }

    /// Takes addresses back from their guests; returns how many leases there were.
    pub fn take_back(&self, wanted: impl Fn(&Lease) -> bool) -> usize {
        let mut state = self.state();
        let chosen: Vec<(leases::Place, IpAddr)> =
            state.book.leases.iter().filter(|lease| wanted(lease)).map(|l| (l.place.clone(), l.address)).collect();
        chosen.iter().filter(|(place, address)| state.book.take_back(place, *address).is_some()).count()
    }
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// What tokens for metadata are made by; `None` where there are no random numbers.
fn metadata_key() -> Option<ring::hmac::Key> {
    ring::hmac::Key::generate(ring::hmac::HMAC_SHA256, &ring::rand::SystemRandom::new()).ok()
}

/// A name for this daemon in DHCPv6, which nobody else has.
fn new_duid() -> Vec<u8> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 6];
    // Without random numbers it is still a name.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    if let Some(first) = bytes.first_mut() {
        // Locally administered.
        *first = *first & 0xfc | 2;
    }
    dhcp6::duid(weir_wire::MacAddr(bytes))
}
