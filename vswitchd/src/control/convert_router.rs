//! Routers between messages and the desired state.

use weir_proto::v1;

use super::convert::{action_of, action_to_proto, filled, narrow, text, texts};
use super::convert_nat::{helper_of, helper_to_proto, nat64_of, nat64_to_proto, nptv6_of, nptv6_to_proto};
use super::policy_routes::{policy_route_of, policy_route_to_proto};
use crate::config::{Advertise, Forward, Interface, Mac, Masquerade, Neighbor, OneToOne, Route, RouteAction, Router};
use crate::refusal::Refusal;

pub(super) fn router_of(spec: &v1::RouterSpec) -> Result<Router, Refusal> {
    let object = format!("router {}", spec.name);
    let unspecified = spec.default_action == i32::from(v1::Action::Unspecified);
    Ok(Router {
        name: spec.name.clone(),
        default: if unspecified { None } else { Some(action_of(&object, spec.default_action)?) },
        inspect: filled(&spec.inspect),
        interfaces: spec.interfaces.iter().map(|i| interface_of(&object, i)).collect::<Result<_, _>>()?,
        routes: spec.routes.iter().map(|r| route_of(&object, r)).collect::<Result<_, _>>()?,
        policies: spec.policy_routes.iter().map(|p| policy_route_of(&object, p)).collect::<Result<_, _>>()?,
        ..nat_of(&object, &spec.nat.clone().unwrap_or_default())?
    })
}

pub(super) fn router_to_proto(router: &Router) -> v1::RouterSpec {
    v1::RouterSpec {
        name: router.name.clone(),
        default_action: router.default.map_or(v1::Action::Unspecified.into(), action_to_proto),
        inspect: router.inspect.clone().unwrap_or_default(),
        interfaces: router.interfaces.iter().map(interface_to_proto).collect(),
        routes: router.routes.iter().map(route_to_proto).collect(),
        nat: Some(nat_to_proto(router)),
        policy_routes: router.policies.iter().map(policy_route_to_proto).collect(),
    }
}

/// A router without a name that has these translations.
pub(super) fn nat_of(router: &str, spec: &v1::NatSpec) -> Result<Router, Refusal> {
    let object = format!("{router}: nat");
    let masquerades = spec.masquerades.iter().map(|m| {
        let usual = Masquerade::default();
        Ok(Masquerade {
            interface: m.interface.clone(),
            from: texts(&object, "from", &m.from)?,
            addresses: texts(&object, "addresses", &m.addresses)?,
            ports: if m.ports.is_empty() { usual.ports } else { text(&object, "ports", &m.ports)? },
            endpoint_independent: m.endpoint_independent,
            limit_each: m.limit_each,
            ports_each: narrow(&object, "ports_each", m.ports_each)?,
        })
    });
    let forwards = spec.forwards.iter().map(|f| {
        let to_port: u16 = narrow(&object, "to_port", f.to_port)?;
        Ok(Forward {
            protocol: text(&object, "protocol", &f.protocol)?,
            address: text(&object, "address", &f.address)?,
            ports: text(&object, "ports", &f.ports)?,
            to: text(&object, "to", &f.to)?,
            to_port: (to_port != 0).then_some(to_port),
        })
    });
    let one_to_one = spec.one_to_one.iter().map(|j| {
        Ok(OneToOne { outside: text(&object, "outside", &j.outside)?, inside: text(&object, "inside", &j.inside)? })
    });
    Ok(Router {
        masquerades: masquerades.collect::<Result<_, Refusal>>()?,
        forwards: forwards.collect::<Result<_, Refusal>>()?,
        one_to_one: one_to_one.collect::<Result<_, Refusal>>()?,
        nptv6: spec.nptv6.iter().map(|n| nptv6_of(&object, n)).collect::<Result<_, _>>()?,
        nat64: spec.nat64.iter().map(|n| nat64_of(&object, n)).collect::<Result<_, _>>()?,
        helpers: spec.helpers.iter().map(|name| helper_of(&object, name)).collect::<Result<_, _>>()?,
        ..Router::default()
    })
}

fn nat_to_proto(router: &Router) -> v1::NatSpec {
    let strings = |list: &[std::net::IpAddr]| list.iter().map(ToString::to_string).collect();
    let masquerades = router.masquerades.iter().map(|m| v1::Masquerade {
        interface: m.interface.clone(),
        from: m.from.iter().map(ToString::to_string).collect(),
        addresses: strings(&m.addresses),
        ports: m.ports.to_string(),
        endpoint_independent: m.endpoint_independent,
        limit_each: m.limit_each,
        ports_each: m.ports_each.into(),
    });
    let forwards = router.forwards.iter().map(|f| v1::Forward {
        protocol: f.protocol.to_string(),
        address: f.address.to_string(),
        ports: f.ports.to_string(),
        to: f.to.to_string(),
        to_port: f.to_port.map(u32::from).unwrap_or_default(),
    });
    let joined = |j: &OneToOne| v1::OneToOne { outside: j.outside.to_string(), inside: j.inside.to_string() };
    v1::NatSpec {
        masquerades: masquerades.collect(),
        forwards: forwards.collect(),
        one_to_one: router.one_to_one.iter().map(joined).collect(),
        nptv6: router.nptv6.iter().map(nptv6_to_proto).collect(),
        nat64: router.nat64.iter().map(nat64_to_proto).collect(),
        helpers: router.helpers.iter().map(helper_to_proto).collect(),
    }
}

pub(super) fn interface_of(router: &str, spec: &v1::InterfaceSpec) -> Result<Interface, Refusal> {
    let object = format!("{router}: interface {}", spec.name);
    let neighbors = spec.neighbors.iter().map(|neighbor| {
        Ok(Neighbor {
            address: text(&object, "neighbors", &neighbor.address)?,
            mac: text::<Mac>(&object, "neighbors", &neighbor.mac)?,
        })
    });
    let usual = Interface::default();
    Ok(Interface {
        name: spec.name.clone(),
        switch: spec.switch.clone(),
        vlan: narrow(&object, "vlan", spec.vlan)?,
        mac: filled(&spec.mac).map(|mac| text::<Mac>(&object, "mac", &mac)).transpose()?,
        addresses: texts(&object, "addresses", &spec.addresses)?,
        mtu: spec.mtu.unwrap_or(usual.mtu),
        clamp_mss: spec.clamp_mss,
        neighbors: neighbors.collect::<Result<_, Refusal>>()?,
        advertise: spec.advertise.as_ref().map(|told| advertise_of(&object, told)).transpose()?,
        proxy: texts(&object, "proxy", &spec.proxy)?,
        ..usual
    })
}

fn advertise_of(object: &str, told: &v1::Advertise) -> Result<Advertise, Refusal> {
    let usual = Advertise::default();
    let lifetime_s = told.lifetime_s.map(|seconds| narrow(object, "lifetime_s", seconds)).transpose()?;
    Ok(Advertise {
        lifetime_s: lifetime_s.unwrap_or(usual.lifetime_s),
        managed: told.managed,
        other: told.other,
        autonomous: told.autonomous.unwrap_or(usual.autonomous),
        valid_s: told.valid_s.unwrap_or(usual.valid_s),
        preferred_s: told.preferred_s.unwrap_or(usual.preferred_s),
        dns: texts(object, "dns", &told.dns)?,
        search: told.search.clone(),
    })
}

fn interface_to_proto(interface: &Interface) -> v1::InterfaceSpec {
    v1::InterfaceSpec {
        name: interface.name.clone(),
        switch: interface.switch.clone(),
        vlan: u32::from(interface.vlan),
        mac: interface.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        addresses: interface.addresses.iter().map(ToString::to_string).collect(),
        mtu: Some(interface.mtu),
        clamp_mss: interface.clamp_mss,
        neighbors: interface
            .neighbors
            .iter()
            .map(|n| v1::StaticNeighbor { address: n.address.to_string(), mac: n.mac.to_string() })
            .collect(),
        advertise: interface.advertise.as_ref().map(|told| v1::Advertise {
            lifetime_s: Some(u32::from(told.lifetime_s)),
            managed: told.managed,
            other: told.other,
            dns: told.dns.iter().map(ToString::to_string).collect(),
            autonomous: Some(told.autonomous),
            valid_s: Some(told.valid_s),
            preferred_s: Some(told.preferred_s),
            search: told.search.clone(),
        }),
        proxy: interface.proxy.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn route_of(router: &str, spec: &v1::RouteSpec) -> Result<Route, Refusal> {
    let object = format!("{router}: route {}", spec.to);
    let action = route_action_of(&object, spec.action)?;
    Ok(Route {
        to: text(&object, "to", &spec.to)?,
        via: texts(&object, "via", &spec.via)?,
        interface: filled(&spec.interface),
        action,
        table: filled(&spec.table),
    })
}

pub(super) fn route_action_of(object: &str, action: i32) -> Result<Option<RouteAction>, Refusal> {
    Ok(match v1::RouteAction::try_from(action) {
        Ok(v1::RouteAction::Unspecified) => None,
        Ok(v1::RouteAction::Blackhole) => Some(RouteAction::Blackhole),
        Ok(v1::RouteAction::Unreachable) => Some(RouteAction::Unreachable),
        Ok(v1::RouteAction::Prohibit) => Some(RouteAction::Prohibit),
        Err(_) => return Err(Refusal::invalid(format!("{object}: action {action} is not known to this version"))),
    })
}

pub(super) fn route_action_to_proto(action: Option<RouteAction>) -> i32 {
    match action {
        None => v1::RouteAction::Unspecified,
        Some(RouteAction::Blackhole) => v1::RouteAction::Blackhole,
        Some(RouteAction::Unreachable) => v1::RouteAction::Unreachable,
        Some(RouteAction::Prohibit) => v1::RouteAction::Prohibit,
    }
    .into()
}

fn route_to_proto(route: &Route) -> v1::RouteSpec {
    v1::RouteSpec {
        to: route.to.to_string(),
        via: route.via.iter().map(ToString::to_string).collect(),
        interface: route.interface.clone().unwrap_or_default(),
        action: route_action_to_proto(route.action),
        table: route.table.clone().unwrap_or_default(),
    }
}
