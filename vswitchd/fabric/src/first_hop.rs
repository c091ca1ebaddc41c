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
//! learned too, so that no guest can claim the gateway, and takes a learned binding over. A guest that is itself a router
//! or a DHCP server is said to be one ([`GuardConfig::router`], [`GuardConfig::dhcp_server`]): it stays bound to its own
//! MAC and addresses, and may do what such a host does.
//!
//! Addresses move. Who claims an address whose binding was learned behind another port is refused, but the holder is asked
//! whether it still has it (an ARP probe, RFC 5227, or a solicitation as of duplicate address detection, by its port
//! alone; RFC 6620, 3.2.3 does the same). Where it does not answer within [`ANSWER_S`], the next claim has the address.
//! Learned bindings end with their port's link; a lease then goes where its MAC appears again, until it is over.
//!
//! Limits: [`BINDINGS_MAX`] bindings in all, of which trusted ports fill half; learned ones up to [`GuardConfig::limit`]
//! a port, of which one that was silent for [`IDLE_S`] makes room; else the packet is dropped as `binding-limit`. Flows
//! that stand are not looked up again: they keep their port.

mod claims;
mod dhcp;
mod kept;
mod walk;

pub(crate) use claims::is_dhcp;
pub use kept::KeptHold;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weir_wire::{DropReason, MacAddr, PortId, SwitchId, Vid};

/// Bindings at most, over all switches.
pub const BINDINGS_MAX: usize = 1 << 17;
/// Seconds of silence after which a learned binding makes room for another of its port.
pub const IDLE_S: u32 = 300;
/// Bindings at most of what trusted ports say; at the limit nothing new is learned from them.
pub const HEARD_MAX: usize = BINDINGS_MAX / 2;
/// The holder of an address that another claims has more than this many seconds to answer.
pub const ANSWER_S: u32 = 1;
/// Seconds after which an answer that did not come says nothing any more.
const DOUBT_S: u32 = 30;

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
    /// The only MACs that it may use; empty for any that is nobody else's.
    pub macs: Vec<MacAddr>,
    /// MACs that it may use whoever else does, as those of VRRP (RFC 5798, 7.3).
    pub shared_macs: Vec<MacAddr>,
    /// It forwards for others: it advertises itself, redirects, and sends from addresses that are no other port's.
    pub router: bool,
    /// It gives addresses, or passes requests for them on.
    pub dhcp_server: bool,
}

impl GuardConfig {
    /// Whether the port may use a MAC, as far as its settings say; `None` where they leave it open.
    #[inline]
    pub(crate) fn allows_mac(&self, mac: MacAddr) -> Option<bool> {
        if self.shared_macs.contains(&mac) {
            return Some(true);
        }
        (!self.macs.is_empty() && !self.macs.contains(&mac)).then_some(false)
    }
}

impl Default for GuardConfig {
    fn default() -> GuardConfig {
        GuardConfig {
            learn: true,
            limit: 64,
            addresses: Vec::new(),
            shared: Vec::new(),
            macs: Vec::new(),
            shared_macs: Vec::new(),
            router: false,
            dhcp_server: false,
        }
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
    /// When its holder was asked last whether it still has the address, in seconds.
    pub asked_s: Option<u32>,
    /// Whether a trusted port said so.
    pub heard: bool,
    /// Its port has lost its link: a lease waits for its MAC to appear again.
    pub adrift: bool,
}

impl Binding {
    fn new(now_s: u32, (port, mac): (PortId, MacAddr), origin: Origin) -> Binding {
        Binding { port, mac, origin, seen_s: now_s, until_s: None, asked_s: None, heard: false, adrift: false }
    }

    /// The holder was asked, has had the time to answer, and did not.
    fn is_forsaken(&self, now_s: u32) -> bool {
        self.asked_s.is_some_and(|asked| {
            let waited = now_s.saturating_sub(asked);
            self.seen_s < asked && waited > ANSWER_S && waited < DOUBT_S
        })
    }
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
    /// Bindings that trusted ports made.
    heard: usize,
    /// What the last claim led to, beside its answer.
    pub aside: Option<Aside>,
}

/// What a packet's claim to an address would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Would {
    /// The address is its port's.
    Hold(Origin),
    /// It is nobody's, and would be learned.
    Learn,
    /// It moves between guests.
    Share,
    /// The port forwards for it.
    Forward,
}

/// What a claim leads to beside its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// The holder behind this port is to be asked whether it still has the address.
    Ask(Place, PortId),
    /// The address has left this port.
    Moved(Place, PortId),
}

impl Bindings {
    pub fn list(&self, limit: usize) -> Vec<BindingEntry> {
        self.all.iter().take(limit).map(|(place, binding)| (*place, *binding)).collect()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes in all of another one, as far as there is room.
    pub fn adopt(&mut self, other: Bindings) {
        let room = BINDINGS_MAX.saturating_sub(self.all.len());
        other.all.into_iter().take(room).for_each(|(place, binding)| self.put(place, binding));
        self.guarded += other.guarded;
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
            if self.holds(now_s, place, &binding, (port, mac)) {
                return Ok(());
            }
            if !(config.learn && binding.origin == Origin::Learned && binding.is_forsaken(now_s)) {
                return Err(wrong);
            }
            self.aside = Some(Aside::Moved(place, binding.port));
            self.take(place);
        }
        if config.addresses.contains(&place.2) {
            self.give(place, port);
            return Ok(());
        }
        if !config.learn {
            return Err(wrong);
        }
        self.make_room(now_s, port, config.limit)?;
        self.put(place, Binding::new(now_s, (port, mac), Origin::Learned));
        Ok(())
    }

    /// Whether a binding is that of who claims its address.
    pub fn is_held(&self, binding: &Binding, (port, mac): (PortId, MacAddr)) -> bool {
        let fixed = binding.origin != Origin::Learned && binding.mac != MacAddr::ZERO;
        let comes_back = binding.adrift && binding.mac == mac;
        (binding.port == port || comes_back) && !(fixed && binding.mac != mac)
    }

    /// Whether a binding is that of who claims its address, which it then notes; otherwise its holder may have to be asked.
    fn holds(&mut self, now_s: u32, place: Place, binding: &Binding, (port, mac): (PortId, MacAddr)) -> bool {
        let fixed = binding.origin != Origin::Learned && binding.mac != MacAddr::ZERO;
        if self.is_held(binding, (port, mac)) {
            let mac = if fixed || binding.origin == Origin::Given { binding.mac } else { mac };
            let noted = Binding { port, mac, seen_s: now_s, adrift: false, ..*binding };
            if binding.port == port {
                self.all.insert(place, noted);
            } else {
                self.aside = Some(Aside::Moved(place, binding.port));
                self.put(place, noted);
            }
            return true;
        }
        let may_ask = binding.asked_s.is_none_or(|asked| now_s.saturating_sub(asked) > ANSWER_S);
        if binding.origin == Origin::Learned && binding.port != port && may_ask && !binding.is_forsaken(now_s) {
            self.all.insert(place, Binding { asked_s: Some(now_s), ..*binding });
            self.aside = Some(Aside::Ask(place, binding.port));
        }
        false
    }

    /// Whether an address is bound behind another port than this.
    pub fn is_anothers(&self, now_s: u32, place: Place, port: PortId) -> bool {
        self.get(now_s, place).is_some_and(|binding| binding.port != port)
    }

    /// What a trusted port says of an address.
    pub fn hear(&mut self, now_s: u32, place: Place, who: (PortId, MacAddr)) {
        let known = self.get(now_s, place);
        let is_full = self.heard >= HEARD_MAX || self.all.len() >= BINDINGS_MAX;
        if known.is_some_and(|binding| binding.origin != Origin::Learned) || is_full && known.is_none() {
            return;
        }
        self.put(place, Binding { heard: true, ..Binding::new(now_s, who, Origin::Learned) });
    }

    /// A lease of `seconds`; 0 ends it.
    pub fn lease(&mut self, now_s: u32, place: Place, who: (PortId, MacAddr), seconds: u32) {
        let is_given = self.get(now_s, place).is_some_and(|binding| binding.origin == Origin::Given);
        if is_given || (self.all.len() >= BINDINGS_MAX && !self.all.contains_key(&place)) {
            return;
        }
        if seconds == 0 {
            return self.take(place);
        }
        let until_s = Some(now_s.saturating_add(seconds));
        self.put(place, Binding { until_s, ..Binding::new(now_s, who, Origin::Dhcp) });
    }

    /// An address that the operator gives a port.
    pub fn give(&mut self, place: Place, port: PortId) {
        self.put(place, Binding::new(0, (port, MacAddr::ZERO), Origin::Given));
    }

    /// A port has lost its link: what it was learned to use is free, and its leases wait for their MACs.
    pub fn link_lost(&mut self, port: PortId) {
        for place in self.of_port.get(&port).cloned().unwrap_or_default() {
            match self.all.get_mut(&place) {
                Some(binding) if binding.origin == Origin::Dhcp => binding.adrift = true,
                Some(binding) if binding.origin == Origin::Given => {}
                Some(_) | None => self.take(place),
            }
        }
    }

    /// Forgets what is bound to a port.
    pub fn forget_port(&mut self, port: PortId) {
        for place in self.of_port.get(&port).cloned().unwrap_or_default() {
            self.take(place);
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
        self.heard += usize::from(binding.heard);
        self.all.insert(place, binding);
    }

    fn take(&mut self, place: Place) {
        let Some(old) = self.all.remove(&place) else { return };
        self.heard -= usize::from(old.heard);
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
        bindings.link_lost(PortId(1));
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

    #[test]
    fn an_address_moves_when_its_holder_does_not_answer() {
        let mut bindings = Bindings::default();
        assert_eq!(claim(&mut bindings, 10, 1, ONE), Ok(()));
        let refused = Err(DropReason::SpoofedAddress);
        assert_eq!(
            (claim(&mut bindings, 20, 1, TWO), bindings.aside.take()),
            (refused, Some(Aside::Ask(place(1), ONE.0)))
        );
        assert_eq!((claim(&mut bindings, 20, 1, TWO), bindings.aside.take()), (refused, None), "it was asked already");
        assert_eq!(claim(&mut bindings, 21, 1, ONE), Ok(()), "it answers");
        assert_eq!(
            (claim(&mut bindings, 22, 1, TWO), bindings.aside.take()),
            (refused, Some(Aside::Ask(place(1), ONE.0)))
        );
        assert_eq!(claim(&mut bindings, 23, 1, TWO), refused, "it has time to answer");
        assert_eq!(claim(&mut bindings, 24, 1, TWO), Ok(()));
        assert_eq!(bindings.aside.take(), Some(Aside::Moved(place(1), ONE.0)));
        assert_eq!(claim(&mut bindings, 24, 1, ONE), refused);
        // A question that was asked long ago proves nothing.
        assert_eq!(claim(&mut bindings, 25 + DOUBT_S, 1, ONE), refused);
        assert!(matches!(bindings.aside.take(), Some(Aside::Ask(..))));
    }

    #[test]
    fn a_lease_follows_its_mac_when_the_link_is_lost() {
        let mut bindings = Bindings::default();
        bindings.lease(0, place(5), ONE, 100);
        let moved = (TWO.0, ONE.1);
        assert_eq!(claim(&mut bindings, 1, 5, moved), Err(DropReason::SpoofedAddress));
        assert_eq!(bindings.aside.take(), None, "the holder of a lease is not asked");
        bindings.link_lost(ONE.0);
        assert_eq!(claim(&mut bindings, 2, 5, TWO), Err(DropReason::SpoofedAddress), "another MAC");
        assert_eq!(claim(&mut bindings, 2, 5, moved), Ok(()));
        assert_eq!(claim(&mut bindings, 3, 5, ONE), Err(DropReason::SpoofedAddress), "it has left");
        let lease = bindings.get(3, place(5)).map(|binding| (binding.origin, binding.until_s));
        assert_eq!(lease, Some((Origin::Dhcp, Some(100))));
    }

    #[test]
    fn trusted_ports_leave_room_for_guests() {
        let mut bindings = Bindings::default();
        for n in 0..HEARD_MAX as u32 + 10 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from(0x0b00_0000 + n));
            bindings.hear(0, (SwitchId(0), Vid(0), address), TWO);
        }
        assert_eq!(bindings.len(), HEARD_MAX);
        assert_eq!(claim(&mut bindings, 1, 1, ONE), Ok(()));
        bindings.forget_port(TWO.0);
        assert_eq!((bindings.len(), bindings.heard), (1, 0));
    }
}
