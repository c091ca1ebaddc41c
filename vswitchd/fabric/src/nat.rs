//! Network address translation at the edge of routers.
//!
//! What comes in for an outside address is given its inside destination before stop 4; what goes out is given its
//! outside source after stop 6. So flows, rules and inspection only ever see the true client and the true server.
//!
//! *Masquerading* gives flows that go out by an interface one of its addresses and a port of a range, the same port where
//! it is free. *Forwarding* gives what comes for a port of an outside address to a host inside. *One to one* joins an
//! outside address to an inside one, all ports. Hosts that reach one of their own kind by its outside address are
//! masqueraded too, so that the answer comes back the same way ("hairpin"). *NPTv6* gives a whole IPv6 network another
//! prefix, *NAT64* lets hosts that have IPv6 alone reach IPv4 servers. ICMP errors are translated with what they quote,
//! and where a helper is asked for what FTP says of addresses, and the answers of TFTP.
//!
//! Limits: [`BINDINGS_MAX`](bindings::BINDINGS_MAX) bindings; a masquerade may bound those of each inside address. Which
//! port is tried first is decided by the seed and the ends: the same inputs, the same ports.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use weir_filter::spec::Timeouts;
use weir_wire::{DropReason, Instant, InterfaceId, Packet, RouterId, SwitchId};

mod alarm;
pub mod bindings;
mod blocks;
pub mod ends;
mod errors;
mod family;
mod ftp;
mod joined;
pub mod kept;
mod naming;
mod nat64;
pub mod prefix;
mod rename;
mod short;
mod tftp;
mod trace;

pub use nat64::Nat64;
pub use prefix::Nptv6;
pub(crate) use rename::Rename;
pub(crate) use short::Inward;

use naming::Terms;

use crate::router::Prefix;
use crate::router::neighbor::Seeded;
use alarm::{Alarms, Scarce};
use bindings::{BindingEntry, Bindings, Names, Room, Way};
use blocks::Blocks;
use ends::{End, Ends, Side, read, write};

/// Ports that are tried before a masquerade counts as exhausted.
const TRIES: u32 = 256;

/// What goes out by an interface bears one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// The interface.
    pub interface: InterfaceId,
    /// Inside addresses it is for; all where empty.
    pub from: Vec<Prefix>,
    /// The outside address, by family; the interface's own where none of the family is given.
    pub addresses: Vec<IpAddr>,
    /// Ports that are given.
    pub ports: RangeInclusive<u16>,
    /// One port for an inside end, whoever it speaks to (RFC 4787, 4.1), so that others can find it there.
    pub endpoint_independent: bool,
    /// Bindings of one inside address at most; 0 for no limit of its own.
    pub limit_each: u32,
    /// Each inside address has so many of the ports for itself; 0: all share them.
    pub ports_each: u16,
}

impl Default for Masquerade {
    /// All of interface 0, by its own address and any port that is not reserved.
    fn default() -> Masquerade {
        Masquerade {
            interface: InterfaceId(0),
            from: Vec::new(),
            addresses: Vec::new(),
            ports: 1024..=u16::MAX,
            endpoint_independent: false,
            limit_each: 0,
            ports_each: 0,
        }
    }
}

/// A port of an outside address that belongs to a host inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// The outside address.
    pub address: IpAddr,
    /// Its ports.
    pub ports: RangeInclusive<u16>,
    /// The host inside.
    pub to: IpAddr,
    /// The port there that the first of `ports` becomes; the others follow.
    pub to_port: u16,
}

/// An outside address that belongs to a host inside, with all its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneToOne {
    /// The outside address.
    pub outside: IpAddr,
    /// The inside address.
    pub inside: IpAddr,
    /// The interface by which the outside is reached.
    pub interface: InterfaceId,
}

/// A router's translations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatConfig {
    /// Masquerades; the first that matches is taken.
    pub masquerades: Vec<Masquerade>,
    /// Forwarded ports.
    pub forwards: Vec<Forward>,
    /// Addresses joined one to one.
    pub one_to_one: Vec<OneToOne>,
    /// Networks with another prefix outside.
    pub nptv6: Vec<Nptv6>,
    /// IPv6 prefixes behind which the IPv4 world is.
    pub nat64: Vec<Nat64>,
    /// What FTP says of addresses is translated too.
    pub ftp: bool,
    /// Servers of TFTP may answer by other ports than they were asked at.
    pub tftp: bool,
}

/// What translation has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatCounters {
    /// Bindings made.
    pub made: u64,
    /// Flows refused because no port was free.
    pub exhausted: u64,
    /// Flows refused because their inside address had its share.
    pub over_limit: u64,
    /// Flows refused because the table was full.
    pub full: u64,
}

/// Where a packet leaves, as far as translation cares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub zone: SwitchId,
    pub router: RouterId,
    /// The interface it came in by, and the one it leaves by.
    pub from: InterfaceId,
    pub to: InterfaceId,
    /// The address of that interface that speaks to the destination.
    pub own: Option<IpAddr>,
    /// It goes the way of its flow's first packet.
    pub opens: bool,
}

/// What a packet of a settled flow is renamed to when it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renaming {
    /// It keeps its name.
    None,
    /// To the outside name of the binding at this place.
    Bound(u32),
    /// To that of a joined address.
    Joined(End),
    /// That has to be looked at.
    Unknown,
}

/// A router that translates.
#[derive(Debug)]
pub(crate) struct Edge {
    pub router: RouterId,
    pub zone: SwitchId,
    pub config: NatConfig,
    /// The router's own addresses: whoever speaks to one of them may mean a host behind it.
    own: Vec<IpAddr>,
}

/// All translations of all routers.
#[derive(Debug)]
pub(crate) struct Nat {
    pub edges: Vec<Edge>,
    /// Outside addresses by zone, in order.
    outside: Vec<(u16, IpAddr)>,
    /// A bit of each of them.
    outside_bits: u64,
    /// Networks with another prefix outside, by zone.
    networks: Vec<(u16, Nptv6)>,
    /// Zones in which FTP is attended to.
    ftp_zones: Vec<u16>,
    /// Zones in which TFTP is.
    tftp_zones: Vec<u16>,
    /// Joined addresses by zone and outside address, in order, and by zone and inside address.
    joined: [Vec<(u16, IpAddr, OneToOne)>; 2],
    /// More is looked at in first packets somewhere than their ends: FTP, TFTP, another version of IP.
    helps: bool,
    bindings: Bindings,
    blocks: Blocks,
    hash: Seeded,
    /// Counts changes of what is configured.
    edits: u32,
    /// Of the IPv4 packets that were of IPv6.
    identification: u16,
    pub counters: NatCounters,
    pub alarms: Alarms,
}

impl Nat {
    pub fn new(seed: u64) -> Nat {
        Nat {
            edges: Vec::new(),
            outside: Vec::new(),
            outside_bits: 0,
            networks: Vec::new(),
            ftp_zones: Vec::new(),
            tftp_zones: Vec::new(),
            joined: [Vec::new(), Vec::new()],
            helps: false,
            bindings: Bindings::new(seed),
            blocks: Blocks::default(),
            hash: Seeded(seed ^ 2),
            edits: 0,
            identification: seed as u16,
            counters: NatCounters::default(),
            alarms: Alarms::default(),
        }
    }

    /// No router translates anything.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.outside.is_empty()
    }

    /// There is room for all bindings there may be.
    pub fn has_room(&self) -> bool {
        self.bindings.has_room()
    }

    /// Uses room for bindings that was made elsewhere; returns what it had before.
    pub fn use_room(&mut self, room: Room) -> Room {
        self.bindings.use_room(room)
    }

    /// A router's translations; `own` are its addresses. Bindings to outside addresses that stay, stay.
    pub fn set(&mut self, router: RouterId, zone: SwitchId, config: NatConfig, own: Vec<IpAddr>) {
        self.edits = self.edits.wrapping_add(1);
        self.edges.retain(|edge| edge.router != router);
        if config != NatConfig::default() {
            self.edges.push(Edge { router, zone, config, own });
            self.edges.sort_by_key(|edge| edge.router);
        }
        self.blocks.clear();
        if !self.edges.is_empty() {
            self.bindings.reserve();
        }
        let helped = |config: &NatConfig| config.ftp || config.tftp || !config.nat64.is_empty();
        self.helps = self.edges.iter().any(|edge| helped(&edge.config));
        let before = std::mem::take(&mut self.outside);
        for Edge { zone, config, own, .. } in &self.edges {
            let masquerades = config.masquerades.iter().flat_map(|m| &m.addresses);
            let forwards = config.forwards.iter().map(|forward| &forward.address);
            let joined = config.one_to_one.iter().map(|joined| &joined.outside);
            let sixes = config.nat64.iter().map(|nat64| &nat64.address);
            let all = own.iter().chain(masquerades).chain(forwards).chain(joined).chain(sixes);
            self.outside.extend(all.map(|address| (zone.0, *address)));
        }
        self.outside.sort_unstable();
        self.outside.dedup();
        self.note_outside();
        let networks = |e: &Edge| e.config.nptv6.iter().map(|n| (e.zone.0, *n)).collect::<Vec<_>>();
        self.networks = self.edges.iter().flat_map(networks).collect();
        let zones = |wanted: fn(&NatConfig) -> bool| {
            let with = self.edges.iter().filter(|e| wanted(&e.config));
            with.map(|e| e.zone.0).collect::<Vec<u16>>()
        };
        (self.ftp_zones, self.tftp_zones) = (zones(|config| config.ftp), zones(|config| config.tftp));
        let all = || self.edges.iter().flat_map(|e| e.config.one_to_one.iter().map(|joined| (e.zone.0, *joined)));
        self.joined = [
            all().map(|(zone, joined)| (zone, joined.outside, joined)).collect(),
            all().map(|(zone, joined)| (zone, joined.inside, joined)).collect(),
        ];
        self.joined.iter_mut().for_each(|list| list.sort_by_key(|(zone, address, _)| (*zone, *address)));
        let outside = &self.outside;
        // Bindings are many, and changes that take an address away are few.
        if before.iter().all(|known| outside.binary_search(known).is_ok()) {
            return;
        }
        self.bindings.forget(|names| outside.binary_search(&(names.zone, names.outside.0)).is_err());
    }

    /// Gives a packet that came to a router its inside destination; `true` where it was changed.
    pub fn inward(&mut self, now: Instant, zone: SwitchId, packet: &mut Packet, timeouts: &Timeouts) -> bool {
        let Some((_, to)) = packet.addresses() else { return false };
        if !self.is_outside(zone, to) {
            return false;
        }
        let Some(ends) = read(packet) else { return self.error_inward(zone, packet).is_some() };
        if self.inward64(now, zone, packet, &ends).is_some() {
            return true;
        }
        let inside = self.inside_of(now, zone, &ends, packet.headers.tcp_flags, timeouts);
        let Some(inside) = inside.filter(|inside| inside.0.is_ipv4() == to.is_ipv4()) else { return false };
        if !self.ftp_zones.is_empty() {
            self.ftp_inward(zone, &ends, packet);
        }
        write(packet, Side::Destination, inside).is_some()
    }

    fn inside_of(&mut self, now: Instant, zone: SwitchId, ends: &Ends, flags: u8, timeouts: &Timeouts) -> Option<End> {
        let Ends { protocol, source, destination } = *ends;
        if let Some(names) = self.bindings.pass(now, Way::In, (zone.0, protocol, destination, source), flags) {
            return Some(names.inside);
        }
        if let Some(joined) = self.joined_outside(zone, destination.0) {
            return Some((joined.inside, destination.1));
        }
        let is_it =
            |f: &&Forward| f.protocol == protocol && f.address == destination.0 && f.ports.contains(&destination.1);
        let edges = self.edges.iter().filter(|edge| edge.zone == zone);
        let forward = edges.flat_map(|edge| &edge.config.forwards).find(is_it)?;
        let inside = (forward.to, forward.to_port.saturating_add(destination.1 - forward.ports.start()));
        let names = Names { zone: zone.0, protocol, inside, outside: destination, remote: source };
        // A conversation that reached the host by its inside address has that name already: it keeps it.
        if !self.bindings.is_free(now, &names, timeouts) || !self.bindings.add(now, names, Way::In, timeouts) {
            self.counters.full += 1;
            self.run_short(now, Scarce::Room, (zone, ends), None);
            return None;
        }
        self.counters.made += 1;
        self.attend(&names);
        Some(inside)
    }

    /// Gives a packet that leaves a router its outside source.
    ///
    /// # Errors
    /// Why it has none and must not leave.
    pub fn outward(
        &mut self,
        now: Instant,
        exit: &Exit,
        packet: &mut Packet,
        timeouts: &Timeouts,
    ) -> Result<(), DropReason> {
        if let Some(left) = self.outward64(now, exit, packet, timeouts) {
            return left;
        }
        let Some(ends) = read(packet) else {
            self.error_outward(exit.zone, packet);
            return Ok(());
        };
        let Ends { protocol, source, destination } = ends;
        let at = (exit.zone.0, protocol, source, destination);
        if let Some(names) = self.bindings.pass(now, Way::Out, at, packet.headers.tcp_flags) {
            if !self.ftp_zones.is_empty() {
                self.ftp_outward(now, &names, &ends, packet, timeouts);
            }
            write(packet, Side::Source, names.outside);
            return Ok(());
        }
        if let Some(outside) = self.named_anew(now, exit, &ends, timeouts)? {
            write(packet, Side::Source, outside);
        }
        Ok(())
    }

    /// Gives a packet of our own, an answer to a packet that was translated, the names that its receiver knows.
    pub fn reply(&mut self, zone: SwitchId, packet: &mut Packet) {
        if self.reply64(zone, packet).is_some() {
            return;
        }
        let Some(Ends { protocol, source, destination }) = read(packet) else {
            self.error_outward(zone, packet);
            return;
        };
        if let Some(names) = self.bindings.find(Way::Out, (zone.0, protocol, source, destination)) {
            write(packet, Side::Source, names.outside);
        }
    }

    pub fn tick(&mut self, now: Instant, timeouts: &Timeouts) {
        self.bindings.tick(now, timeouts);
    }

    /// Bindings in use.
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Bindings as they stand, `limit` at most.
    pub fn list(&self, now: Instant, limit: usize) -> Vec<BindingEntry> {
        self.bindings.list(now, limit)
    }

    /// Forgets all bindings; returns how many they were.
    pub fn flush(&mut self) -> usize {
        self.bindings.forget(|_| true)
    }
}
