//! Routers in the fabric's and the guard's terms.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weir_fabric::Step;
use weir_fabric::nat::{Forward, Masquerade, Nat64, NatConfig, Nptv6, OneToOne};
use weir_fabric::router::{Advertise, InterfaceConfig, NextHop, Prefix, Route, RouteTable, RouterConfig, Target};
use weir_fabric::serve::{METADATA, Serves};
use weir_filter::policy::spec;
use weir_wire::{InterfaceId, SwitchId, Vid};

use super::{Ids, action, policy_route};
use crate::config::{self, Action, Config, Helper, Interface, RouteAction, Router};

/// Which routers meet on a switch: they share a zone, whose name is that of the one with the lowest number.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    /// By router: the number of its zone.
    of: BTreeMap<String, u16>,
    /// By number: the zone's name.
    names: BTreeMap<u16, String>,
}

impl Zones {
    /// The zones of a state.
    pub fn of(config: &Config, ids: &Ids) -> Zones {
        let mut of: BTreeMap<String, u16> = BTreeMap::new();
        let numbered = config.routers.iter().filter_map(|r| Some((r.name.clone(), ids.router(&r.name)?.0)));
        of.extend(numbered);
        let mut places: BTreeMap<(&str, u16), Vec<&str>> = BTreeMap::new();
        for router in &config.routers {
            for interface in &router.interfaces {
                places.entry((&interface.switch, interface.vlan)).or_default().push(&router.name);
            }
        }
        // Each round carries the lowest number one router further; there are no more rounds than routers in a row.
        let mut changed = true;
        while changed {
            changed = false;
            for meeting in places.values() {
                let Some(lowest) = meeting.iter().filter_map(|name| of.get(*name)).min().copied() else { continue };
                for name in meeting {
                    if let Some(number) = of.get_mut(*name).filter(|number| **number > lowest) {
                        (*number, changed) = (lowest, true);
                    }
                }
            }
        }
        let names = ids.routers().filter(|(name, id)| of.get(*name) == Some(&id.0));
        let names = names.map(|(name, id)| (id.0, name.to_owned())).collect();
        Zones { of, names }
    }

    /// A router's zone.
    pub fn zone(&self, router: &str) -> Option<SwitchId> {
        self.of.get(router).map(|number| SwitchId(SwitchId::FIRST_ZONE + number))
    }

    /// The name of a router's zone.
    pub fn name_of(&self, router: &str) -> Option<&str> {
        self.names.get(self.of.get(router)?).map(String::as_str)
    }

    /// Names by the numbers that flows and events have.
    pub fn names(&self) -> impl Iterator<Item = (u16, String)> {
        self.names.iter().map(|(number, name)| (SwitchId::FIRST_ZONE + number, name.clone()))
    }

    /// What the policy knows of them: as strict as the strictest router, inspected as any of them is.
    pub fn switches(&self, config: &Config) -> Vec<spec::Switch> {
        let zone = |(number, name): (&u16, &String)| {
            let members = || config.routers.iter().filter(|r| self.of.get(&r.name) == Some(number));
            let strictest = members().map(|router| default_of(config, router)).max_by_key(|action| strictness(*action));
            spec::Switch {
                id: SwitchId(SwitchId::FIRST_ZONE + number),
                name: name.clone(),
                default: action(strictest.unwrap_or_default()),
                inspect: members().find_map(|router| inspect_of(config, router)),
            }
        };
        self.names.iter().map(zone).collect()
    }
}

fn strictness(action: Action) -> u8 {
    match action {
        Action::Allow => 0,
        Action::Reject => 1,
        Action::Drop => 2,
    }
}

/// What happens to routed flows no rule names.
pub fn default_of(config: &Config, router: &Router) -> Action {
    let switches = router.interfaces.iter().filter_map(|interface| config.switch(&interface.switch));
    let inherited = || switches.map(|switch| switch.default).max_by_key(|action| strictness(*action));
    router.default.or_else(inherited).unwrap_or_default()
}

/// The rule set that inspects routed flows.
pub fn inspect_of(config: &Config, router: &Router) -> Option<String> {
    let switches = router.interfaces.iter().filter_map(|interface| config.switch(&interface.switch));
    let inherited = || switches.filter_map(|switch| switch.inspect.clone()).find(|name| name != "none");
    router.inspect.clone().or_else(inherited).filter(|name| name != "none")
}

/// Tells the fabric of all routers.
pub(super) fn steps(desired: &Config, ids: &Ids) -> Vec<Step> {
    let zones = Zones::of(desired, ids);
    let mut steps: Vec<Step> =
        desired.routers.iter().filter_map(|router| set_router(router, desired, ids, &zones)).collect();
    steps.push(Step::SetServed(served(desired, ids)));
    steps
}

/// What the interfaces of all routers serve.
fn served(desired: &Config, ids: &Ids) -> Vec<(InterfaceId, Serves)> {
    let all = desired.routers.iter().flat_map(|router| router.interfaces.iter().map(move |i| (router, i)));
    let serves = |(router, interface): (&Router, &Interface)| {
        let (dhcp, dhcp6) = (interface.dhcp.is_some(), interface.dhcp6.is_some());
        let metadata = interface.metadata.is_some();
        let serves = Serves { dhcp, dhcp6, dns: router.serves_names(interface), metadata };
        Some((ids.interface(&router.name, &interface.name)?, serves))
    };
    all.filter_map(serves).filter(|(_, serves)| *serves != Serves::default()).collect()
}

fn set_router(router: &Router, config: &Config, ids: &Ids, zones: &Zones) -> Option<Step> {
    let interfaces: Vec<(InterfaceId, InterfaceConfig)> = router
        .interfaces
        .iter()
        .filter_map(|wanted| Some((ids.interface(&router.name, &wanted.name)?, interface(router, wanted, ids)?)))
        .collect();
    // A checked state has fewer routes than a table takes.
    let table =
        RouteTable::build(interfaces.iter().map(|(id, config)| (*id, config)), routes_of(router, None, ids)).ok()?;
    let others = router.tables().into_iter().filter_map(|name| {
        let table = RouteTable::build([].into_iter(), routes_of(router, Some(name), ids)).ok()?;
        Some((name, Arc::new(table)))
    });
    let policies = policy_route::of(router, config, &others.collect(), ids);
    let (zone, nat) = (zones.zone(&router.name)?, nat(router, ids));
    let config = RouterConfig { zone, interfaces, table: Arc::new(table), policies: policies.into(), nat };
    Some(Step::SetRouter(ids.router(&router.name)?, config))
}

/// The routes that stand in a table.
fn routes_of<'a>(router: &'a Router, table: Option<&'a str>, ids: &'a Ids) -> impl Iterator<Item = Route> + 'a {
    let here = router.routes.iter().filter(move |route| route.table.as_deref() == table);
    here.filter_map(move |route| Some(Route { to: prefix(&route.to), target: target(router, route, ids)? }))
}

fn interface(router: &Router, wanted: &Interface, ids: &Ids) -> Option<InterfaceConfig> {
    Some(InterfaceConfig {
        switch: ids.switch(&wanted.switch)?,
        vid: Vid(wanted.vlan),
        mac: router.mac_of(wanted),
        addresses: addresses(wanted),
        mtu: wanted.mtu,
        clamp_mss: wanted.clamp_mss,
        neighbors: wanted.neighbors.iter().map(|neighbor| (neighbor.address, neighbor.mac.0)).collect(),
        advertise: wanted.advertise.as_ref().map(|told| advertise(router, wanted, told)),
        proxy: wanted.proxy.iter().map(prefix).collect(),
    })
}

/// The addresses that are given, and those of metadata: that of IPv6 where there is IPv6.
fn addresses(wanted: &Interface) -> Vec<Prefix> {
    let is_v6 = wanted.addresses.iter().any(IpNetwork::is_ipv6);
    let v6 = is_v6.then_some(Prefix { address: METADATA.1.into(), length: 128 });
    let metadata = [Some(Prefix { address: METADATA.0.into(), length: 32 }), v6].into_iter().flatten();
    let metadata = metadata.filter(|_| wanted.metadata.is_some());
    let given: Vec<Prefix> = wanted.addresses.iter().map(prefix).collect();
    let own = |other: &Prefix| given.iter().any(|prefix| prefix.address == other.address);
    let added: Vec<Prefix> = metadata.filter(|prefix| !own(prefix)).collect();
    [given, added].concat()
}

/// What a network is told. Names that the router serves there are told of without being asked for.
fn advertise(router: &Router, interface: &Interface, told: &config::Advertise) -> Advertise {
    let names = router.dns.as_ref().filter(|_| router.serves_names(interface));
    let own = interface.addresses.iter().filter_map(|network| match network.ip() {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    });
    let own = own.take(usize::from(names.is_some() && told.dns.is_empty()));
    let domain = names.and_then(|dns| dns.domain.clone()).filter(|_| told.search.is_empty());
    Advertise {
        lifetime_s: told.lifetime_s,
        managed: told.managed,
        other: told.other,
        autonomous: told.autonomous,
        lifetimes_s: (told.valid_s, told.preferred_s),
        dns: told.dns.iter().copied().chain(own).collect(),
        search: told.search.iter().cloned().chain(domain).collect(),
    }
}

fn nat(router: &Router, ids: &Ids) -> NatConfig {
    let number = |name: &str| ids.interface(&router.name, name);
    let masquerades = router.masquerades.iter().filter_map(|wanted| {
        Some(Masquerade {
            interface: number(&wanted.interface)?,
            from: wanted.from.iter().map(prefix).collect(),
            addresses: wanted.addresses.clone(),
            ports: wanted.ports.into(),
            endpoint_independent: wanted.endpoint_independent,
            limit_each: wanted.limit_each,
            ports_each: wanted.ports_each,
        })
    });
    let forwards = router.forwards.iter().map(|wanted| Forward {
        protocol: wanted.protocol.0,
        address: wanted.address,
        ports: wanted.ports.into(),
        to: wanted.to,
        to_port: wanted.to_port.unwrap_or(wanted.ports.first),
    });
    let one_to_one = router.one_to_one.iter().filter_map(|wanted| {
        let interface = number(&router.interface_with(wanted.outside)?.name)?;
        Some(OneToOne { outside: wanted.outside, inside: wanted.inside, interface })
    });
    let nptv6 = router.nptv6.iter().filter_map(|wanted| {
        let interface = number(&router.nptv6_interface(wanted)?.name)?;
        Some(Nptv6 { inside: prefix(&wanted.inside), outside: prefix(&wanted.outside), interface })
    });
    let nat64 = router.nat64.iter().filter_map(|wanted| {
        let own = || router.interface(&wanted.interface)?.addresses.iter().map(IpNetwork::ip).find(IpAddr::is_ipv4);
        Some(Nat64 {
            prefix: prefix(&wanted.prefix),
            interface: number(&wanted.interface)?,
            address: wanted.address.map(IpAddr::V4).or_else(own)?,
            ports: wanted.ports.into(),
            limit_each: wanted.limit_each,
        })
    });
    NatConfig {
        masquerades: masquerades.collect(),
        forwards: forwards.collect(),
        one_to_one: one_to_one.collect(),
        nptv6: nptv6.collect(),
        nat64: nat64.collect(),
        ftp: router.helpers.contains(&Helper::Ftp),
        tftp: router.helpers.contains(&Helper::Tftp),
    }
}

pub(super) fn prefix(network: &IpNetwork) -> Prefix {
    Prefix { address: network.ip(), length: network.prefix() }
}

fn target(router: &Router, route: &crate::config::Route, ids: &Ids) -> Option<Target> {
    if let Some(action) = route.action {
        return Some(refusal(action));
    }
    via(router, &route.via, route.interface.as_deref(), ids)
}

/// What leads to gateways, or out of an interface.
pub(super) fn via(router: &Router, gateways: &[IpAddr], interface: Option<&str>, ids: &Ids) -> Option<Target> {
    let by = |gateway: Option<&IpAddr>| {
        let near = || gateway.and_then(|gateway| router.interface_towards(*gateway)).map(|i| i.name.as_str());
        let name = interface.or_else(near)?;
        Some(NextHop { interface: ids.interface(&router.name, name)?, gateway: gateway.copied() })
    };
    let ways: Vec<NextHop> = if gateways.is_empty() {
        by(None).into_iter().collect()
    } else {
        gateways.iter().filter_map(|gateway| by(Some(gateway))).collect()
    };
    (!ways.is_empty()).then_some(Target::Via(ways))
}

/// What refuses.
pub(super) fn refusal(action: RouteAction) -> Target {
    match action {
        RouteAction::Blackhole => Target::Blackhole,
        RouteAction::Unreachable => Target::Unreachable,
        RouteAction::Prohibit => Target::Prohibit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = r#"
        switch = [{ name = "a" }, { name = "b", default = "drop" }, { name = "c" }, { name = "d", inspect = "x" }]
        rule_set = [{ name = "x", text = "" }]
        [[router]]
        name = "east"
        interface = [
            { name = "a", switch = "a", addresses = "10.1.0.1/24" },
            { name = "b", switch = "b", addresses = "10.2.0.1/24" },
        ]
        [[router]]
        name = "west"
        interface = [
            { name = "b", switch = "b", addresses = "10.2.0.2/24" },
            { name = "c", switch = "c", addresses = "10.3.0.1/24" },
        ]
        [[router]]
        name = "lonely"
        interface = [{ name = "d", switch = "d", addresses = "10.1.0.1/24" }]
    "#;

    fn config(text: &str) -> Config {
        let config = Config::parse(text).expect("parses");
        config.check().expect("makes sense");
        config
    }

    #[test]
    fn routers_that_meet_share_a_zone_that_is_as_strict_as_the_strictest() {
        let config = config(THREE);
        let ids = Ids::default().after(&config);
        let zones = Zones::of(&config, &ids);
        assert_eq!(zones.zone("east"), zones.zone("west"));
        assert_ne!(zones.zone("east"), zones.zone("lonely"));
        assert_eq!((zones.name_of("west"), zones.name_of("lonely")), (Some("east"), Some("lonely")));
        let switches = zones.switches(&config);
        let of = |name: &str| switches.iter().find(|s| s.name == name).expect("is there").clone();
        assert_eq!(of("east").default, spec::Action::Drop);
        assert_eq!((of("lonely").default, of("lonely").inspect), (spec::Action::Allow, Some("x".into())));
        assert_eq!(switches.len(), 2);
    }

    #[test]
    fn a_rule_that_names_one_router_names_all_that_it_meets() {
        let text = format!("{THREE}\n[[rule]]\nname = \"r\"\naction = \"allow\"\nswitches = [\"west\", \"a\"]\n");
        let config = config(&text);
        let ids = Ids::default().after(&config);
        let spec = super::super::spec(&config, &ids, &super::super::Facts::default());
        assert_eq!(spec.rules[0].switches, ["east", "a"]);
    }
}
