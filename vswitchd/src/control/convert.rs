//! Messages to the desired state and back: switches, rules, rule sets, counters.

use std::str::FromStr;

use weir_proto::v1;
use weir_wire::DropCounters;

use super::convert_switching as switching;
use crate::config::{Action, Flood, Mac, OnFailure, Reputation, Rule, RuleSet, Side, StaticMac, Switch, Verb};
use crate::refusal::Refusal;

/// Reads a field's text; the refusal names object and field.
pub(super) fn text<T: FromStr<Err: std::fmt::Display>>(object: &str, field: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|e| Refusal::invalid(format!("{object}: {field}: {e}")))
}

pub(super) fn texts<T: FromStr<Err: std::fmt::Display>>(
    object: &str,
    field: &str,
    list: &[String],
) -> Result<Vec<T>, Refusal> {
    list.iter().map(|t| text(object, field, t)).collect()
}

/// An empty text stands for an absent one.
pub(super) fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number that has fewer bits in the state than in the message.
pub(super) fn narrow<T: TryFrom<u32>>(object: &str, field: &str, number: u32) -> Result<T, Refusal> {
    T::try_from(number).map_err(|_| Refusal::invalid(format!("{object}: {field} = {number} is too large")))
}

pub(super) fn strings<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

pub(super) fn action_to_proto(action: Action) -> i32 {
    match action {
        Action::Allow => v1::Action::Allow.into(),
        Action::Drop => v1::Action::Drop.into(),
        Action::Reject => v1::Action::Reject.into(),
    }
}

pub(super) fn action_of(object: &str, action: i32) -> Result<Action, Refusal> {
    match v1::Action::try_from(action) {
        Ok(v1::Action::Unspecified | v1::Action::Allow) => Ok(Action::Allow),
        Ok(v1::Action::Drop) => Ok(Action::Drop),
        Ok(v1::Action::Reject) => Ok(Action::Reject),
        Ok(v1::Action::Next) => Err(Refusal::invalid(format!("{object}: \"next\" is for rules with a tier"))),
        Err(_) => Err(Refusal::invalid(format!("{object}: action {action} is not known to this version"))),
    }
}

fn verb_of(object: &str, action: i32) -> Result<Verb, Refusal> {
    if action == i32::from(v1::Action::Next) { Ok(Verb::Next) } else { action_of(object, action).map(Verb::from) }
}

fn verb_to_proto(verb: Verb) -> i32 {
    verb.action().map_or(v1::Action::Next.into(), action_to_proto)
}

fn flood_to_proto(flood: Flood) -> i32 {
    match flood {
        Flood::Flood => v1::Flood::Flood.into(),
        Flood::Drop => v1::Flood::Drop.into(),
    }
}

fn flood_of(object: &str, flood: i32) -> Result<Flood, Refusal> {
    match v1::Flood::try_from(flood) {
        Ok(v1::Flood::Unspecified | v1::Flood::Flood) => Ok(Flood::Flood),
        Ok(v1::Flood::Drop) => Ok(Flood::Drop),
        Err(_) => Err(Refusal::invalid(format!("{object}: flood value {flood} is not known to this version"))),
    }
}

pub(super) fn switch_of(spec: &v1::SwitchSpec) -> Result<Switch, Refusal> {
    let object = format!("switch {}", spec.name);
    let usual = Switch::named(&spec.name);
    let static_macs = spec.static_macs.iter().map(|entry| {
        Ok(StaticMac {
            mac: text::<Mac>(&object, "static_macs", &entry.mac)?,
            vlan: narrow(&object, "static_macs.vlan", entry.vlan)?,
            port: entry.port.clone(),
        })
    });
    Ok(Switch {
        default: action_of(&object, spec.default_action)?,
        inspect: filled(&spec.inspect),
        ageing_s: spec.ageing_s.unwrap_or(usual.ageing_s),
        fdb_limit: spec.fdb_limit.unwrap_or(usual.fdb_limit),
        unknown_unicast: flood_of(&object, spec.unknown_unicast)?,
        broadcast: flood_of(&object, spec.broadcast)?,
        multicast: flood_of(&object, spec.multicast)?,
        static_macs: static_macs.collect::<Result<_, Refusal>>()?,
        snooping: spec.snooping.as_ref().map(|told| switching::snooping_of(&object, told)).transpose()?,
        loop_guard: switching::loop_guard_of(spec.loop_guard.as_ref()),
        suppress_arp: spec.suppress_arp,
        ..usual
    })
}

pub(super) fn switch_to_proto(switch: &Switch) -> v1::SwitchSpec {
    v1::SwitchSpec {
        name: switch.name.clone(),
        default_action: action_to_proto(switch.default),
        inspect: switch.inspect.clone().unwrap_or_default(),
        ageing_s: Some(switch.ageing_s),
        fdb_limit: Some(switch.fdb_limit),
        unknown_unicast: flood_to_proto(switch.unknown_unicast),
        broadcast: flood_to_proto(switch.broadcast),
        multicast: flood_to_proto(switch.multicast),
        static_macs: switch
            .static_macs
            .iter()
            .map(|e| v1::StaticMac { mac: e.mac.to_string(), vlan: u32::from(e.vlan), port: e.port.clone() })
            .collect(),
        snooping: switch.snooping.as_ref().map(switching::snooping_to_proto),
        loop_guard: Some(switching::loop_guard_to_proto(switch.loop_guard)),
        suppress_arp: switch.suppress_arp,
    }
}

fn side_of(object: &str, side: Option<&v1::Side>) -> Result<Side, Refusal> {
    let Some(side) = side else { return Ok(Side::default()) };
    Ok(Side {
        ports: side.ports.clone(),
        groups: side.groups.clone(),
        addresses: texts(object, "addresses", &side.addresses)?,
        macs: texts(object, "macs", &side.macs)?,
    })
}

fn side_to_proto(side: &Side) -> v1::Side {
    v1::Side {
        ports: side.ports.clone(),
        groups: side.groups.clone(),
        addresses: strings(&side.addresses),
        macs: strings(&side.macs),
    }
}

fn overload_of(object: &str, text: &str) -> Result<Option<OnFailure>, Refusal> {
    match text {
        "" => Ok(None),
        "open" => Ok(Some(OnFailure::Open)),
        "closed" => Ok(Some(OnFailure::Closed)),
        other => Err(Refusal::invalid(format!("{object}: overload = \"{other}\" is neither open nor closed"))),
    }
}

fn overload_name(overload: OnFailure) -> &'static str {
    match overload {
        OnFailure::Open => "open",
        OnFailure::Closed => "closed",
    }
}

pub(super) fn rule_of(rule: &v1::Rule) -> Result<Rule, Refusal> {
    let object = format!("rule {}", rule.name);
    if rule.action == i32::from(v1::Action::Unspecified) {
        return Err(Refusal::invalid(format!("{object}: it has no action; give allow, drop, reject or next")));
    }
    let ether_types = rule.ether_types.iter().map(|&e| narrow(&object, "ether_types", e));
    Ok(Rule {
        name: rule.name.clone(),
        action: verb_of(&object, rule.action)?,
        tier: filled(&rule.tier),
        schedule: filled(&rule.schedule),
        services: rule.services.clone(),
        log: rule.log,
        inspect: filled(&rule.inspect),
        trusted: rule.trusted,
        overload: overload_of(&object, &rule.overload)?,
        dscp: filled(&rule.dscp).map(|dscp| text(&object, "dscp", &dscp)).transpose()?,
        switches: rule.switches.clone(),
        vlans: texts(&object, "vlans", &rule.vlans)?,
        ether_types: ether_types.collect::<Result<_, _>>()?,
        protocol: texts(&object, "protocols", &rule.protocols)?,
        source_ports: texts(&object, "source_ports", &rule.source_ports)?,
        destination_ports: texts(&object, "destination_ports", &rule.destination_ports)?,
        icmp: texts(&object, "icmp", &rule.icmp)?,
        from: side_of(&object, rule.from.as_ref())?,
        to: side_of(&object, rule.to.as_ref())?,
    })
}

pub(super) fn rule_to_proto(rule: &Rule) -> v1::Rule {
    v1::Rule {
        name: rule.name.clone(),
        action: verb_to_proto(rule.action),
        tier: rule.tier.clone().unwrap_or_default(),
        schedule: rule.schedule.clone().unwrap_or_default(),
        services: rule.services.clone(),
        log: rule.log,
        inspect: rule.inspect.clone().unwrap_or_default(),
        trusted: rule.trusted,
        overload: rule.overload.map_or("", overload_name).to_owned(),
        dscp: rule.dscp.map(|dscp| dscp.to_string()).unwrap_or_default(),
        switches: rule.switches.clone(),
        from: Some(side_to_proto(&rule.from)),
        to: Some(side_to_proto(&rule.to)),
        vlans: strings(&rule.vlans),
        ether_types: rule.ether_types.iter().map(|&e| u32::from(e)).collect(),
        protocols: strings(&rule.protocol),
        source_ports: strings(&rule.source_ports),
        destination_ports: strings(&rule.destination_ports),
        icmp: strings(&rule.icmp),
    }
}

pub(super) fn rule_set_of(spec: v1::RuleSetSpec) -> RuleSet {
    let reputation = filled(&spec.reputation_categories)
        .map(|categories| Reputation { categories, addresses: spec.reputation_addresses });
    RuleSet {
        name: spec.name,
        builtin: filled(&spec.builtin),
        files: spec.files,
        text: filled(&spec.text),
        strict: spec.strict,
        variables: spec.variables.into_iter().collect(),
        data: filled(&spec.data),
        thresholds: filled(&spec.thresholds),
        classifications: filled(&spec.classifications),
        reputation,
        geoip: filled(&spec.geoip),
    }
}

pub(super) fn rule_set_to_proto(set: &RuleSet) -> v1::RuleSetSpec {
    let reputation = set.reputation.as_ref();
    v1::RuleSetSpec {
        name: set.name.clone(),
        builtin: set.builtin.clone().unwrap_or_default(),
        files: set.files.clone(),
        text: set.text.clone().unwrap_or_default(),
        strict: set.strict,
        variables: set.variables.clone().into_iter().collect(),
        data: set.data.clone().unwrap_or_default(),
        thresholds: set.thresholds.clone().unwrap_or_default(),
        classifications: set.classifications.clone().unwrap_or_default(),
        reputation_categories: reputation.map(|named| named.categories.clone()).unwrap_or_default(),
        reputation_addresses: reputation.map(|named| named.addresses.clone()).unwrap_or_default(),
        geoip: set.geoip.clone().unwrap_or_default(),
    }
}

/// Drop counters that are not zero.
pub(super) fn drops(counters: &DropCounters) -> Vec<v1::Count> {
    counters
        .nonzero()
        .map(|(reason, count)| v1::Count { name: reason.label().into(), count, meaning: reason.meaning().into() })
        .collect()
}

/// The object of a request that must be there.
pub(super) fn required<T>(object: Option<T>, field: &str) -> Result<T, Refusal> {
    object.ok_or_else(|| Refusal::invalid(format!("the request lacks \"{field}\"")))
}

/// Refuses fields that a "set" call does not know.
pub(super) fn unknown_field(object: &str, field: &str, known: &[&str]) -> Refusal {
    Refusal::invalid(format!("{object}: \"{field}\" is no field that can be set; there are: {}", known.join(", ")))
}
