//! What a router is told to be.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use weir_wire::{InterfaceId, MacAddr, SwitchId, Vid};

use super::{PolicyRoute, RouteTable};
use crate::nat::NatConfig;

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address; of a network, any of its addresses.
    pub address: IpAddr,
    /// Bits that the network's addresses share: 32 or 128 at most.
    pub length: u8,
}

impl Prefix {
    /// The address in the upper bits of a number, as [`Lpm`](crate::lpm::Lpm) takes it.
    #[inline]
    pub fn wide(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
            IpAddr::V6(v6) => u128::from(v6),
        }
    }

    /// Whether an address is in the network.
    pub fn contains(&self, other: IpAddr) -> bool {
        let shift = 128 - u32::from(self.length.min(128));
        let differs = Prefix::wide(self.address) ^ Prefix::wide(other);
        self.address.is_ipv4() == other.is_ipv4() && (shift == 128 || differs >> shift == 0)
    }

    /// Network and broadcast address of an IPv4 network that has them (RFC 3021: a /31 has not).
    pub fn edges(&self) -> Option<[IpAddr; 2]> {
        let IpAddr::V4(address) = self.address else { return None };
        if self.length > 30 {
            return None;
        }
        let host = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
        let address = u32::from(address);
        Some([IpAddr::V4((address & !host).into()), IpAddr::V4((address | host).into())])
    }
}

/// An interface of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// The switch it is on.
    pub switch: SwitchId,
    /// Its VLAN there; 0 for the untagged LAN.
    pub vid: Vid,
    /// Its MAC; no other interface of this VLAN has it.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: Vec<Prefix>,
    /// The longest IP packet that leaves by it.
    pub mtu: u32,
    /// TCP connections through it are told of its MTU in their maximum segment size.
    pub clamp_mss: bool,
    /// Neighbours that are not asked for.
    pub neighbors: Vec<(IpAddr, MacAddr)>,
    /// What its network is told of the router and its prefixes, where it is.
    pub advertise: Option<Advertise>,
    /// Addresses elsewhere for which it answers when it is asked for their MAC.
    pub proxy: Vec<Prefix>,
}

/// What a network is told of its router (RFC 4861, 6.2.1). The prefixes are those of the interface of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// How long the router is a default router, in seconds; 0: it is none.
    pub lifetime_s: u16,
    /// Addresses are given by DHCPv6.
    pub managed: bool,
    /// Other things are told by DHCPv6.
    pub other: bool,
    /// Hosts make their addresses from the prefixes.
    pub autonomous: bool,
    /// How long these are valid, and preferred, without being told of again, in seconds.
    pub lifetimes_s: (u32, u32),
    /// Name servers.
    pub dns: Vec<Ipv6Addr>,
    /// Domains in which hosts look for short names.
    pub search: Vec<String>,
}

impl Default for InterfaceConfig {
    /// On the untagged LAN of switch 0, with the MTU of Ethernet, and without MAC and addresses.
    fn default() -> InterfaceConfig {
        InterfaceConfig {
            switch: SwitchId(0),
            vid: Vid(0),
            mac: MacAddr::ZERO,
            addresses: Vec::new(),
            mtu: 1500,
            clamp_mss: false,
            neighbors: Vec::new(),
            advertise: None,
            proxy: Vec::new(),
        }
    }
}

impl InterfaceConfig {
    /// Whether neighbours and the state of addresses stay true.
    pub(crate) fn same_place(&self, other: &InterfaceConfig) -> bool {
        (self.switch, self.vid, self.mac) == (other.switch, other.vid, other.mac) && self.addresses == other.addresses
    }
}

/// A router's settings.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Its zone, [`SwitchId::is_zone`]; the same for all routers that meet on a switch.
    pub zone: SwitchId,
    /// Its interfaces.
    pub interfaces: Vec<(InterfaceId, InterfaceConfig)>,
    /// Its routes, compiled.
    pub table: Arc<RouteTable>,
    /// What is asked before them, in order.
    pub policies: Arc<[PolicyRoute]>,
    /// Its address translations.
    pub nat: NatConfig,
}

impl Default for RouterConfig {
    /// No interface, no route.
    fn default() -> RouterConfig {
        RouterConfig {
            zone: SwitchId(SwitchId::FIRST_ZONE),
            interfaces: Vec::new(),
            table: Arc::new(RouteTable::default()),
            policies: Arc::new([]),
            nat: NatConfig::default(),
        }
    }
}

/// A way out of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The interface.
    pub interface: InterfaceId,
    /// The next router; `None` where the destination itself is on the link.
    pub gateway: Option<IpAddr>,
}

/// What becomes of packets that take a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The address is the router's own.
    Local,
    /// The destination is on the link, or behind another router; of several ways, the flow's hash chooses one.
    Via(Vec<NextHop>),
    /// An address of a network that is nobody's: its first and its last.
    Edge,
    /// Dropped without a word.
    Blackhole,
    /// Dropped, and the sender is told that the host is unreachable.
    Unreachable,
    /// Dropped, and the sender is told that it is prohibited.
    Prohibit,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: Prefix,
    /// What becomes of the packets.
    pub target: Target,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.1.2.3/24", "10.1.2.255", "10.1.3.0"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("fd00::1/64", "fd00::ffff:0:0:0", "fd00:0:0:1::"),
            ("::/0", "ffff::", "0.0.0.0"),
        ] {
            assert!(prefix(network).contains(inside.parse().unwrap()), "{inside} is in {network}");
            assert!(!prefix(network).contains(outside.parse().unwrap()), "{outside} is not in {network}");
        }
    }

    #[test]
    fn networks_have_edges_down_to_thirty_bits() {
        let edges = |text: &str| prefix(text).edges().map(|edges| edges.map(|a| a.to_string()));
        assert_eq!(edges("10.1.2.3/24"), Some(["10.1.2.0".into(), "10.1.2.255".into()]));
        assert_eq!(edges("10.1.2.5/30"), Some(["10.1.2.4".into(), "10.1.2.7".into()]));
        assert_eq!(edges("10.1.2.5/31"), None);
        assert_eq!(edges("fd00::1/64"), None);
    }
}
