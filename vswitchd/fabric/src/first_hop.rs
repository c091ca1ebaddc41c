//! First-hop security: a guest speaks for itself alone.
//!
//! What came in by a *guarded* port is held against the *bindings* of its switch and VLAN: which address is whose. A
//! binding is *given* by the operator, made by *DHCP* (snooped from a server that is not a guest, or ours), or *learned*
//! from the first packet that uses the address. What contradicts a binding, or is nothing a guest may say, is dropped:
//!
//! - a source MAC that is known behind another port, or belongs to a router;
//! - a source address that is somebody else's, in a packet, in ARP, or in neighbour discovery, and link-layer options
//!   that name another MAC than the frame's;
//! - router advertisements and redirects; messages of a DHCP server; DHCP requests in another MAC's name.
//!
//! Trusted ports (uplinks, routers, wires) are not checked. What they say of addresses in ARP and neighbour discovery is
//! learned too, so that no guest can claim the gateway, and takes a learned binding over.
//!
//! Limits: [`BINDINGS_MAX`] bindings in all; learned ones up to [`GuardConfig::limit`] a port, of which one that was
//! silent for [`IDLE_S`] makes room; else the packet is dropped as `binding-limit`. Learned bindings end with their
//! port's link, those of DHCP with the lease. Flows that stand are not looked up again: they keep their port.

mod claims;
mod dhcp;
mod walk;

pub(crate) use claims::is_dhcp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weir_wire::{DropReason, MacAddr, PortId, SwitchId, Vid};

/// Bindings at most, over all switches.
pub const BINDINGS_MAX: usize = 1 << 17;
/// Seconds of silence after which a learned binding makes room for another of its port.
pub const IDLE_S: u32 = 300;

/// What a guarded port may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// Addresses that are not known are learned on first use. Otherwise only those given and DHCP's are let pass.
    pub learn: bool,
    /// Learned addresses at most.
    pub limit: usize,
    /// Addresses that are this port's, in all its VLANs.
    pub addresses: Vec<IpAddr>,
    /// Addresses that this port may use whoever else does: those that move between guests.
    pub shared: Vec<IpAddr>,
}

impl Default for GuardConfig {
    fn default() -> GuardConfig {
        GuardConfig { learn: true, limit: 64, addresses: Vec::new(), shared: Vec::new() }
    }
}

/// Where a binding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The first packet that used it.
    Learned,
    /// A lease.
    Dhcp,
    /// The operator.
    Given,
}

impl Origin {
    /// A word for people.
    pub const fn label(self) -> &'static str {
        match self {
            Origin::Learned => "learned",
            Origin::Dhcp => "dhcp",
            Origin::Given => "given",
        }
    }
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The port.
    pub port: PortId,
    /// The MAC; zero where any of the port's will do.
    pub mac: MacAddr,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was used last, in seconds.
    pub seen_s: u32,
    /// When a lease ends, in seconds.
    pub until_s: Option<u32>,
}

/// Where an address is looked for.
pub type Place = (SwitchId, Vid, IpAddr);

/// A binding with its place.
pub type BindingEntry = (Place, Binding);

/// All bindings.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    all: BTreeMap<Place, Binding>,
    of_port: BTreeMap<PortId, BTreeSet<Place>>,
    /// Guarded ports there are.
    pub guarded: usize,
}

impl Bindings {
    pub fn list(&self, limit: usize) -> Vec<BindingEntry> {
        self.all.iter().take(limit).map(|(place, binding)| (*place, *binding)).collect()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The binding of an address, if it still holds.
    pub fn get(&self, now_s: u32, place: Place) -> Option<Binding> {
        self.all.get(&place).copied().filter(|binding| binding.until_s.is_none_or(|until| now_s < until))
    }

    /// A claim of a guarded port to an address, from `mac`.
    ///
    /// # Errors
    /// `wrong` where it is another's; `BindingLimit` where there is no room to learn it.
    pub fn claim(
        &mut self,
        now_s: u32,
        place: Place,
        (port, mac): (PortId, MacAddr),
        config: &GuardConfig,
        wrong: DropReason,
    ) -> Result<(), DropReason> {
        if config.shared.contains(&place.2) {
            return Ok(());
        }
        if let Some(binding) = self.get(now_s, place) {
            let fixed = binding.origin != Origin::Learned && binding.mac != MacAddr::ZERO;
            if binding.port != port || fixed && binding.mac != mac {
                return Err(wrong);
            }
            if let Some(known) = self.all.get_mut(&place) {
                known.seen_s = now_s;
                if known.origin == Origin::Learned {
                    known.mac = mac;
                }
            }
            return Ok(());
        }
        if config.addresses.contains(&place.2) {
            self.put(place, Binding { port, mac: MacAddr::ZERO, origin: Origin::Given, seen_s: now_s, until_s: None });
            return Ok(());
        }
        if !config.learn {
            return Err(wrong);
        }
        self.make_room(now_s, port, config.limit)?;
        self.put(place, Binding { port, mac, origin: Origin::Learned, seen_s: now_s, until_s: None });
        Ok(())
    }

    /// What a trusted port says of an address.
    pub fn hear(&mut self, now_s: u32, place: Place, (port, mac): (PortId, MacAddr)) {
        if self.get(now_s, place).is_some_and(|binding| binding.origin != Origin::Learned)
            || (self.all.len() >= BINDINGS_MAX && !self.all.contains_key(&place))
        {
            return;
        }
        self.put(place, Binding { port, mac, origin: Origin::Learned, seen_s: now_s, until_s: None });
    }

    /// A lease of `seconds`; 0 ends it.
    pub fn lease(&mut self, now_s: u32, place: Place, (port, mac): (PortId, MacAddr), seconds: u32) {
        let is_given = self.get(now_s, place).is_some_and(|binding| binding.origin == Origin::Given);
        if is_given || (self.all.len() >= BINDINGS_MAX && !self.all.contains_key(&place)) {
            return;
        }
        if seconds == 0 {
            return self.take(place);
        }
        let until_s = Some(now_s.saturating_add(seconds));
        self.put(place, Binding { port, mac, origin: Origin::Dhcp, seen_s: now_s, until_s });
    }

    /// An address that the operator gives a port.
    pub fn give(&mut self, place: Place, port: PortId) {
        self.put(place, Binding { port, mac: MacAddr::ZERO, origin: Origin::Given, seen_s: 0, until_s: None });
    }

    /// Forgets what is bound to a port; with `learned_only`, what it was learned to use.
    pub fn forget_port(&mut self, port: PortId, learned_only: bool) {
        for place in self.of_port.get(&port).cloned().unwrap_or_default() {
            if !learned_only || self.all.get(&place).is_some_and(|binding| binding.origin == Origin::Learned) {
                self.take(place);
            }
        }
    }

    /// Forgets one address; `false` where it was not bound.
    pub fn forget(&mut self, place: Place) -> bool {
        let known = self.all.contains_key(&place);
        self.take(place);
        known
    }

    fn make_room(&mut self, now_s: u32, port: PortId, limit: usize) -> Result<(), DropReason> {
        let places = self.of_port.get(&port);
        let learned = || {
            let known = places.into_iter().flatten().filter_map(|place| Some((*place, self.all.get(place)?)));
            known.filter(|(_, binding)| binding.origin == Origin::Learned)
        };
        if self.all.len() < BINDINGS_MAX && (places.is_none_or(|all| all.len() < limit) || learned().count() < limit) {
            return Ok(());
        }
        let silent = learned().min_by_key(|(_, binding)| binding.seen_s);
        let Some((place, _)) = silent.filter(|(_, binding)| now_s.saturating_sub(binding.seen_s) >= IDLE_S) else {
            return Err(DropReason::BindingLimit);
        };
        self.take(place);
        Ok(())
    }

    fn put(&mut self, place: Place, binding: Binding) {
        self.take(place);
        self.of_port.entry(binding.port).or_default().insert(place);
        self.all.insert(place, binding);
    }

    fn take(&mut self, place: Place) {
        let Some(old) = self.all.remove(&place) else { return };
        if let Some(places) = self.of_port.get_mut(&old.port) {
            places.remove(&place);
            if places.is_empty() {
                self.of_port.remove(&old.port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: (PortId, MacAddr) = (PortId(1), MacAddr([2, 0, 0, 0, 0, 1]));
    const TWO: (PortId, MacAddr) = (PortId(2), MacAddr([2, 0, 0, 0, 0, 2]));

    fn place(n: u8) -> Place {
        (SwitchId(0), Vid(0), IpAddr::from([10, 0, 0, n]))
    }

    fn claim(bindings: &mut Bindings, now_s: u32, n: u8, who: (PortId, MacAddr)) -> Result<(), DropReason> {
        let config = GuardConfig { limit: 2, ..GuardConfig::default() };
        bindings.claim(now_s, place(n), who, &config, DropReason::SpoofedAddress)
    }

    #[test]
    fn the_first_to_use_an_address_has_it() {
        let mut bindings = Bindings::default();
        assert_eq!(claim(&mut bindings, 0, 1, ONE), Ok(()));
        assert_eq!(claim(&mut bindings, 1, 1, TWO), Err(DropReason::SpoofedAddress));
        bindings.forget_port(PortId(1), true);
        assert_eq!(claim(&mut bindings, 2, 1, TWO), Ok(()));
        assert_eq!(claim(&mut bindings, 3, 1, ONE), Err(DropReason::SpoofedAddress));
    }

    #[test]
    fn a_port_learns_up_to_its_limit_and_its_silent_addresses_make_room() {
        let mut bindings = Bindings::default();
        for n in 1..=2 {
            assert_eq!(claim(&mut bindings, u32::from(n), n, ONE), Ok(()));
        }
        assert_eq!(claim(&mut bindings, 10, 3, ONE), Err(DropReason::BindingLimit));
        assert_eq!(claim(&mut bindings, IDLE_S, 2, ONE), Ok(()));
        assert_eq!(claim(&mut bindings, IDLE_S + 1, 3, ONE), Ok(()), "the first was silent");
        assert_eq!(claim(&mut bindings, IDLE_S + 2, 1, TWO), Ok(()), "and is free");
        assert_eq!(bindings.len(), 3);
    }

    #[test]
    fn a_lease_is_worth_more_than_a_first_use_and_ends() {
        let mut bindings = Bindings::default();
        assert_eq!(claim(&mut bindings, 0, 5, TWO), Ok(()));
        bindings.lease(1, place(5), ONE, 100);
        assert_eq!(claim(&mut bindings, 2, 5, TWO), Err(DropReason::SpoofedAddress));
        assert_eq!(claim(&mut bindings, 2, 5, (PortId(1), TWO.1)), Err(DropReason::SpoofedAddress), "another MAC");
        assert_eq!(claim(&mut bindings, 2, 5, ONE), Ok(()));
        bindings.hear(3, place(5), TWO);
        assert_eq!(claim(&mut bindings, 4, 5, ONE), Ok(()), "a lease is not taken over");
        assert_eq!(claim(&mut bindings, 101, 5, TWO), Ok(()), "it has ended");
        bindings.lease(102, place(5), ONE, 0);
        assert_eq!(bindings.len(), 0, "released");
    }

    #[test]
    fn what_is_given_needs_no_learning_and_strict_ports_learn_nothing() {
        let mut bindings = Bindings::default();
        let addresses = vec![place(9).2];
        let strict = GuardConfig { learn: false, addresses, shared: vec![place(8).2], ..GuardConfig::default() };
        let mut claim = |n, who| bindings.claim(0, place(n), who, &strict, DropReason::SpoofedArp);
        assert_eq!((claim(9, ONE), claim(8, ONE), claim(8, TWO)), (Ok(()), Ok(()), Ok(())));
        assert_eq!((claim(7, ONE), claim(9, TWO)), (Err(DropReason::SpoofedArp), Err(DropReason::SpoofedArp)));
    }
}
