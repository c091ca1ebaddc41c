//! What the address services keep: leases, their journal, what was counted, and who asks too much.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::guest_name::guest_name;
use super::journal::Journal;
use super::leases::{Lease, Leases, Place, Standing};
use super::rates::Rates;
use super::served::{Guest, Host, host_of};

/// How long an address stays offered, in seconds.
pub const OFFER_S: u64 = 60;
/// How long an address is not given that somebody has to whom it was not given, in seconds.
pub const DECLINE_S: u64 = 600;
/// Requests of one port at once, and how many more each second.
const BURST: u32 = 40;
const RATE: u32 = 20;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests taken.
    pub requests: u64,
    /// Answers sent.
    pub answers: u64,
    /// Refusals sent: the guest is to ask anew.
    pub refusals: u64,
    /// Requests that made no sense.
    pub malformed: u64,
    /// Requests of relays, and requests for others than their sender.
    pub foreign: u64,
    /// Requests beyond what a port may ask.
    pub limited: u64,
    /// Requests without an answer because the port holds as many addresses as it may.
    pub port_limit: u64,
    /// Requests without an answer because no address was free.
    pub exhausted: u64,
    /// Addresses found in use by somebody to whom they were not given.
    pub conflicts: u64,
}

/// Who asks, and what names are not his to take.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Who.
    pub guest: Guest<'a>,
    /// Names of ports, hosts and records.
    pub reserved: &'a BTreeSet<String>,
    /// Seconds since 1970.
    pub now_s: u64,
    /// The network was asked for the address, and nobody has it.
    pub probed: bool,
}

/// An address about to be given.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// Where.
    pub place: &'a Place,
    /// The address.
    pub address: IpAddr,
    /// For how long.
    pub for_s: u64,
    /// Offered or bound.
    pub standing: Standing,
    /// The name the guest gives itself.
    pub name: Option<String>,
    /// Guests that have names of their own.
    pub hosts: &'a [Host],
}

/// What is kept.
#[derive(Debug)]
pub struct Book {
    /// The leases.
    pub leases: Leases,
    /// Where they are kept.
    pub journal: Journal,
    /// Of DHCP.
    pub v4: Counters,
    /// Of DHCPv6.
    pub v6: Counters,
    /// Searches so far, so that the next begins elsewhere.
    pub turn: u64,
    rates: Rates,
}

impl Book {
    /// A book with what a journal held.
    pub fn new(journal: Journal, leases: Leases) -> Book {
        let (v4, v6) = (Counters::default(), Counters::default());
        Book { leases, journal, v4, v6, turn: 0, rates: Rates::default() }
    }

    /// Counts of one family.
    pub fn counters(&mut self, v4: bool) -> &mut Counters {
        if v4 { &mut self.v4 } else { &mut self.v6 }
    }

    /// Whether a port may ask once more.
    pub fn may_ask(&mut self, port: &str, now_s: u64) -> bool {
        self.rates.may_ask(port, now_s, RATE, BURST)
    }

    /// Gives an address. `false` where there is no room for another lease.
    pub fn give(&mut self, asking: &Asking<'_>, grant: Grant<'_>) -> bool {
        let Asking { guest, now_s, .. } = *asking;
        let Grant { place, address, for_s, standing, name, hosts } = grant;
        let client = guest.client();
        let router = place.split_once('/').map_or(&**place, |(router, _)| router);
        let given = host_of(hosts, &guest).and_then(|host| host.name.clone());
        let lease = Lease {
            place: place.clone(),
            address,
            name: given.or_else(|| self.name_for(router, asking, &client, name.as_deref()?)),
            client,
            mac: guest.mac,
            port: guest.port.to_owned(),
            until_s: now_s + for_s,
            standing,
        };
        if self.leases.put(now_s, lease.clone()).is_err() {
            return false;
        }
        // An offer that nobody took is not worth a line.
        if standing == Standing::Bound {
            self.journal.keep(&lease, &self.leases);
        }
        true
    }

    /// The name a guest gave itself, unless it is another's: of a port, of a record, or of a guest that came before.
    fn name_for(&self, router: &str, asking: &Asking<'_>, client: &[u8], said: &str) -> Option<String> {
        let name = guest_name(said)?;
        let own_port = name == asking.guest.port.to_ascii_lowercase();
        let free = !asking.reserved.contains(&name) || own_port;
        let mine = || {
            self.leases
                .named(router, &name, asking.now_s)
                .all(|lease| lease.client == client || lease.port == asking.guest.port && lease.mac == asking.guest.mac)
        };
        (free && mine()).then_some(name)
    }

    /// Somebody has an address to whom it was not given. It counts among those of the port that said so.
    pub fn conflict(&mut self, place: &Place, address: IpAddr, guest: &Guest<'_>, now_s: u64) {
        self.counters(address.is_ipv4()).conflicts += 1;
        let lease = Lease {
            place: place.clone(),
            address,
            client: guest.client(),
            mac: guest.mac,
            port: guest.port.to_owned(),
            name: None,
            until_s: now_s + DECLINE_S,
            standing: Standing::Declined,
        };
        // Without room nothing is given at all.
        if self.leases.put(now_s, lease.clone()).is_ok() {
            self.journal.keep(&lease, &self.leases);
        }
    }

    /// A guest gives its address back. It is kept for it as long as nobody else needs it.
    pub fn release(&mut self, place: &Place, address: IpAddr, client: &[u8]) -> bool {
        let known = self.leases.get(place, address).filter(|lease| lease.client == client);
        let Some(lease) = known.filter(|lease| lease.standing != Standing::Declined).cloned() else { return false };
        let released = Lease { standing: Standing::Released, ..lease };
        // It takes the place of the one that was there.
        if self.leases.put(released.until_s, released.clone()).is_ok() {
            self.journal.keep(&released, &self.leases);
        }
        true
    }

    /// Takes an address back, whoever holds it.
    pub fn take_back(&mut self, place: &Place, address: IpAddr) -> Option<Lease> {
        let lease = self.leases.remove(place, address)?;
        self.journal.free(place, address, &self.leases);
        Some(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::MacAddr;

    fn book() -> Book {
        Book::new(Journal::none(Vec::new()), Leases::default())
    }

    fn guest(port: &str, last: u8) -> Guest<'_> {
        Guest { port, mac: MacAddr([2, 0, 0, 0, 0, last]), id: &[] }
    }

    #[test]
    fn a_guest_takes_no_name_that_is_anothers() {
        let (mut book, place): (_, Place) = (book(), "r/lan".into());
        let reserved = BTreeSet::from(["db".to_owned(), "vm1".to_owned()]);
        let mut give = |port: &'static str, last: u8, name: &str| {
            let asking = Asking { guest: guest(port, last), reserved: &reserved, now_s: 5, probed: true };
            let address = IpAddr::from([10, 0, 0, last]);
            let (for_s, standing, hosts) = (60, Standing::Bound, &[][..]);
            let name = Some(name.to_owned());
            assert!(book.give(&asking, Grant { place: &place, address, for_s, standing, name, hosts }));
            book.leases.get(&place, address).and_then(|lease| lease.name.clone())
        };
        assert_eq!(give("vm1", 1, "web"), Some("web".into()));
        assert_eq!(give("vm2", 2, "web"), None, "another has it");
        assert_eq!(give("vm2", 2, "DB"), None, "it is reserved");
        assert_eq!(give("vm2", 2, "vm1"), None, "it is another port's");
        assert_eq!(give("vm1", 1, "vm1"), Some("vm1".into()));
        assert_eq!(give("vm1", 1, "web"), Some("web".into()), "it keeps its own");
    }
}
