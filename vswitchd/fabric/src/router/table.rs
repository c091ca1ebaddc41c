//! A router's routes, compiled: the longest prefix names a target. Made off the path of packets, then only read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_wire::InterfaceId;

use super::config::{InterfaceConfig, NextHop, Prefix, Route, Target};
use crate::lpm::{Full, Lpm};

/// Ways of one route at most; the rest is left out.
pub const WAYS_MAX: usize = 64;

/// Routes of both families.
#[derive(Debug, Default)]
pub struct RouteTable {
    v4: Lpm,
    v6: Lpm,
    targets: Vec<Target>,
    /// Where a target stands, so that equal ones share a place.
    places: BTreeMap<Target, u32>,
}

impl RouteTable {
    /// The routes of a router: those given, its networks, its own addresses. Where prefixes are equal, its own addresses
    /// come before its networks, and these before other routes.
    ///
    /// # Errors
    /// Where there are more than [`ENTRIES_MAX`](crate::lpm::ENTRIES_MAX) of a family.
    pub fn build<'a>(
        interfaces: impl Iterator<Item = (InterfaceId, &'a InterfaceConfig)> + Clone,
        routes: impl IntoIterator<Item = Route>,
    ) -> Result<RouteTable, Full> {
        let mut table = RouteTable::default();
        routes.into_iter().try_for_each(|route| table.set(route))?;
        let addresses =
            || interfaces.clone().flat_map(|(id, config)| config.addresses.iter().map(move |&prefix| (id, prefix)));
        for (interface, to) in addresses() {
            table.set(Route { to, target: Target::Via(vec![NextHop { interface, gateway: None }]) })?;
        }
        for edge in addresses().filter_map(|(_, prefix)| prefix.edges()).flatten() {
            table.set(Route { to: Prefix { address: edge, length: 32 }, target: Target::Edge })?;
        }
        for (_, Prefix { address, .. }) in addresses() {
            let length = if address.is_ipv4() { 32 } else { 128 };
            table.set(Route { to: Prefix { address, length }, target: Target::Local })?;
        }
        Ok(table)
    }

    /// Adds a route, or replaces the one with its prefix.
    ///
    /// # Errors
    /// Where the table is full.
    pub fn set(&mut self, route: Route) -> Result<(), Full> {
        let Route { to, mut target } = route;
        if let Target::Via(ways) = &mut target {
            ways.truncate(WAYS_MAX);
        }
        let next = self.targets.len() as u32;
        let place = *self.places.entry(target.clone()).or_insert(next);
        if place == next {
            self.targets.push(target);
        }
        self.family_mut(to.address).insert(Prefix::wide(to.address), u32::from(to.length), place).map(drop)
    }

    /// What becomes of a packet to this address.
    #[inline]
    pub fn lookup(&self, to: IpAddr) -> Option<&Target> {
        let family = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        self.targets.get(family.lookup(Prefix::wide(to))? as usize)
    }

    /// Routes of both families, the router's own addresses and networks among them.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// No route at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the tables take.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }

    fn family_mut(&mut self, address: IpAddr) -> &mut Lpm {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

#[cfg(test)]
mod tests {
    use weir_wire::{MacAddr, SwitchId, Vid};

    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    fn via(interface: u16, gateway: Option<&str>) -> Target {
        let gateway = gateway.map(|text| text.parse().unwrap());
        Target::Via(vec![NextHop { interface: InterfaceId(interface), gateway }])
    }

    fn interface(addresses: &[&str]) -> InterfaceConfig {
        InterfaceConfig {
            switch: SwitchId(0),
            vid: Vid(0),
            mac: MacAddr::ZERO,
            addresses: addresses.iter().map(|a| prefix(a)).collect(),
            mtu: 1500,
            clamp_mss: false,
            neighbors: Vec::new(),
            advertise: None,
            proxy: Vec::new(),
        }
    }

    #[test]
    fn own_addresses_come_before_networks_and_these_before_routes() {
        let lan = interface(&["10.1.0.1/24", "fd01::1/64"]);
        let routes = [
            Route { to: prefix("0.0.0.0/0"), target: via(0, Some("10.1.0.254")) },
            Route { to: prefix("10.1.0.0/24"), target: Target::Blackhole },
            Route { to: prefix("10.2.0.0/16"), target: Target::Prohibit },
        ];
        let table = RouteTable::build([(InterfaceId(0), &lan)].into_iter(), routes).unwrap();
        for (to, expected) in [
            ("10.1.0.1", Some(Target::Local)),
            ("10.1.0.2", Some(via(0, None))),
            ("10.1.0.0", Some(Target::Edge)),
            ("10.1.0.255", Some(Target::Edge)),
            ("10.2.3.4", Some(Target::Prohibit)),
            ("8.8.8.8", Some(via(0, Some("10.1.0.254")))),
            ("fd01::1", Some(Target::Local)),
            ("fd01::2", Some(via(0, None))),
            ("fd02::2", None),
        ] {
            assert_eq!(table.lookup(to.parse().unwrap()), expected.as_ref(), "{to}");
        }
    }
}
