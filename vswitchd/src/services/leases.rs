//! Addresses that guests hold, of all routers and both families.
//!
//! A lease is bound to the place it was given at (an interface of a router), the client that asked, and the port it
//! asked by. Three indexes stand beside the leases: by client, by port and by name. Time is seconds since 1970, given by
//! the caller: leases outlive the daemon.
//!
//! Limits: [`LEASES_MAX`] leases in all; at the limit those that have run out make room, else nobody gets another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_wire::MacAddr;

/// Leases of all routers.
pub const LEASES_MAX: usize = 65_536;
/// Leases looked at when room is made at once.
const SWEEP: usize = 1024;

/// An interface of a router by name: "router/interface".
pub type Place = Arc<str>;

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Offered, not taken yet.
    Offered,
    /// Given to a guest.
    Bound,
    /// Somebody has it to whom it was not given.
    Declined,
    /// Given back; kept so that the guest gets it again.
    Released,
}

impl Standing {
    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Standing::Offered => "offered",
            Standing::Bound => "bound",
            Standing::Declined => "declined",
            Standing::Released => "released",
        }
    }
}

/// An address and who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Where: "router/interface".
    #[serde(with = "place_text")]
    pub place: Place,
    /// The address.
    pub address: IpAddr,
    /// The client: what it calls itself, or its MAC.
    pub client: Vec<u8>,
    /// Its MAC.
    #[serde(with = "as_text")]
    pub mac: MacAddr,
    /// The port it is behind, by name.
    pub port: String,
    /// The name it gave itself, or was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it ends, in seconds since 1970.
    pub until_s: u64,
    /// What became of it.
    pub standing: Standing,
}

mod place_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(place: &super::Place, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(place)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<super::Place, D::Error> {
        String::deserialize(deserializer).map(Into::into)
    }
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use weir_wire::MacAddr;

    pub fn serialize<S: Serializer>(mac: &MacAddr, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MacAddr, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom("no MAC address"))
    }
}

impl Lease {
    /// Somebody holds it.
    pub fn is_live(&self, now_s: u64) -> bool {
        self.until_s > now_s && self.standing != Standing::Released
    }

    /// The router of its place.
    pub fn router(&self) -> &str {
        self.place.split_once('/').map_or(&*self.place, |(router, _)| router)
    }

    /// The interface of its place.
    pub fn interface(&self) -> &str {
        self.place.split_once('/').map_or("", |(_, interface)| interface)
    }
}

/// No room for another lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// All leases.
#[derive(Debug, Default)]
pub struct Leases {
    all: BTreeMap<(Place, IpAddr), Lease>,
    clients: HashMap<(Place, bool, Vec<u8>), IpAddr>,
    ports: HashMap<(Place, String), BTreeSet<IpAddr>>,
    names: HashMap<(String, String), BTreeSet<(Place, IpAddr)>>,
    swept: Option<(Place, IpAddr)>,
}

impl Leases {
    /// All leases, in order of place and address.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.all.values()
    }

    /// How many there are, those that have run out included.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The lease of an address.
    pub fn get(&self, place: &Place, address: IpAddr) -> Option<&Lease> {
        self.all.get(&(Arc::clone(place), address))
    }

    /// The lease of a client at a place, of IPv4 or IPv6.
    pub fn of_client(&self, place: &Place, v4: bool, client: &[u8]) -> Option<&Lease> {
        let address = self.clients.get(&(Arc::clone(place), v4, client.to_vec()))?;
        self.get(place, *address)
    }

    /// Live leases of a port at a place, of one family.
    pub fn of_port<'a>(&'a self, place: &Place, port: &str, v4: bool, now_s: u64) -> impl Iterator<Item = &'a Lease> {
        let place = Arc::clone(place);
        let held = self.ports.get(&(Arc::clone(&place), port.to_owned()));
        let leases = held.into_iter().flatten().filter_map(move |address| self.get(&place, *address));
        leases.filter(move |lease| lease.address.is_ipv4() == v4 && lease.is_live(now_s))
    }

    /// Live leases of a router whose guests have this name.
    pub fn named<'a>(&'a self, router: &str, name: &str, now_s: u64) -> impl Iterator<Item = &'a Lease> {
        let named = self.names.get(&(router.to_owned(), name.to_owned()));
        let leases = named.into_iter().flatten().filter_map(|key| self.all.get(key));
        leases.filter(move |lease| lease.standing == Standing::Bound && lease.is_live(now_s))
    }

    /// Puts a lease in, in place of the one of its address and of the one its client had.
    ///
    /// # Errors
    /// Where [`LEASES_MAX`] are held.
    pub fn put(&mut self, now_s: u64, lease: Lease) -> Result<(), Full> {
        let key = (Arc::clone(&lease.place), lease.address);
        self.remove(&lease.place, lease.address);
        // What somebody else uses is not the client's: it gets another.
        if lease.standing != Standing::Declined {
            let client = (Arc::clone(&lease.place), lease.address.is_ipv4(), lease.client.clone());
            if let Some(before) = self.clients.get(&client).copied() {
                self.remove(&lease.place, before);
            }
            if self.all.len() >= LEASES_MAX && !self.make_room(now_s) {
                return Err(Full);
            }
            self.clients.insert(client, lease.address);
        }
        self.ports.entry((Arc::clone(&lease.place), lease.port.clone())).or_default().insert(lease.address);
        if let Some(name) = &lease.name {
            self.names.entry((lease.router().to_owned(), name.clone())).or_default().insert(key.clone());
        }
        self.all.insert(key, lease);
        Ok(())
    }

    /// Takes a lease out.
    pub fn remove(&mut self, place: &Place, address: IpAddr) -> Option<Lease> {
        let key = (Arc::clone(place), address);
        let lease = self.all.remove(&key)?;
        let client = (Arc::clone(place), address.is_ipv4(), lease.client.clone());
        if self.clients.get(&client) == Some(&address) {
            self.clients.remove(&client);
        }
        take(&mut self.ports, (Arc::clone(place), lease.port.clone()), &address);
        if let Some(name) = &lease.name {
            take(&mut self.names, (lease.router().to_owned(), name.clone()), &key);
        }
        Some(lease)
    }

    /// Forgets leases that have run out, of so many as are looked at in one go; whether any was.
    fn make_room(&mut self, now_s: u64) -> bool {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.swept.take().map_or(Unbounded, Excluded);
        let looked: Vec<_> = self.all.range((from, Unbounded)).take(SWEEP).collect();
        let last = looked.last().map(|(key, _)| (*key).clone());
        let gone: Vec<_> =
            looked.into_iter().filter(|(_, lease)| !lease.is_live(now_s)).map(|(key, _)| key.clone()).collect();
        self.swept = last;
        gone.iter().for_each(|(place, address)| drop(self.remove(place, *address)));
        !gone.is_empty()
    }
}

/// Takes a member out of a set, and the set where it was the last.
fn take<K: std::hash::Hash + Eq, V: Ord>(sets: &mut HashMap<K, BTreeSet<V>>, key: K, member: &V) {
    if let Some(set) = sets.get_mut(&key) {
        set.remove(member);
        if set.is_empty() {
            sets.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(last: u8, client: u8, until_s: u64) -> Lease {
        Lease {
            place: "r/lan".into(),
            address: IpAddr::from([10, 0, 0, last]),
            client: vec![client],
            mac: MacAddr([2, 0, 0, 0, 0, client]),
            port: format!("vm{client}"),
            name: Some(format!("host{client}")),
            until_s,
            standing: Standing::Bound,
        }
    }

    #[test]
    fn a_client_has_one_lease_and_is_found_by_all_its_names() {
        let (mut leases, place): (_, Place) = (Leases::default(), "r/lan".into());
        leases.put(0, lease(5, 1, 100)).expect("room");
        leases.put(0, lease(6, 1, 100)).expect("room");
        assert_eq!(leases.len(), 1);
        assert_eq!(leases.of_client(&place, true, &[1]).map(|l| l.address), Some(IpAddr::from([10, 0, 0, 6])));
        assert_eq!(leases.of_port(&place, "vm1", true, 50).count(), 1);
        assert_eq!(leases.named("r", "host1", 50).count(), 1);
        assert_eq!((leases.of_port(&place, "vm1", true, 100).count(), leases.named("r", "host1", 100).count()), (0, 0));
        assert!(leases.remove(&place, IpAddr::from([10, 0, 0, 6])).is_some());
        assert!(leases.clients.is_empty() && leases.ports.is_empty() && leases.names.is_empty());
    }

    #[test]
    fn a_lease_survives_as_text() {
        let lease = lease(5, 1, 100);
        let text = serde_json::to_string(&lease).expect("prints");
        assert_eq!(serde_json::from_str::<Lease>(&text).expect("reads"), lease);
    }

    #[test]
    fn a_full_table_forgets_what_has_run_out_and_nothing_else() {
        let mut leases = Leases::default();
        for n in 0..LEASES_MAX as u32 {
            let until_s = if n == 7 { 10 } else { 1000 };
            let lease = Lease {
                address: IpAddr::from((0x0a00_0000 + n).to_be_bytes()),
                client: n.to_be_bytes().to_vec(),
                ..lease(0, 1, until_s)
            };
            leases.put(0, lease).expect("room");
        }
        let other = |n: u8| Lease { address: IpAddr::from([11, 0, 0, n]), client: vec![n], ..lease(n, n, 1000) };
        assert_eq!(leases.put(5, other(1)), Err(Full));
        // The one that has run out by now is found within a sweep of the table.
        let tries = (0..LEASES_MAX / SWEEP + 1).position(|_| leases.put(20, other(1)).is_ok());
        assert!(tries.is_some());
        assert_eq!(leases.len(), LEASES_MAX);
    }
}
