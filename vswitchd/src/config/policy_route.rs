//! Policy routes as they are wanted: where packets go by more than their destination.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::Config;
use super::check::{Problems, unique};
use super::is_default;
use super::router::{RouteAction, Router};
use super::settings::OnFailure;
use super::values::{Protocol, Range, one_or_many};

/// Policy routes of one router at most.
const POLICIES_MAX: usize = 256;
/// Members of one list at most.
const MEMBERS_MAX: usize = 256;

/// A policy route: packets that fit all that is given go `via` gateways, out of an `interface`, as a `table` says, or
/// are refused by an `action`; without any of these, as the router's own table says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRoute {
    /// Its name within the router.
    pub name: String,
    /// Networks that packets come from; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub from: Vec<IpNetwork>,
    /// Networks that packets go to; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub to: Vec<IpNetwork>,
    /// Interfaces of the router that packets come in by; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub interfaces: Vec<String>,
    /// Ports of switches that packets come from; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ports: Vec<String>,
    /// Groups of ports that packets come from; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub groups: Vec<String>,
    /// IP protocols; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub protocol: Vec<Protocol>,
    /// Source ports of TCP and UDP; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub source_ports: Vec<Range>,
    /// Destination ports of TCP and UDP; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub destination_ports: Vec<Range>,
    /// Packets of the other way too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub both_ways: bool,
    /// The next routers; flows are spread over several, both ways of a flow go to the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub via: Vec<IpAddr>,
    /// The interface; absent: the one in whose network each gateway is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// As the routes say that stand in this table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Drop them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<RouteAction>,
    /// Where none of the gateways answers: packets end there (closed), or go on as if the policy route were not there
    /// (open); then the gateways are asked whether or not packets go there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fail: OnFailure,
    /// It is passed over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bypass: bool,
}

impl Router {
    /// Names of its tables beside its own, in order.
    pub fn tables(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.routes.iter().filter_map(|route| route.table.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Config {
    pub(super) fn check_policy_routes(&self, router: &Router, problems: &mut Problems) {
        let all = &router.policies;
        problems.unless(all.len() <= POLICIES_MAX, || {
            format!("router {}: {} policy routes are more than {POLICIES_MAX}", router.name, all.len())
        });
        unique("policy route", all.iter().map(|policy| policy.name.as_str()), problems);
        all.iter().for_each(|policy| self.check_policy_route(router, policy, problems));
    }

    fn check_policy_route(&self, router: &Router, policy: &PolicyRoute, problems: &mut Problems) {
        let object = || format!("router {}: policy_route {}", router.name, policy.name);
        let lists = [policy.from.len(), policy.to.len(), policy.interfaces.len(), policy.ports.len(), policy.via.len()];
        problems.unless(lists.iter().all(|length| *length <= MEMBERS_MAX), || {
            format!("{}: a list has more than {MEMBERS_MAX} members", object())
        });
        problems.unless(!policy.name.is_empty(), || format!("{}: give it a name", object()));
        for name in policy.interfaces.iter().chain(&policy.interface) {
            problems
                .unless(router.interface(name).is_some(), || format!("{}: there is no interface \"{name}\"", object()));
        }
        for name in &policy.ports {
            problems.unless(self.port(name).is_some(), || format!("{}: there is no port \"{name}\"", object()));
        }
        let ways = usize::from(!policy.via.is_empty() || policy.interface.is_some());
        let given = ways + usize::from(policy.table.is_some()) + usize::from(policy.action.is_some());
        problems.unless(given <= 1, || format!("{}: give one of via or interface, table, action", object()));
        if let Some(table) = &policy.table {
            problems.unless(router.tables().contains(&table.as_str()), || {
                format!("{}: no route stands in a table \"{table}\" (route: table = ...)", object())
            });
        }
        problems.unless(policy.fail == OnFailure::Closed || !policy.via.is_empty(), || {
            format!("{}: fail = \"open\" is about gateways; give via", object())
        });
        for gateway in &policy.via {
            let near = policy.interface.is_some() || router.interface_towards(*gateway).is_some();
            problems.unless(near, || {
                format!("{}: gateway {gateway} is in none of the router's networks; name the interface", object())
            });
            let family = |networks: &[IpNetwork]| {
                networks.is_empty() || networks.iter().any(|network| network.is_ipv4() == gateway.is_ipv4())
            };
            problems.unless(family(&policy.from) && family(&policy.to), || {
                format!("{}: gateway {gateway} is of the other address family", object())
            });
        }
        let ports = !policy.source_ports.is_empty() || !policy.destination_ports.is_empty();
        let with_ports = !policy.protocol.is_empty() && policy.protocol.iter().all(|p| matches!(p.0, 6 | 17));
        problems.unless(!ports || with_ports, || format!("{}: ports are of tcp and udp; give the protocol", object()));
    }
}
