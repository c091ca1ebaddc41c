//! Policy routes between messages and the desired state.

use weir_proto::v1;

use super::convert::{filled, texts};
use super::convert_router::{route_action_of, route_action_to_proto};
use crate::config::{OnFailure, PolicyRoute, Router};
use crate::refusal::Refusal;

pub(super) fn policy_route_of(router: &str, spec: &v1::PolicyRouteSpec) -> Result<PolicyRoute, Refusal> {
    let object = format!("{router}: policy_route {}", spec.name);
    Ok(PolicyRoute {
        name: spec.name.clone(),
        from: texts(&object, "from", &spec.from)?,
        to: texts(&object, "to", &spec.to)?,
        interfaces: spec.interfaces.clone(),
        ports: spec.ports.clone(),
        groups: spec.groups.clone(),
        protocol: texts(&object, "protocols", &spec.protocols)?,
        source_ports: texts(&object, "source_ports", &spec.source_ports)?,
        destination_ports: texts(&object, "destination_ports", &spec.destination_ports)?,
        both_ways: spec.both_ways,
        via: texts(&object, "via", &spec.via)?,
        interface: filled(&spec.interface),
        table: filled(&spec.table),
        action: route_action_of(&object, spec.action)?,
        fail: if spec.fail_open { OnFailure::Open } else { OnFailure::Closed },
        bypass: spec.bypass,
    })
}

pub(super) fn policy_route_to_proto(policy: &PolicyRoute) -> v1::PolicyRouteSpec {
    fn strings<T: ToString>(list: &[T]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }
    v1::PolicyRouteSpec {
        name: policy.name.clone(),
        from: strings(&policy.from),
        to: strings(&policy.to),
        interfaces: policy.interfaces.clone(),
        ports: policy.ports.clone(),
        groups: policy.groups.clone(),
        protocols: strings(&policy.protocol),
        source_ports: strings(&policy.source_ports),
        destination_ports: strings(&policy.destination_ports),
        both_ways: policy.both_ways,
        via: strings(&policy.via),
        interface: policy.interface.clone().unwrap_or_default(),
        table: policy.table.clone().unwrap_or_default(),
        action: route_action_to_proto(policy.action),
        fail_open: policy.fail == OnFailure::Open,
        bypass: policy.bypass,
    }
}

/// Adds a policy route, before another or as the last.
pub(super) fn add(router: &mut Router, policy: PolicyRoute, before: &str) -> Result<(), Refusal> {
    let place = |name: &str| router.policies.iter().position(|known| known.name == name);
    if place(&policy.name).is_some() {
        return Err(Refusal::exists("policy route", &policy.name));
    }
    let at = match before {
        "" => router.policies.len(),
        name => place(name).ok_or_else(|| not_found(router, name))?,
    };
    router.policies.insert(at, policy);
    Ok(())
}

/// Has a policy route passed over, or asked again.
pub(super) fn bypass(router: &mut Router, name: &str, on: bool) -> Result<(), Refusal> {
    match router.policies.iter().position(|policy| policy.name == name).and_then(|at| router.policies.get_mut(at)) {
        Some(policy) => policy.bypass = on,
        None => return Err(not_found(router, name)),
    }
    Ok(())
}

/// Removes policy routes.
pub(super) fn delete(router: &mut Router, names: &[String]) -> Result<(), Refusal> {
    for name in names {
        let before = router.policies.len();
        router.policies.retain(|policy| policy.name != *name);
        if router.policies.len() == before {
            return Err(not_found(router, name));
        }
    }
    Ok(())
}

fn not_found(router: &Router, name: &str) -> Refusal {
    Refusal::not_found("policy route", name, router.policies.iter().map(|policy| policy.name.as_str()))
}
