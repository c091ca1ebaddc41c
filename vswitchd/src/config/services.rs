//! What routers serve their networks: addresses by DHCP and DHCPv6, names by DNS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

use super::is_default;
use super::values::{Mac, one_or_many};

/// The port that name servers listen on.
const DNS_PORT: u16 = 53;

/// Addresses given to guests: "10.0.0.100-10.0.0.199", or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Addresses {
    /// First.
    pub first: IpAddr,
    /// Last; of the same family, not below the first.
    pub last: IpAddr,
}

impl Addresses {
    /// An address is among them.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Addresses, String> {
        let wrong = || format!("\"{text}\" is no range of addresses: write 10.0.0.100-10.0.0.199");
        let address = |t: &str| t.trim().parse::<IpAddr>().map_err(|_| wrong());
        let (first, last) = match text.split_once('-') {
            Some((a, b)) => (address(a)?, address(b)?),
            None => (address(text)?, address(text)?),
        };
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(wrong());
        }
        Ok(Addresses { first, last })
    }
}

/// A name server that questions are passed on to: "192.0.2.53", or with a port, "192.0.2.53:5353", "[2001:db8::53]:5353".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Resolver(pub SocketAddr);

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == DNS_PORT { write!(f, "{}", self.0.ip()) } else { write!(f, "{}", self.0) }
    }
}

impl FromStr for Resolver {
    type Err = String;

    fn from_str(text: &str) -> Result<Resolver, String> {
        let alone = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
        let socket = alone.or_else(|_| text.parse::<SocketAddr>());
        socket.map(Resolver).map_err(|_| format!("\"{text}\" is no name server: write 192.0.2.53 or 192.0.2.53:5353"))
    }
}

macro_rules! as_text {
    ($($kind:ty),+) => {
        $(
            impl TryFrom<String> for $kind {
                type Error = String;

                fn try_from(text: String) -> Result<$kind, String> {
                    text.parse()
                }
            }

            impl From<$kind> for String {
                fn from(value: $kind) -> String {
                    value.to_string()
                }
            }
        )+
    };
}

as_text!(Addresses, Resolver);

/// IPv4 addresses for the network of an interface (DHCP, RFC 2131).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    /// Addresses to give; absent: those of the interface's network that are nobody's.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ranges: Vec<Addresses>,
    /// How long a guest has its address without asking again, in seconds.
    #[serde(default = "default_lease_s")]
    pub lease_s: u32,
    /// The router that guests are told; absent: the interface's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers; absent: the interface's address where the router serves names there.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub dns: Vec<Ipv4Addr>,
    /// The guests' domain; absent: that of the router's names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Domains in which guests look for short names.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub search: Vec<String>,
    /// Time servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ntp: Vec<Ipv4Addr>,
    /// Routes beside the default one.
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<GuestRoute>,
    /// The server that guests boot from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_server: Option<Ipv4Addr>,
    /// The file there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_file: Option<String>,
    /// Any other options.
    #[serde(default, rename = "option", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<GuestOption>,
    /// Addresses that one port may hold.
    #[serde(default = "default_per_port", skip_serializing_if = "is_default_per_port")]
    pub per_port: u32,
    /// Ask the network whether somebody has an address before it is given.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub probe: bool,
    /// Guests that have addresses of their own.
    #[serde(default, rename = "host", skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<GuestHost>,
}

impl Default for Dhcp {
    fn default() -> Dhcp {
        Dhcp {
            ranges: Vec::new(),
            lease_s: default_lease_s(),
            gateway: None,
            dns: Vec::new(),
            domain: None,
            search: Vec::new(),
            ntp: Vec::new(),
            routes: Vec::new(),
            next_server: None,
            boot_file: None,
            options: Vec::new(),
            per_port: default_per_port(),
            probe: true,
            hosts: Vec::new(),
        }
    }
}

/// A route that guests are told of (RFC 3442).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestRoute {
    /// Where to.
    pub to: Ipv4Network,
    /// The next router.
    pub via: Ipv4Addr,
}

/// An option by its number; exactly one of `text`, `hex` and `addresses` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestOption {
    /// Its number.
    pub code: u8,
    /// Its bytes as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its bytes in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// Its bytes as addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub addresses: Vec<Ipv4Addr>,
}

impl GuestOption {
    /// Its bytes; `None` where its form is wrong.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.text, &self.hex, &self.addresses[..]) {
            (Some(text), None, []) => Some(text.clone().into_bytes()),
            (None, Some(hex), []) => unhex(hex),
            (None, None, addresses @ [_, ..]) => Some(addresses.iter().flat_map(|a| a.octets()).collect()),
            _ => None,
        }
    }
}

/// Bytes from hexadecimal digits, which colons may part.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (digits.len().is_multiple_of(2)).then(|| digits.chunks(2).map(pair).collect()).flatten()
}

/// A guest that has an address or a name of its own. All that is given of `port`, `mac` and `id` must be as it is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestHost {
    /// Its name, which it is told, and by which others find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Its MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// What it calls itself, in hexadecimal digits: its client identifier (option 61), of DHCPv6 its DUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The file that it is given as its user data, where metadata is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Keys that it is to let in by SSH, as lines of `authorized_keys`, where metadata is served.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ssh_keys: Vec<String>,
}

/// IPv6 addresses for the network of an interface (DHCPv6, RFC 8415). Without ranges and hosts it tells of servers only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dhcp6 {
    /// Addresses to give.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ranges: Vec<Addresses>,
    /// How long a guest has its address without asking again, in seconds.
    #[serde(default = "default_lease_s")]
    pub lease_s: u32,
    /// Name servers; absent: the interface's address where the router serves names there.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub dns: Vec<Ipv6Addr>,
    /// Domains in which guests look for short names; absent: that of the router's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub search: Vec<String>,
    /// Addresses that one port may hold.
    #[serde(default = "default_per_port", skip_serializing_if = "is_default_per_port")]
    pub per_port: u32,
    /// Guests that have addresses of their own.
    #[serde(default, rename = "host", skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<GuestHost>,
}

impl Default for Dhcp6 {
    fn default() -> Dhcp6 {
        Dhcp6 {
            ranges: Vec::new(),
            lease_s: default_lease_s(),
            dns: Vec::new(),
            search: Vec::new(),
            per_port: default_per_port(),
            hosts: Vec::new(),
        }
    }
}

/// Names for the networks of a router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// Interfaces whose networks may ask; absent: those that give addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub interfaces: Vec<String>,
    /// The guests' domain. Guests are found there by the names they give, and as their port is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Name servers that are asked for all other names, by the host's own way; absent: other names are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub forward: Vec<Resolver>,
    /// Names beside those of guests.
    #[serde(default, rename = "record", skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<NameRecord>,
    /// Answers that are remembered.
    #[serde(default = "default_cache", skip_serializing_if = "is_default_cache")]
    pub cache: u32,
    /// Questions a second that one port may ask.
    #[serde(default = "default_rate", skip_serializing_if = "is_default_rate")]
    pub rate: u32,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns {
            interfaces: Vec::new(),
            domain: None,
            forward: Vec::new(),
            records: Vec::new(),
            cache: default_cache(),
            rate: default_rate(),
        }
    }
}

/// A name and what it stands for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameRecord {
    /// The name; without a dot it is one of the guests' domain.
    pub name: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub addresses: Vec<IpAddr>,
    /// The name it is another name of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// Texts.
    #[serde(default, skip_serializing_if = "is_default", deserialize_with = "one_or_many")]
    pub text: Vec<String>,
}

fn default_lease_s() -> u32 {
    3600
}

fn default_per_port() -> u32 {
    16
}

fn is_default_per_port(value: &u32) -> bool {
    *value == default_per_port()
}

fn default_cache() -> u32 {
    10_000
}

fn is_default_cache(value: &u32) -> bool {
    *value == default_cache()
}

fn default_rate() -> u32 {
    100
}

fn is_default_rate(value: &u32) -> bool {
    *value == default_rate()
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}
