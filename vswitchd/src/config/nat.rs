//! Address translation at the edge of a router, as it is wanted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv6Network};
use serde::{Deserialize, Serialize};

use super::check::Problems;
use super::is_default;
use super::router::Router;
use super::values::{Protocol, Range, one_or_many};

/// Forwarded ports and joined addresses of one router at most.
const RULES_MAX: usize = 4096;

/// What goes out by an interface bears one of its addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masquerade {
    /// The interface.
    pub interface: String,
    /// Inside addresses it is for; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub from: Vec<IpNetwork>,
    /// The outside addresses, one of a family; the interface's own where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub addresses: Vec<IpAddr>,
    /// Ports that are given.
    #[serde(default = "default_ports")]
    pub ports: Range,
    /// One port for an inside end, whoever it speaks to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub endpoint_independent: bool,
    /// Flows of one inside address at most; 0 for no limit of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit_each: u32,
    /// Each inside address has so many of the ports for itself; 0: all share them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ports_each: u16,
}

fn default_ports() -> Range {
    Range { first: 1024, last: u16::MAX }
}

impl Default for Masquerade {
    fn default() -> Masquerade {
        Masquerade {
            interface: String::new(),
            from: Vec::new(),
            addresses: Vec::new(),
            ports: default_ports(),
            endpoint_independent: false,
            limit_each: 0,
            ports_each: 0,
        }
    }
}

/// Ports of an outside address that belong to a host inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The outside address: one of the router's own.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Range,
    /// The host inside.
    pub to: IpAddr,
    /// The port there that the first of `ports` becomes; the same where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<u16>,
}

/// An outside address that belongs to a host inside.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneToOne {
    /// The outside address: one of the router's own.
    pub outside: IpAddr,
    /// The inside address.
    pub inside: IpAddr,
}

/// An IPv6 network that is known outside by another prefix of the same length (RFC 6296). Nothing is remembered: each
/// address has its own outside name.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nptv6 {
    /// The network inside.
    pub inside: IpNetwork,
    /// The prefix it has outside.
    pub outside: IpNetwork,
}

/// An IPv6 prefix behind which the IPv4 world is (NAT64, RFC 6146): hosts that have IPv6 alone reach IPv4 servers by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nat64 {
    /// The prefix, of 32, 40, 48, 56, 64 or 96 bits (RFC 6052, 2.2).
    #[serde(default = "well_known_prefix")]
    pub prefix: IpNetwork,
    /// The interface by which the IPv4 world is reached.
    pub interface: String,
    /// The IPv4 address that hosts have there; the interface's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Ports that are given.
    #[serde(default = "default_ports")]
    pub ports: Range,
    /// Flows of one inside address at most; 0 for no limit of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit_each: u32,
}

/// 64:ff9b::/96 (RFC 6052, 2.1).
pub fn well_known_prefix() -> IpNetwork {
    let address = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
    Ipv6Network::new(address, 96).map_or(IpAddr::V6(address).into(), IpNetwork::V6)
}

/// A protocol that speaks of addresses in its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Helper {
    /// FTP, port 21: PORT, EPRT and the answers to PASV and EPSV.
    Ftp,
    /// TFTP, port 69: servers answer by other ports than they were asked at.
    Tftp,
}

impl Router {
    fn check_nptv6(&self, problems: &mut Problems) {
        for (at, wanted) in self.nptv6.iter().enumerate() {
            let Nptv6 { inside, outside } = wanted;
            let object = || format!("router {}: nptv6 {outside}", self.name);
            let both = inside.is_ipv6() && outside.is_ipv6() && inside.prefix() == outside.prefix();
            problems.unless(both && (1..=64).contains(&inside.prefix()), || {
                format!("{}: give two IPv6 prefixes of the same length, 64 bits at most", object())
            });
            let meets = |a: &IpNetwork, b: &IpNetwork| a.contains(b.network()) || b.contains(a.network());
            let twice = self.nptv6.iter().take(at).any(|o| meets(&o.inside, inside) || meets(&o.outside, outside));
            problems.unless(!twice, || format!("{}: it overlaps another", object()));
            problems.unless(self.nptv6_interface(wanted).is_some(), || {
                format!("{}: no interface has an address in {outside}, nor a default route; add one", object())
            });
        }
    }

    /// The interface by which the outside is reached: the one with an address there, else that of the default route.
    pub fn nptv6_interface(&self, wanted: &Nptv6) -> Option<&super::Interface> {
        let in_it = |interface: &&super::Interface| interface.addresses.iter().any(|a| wanted.outside.contains(a.ip()));
        self.interfaces.iter().find(in_it).or_else(|| {
            let route = self.routes.iter().find(|route| route.to.is_ipv6() && route.to.prefix() == 0)?;
            match (&route.interface, route.via.first()) {
                (Some(name), _) => self.interface(name),
                (None, Some(gateway)) => self.interface_towards(*gateway),
                (None, None) => None,
            }
        })
    }

    fn check_nat64(&self, problems: &mut Problems) {
        for (at, wanted) in self.nat64.iter().enumerate() {
            let Nat64 { prefix, interface, address, ports, .. } = wanted;
            let object = || format!("router {}: nat64 {prefix}", self.name);
            problems.unless(prefix.is_ipv6() && matches!(prefix.prefix(), 32 | 40 | 48 | 56 | 64 | 96), || {
                format!("{}: give an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits", object())
            });
            let twice = self.nat64.iter().take(at).any(|other| other.prefix.network() == prefix.network());
            problems.unless(!twice, || format!("{}: it is there already", object()));
            problems.unless(ports.first > 0, || format!("{}: port 0 cannot be given", object()));
            let Some(interface) = self.interface(interface) else {
                problems.add(format!("{}: there is no interface \"{interface}\"", object()));
                continue;
            };
            let own = |known: &IpNetwork| address.map_or(known.is_ipv4(), |address| known.ip() == address);
            problems.unless(interface.addresses.iter().any(own), || {
                format!("{}: interface {} has no such IPv4 address; add it there", object(), interface.name)
            });
        }
    }

    /// The interface that has an address.
    pub fn interface_with(&self, address: IpAddr) -> Option<&super::Interface> {
        self.interfaces.iter().find(|interface| interface.addresses.iter().any(|known| known.ip() == address))
    }

    /// It remembers what it translates.
    pub fn translates(&self) -> bool {
        self.translations() > self.nptv6.len()
    }

    fn translations(&self) -> usize {
        let networks = self.nptv6.len() + self.nat64.len();
        self.forwards.len() + self.one_to_one.len() + self.masquerades.len() + networks
    }

    pub(super) fn check_nat(&self, problems: &mut Problems) {
        let rules = self.translations();
        self.check_nptv6(problems);
        self.check_nat64(problems);
        problems.unless(rules <= RULES_MAX, || {
            format!("router {}: {rules} translations are more than the {RULES_MAX} a router takes", self.name)
        });
        self.masquerades.iter().for_each(|masquerade| self.check_masquerade(masquerade, problems));
        for (at, forward) in self.forwards.iter().enumerate() {
            let before = self.forwards.get(..at).unwrap_or(&[]);
            self.check_forward(forward, before, problems);
        }
        for (at, joined) in self.one_to_one.iter().enumerate() {
            let OneToOne { outside, inside } = *joined;
            let object = || format!("router {}: one_to_one {outside}", self.name);
            self.check_outside(&object, outside, inside, problems);
            let twice = self.one_to_one.iter().take(at).any(|other| other.outside == outside || other.inside == inside);
            problems.unless(!twice, || format!("{}: {outside} or {inside} is joined already", object()));
        }
    }

    fn check_masquerade(&self, masquerade: &Masquerade, problems: &mut Problems) {
        let name = &masquerade.interface;
        let object = || format!("router {}: masquerade {name}", self.name);
        let Some(interface) = self.interface(name) else {
            return problems.add(format!("{}: there is no interface \"{name}\"", object()));
        };
        for address in &masquerade.addresses {
            problems.unless(interface.addresses.iter().any(|known| known.ip() == *address), || {
                format!("{}: {address} is no address of the interface; add it there", object())
            });
        }
        for v4 in [true, false] {
            let family = masquerade.addresses.iter().filter(|address| address.is_ipv4() == v4);
            problems.unless(family.count() <= 1, || format!("{}: give one address of a family", object()));
        }
        let count = u32::from(masquerade.ports.last) + 1 - u32::from(masquerade.ports.first);
        problems.unless(u32::from(masquerade.ports_each) <= count, || {
            format!("{}: ports_each = {} is more than the {count} ports there are", object(), masquerade.ports_each)
        });
        problems.unless(masquerade.ports.first > 0, || format!("{}: port 0 cannot be given", object()));
    }

    fn check_forward(&self, forward: &Forward, before: &[Forward], problems: &mut Problems) {
        let Forward { protocol, address, ports, to, to_port } = forward;
        let object = || format!("router {}: forward {protocol} {address}:{ports}", self.name);
        problems.unless(matches!(protocol.0, 6 | 17), || format!("{}: protocol is tcp or udp", object()));
        self.check_outside(&object, *address, *to, problems);
        let last = u32::from(to_port.unwrap_or(ports.first)) + u32::from(ports.last - ports.first);
        problems.unless(last <= u32::from(u16::MAX) && ports.first > 0, || {
            format!("{}: there are no such ports at {to}", object())
        });
        let meets = |other: &&Forward| {
            (other.protocol, other.address) == (*protocol, *address)
                && other.ports.first <= ports.last
                && ports.first <= other.ports.last
        };
        if let Some(other) = before.iter().find(meets) {
            problems.add(format!("{}: the ports {} are forwarded already", object(), other.ports));
        }
    }

    fn check_outside(&self, object: &dyn Fn() -> String, outside: IpAddr, inside: IpAddr, problems: &mut Problems) {
        problems.unless(self.interface_with(outside).is_some(), || {
            format!("{}: {outside} is no address of the router; add it to an interface", object())
        });
        problems.unless(outside.is_ipv4() == inside.is_ipv4(), || {
            format!("{}: {inside} is of the other address family", object())
        });
        problems.unless(self.interface_with(inside).is_none(), || {
            format!("{}: {inside} is an address of the router itself", object())
        });
    }
}
