//! Whether what routers serve makes sense: addresses lie in the networks, names are names.

use std::collections::HashSet;
use std::net::IpAddr;

use hickory_proto::rr::Name;
use ipnetwork::IpNetwork;

use super::check::Problems;
use super::metadata::check_host;
use super::router::{Interface, Router};
use super::services::{Addresses, Dhcp, Dhcp6, Dns, GuestHost, GuestOption, unhex};

/// Ranges, hosts, options, routes and records of one interface or router at most.
const LIST_MAX: usize = 4096;
/// Leases of an hour at least make no sense below this.
const LEASE_LEAST_S: u32 = 60;
/// A year.
const LEASE_MOST_S: u32 = 31_536_000;
/// Answers remembered at most.
const CACHE_MOST: u32 = 1_000_000;
/// Name servers that questions are passed on to.
const RESOLVERS_MAX: usize = 8;
/// Options of DHCP that are made from other settings, or by the server itself.
const OWN_OPTIONS: [u8; 20] = [0, 1, 3, 6, 12, 15, 26, 42, 50, 51, 52, 53, 54, 57, 58, 59, 61, 82, 121, 255];

impl Router {
    pub(super) fn check_services(&self, problems: &mut Problems) {
        for interface in &self.interfaces {
            if let Some(dhcp) = &interface.dhcp {
                check_dhcp(
                    &format!("router {}: interface {}: dhcp", self.name, interface.name),
                    interface,
                    dhcp,
                    problems,
                );
            }
            if let Some(dhcp6) = &interface.dhcp6 {
                let object = format!("router {}: interface {}: dhcp6", self.name, interface.name);
                check_dhcp6(&object, interface, dhcp6, problems);
            }
        }
        if let Some(dns) = &self.dns {
            self.check_dns(dns, problems);
        }
    }

    fn check_dns(&self, dns: &Dns, problems: &mut Problems) {
        let object = format!("router {}: dns", self.name);
        for name in &dns.interfaces {
            problems.unless(self.interface(name).is_some(), || format!("{object}: there is no interface \"{name}\""));
        }
        check_name(&object, "domain", dns.domain.iter(), problems);
        problems.unless(dns.forward.len() <= RESOLVERS_MAX, || {
            format!("{object}: {} name servers are more than {RESOLVERS_MAX}", dns.forward.len())
        });
        for resolver in &dns.forward {
            let own = self.interface_with(resolver.0.ip()).is_some();
            problems.unless(!own && resolver.0.port() != 0, || {
                format!("{object}: {resolver} cannot be asked: it is the router itself, or its port is 0")
            });
        }
        problems.unless(dns.cache <= CACHE_MOST, || format!("{object}: cache = {} is above {CACHE_MOST}", dns.cache));
        problems.unless(dns.rate > 0, || format!("{object}: rate = 0 lets nobody ask; leave it out for the usual"));
        problems.unless(dns.records.len() <= LIST_MAX, || format!("{object}: more than {LIST_MAX} records"));
        for record in &dns.records {
            let object = format!("{object}: record {}", record.name);
            check_name(&object, "name", [&record.name].into_iter(), problems);
            check_name(&object, "alias_of", record.alias_of.iter(), problems);
            let has_data = !record.addresses.is_empty() || !record.text.is_empty();
            problems.unless(has_data != record.alias_of.is_some(), || {
                format!("{object}: give addresses or text, or the name it is an alias of")
            });
            problems.unless(record.text.iter().all(|text| text.len() <= 255), || {
                format!("{object}: a text is longer than 255 bytes")
            });
            let whole = record.name.contains('.') || dns.domain.is_some();
            problems.unless(whole, || format!("{object}: a name without a dot needs a domain"));
        }
    }
}

fn check_dhcp(object: &str, interface: &Interface, dhcp: &Dhcp, problems: &mut Problems) {
    let networks: Vec<&IpNetwork> = interface.addresses.iter().filter(|a| a.is_ipv4()).collect();
    problems.unless(!networks.is_empty(), || format!("{object}: the interface has no IPv4 address"));
    check_lease(object, dhcp.lease_s, problems);
    check_ranges(object, &networks, &dhcp.ranges, problems);
    check_hosts(object, &networks, &dhcp.hosts, problems);
    check_name(object, "domain", dhcp.domain.iter(), problems);
    check_name(object, "search", dhcp.search.iter(), problems);
    problems.unless(dhcp.per_port > 0, || format!("{object}: per_port = 0 gives nobody an address"));
    for gateway in dhcp.gateway.iter().chain(dhcp.routes.iter().map(|route| &route.via)) {
        let near = networks.iter().any(|network| network.contains(IpAddr::V4(*gateway)));
        problems.unless(near, || format!("{object}: {gateway} is not in the interface's network"));
    }
    problems
        .unless(dhcp.routes.len() + dhcp.options.len() <= 64, || format!("{object}: more than 64 routes and options"));
    problems.unless(dhcp.boot_file.as_ref().is_none_or(|file| file.len() < 128), || {
        format!("{object}: boot_file is longer than 127 bytes")
    });
    for option in &dhcp.options {
        let GuestOption { code, .. } = option;
        problems.unless(!OWN_OPTIONS.contains(code), || {
            format!("{object}: option {code} has a setting of its own, or is the server's")
        });
        problems.unless(option.bytes().is_some_and(|bytes| !bytes.is_empty() && bytes.len() <= 255), || {
            format!("{object}: option {code}: give one of text, hex and addresses, of 1 to 255 bytes")
        });
    }
}

fn check_dhcp6(object: &str, interface: &Interface, dhcp6: &Dhcp6, problems: &mut Problems) {
    let networks: Vec<&IpNetwork> = interface.addresses.iter().filter(|a| a.is_ipv6()).collect();
    problems.unless(!networks.is_empty(), || format!("{object}: the interface has no IPv6 address"));
    check_lease(object, dhcp6.lease_s, problems);
    check_ranges(object, &networks, &dhcp6.ranges, problems);
    check_hosts(object, &networks, &dhcp6.hosts, problems);
    check_name(object, "search", dhcp6.search.iter(), problems);
    problems.unless(dhcp6.per_port > 0, || format!("{object}: per_port = 0 gives nobody an address"));
}

fn check_lease(object: &str, lease_s: u32, problems: &mut Problems) {
    problems.unless((LEASE_LEAST_S..=LEASE_MOST_S).contains(&lease_s), || {
        format!("{object}: lease_s = {lease_s} is outside {LEASE_LEAST_S} to {LEASE_MOST_S}")
    });
}

fn check_ranges(object: &str, networks: &[&IpNetwork], ranges: &[Addresses], problems: &mut Problems) {
    problems.unless(ranges.len() <= LIST_MAX, || format!("{object}: more than {LIST_MAX} ranges"));
    for range in ranges {
        let near = networks.iter().any(|network| network.contains(range.first) && network.contains(range.last));
        problems.unless(near, || format!("{object}: {range} is not in the interface's network"));
    }
}

fn check_hosts(object: &str, networks: &[&IpNetwork], hosts: &[GuestHost], problems: &mut Problems) {
    problems.unless(hosts.len() <= LIST_MAX, || format!("{object}: more than {LIST_MAX} hosts"));
    let mut taken = HashSet::new();
    for host in hosts {
        let named = host.name.clone().or(host.address.map(|address| address.to_string())).unwrap_or_default();
        let object = format!("{object}: host {named}");
        let known = host.port.is_some() || host.mac.is_some() || host.id.is_some();
        problems.unless(known, || format!("{object}: give the port, mac or id that it is known by"));
        let id = host.id.as_deref().map(unhex);
        problems.unless(id.is_none_or(|id| id.is_some_and(|id| (1..=255).contains(&id.len()))), || {
            format!("{object}: id is not 1 to 255 bytes in hexadecimal digits")
        });
        check_name(&object, "name", host.name.iter(), problems);
        if let Some(address) = host.address {
            let near = networks.iter().any(|network| network.contains(address));
            let own = networks.iter().any(|network| network.ip() == address);
            problems
                .unless(near && !own, || format!("{object}: {address} is not in the interface's network, or its own"));
            problems.unless(taken.insert(address), || format!("{object}: {address} belongs to another host"));
        }
        let is_told = host.user_data.is_some() || !host.ssh_keys.is_empty();
        problems.unless(host.address.is_some() || host.name.is_some() || is_told, || {
            format!("{object}: give it an address or a name")
        });
        check_host(&object, host, problems);
    }
}

fn check_name<'a>(object: &str, field: &str, names: impl Iterator<Item = &'a String>, problems: &mut Problems) {
    for name in names {
        problems.unless(is_domain(name), || format!("{object}: {field}: \"{name}\" is no domain name"));
    }
}

/// A domain name of one label at least.
pub(super) fn is_domain(name: &str) -> bool {
    !name.is_empty() && Name::from_ascii(name).is_ok_and(|name| name.num_labels() > 0)
}
