//! Routers: what lies between switches.
//!
//! A router is a table of routes of its own (a VRF) and interfaces on switches. A frame to the MAC of an interface
//! leaves the switch there: its flow belongs to the router's zone instead of the switch ([`SwitchId::is_zone`]), the
//! longest prefix decides where it goes, and it is bridged on the switch of the interface it leaves by. Routers that
//! meet on a switch share a zone, so that a flow that passes several of them is one flow and is judged once.
//!
//! [`path`] decides where a packet goes, [`policy`] by more than its destination, [`neighbor`] knows the MACs there, [`hop`] is what stop 7 changes, [`walk`]
//! joins them to the other stages, [`short`] is the way of settled flows, [`local`] answers for the routers' own addresses, [`announce`] tells of them, [`advertise`] of the routers.
//!
//! Limits: [`neighbor::NEIGHBORS_MAX`] neighbours and [`neighbor::HELD_MAX`] packets waiting for them, over all routers;
//! ICMP errors at [`icmp::RATE`] for each interface. No redirects are sent, none are followed.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use weir_wire::{DropReason, Instant, InterfaceId, L3, MacAddr, Packet, RouterId, SwitchId, Vid};

mod advertise;
mod announce;
pub mod config;
mod detour;
pub mod hop;
pub mod icmp;
pub(crate) mod limit;
mod local;
pub mod neighbor;
pub mod path;
pub mod policy;
pub(crate) mod short;
pub mod table;
pub(crate) mod walk;

pub use config::{Advertise, InterfaceConfig, NextHop, Prefix, Route, RouterConfig, Target};
pub use policy::{PolicyRoute, Take};
pub use table::RouteTable;

use advertise::Telling;
use announce::Announcing;
use detour::Detours;
use icmp::Errors;
use neighbor::Neighbors;

/// A router as the fabric knows it.
#[derive(Debug)]
pub(crate) struct Router {
    pub zone: SwitchId,
    pub interfaces: Vec<InterfaceId>,
    pub table: Arc<RouteTable>,
    pub policies: Arc<[PolicyRoute]>,
    /// Prefixes of IPv6 that stand for the IPv4 world: what goes there is routed as what it stands for.
    pub nat64: Vec<Prefix>,
}

/// What an interface counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Packets that came in by it to be routed.
    pub received: u64,
    /// Packets that left by it after routing.
    pub forwarded: u64,
    /// ICMP errors sent by it.
    pub errors_sent: u64,
    /// ICMP errors not sent because too many were due.
    pub errors_limited: u64,
    /// Times that somebody else claimed one of its addresses.
    pub conflicts: u64,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address and its network.
    pub prefix: Prefix,
    /// Somebody else had it when we came: it is not ours until the interface is set again.
    pub duplicate: bool,
}

/// An interface as it stands, for people.
#[derive(Clone, Debug)]
pub struct InterfaceStatus {
    /// Its router.
    pub router: RouterId,
    /// What it was told to be.
    pub config: InterfaceConfig,
    /// Its addresses, the link-local one included.
    pub addresses: Vec<Address>,
    /// What it counted.
    pub counters: InterfaceCounters,
}

/// An interface as the fabric knows it.
#[derive(Debug)]
pub(crate) struct Interface {
    pub router: RouterId,
    pub config: InterfaceConfig,
    /// Configured ones, then the link-local one made from the MAC where there is IPv6.
    pub addresses: Vec<Address>,
    /// Addresses of other interfaces in the same network: they are reached without asking for their MAC.
    pub peers: Vec<(IpAddr, InterfaceId)>,
    pub announcing: Announcing,
    pub telling: Telling,
    pub errors: Errors,
    pub counters: InterfaceCounters,
}

/// The link-local address made from a MAC (RFC 4291, appendix A).
pub fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

/// fe80::/10.
pub(crate) fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

impl Interface {
    fn new(router: RouterId, config: InterfaceConfig) -> Interface {
        let configured = config.addresses.iter();
        let mut addresses: Vec<Address> = configured.map(|&prefix| Address { prefix, duplicate: false }).collect();
        let has = |wanted: fn(&IpAddr) -> bool| addresses.iter().any(|a| wanted(&a.prefix.address));
        if has(IpAddr::is_ipv6) && !has(is_link_local) {
            let prefix = Prefix { address: link_local(config.mac).into(), length: 64 };
            addresses.push(Address { prefix, duplicate: false });
        }
        Interface {
            router,
            config,
            addresses,
            peers: Vec::new(),
            announcing: Announcing::default(),
            telling: Telling::default(),
            errors: Errors::default(),
            counters: InterfaceCounters::default(),
        }
    }

    /// Whether this is one of its addresses, and nobody else's.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.prefix.address == address && !a.duplicate)
    }

    /// Whether an address is in one of its networks.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.prefix.contains(address))
    }

    /// The address that speaks to `other`: of the network that it is in, else the first that is not link-local.
    pub fn source_for(&self, other: IpAddr) -> Option<IpAddr> {
        let usable = || self.addresses.iter().filter(|a| !a.duplicate).map(|a| a.prefix);
        let near = usable().find(|prefix| prefix.contains(other));
        let same_family = |prefix: &Prefix| prefix.address.is_ipv4() == other.is_ipv4();
        let any = || usable().find(|prefix| same_family(prefix) && !is_link_local(&prefix.address));
        near.or_else(any).or_else(|| usable().find(same_family)).map(|prefix| prefix.address)
    }
}

/// Where frames enter a router: a MAC in a VLAN of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    pub vid: Vid,
    pub mac: MacAddr,
    pub interface: InterfaceId,
    pub zone: SwitchId,
}

/// Replaced tables that wait to be freed.
const RETIRED_MAX: usize = 64;

/// All routers and interfaces, by number.
#[derive(Debug)]
pub(crate) struct Routers {
    pub routers: Vec<Option<Router>>,
    pub interfaces: Vec<Option<Box<Interface>>>,
    /// By switch, in order of VLAN and MAC.
    pub doors: Vec<Vec<Door>>,
    pub neighbors: Neighbors,
    /// What is to be said once the packet at hand is done with.
    pub emissions: Vec<Emission>,
    /// Packets whose neighbour has answered.
    pub released: Vec<Packet>,
    /// What networks hear of interfaces that have gone; sent at the next tick.
    pub farewells: Vec<(SwitchId, Vid, Vec<u8>)>,
    /// Packets that waited for what went away; they end at the next tick.
    pub orphans: Vec<(Packet, DropReason)>,
    /// Tables that were replaced, for their owner to free.
    pub retired: Vec<Arc<RouteTable>>,
    /// Gateways of policy routes that fail open.
    pub detours: Detours,
}

/// Something to be said by an interface to its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emission {
    /// Who has this address? Asked of one MAC, or of all.
    Ask(InterfaceId, IpAddr, Option<MacAddr>),
    /// Does anybody have the address that is ours?
    Probe(InterfaceId, IpAddr),
    /// We have this address.
    Announce(InterfaceId, IpAddr),
    /// We are a router of this network; told to one host, or to all.
    Advertise(InterfaceId, Option<(MacAddr, Ipv6Addr)>),
}

impl Routers {
    pub fn new(seed: u64) -> Routers {
        Routers {
            routers: Vec::new(),
            interfaces: Vec::new(),
            doors: Vec::new(),
            neighbors: Neighbors::new(seed),
            emissions: Vec::new(),
            released: Vec::new(),
            farewells: Vec::new(),
            orphans: Vec::new(),
            retired: Vec::new(),
            detours: Detours::default(),
        }
    }

    #[inline]
    pub fn router(&self, id: RouterId) -> Option<&Router> {
        self.routers.get(usize::from(id.0))?.as_ref()
    }

    #[inline]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0))?.as_deref()
    }

    /// All interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().filter_map(|interface| interface.as_deref())
    }

    #[inline]
    pub fn interface_mut(&mut self, id: InterfaceId) -> Option<&mut Interface> {
        self.interfaces.get_mut(usize::from(id.0))?.as_deref_mut()
    }

    /// The door with this MAC. The question of every packet, so a switch without routers answers at once.
    #[inline]
    pub fn door(&self, switch: SwitchId, vid: Vid, mac: MacAddr) -> Option<&Door> {
        let doors = self.doors.get(usize::from(switch.0))?;
        if doors.is_empty() {
            return None;
        }
        let at = doors.binary_search_by_key(&(vid, mac), |door| (door.vid, door.mac)).ok()?;
        doors.get(at)
    }

    /// All doors in a VLAN of a switch.
    pub fn doors_of(&self, switch: SwitchId, vid: Vid) -> impl Iterator<Item = &Door> {
        let doors = self.doors.get(usize::from(switch.0)).map_or(&[][..], Vec::as_slice);
        doors.iter().filter(move |door| door.vid == vid)
    }

    /// Every door of a switch.
    pub fn doors_on(&self, switch: SwitchId) -> &[Door] {
        self.doors.get(usize::from(switch.0)).map_or(&[], Vec::as_slice)
    }

    /// Nothing waits to be said or sent on.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.emissions.is_empty() && self.released.is_empty()
    }

    /// Packets that wait for neighbours.
    pub fn held(&self) -> usize {
        self.neighbors.held() + self.released.len() + self.orphans.len()
    }

    /// Adds a router or changes it. What stays the same of an interface keeps its neighbours and its addresses' state.
    pub fn set(&mut self, now: Instant, id: RouterId, config: RouterConfig) {
        let index = usize::from(id.0);
        if index >= self.routers.len() {
            self.routers.resize_with(index + 1, || None);
        }
        let old = self.routers.get_mut(index).and_then(Option::take);
        let kept = |interface: &InterfaceId| config.interfaces.iter().any(|(id, _)| id == interface);
        for gone in old.iter().flat_map(|router| &router.interfaces).filter(|interface| !kept(interface)) {
            self.drop_interface(*gone);
        }
        let interfaces = config.interfaces.iter().map(|(id, _)| *id).collect();
        for (interface, wanted) in config.interfaces {
            self.set_interface(now, id, interface, wanted);
        }
        let RouterConfig { zone, table, policies, nat, .. } = config;
        let nat64 = nat.nat64.iter().map(|nat64| nat64.prefix).collect();
        let router = Router { zone, interfaces, table, policies, nat64 };
        if let Some(slot) = self.routers.get_mut(index) {
            *slot = Some(router);
        }
        if let Some(old) = old {
            self.retire(old.table);
        }
        self.watch_gateways();
        self.rebuild();
    }

    /// Keeps a table that was replaced until its owner takes it away, or nobody came for long.
    fn retire(&mut self, table: Arc<RouteTable>) {
        if self.retired.len() < RETIRED_MAX {
            self.retired.push(table);
        }
    }

    /// The addresses of a router.
    pub fn addresses_of(&self, id: RouterId) -> Vec<IpAddr> {
        let interfaces = self.router(id).into_iter().flat_map(|router| &router.interfaces);
        let addresses = interfaces.filter_map(|&id| self.interface(id)).flat_map(|interface| &interface.addresses);
        addresses.map(|address| address.prefix.address).filter(|address| !is_link_local(address)).collect()
    }

    /// Removes a router with its interfaces.
    pub fn remove(&mut self, id: RouterId) {
        let Some(router) = self.routers.get_mut(usize::from(id.0)).and_then(Option::take) else { return };
        router.interfaces.iter().for_each(|&interface| self.drop_interface(interface));
        self.retire(router.table);
        self.watch_gateways();
        self.rebuild();
    }

    fn set_interface(&mut self, now: Instant, router: RouterId, id: InterfaceId, config: InterfaceConfig) {
        let index = usize::from(id.0);
        if index >= self.interfaces.len() {
            self.interfaces.resize_with(index + 1, || None);
        }
        let statics = config.neighbors.clone();
        let Some(slot) = self.interfaces.get_mut(index) else { return };
        match slot {
            Some(known) if known.router == router && known.config.same_place(&config) => {
                if known.config.advertise != config.advertise {
                    let silenced = config.advertise.is_none();
                    self.farewells.extend(if silenced { known.farewell() } else { None });
                    known.telling.begin(now);
                }
                known.config = config;
            }
            _ => {
                self.farewells.extend(slot.as_ref().and_then(|known| known.farewell()));
                let counters = slot.as_ref().map(|known| known.counters).unwrap_or_default();
                let mut interface = Interface { counters, ..Interface::new(router, config) };
                interface.announcing.begin(now);
                interface.telling.begin(now);
                *slot = Some(Box::new(interface));
                self.forget_neighbors(id);
            }
        }
        let waiting = self.neighbors.set_static(now, id, &statics);
        self.released.extend(waiting);
    }

    fn drop_interface(&mut self, id: InterfaceId) {
        if let Some(slot) = self.interfaces.get_mut(usize::from(id.0)) {
            self.farewells.extend(slot.take().and_then(|interface| interface.farewell()));
        }
        self.forget_neighbors(id);
    }

    fn forget_neighbors(&mut self, id: InterfaceId) {
        let waiting = self.neighbors.forget(Some(id));
        self.orphans.extend(waiting.into_iter().map(|packet| (packet, DropReason::NeighborUnresolved)));
    }

    /// Forgets what was learned of neighbours; of one interface, or of all. Returns how many they were.
    pub fn flush_neighbors(&mut self, id: Option<InterfaceId>) -> usize {
        let before = self.neighbors.learned();
        let waiting = self.neighbors.flush(id);
        self.orphans.extend(waiting.into_iter().map(|packet| (packet, DropReason::NeighborUnresolved)));
        before - self.neighbors.learned()
    }

    /// Makes doors and peers anew from the interfaces.
    pub(crate) fn rebuild(&mut self) {
        self.doors.iter_mut().for_each(Vec::clear);
        let mut places: Vec<(SwitchId, Vid, InterfaceId, Vec<IpAddr>)> = Vec::new();
        for (index, interface) in self.interfaces.iter().enumerate() {
            let Some(interface) = interface else { continue };
            let (id, config) = (InterfaceId(index as u16), &interface.config);
            let zone = self.router(interface.router).map_or(SwitchId(SwitchId::FIRST_ZONE), |router| router.zone);
            let door = Door { vid: config.vid, mac: config.mac, interface: id, zone };
            let switch = usize::from(config.switch.0);
            if switch >= self.doors.len() {
                self.doors.resize_with(switch + 1, Vec::new);
            }
            if let Some(doors) = self.doors.get_mut(switch) {
                doors.push(door);
            }
            let addresses = interface.addresses.iter().map(|a| a.prefix.address).collect();
            places.push((config.switch, config.vid, id, addresses));
        }
        self.doors.iter_mut().for_each(|doors| doors.sort_unstable_by_key(|door| (door.vid, door.mac)));
        for (switch, vid, id, _) in &places {
            let near = places.iter().filter(|(s, v, other, _)| (s, v) == (switch, vid) && other != id);
            let peers = near.flat_map(|(_, _, other, addresses)| addresses.iter().map(|address| (*address, *other)));
            let peers = peers.collect();
            if let Some(interface) = self.interface_mut(*id) {
                interface.peers = peers;
            }
        }
    }
}

/// Whether a packet can be routed at all: IP behind at most one tag.
#[inline]
pub(crate) fn is_routable(packet: &Packet) -> bool {
    use weir_wire::numbers::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
    match packet.headers.l3_kind {
        L3::Ipv4 => packet.headers.ether_type == ETHERTYPE_IPV4,
        L3::Ipv6 => packet.headers.ether_type == ETHERTYPE_IPV6,
        L3::Arp | L3::Other => false,
    }
}
