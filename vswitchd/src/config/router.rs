//! Routers as they are wanted.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weir_wire::MacAddr;

use super::is_default;
use super::metadata::{Metadata, metadata};
use super::nat::{Forward, Helper, Masquerade, Nat64, Nptv6, OneToOne};
use super::policy_route::PolicyRoute;
use super::rule::Action;
use super::services::{Dhcp, Dhcp6, Dns};
use super::values::{Mac, one_or_many};

/// What lies between switches: interfaces on them, and routes of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Its name; no switch has it.
    pub name: String,
    /// What happens to routed flows no rule names; absent: as on the strictest of its switches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Action>,
    /// Rule set for routed flows whose rule names none; absent: that of its switches; "none": no inspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect: Option<String>,
    /// Its interfaces.
    #[serde(default, rename = "interface", skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Its routes, beside those to its own networks.
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// What is asked before the routes, in order.
    #[serde(default, rename = "policy_route", skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRoute>,
    /// What goes out under another name.
    #[serde(default, rename = "masquerade", skip_serializing_if = "Vec::is_empty")]
    pub masquerades: Vec<Masquerade>,
    /// Ports of its addresses that belong to hosts inside.
    #[serde(default, rename = "forward", skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    /// Addresses of its that belong to hosts inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_to_one: Vec<OneToOne>,
    /// IPv6 networks that are known outside by another prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nptv6: Vec<Nptv6>,
    /// IPv6 prefixes behind which the IPv4 world is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nat64: Vec<Nat64>,
    /// Protocols that speak of addresses in their messages, which are translated there too.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub helpers: Vec<Helper>,
    /// Names for its networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
}

/// An interface of a router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name within the router.
    pub name: String,
    /// The switch it is on.
    pub switch: String,
    /// VLAN there, 0 for the untagged LAN.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vlan: u16,
    /// Its MAC; absent: made from its name, so that it stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its addresses, each with the length of its network's prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub addresses: Vec<IpNetwork>,
    /// The longest IP packet that leaves by it, in bytes.
    #[serde(default = "default_mtu", skip_serializing_if = "is_default_mtu")]
    pub mtu: u32,
    /// Lower the segment size that TCP connections through it announce to what fits the MTU.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clamp_mss: bool,
    /// Neighbours that are not asked for their MAC.
    #[serde(default, rename = "neighbor", skip_serializing_if = "Vec::is_empty")]
    pub neighbors: Vec<Neighbor>,
    /// Tell its network of the router and its IPv6 prefixes, so that hosts configure themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Advertise>,
    /// Addresses elsewhere for which it answers when it is asked for their MAC (proxy ARP, proxy ND).
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub proxy: Vec<IpNetwork>,
    /// Give its network IPv4 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Dhcp>,
    /// Give its network IPv6 addresses, or tell it of servers, by DHCPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp6: Option<Dhcp6>,
    /// Tell guests of themselves by HTTP at 169.254.169.254; `true`, or a table.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "metadata")]
    pub metadata: Option<Metadata>,
}

/// What a network is told of its router. The prefixes are the interface's networks of 64 bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advertise {
    /// How long the router is a default router without being heard of again, in seconds; 0: it is none.
    #[serde(default = "default_lifetime_s")]
    pub lifetime_s: u16,
    /// Addresses are given by DHCPv6.
    #[serde(default, skip_serializing_if = "is_default")]
    pub managed: bool,
    /// Other things are told by DHCPv6.
    #[serde(default, skip_serializing_if = "is_default")]
    pub other: bool,
    /// Hosts make their addresses from the prefixes.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub autonomous: bool,
    /// How long the prefixes are valid without being heard of again, in seconds.
    #[serde(default = "default_valid_s", skip_serializing_if = "is_default_valid_s")]
    pub valid_s: u32,
    /// How long addresses made from them are used for what is new, in seconds; not longer than they are valid.
    #[serde(default = "default_preferred_s", skip_serializing_if = "is_default_preferred_s")]
    pub preferred_s: u32,
    /// Name servers; absent: the interface's address where the router serves names there.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub dns: Vec<Ipv6Addr>,
    /// Domains in which hosts look for short names; absent: that of the router's names, where it serves them there.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub search: Vec<String>,
}

impl Default for Advertise {
    fn default() -> Advertise {
        Advertise {
            lifetime_s: default_lifetime_s(),
            managed: false,
            other: false,
            autonomous: true,
            valid_s: default_valid_s(),
            preferred_s: default_preferred_s(),
            dns: Vec::new(),
            search: Vec::new(),
        }
    }
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn default_valid_s() -> u32 {
    86_400
}

fn is_default_valid_s(value: &u32) -> bool {
    *value == default_valid_s()
}

fn default_preferred_s() -> u32 {
    14_400
}

fn is_default_preferred_s(value: &u32) -> bool {
    *value == default_preferred_s()
}

fn default_lifetime_s() -> u16 {
    1800
}

impl Default for Interface {
    fn default() -> Interface {
        Interface {
            name: String::new(),
            switch: String::new(),
            vlan: 0,
            mac: None,
            addresses: Vec::new(),
            mtu: default_mtu(),
            clamp_mss: false,
            neighbors: Vec::new(),
            advertise: None,
            dhcp: None,
            dhcp6: None,
            metadata: None,
            proxy: Vec::new(),
        }
    }
}

fn default_mtu() -> u32 {
    1500
}

fn is_default_mtu(mtu: &u32) -> bool {
    *mtu == default_mtu()
}

/// A neighbour that is configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    /// Its address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: Mac,
}

/// A route: `via` one or more gateways, or out of an `interface`, or refused by an `action`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to.
    pub to: IpNetwork,
    /// The next routers; flows are spread over several.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub via: Vec<IpAddr>,
    /// The interface; absent: the one in whose network each gateway is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Drop what takes this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<RouteAction>,
    /// The table it stands in, which policy routes name; absent: the router's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

/// What becomes of packets that are not to be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAction {
    /// Dropped without a word.
    Blackhole,
    /// Dropped; the sender is told that the host is unreachable.
    Unreachable,
    /// Dropped; the sender is told that it is prohibited.
    Prohibit,
}

impl Router {
    /// Whether names are served to the network of one of its interfaces.
    pub fn serves_names(&self, interface: &Interface) -> bool {
        let gives = interface.dhcp.is_some() || interface.dhcp6.is_some();
        let named =
            |dns: &Dns| if dns.interfaces.is_empty() { gives } else { dns.interfaces.contains(&interface.name) };
        self.dns.as_ref().is_some_and(named)
    }

    /// An interface by name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The interface in whose network an address is: the longest prefix.
    pub fn interface_towards(&self, address: IpAddr) -> Option<&Interface> {
        let networks = self.interfaces.iter().flat_map(|i| i.addresses.iter().map(move |network| (i, network)));
        let near = networks.filter(|(_, network)| network.contains(address));
        near.max_by_key(|(_, network)| network.prefix()).map(|(interface, _)| interface)
    }

    /// The MAC of one of its interfaces: the one given, or one made from the names (FNV-1a).
    pub fn mac_of(&self, interface: &Interface) -> MacAddr {
        if let Some(Mac(mac)) = interface.mac {
            return mac;
        }
        let names = self.name.bytes().chain([b'/']).chain(interface.name.bytes());
        let hash = names.fold(0xcbf2_9ce4_8422_2325u64, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let [_, _, _, _, a, b, c, d] = (hash ^ hash >> 32).to_be_bytes();
        // Locally administered.
        MacAddr([0x02, 0x57, a, b, c, d])
    }
}
