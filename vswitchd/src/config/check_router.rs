//! Whether routers make sense: their networks, what is near, what is far.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weir_wire::MacAddr;

use super::Config;
use super::check::{Problems, VID_MAX, unique};
use super::check_services::is_domain;
use super::router::{Interface, Route, Router};

/// Routers at most.
pub const ROUTERS_MAX: usize = 1024;
/// Interfaces of all routers at most.
pub const INTERFACES_MAX: usize = 2048;
/// Routes of one router at most.
pub const ROUTES_MAX: usize = 1 << 20;
/// Addresses of one interface at most.
const ADDRESSES_MAX: usize = 64;
/// Gateways of one route at most.
const GATEWAYS_MAX: usize = 64;
/// Name servers of one interface at most.
const DNS_MAX: usize = 8;
/// Every IPv4 host takes packets of this length (RFC 791, 3.1).
const MTU_LEAST: u32 = 576;
/// Every link takes IPv6 packets of this length (RFC 8200, 5).
const MTU_LEAST_V6: u32 = 1280;
/// IP packets are no longer.
const MTU_MOST: u32 = 65535;

impl Config {
    pub(super) fn check_routers(&self, problems: &mut Problems) {
        let interfaces: usize = self.routers.iter().map(|router| router.interfaces.len()).sum();
        for (kind, count, max) in
            [("routers", self.routers.len(), ROUTERS_MAX), ("router interfaces", interfaces, INTERFACES_MAX)]
        {
            problems.unless(count <= max, || format!("{count} {kind} are more than the {max} a daemon takes"));
        }
        unique("router", self.routers.iter().map(|r| r.name.as_str()), problems);
        for router in &self.routers {
            let name = &router.name;
            problems.unless(self.switch(name).is_none(), || {
                format!("router {name}: a switch has this name; rules could not tell them apart")
            });
            self.check_inspect(&format!("router {name}"), router.inspect.as_deref(), problems);
            self.check_inherited(router, problems);
            unique("interface", router.interfaces.iter().map(|i| i.name.as_str()), problems);
            router.interfaces.iter().for_each(|i| self.check_interface_of(router, i, problems));
            check_networks(router, problems);
            check_routes(router, problems);
            router.check_nat(problems);
            self.check_policy_routes(router, problems);
            router.check_services(problems);
        }
        self.check_neighbors_on_switches(problems);
        self.check_metadata(problems);
    }

    /// A router without a rule set of its own takes that of its switches, which must be one.
    fn check_inherited(&self, router: &Router, problems: &mut Problems) {
        if router.inspect.is_some() {
            return;
        }
        let switches = router.interfaces.iter().filter_map(|i| self.switch(&i.switch));
        let sets: HashSet<&str> = switches.filter_map(|s| s.inspect.as_deref()).filter(|s| *s != "none").collect();
        problems.unless(sets.len() <= 1, || {
            let name = &router.name;
            format!("router {name}: its switches inspect by different rule sets; say by which it does (inspect = ...)")
        });
    }

    fn check_interface_of(&self, router: &Router, interface: &Interface, problems: &mut Problems) {
        let object = format!("router {}: interface {}", router.name, interface.name);
        let Interface { switch, vlan, addresses, mtu, neighbors, .. } = interface;
        problems.unless(self.switch(switch).is_some(), || {
            format!("{object}: there is no switch \"{switch}\"; add it first (vswitchctl switch add)")
        });
        problems.unless(*vlan <= VID_MAX, || format!("{object}: VLAN {vlan} is above {VID_MAX}"));
        let mac = router.mac_of(interface);
        problems.unless(!mac.is_multicast() && mac != MacAddr::ZERO, || {
            format!("{object}: {mac} cannot be the MAC of an interface")
        });
        let least = if addresses.iter().any(IpNetwork::is_ipv6) { MTU_LEAST_V6 } else { MTU_LEAST };
        problems.unless((least..=MTU_MOST).contains(mtu), || {
            format!("{object}: mtu = {mtu} is outside {least} to {MTU_MOST}")
        });
        problems.unless(addresses.len() <= ADDRESSES_MAX, || {
            format!("{object}: {} addresses are more than the {ADDRESSES_MAX} an interface takes", addresses.len())
        });
        addresses.iter().for_each(|address| check_address(&object, address, problems));
        if let Some(told) = &interface.advertise {
            let prefix = addresses.iter().any(|a| a.is_ipv6() && a.prefix() == 64 && !is_link_local(a.ip()));
            problems.unless(prefix, || {
                format!(
                    "{object}: advertise: hosts make addresses from networks of 64 bits; give it an IPv6 address /64"
                )
            });
            // RFC 4861, 6.2.1: nine times the longest time between two advertisements would be 1800 s.
            problems.unless(told.lifetime_s == 0 || (600..=9000).contains(&told.lifetime_s), || {
                format!("{object}: advertise: lifetime_s = {} is neither 0 nor 600 to 9000", told.lifetime_s)
            });
            problems.unless(told.preferred_s <= told.valid_s, || {
                format!("{object}: advertise: preferred_s = {} is above valid_s = {}", told.preferred_s, told.valid_s)
            });
            let fine = told.search.len() <= DNS_MAX && told.search.iter().all(|name| is_domain(name));
            problems.unless(fine, || format!("{object}: advertise: search is no list of up to {DNS_MAX} domains"));
            problems.unless(told.dns.len() <= DNS_MAX, || {
                format!("{object}: advertise: {} name servers are more than {DNS_MAX}", told.dns.len())
            });
        }
        for neighbor in neighbors {
            let near = addresses.iter().any(|network| network.contains(neighbor.address));
            let near = near || is_link_local(neighbor.address);
            problems.unless(near, || format!("{object}: neighbor {} is in none of its networks", neighbor.address));
            problems.unless(!neighbor.mac.0.is_multicast(), || {
                format!("{object}: neighbor {}: {} is a group address", neighbor.address, neighbor.mac)
            });
        }
    }

    /// On one VLAN of a switch, MACs and addresses belong to one interface.
    fn check_neighbors_on_switches(&self, problems: &mut Problems) {
        let mut macs: HashMap<(&str, u16, MacAddr), String> = HashMap::new();
        let mut taken: HashMap<(&str, u16, IpAddr), String> = HashMap::new();
        for switch in &self.switches {
            for entry in &switch.static_macs {
                macs.insert((&switch.name, entry.vlan, entry.mac.0), format!("port {}", entry.port));
            }
        }
        for (router, interface) in self.routers.iter().flat_map(|r| r.interfaces.iter().map(move |i| (r, i))) {
            let object = format!("router {}: interface {}", router.name, interface.name);
            let place = (interface.switch.as_str(), interface.vlan);
            let mac = router.mac_of(interface);
            if let Some(owner) = macs.insert((place.0, place.1, mac), object.clone()) {
                problems.add(format!("{object}: {mac} belongs to {owner}; give another mac"));
            }
            for address in &interface.addresses {
                if let Some(owner) = taken.insert((place.0, place.1, address.ip()), object.clone()) {
                    problems.add(format!("{object}: {} belongs to {owner}", address.ip()));
                }
            }
        }
    }
}

/// fe80::/10.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn check_address(object: &str, network: &IpNetwork, problems: &mut Problems) {
    let address = network.ip();
    let bad = address.is_multicast() || address.is_loopback() || address.is_unspecified();
    let reserved = matches!(address, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] >= 240);
    problems.unless(!bad && !reserved, || format!("{object}: {address} cannot be the address of an interface"));
    problems
        .unless(network.prefix() > 0, || format!("{object}: {network}: the network is everything; give its length"));
    if let IpNetwork::V4(v4) = network {
        let edge = v4.prefix() <= 30 && (v4.ip() == v4.network() || v4.ip() == v4.broadcast());
        problems.unless(!edge, || {
            format!("{object}: {network} is the first or last address of its network, which no host has")
        });
    }
}

/// The networks of a router lie apart: of an address in two of them nobody could say where it is.
fn check_networks(router: &Router, problems: &mut Problems) {
    let mut networks: Vec<(&Interface, &IpNetwork)> = Vec::new();
    for interface in &router.interfaces {
        networks.extend(interface.addresses.iter().filter(|a| !is_link_local(a.ip())).map(|a| (interface, a)));
    }
    // In this order a network that overlaps others comes right before one of them.
    networks.sort_by_key(|(_, network)| (network.is_ipv6(), network.network(), network.prefix()));
    for pair in networks.windows(2) {
        let [(a, first), (b, second)] = pair else { continue };
        if !std::ptr::eq(*a, *b) && first.contains(second.network()) {
            problems.add(format!(
                "router {}: {second} of interface {} lies in {first} of interface {}; an address there would be on both",
                router.name, b.name, a.name
            ));
        }
        if first.ip() == second.ip() {
            problems.add(format!("router {}: {} is there twice", router.name, first.ip()));
        }
    }
}

fn check_routes(router: &Router, problems: &mut Problems) {
    let name = &router.name;
    problems.unless(router.routes.len() <= ROUTES_MAX, || {
        format!("router {name}: {} routes are more than the {ROUTES_MAX} a router takes", router.routes.len())
    });
    let mut seen = HashSet::new();
    for route in &router.routes {
        problems.unless(seen.insert((route.table.as_deref(), route.to.network(), route.to.prefix())), || {
            format!("router {name}: there are two routes to {}; give one all its gateways", route.to)
        });
        check_route(router, route, problems);
    }
}

fn check_route(router: &Router, route: &Route, problems: &mut Problems) {
    let object = || format!("router {}: route {}", router.name, route.to);
    let Route { to, via, interface, action, table } = route;
    problems.unless(table.as_deref() != Some(""), || format!("{}: table = \"\" is no name", object()));
    match (via.is_empty() && interface.is_none(), action) {
        (true, None) => {
            return problems.add(format!("{}: it leads nowhere; give via, interface or action", object()));
        }
        (false, Some(_)) => return problems.add(format!("{}: it has both a way and an action; give one", object())),
        (true, Some(_)) | (false, None) => {}
    }
    problems.unless(via.len() <= GATEWAYS_MAX, || {
        format!("{}: {} gateways are more than the {GATEWAYS_MAX} a route takes", object(), via.len())
    });
    if let Some(name) = interface {
        problems.unless(router.interface(name).is_some(), || format!("{}: there is no interface \"{name}\"", object()));
    }
    for gateway in via {
        problems.unless(gateway.is_ipv4() == to.is_ipv4(), || {
            format!("{}: gateway {gateway} is of the other address family", object())
        });
        let own = router.interfaces.iter().any(|i| i.addresses.iter().any(|a| a.ip() == *gateway));
        problems.unless(!own, || format!("{}: gateway {gateway} is the router itself", object()));
        let near = interface.is_some() || router.interface_towards(*gateway).is_some();
        problems.unless(near, || {
            format!("{}: gateway {gateway} is in none of the router's networks; name the interface", object())
        });
    }
}
