//! What the routers of a state serve, made ready to answer by: the state's texts as values, its absences filled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::Name;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use weir_wire::{InterfaceId, MacAddr, PortId};

use super::leases::Place;
use crate::config::{Addresses, Config, Dhcp, Dhcp6, GuestHost, Interface, Metadata, Router, unhex};
use crate::state::Ids;

/// A guest's own address and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The port it must be behind.
    pub port: Option<String>,
    /// The MAC it must have.
    pub mac: Option<MacAddr>,
    /// What it must call itself.
    pub id: Option<Vec<u8>>,
    /// Its name.
    pub name: Option<String>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The file of its user data.
    pub user_data: Option<String>,
    /// Keys that it lets in.
    pub ssh_keys: Vec<String>,
}

/// Who asks for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest<'a> {
    /// The port that it asks by.
    pub port: &'a str,
    /// Its MAC.
    pub mac: MacAddr,
    /// What it calls itself, empty where it does not.
    pub id: &'a [u8],
}

/// Bytes that DHCPv6 puts behind a guest's name for each of its addresses (IAID).
const IAID: usize = 4;

impl Guest<'_> {
    /// It calls itself so, be it for one of its addresses.
    fn is_called(&self, id: &[u8]) -> bool {
        self.id == id || self.id.len() == id.len() + IAID && self.id.starts_with(id)
    }

    /// What its lease is kept under. The port is part of it: nobody takes the lease of a guest on another port by saying
    /// that it is that guest.
    pub fn client(&self) -> Vec<u8> {
        let id = if self.id.is_empty() { &self.mac.0[..] } else { self.id };
        [self.port.as_bytes(), &[0], id].concat()
    }
}

impl Host {
    /// Whether a guest is this one.
    pub fn is(&self, guest: &Guest<'_>) -> bool {
        self.port.as_ref().is_none_or(|port| port == guest.port)
            && self.mac.is_none_or(|mac| mac == guest.mac)
            && self.id.as_ref().is_none_or(|id| guest.is_called(id))
    }
}

/// The host that a guest is, where it is one.
pub fn host_of<'a>(hosts: &'a [Host], guest: &Guest<'_>) -> Option<&'a Host> {
    hosts.iter().find(|host| host.is(guest))
}

/// IPv4 addresses for the network of an interface.
#[derive(Clone, Debug)]
pub struct Served4 {
    /// Where.
    pub place: Place,
    /// The interface's MAC.
    pub mac: MacAddr,
    /// Its address and network.
    pub network: Ipv4Network,
    /// Its MTU.
    pub mtu: u32,
    /// What is wanted.
    pub config: Dhcp,
    /// Ranges of addresses to give.
    pub ranges: Vec<Addresses>,
    /// Addresses in them that are not given: the router's, the hosts'.
    pub taken: BTreeSet<IpAddr>,
    /// Guests with addresses of their own.
    pub hosts: Vec<Host>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The guests' domain.
    pub domain: Option<String>,
    /// Domains to look in.
    pub search: Vec<Name>,
}

/// IPv6 addresses for the network of an interface.
#[derive(Clone, Debug)]
pub struct Served6 {
    /// Where.
    pub place: Place,
    /// The interface's MAC.
    pub mac: MacAddr,
    /// Its networks.
    pub networks: Vec<Ipv6Network>,
    /// What is wanted.
    pub config: Dhcp6,
    /// Addresses that are not given: the router's, the hosts'.
    pub taken: BTreeSet<IpAddr>,
    /// Guests with addresses of their own.
    pub hosts: Vec<Host>,
    /// Name servers.
    pub dns: Vec<Ipv6Addr>,
    /// Domains to look in.
    pub search: Vec<Name>,
}

/// What an interface serves.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its router, by name.
    pub router: String,
    /// Where it is.
    pub place: Place,
    /// DHCP.
    pub dhcp: Option<Arc<Served4>>,
    /// DHCPv6.
    pub dhcp6: Option<Arc<Served6>>,
    /// DNS.
    pub dns: bool,
    /// Metadata.
    pub metadata: Option<Arc<Metadata>>,
}

/// What all routers serve, and the names of ports.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// The state's number.
    pub revision: u64,
    /// By interface.
    pub interfaces: BTreeMap<u16, Served>,
    /// Names of ports.
    pub ports: BTreeMap<u16, String>,
}

impl Catalogue {
    /// What a state asks for.
    pub fn of(config: &Config, ids: &Ids, revision: u64) -> Catalogue {
        let mut catalogue = Catalogue { revision, ..Catalogue::default() };
        for (router, interface) in config.routers.iter().flat_map(|r| r.interfaces.iter().map(move |i| (r, i))) {
            let dns = router.serves_names(interface);
            if let Some(id) = ids.interface(&router.name, &interface.name)
                && (interface.dhcp.is_some() || interface.dhcp6.is_some() || dns || interface.metadata.is_some())
            {
                let dhcp = interface.dhcp.as_ref().and_then(|wanted| served4(router, interface, wanted)).map(Arc::new);
                let dhcp6 = interface.dhcp6.as_ref().map(|wanted| Arc::new(served6(router, interface, wanted)));
                let metadata = interface.metadata.clone().map(Arc::new);
                let place = place(&router.name, &interface.name);
                let served = Served { router: router.name.clone(), place, dhcp, dhcp6, dns, metadata };
                catalogue.interfaces.insert(id.0, served);
            }
        }
        catalogue.ports = ids.ports().map(|(name, id)| (id.0, name.to_owned())).collect();
        catalogue
    }

    /// What an interface serves.
    pub fn interface(&self, id: InterfaceId) -> Option<&Served> {
        self.interfaces.get(&id.0)
    }

    /// A port's name.
    pub fn port(&self, id: PortId) -> Option<&str> {
        self.ports.get(&id.0).map(String::as_str)
    }

    /// A port's number.
    pub fn port_named(&self, name: &str) -> Option<PortId> {
        self.ports.iter().find(|(_, known)| *known == name).map(|(id, _)| PortId(*id))
    }
}

/// The place of an interface.
pub fn place(router: &str, interface: &str) -> Place {
    format!("{router}/{interface}").into()
}

fn served4(router: &Router, interface: &Interface, wanted: &Dhcp) -> Option<Served4> {
    let networks = interface.addresses.iter().filter_map(|network| match network {
        IpNetwork::V4(v4) => Some(*v4),
        IpNetwork::V6(_) => None,
    });
    let first = wanted.ranges.first().map(|range| range.first);
    let near = |network: &Ipv4Network| first.is_none_or(|first| IpNetwork::V4(*network).contains(first));
    let network = networks.clone().find(near)?;
    let mut taken: BTreeSet<IpAddr> = taken(interface, &wanted.hosts);
    taken.extend(wanted.gateway.map(IpAddr::V4));
    if network.prefix() <= 30 {
        taken.extend([IpAddr::V4(network.network()), IpAddr::V4(network.broadcast())]);
    }
    let whole = || vec![Addresses { first: network.network().into(), last: network.broadcast().into() }];
    let ranges = if wanted.ranges.is_empty() { whole() } else { wanted.ranges.clone() };
    let own = router.serves_names(interface).then_some(network.ip());
    let dns = if wanted.dns.is_empty() { own.into_iter().collect() } else { wanted.dns.clone() };
    let domain = wanted.domain.clone().or_else(|| router.dns.as_ref()?.domain.clone());
    Some(Served4 {
        place: place(&router.name, &interface.name),
        mac: router.mac_of(interface),
        network,
        mtu: interface.mtu,
        config: wanted.clone(),
        ranges,
        taken,
        hosts: hosts(&wanted.hosts),
        dns,
        domain,
        search: names(&wanted.search),
    })
}

fn served6(router: &Router, interface: &Interface, wanted: &Dhcp6) -> Served6 {
    let networks: Vec<Ipv6Network> = interface
        .addresses
        .iter()
        .filter_map(|network| match network {
            IpNetwork::V6(v6) => Some(*v6),
            IpNetwork::V4(_) => None,
        })
        .collect();
    let own = networks.first().filter(|_| router.serves_names(interface)).map(Ipv6Network::ip);
    let dns = if wanted.dns.is_empty() { own.into_iter().collect() } else { wanted.dns.clone() };
    let domain = router.dns.as_ref().and_then(|dns| dns.domain.clone());
    let search = if wanted.search.is_empty() { names(domain.as_slice()) } else { names(&wanted.search) };
    Served6 {
        place: place(&router.name, &interface.name),
        mac: router.mac_of(interface),
        networks,
        config: wanted.clone(),
        taken: taken(interface, &wanted.hosts),
        hosts: hosts(&wanted.hosts),
        dns,
        search,
    }
}

fn taken(interface: &Interface, hosts: &[GuestHost]) -> BTreeSet<IpAddr> {
    let own = interface.addresses.iter().map(IpNetwork::ip);
    let neighbors = interface.neighbors.iter().map(|neighbor| neighbor.address);
    own.chain(neighbors).chain(hosts.iter().filter_map(|host| host.address)).collect()
}

fn hosts(wanted: &[GuestHost]) -> Vec<Host> {
    let host = |host: &GuestHost| Host {
        port: host.port.clone(),
        mac: host.mac.map(|mac| mac.0),
        id: host.id.as_deref().and_then(unhex),
        name: host.name.as_ref().map(|name| name.to_ascii_lowercase()),
        address: host.address,
        user_data: host.user_data.clone(),
        ssh_keys: host.ssh_keys.clone(),
    };
    wanted.iter().map(host).collect()
}

fn names(texts: &[String]) -> Vec<Name> {
    texts.iter().filter_map(|text| Name::from_ascii(text).ok()).map(fully_qualified).collect()
}

/// A name from the root on.
pub fn fully_qualified(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}
