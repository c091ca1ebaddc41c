//! Which address a guest gets: its own, the one it had, the one it asks for, or a free one of the ranges.
//!
//! A search for a free one begins at a place that the guest's name decides, so that guests keep their addresses where
//! they can even without a record of them, and looks at [`TRIES`] addresses at most; the next search goes on from there.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::leases::{Leases, Place};
use super::served::{Guest, Host, host_of};
use crate::config::Addresses;

/// Addresses looked at in one search.
const TRIES: u128 = 2048;

/// What there is to give at a place.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    /// The place.
    pub place: &'a Place,
    /// Ranges, all of one family.
    pub ranges: &'a [Addresses],
    /// Addresses in them that are not given.
    pub taken: &'a BTreeSet<IpAddr>,
    /// Guests with addresses of their own.
    pub hosts: &'a [Host],
    /// Addresses that one port may hold.
    pub per_port: u32,
    /// IPv4.
    pub v4: bool,
}

/// Why a guest gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAddress {
    /// Its port holds as many as it may.
    PortLimit,
    /// None was free.
    Exhausted,
}

impl Pool<'_> {
    /// The address for a guest.
    ///
    /// # Errors
    /// Why there is none.
    pub fn choose(
        &self,
        leases: &Leases,
        now_s: u64,
        guest: &Guest<'_>,
        wanted: Option<IpAddr>,
        turn: u64,
    ) -> Result<IpAddr, NoAddress> {
        let client = guest.client();
        let own = host_of(self.hosts, guest).and_then(|host| host.address);
        if let Some(own) = own.filter(|own| self.is_free(leases, now_s, *own, &client)) {
            return Ok(own);
        }
        let known = leases.of_client(self.place, self.v4, &client).filter(|lease| self.gives(lease.address));
        // What it holds already is not one more.
        let holds = known.filter(|lease| lease.is_live(now_s)).is_some();
        let held = leases.of_port(self.place, guest.port, self.v4, now_s).count();
        if !holds && held >= self.per_port as usize {
            return Err(NoAddress::PortLimit);
        }
        let candidates = known.map(|lease| lease.address).into_iter().chain(wanted);
        let fine = |address: &IpAddr| self.gives(*address) && self.is_free(leases, now_s, *address, &client);
        let mut candidates = candidates.filter(fine);
        candidates.next().or_else(|| self.search(leases, now_s, &client, turn)).ok_or(NoAddress::Exhausted)
    }

    /// The guest may have this address: its own, where it has one that nobody else holds; else one that is given to
    /// anybody and free.
    pub fn suits(&self, leases: &Leases, now_s: u64, guest: &Guest<'_>, address: IpAddr) -> bool {
        let client = guest.client();
        let own = host_of(self.hosts, guest).and_then(|host| host.address);
        match own.filter(|own| self.is_free(leases, now_s, *own, &client)) {
            Some(own) => own == address,
            None => self.gives(address) && self.is_free(leases, now_s, address, &client),
        }
    }

    /// One of the addresses that are given to anybody.
    fn gives(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address)) && !self.taken.contains(&address)
    }

    /// Nobody else holds it.
    fn is_free(&self, leases: &Leases, now_s: u64, address: IpAddr, client: &[u8]) -> bool {
        leases.get(self.place, address).is_none_or(|lease| {
            let own = lease.client == client && lease.standing != super::leases::Standing::Declined;
            own || !lease.is_live(now_s)
        })
    }

    fn search(&self, leases: &Leases, now_s: u64, client: &[u8], turn: u64) -> Option<IpAddr> {
        let total = self.ranges.iter().fold(0u128, |sum, range| sum.saturating_add(length(range)));
        if total == 0 {
            return None;
        }
        let hash =
            client.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        let start = (u128::from(hash ^ hash >> 32) + u128::from(turn) * TRIES) % total;
        let free = |address: &IpAddr| !self.taken.contains(address) && self.is_free(leases, now_s, *address, client);
        // An address that nobody ever had comes before one that somebody may come back for.
        let fresh = |address: &IpAddr| leases.get(self.place, *address).is_none();
        let looked = || (0..TRIES.min(total)).filter_map(move |step| self.nth((start + step) % total));
        looked().filter(free).find(fresh).or_else(|| looked().find(free))
    }

    fn nth(&self, mut at: u128) -> Option<IpAddr> {
        for range in self.ranges {
            let length = length(range);
            if at < length {
                return Some(match range.first {
                    IpAddr::V4(first) => Ipv4Addr::from(u32::from(first).checked_add(u32::try_from(at).ok()?)?).into(),
                    IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).checked_add(at)?).into(),
                });
            }
            at -= length;
        }
        None
    }
}

fn length(range: &Addresses) -> u128 {
    match (range.first, range.last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u128::from(u32::from(last).saturating_sub(u32::from(first))) + 1,
        (IpAddr::V6(first), IpAddr::V6(last)) => u128::from(last).saturating_sub(u128::from(first)).saturating_add(1),
        _ => 0,
    }
}
