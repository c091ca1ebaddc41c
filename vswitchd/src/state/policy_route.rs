//! Policy routes in the fabric's terms.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_fabric::router::{PolicyRoute, RouteTable, Take};
use weir_wire::PortId;

use super::Ids;
use super::routers::{prefix, refusal, via};
use crate::config::{self, Config, Router};

/// The policy routes of a router, with the tables that they name.
pub(super) fn of(
    router: &Router,
    config: &Config,
    tables: &BTreeMap<&str, Arc<RouteTable>>,
    ids: &Ids,
) -> Vec<PolicyRoute> {
    router.policies.iter().map(|wanted| policy(router, wanted, config, tables, ids)).collect()
}

fn policy(
    router: &Router,
    wanted: &config::PolicyRoute,
    config: &Config,
    tables: &BTreeMap<&str, Arc<RouteTable>>,
    ids: &Ids,
) -> PolicyRoute {
    let take = match (&wanted.action, &wanted.table) {
        (Some(action), _) => Take::Target(refusal(*action)),
        (None, Some(table)) => tables.get(table.as_str()).map_or(Take::Main, |table| Take::Table(Arc::clone(table))),
        (None, None) => via(router, &wanted.via, wanted.interface.as_deref(), ids).map_or(Take::Main, Take::Target),
    };
    let named = |port: &&config::Port| {
        wanted.ports.contains(&port.name) || port.groups.iter().any(|group| wanted.groups.contains(group))
    };
    let ports = (!wanted.ports.is_empty() || !wanted.groups.is_empty()).then(|| {
        let mut ports: Vec<PortId> = config.ports.iter().filter(named).filter_map(|p| ids.port(&p.name)).collect();
        ports.sort_unstable();
        ports
    });
    PolicyRoute {
        name: wanted.name.clone(),
        from: wanted.from.iter().map(prefix).collect(),
        to: wanted.to.iter().map(prefix).collect(),
        interfaces: wanted.interfaces.iter().filter_map(|name| ids.interface(&router.name, name)).collect(),
        ports,
        protocols: wanted.protocol.iter().map(|protocol| protocol.0).collect(),
        source_ports: wanted.source_ports.iter().map(|range| (*range).into()).collect(),
        destination_ports: wanted.destination_ports.iter().map(|range| (*range).into()).collect(),
        both_ways: wanted.both_ways,
        take,
        fail_open: wanted.fail == config::OnFailure::Open,
        bypass: wanted.bypass,
    }
}
