//! The numbers that names have in the fabric, and a state in the fabric's and the guard's terms.

use std::collections::BTreeMap;

use weir_fabric::shape::{GroupShare, Limit, Share};
use weir_fabric::{Flood, PortConfig, Step, SwitchConfig, VlanMode};
use weir_filter::policy::spec;
use weir_wire::{InterfaceId, PortId, RouterId, SwitchId, Vid};

use crate::config::{self, Bits, Config};
use crate::plan::Change;
use crate::worker::{Carriage, GroupRate};

mod appliances;
mod mirrors;
mod policy_route;
mod routers;
mod segments;
mod switching;

pub use appliances::wires;
pub use mirrors::mirrors;
pub use routers::{Zones, default_of, inspect_of};
pub use segments::Facts;

/// The numbers of switches and ports. A name keeps its number as long as the object exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    switches: BTreeMap<String, u16>,
    ports: BTreeMap<String, u16>,
    routers: BTreeMap<String, u16>,
    appliances: BTreeMap<String, u16>,
    /// By "router/interface".
    interfaces: BTreeMap<String, u16>,
}

impl Ids {
    /// The number of a switch.
    pub fn switch(&self, name: &str) -> Option<SwitchId> {
        self.switches.get(name).copied().map(SwitchId)
    }

    /// The number of a port.
    pub fn port(&self, name: &str) -> Option<PortId> {
        self.ports.get(name).copied().map(PortId)
    }

    /// The number of a router.
    pub fn router(&self, name: &str) -> Option<RouterId> {
        self.routers.get(name).copied().map(RouterId)
    }

    /// The number of an interface of a router.
    pub fn interface(&self, router: &str, name: &str) -> Option<InterfaceId> {
        self.interfaces.get(&format!("{router}/{name}")).copied().map(InterfaceId)
    }

    /// Routers by name.
    pub fn routers(&self) -> impl Iterator<Item = (&str, RouterId)> {
        self.routers.iter().map(|(name, id)| (name.as_str(), RouterId(*id)))
    }

    /// Interfaces by the names of router and interface.
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, &str, InterfaceId)> {
        self.interfaces.iter().filter_map(|(name, id)| {
            let (router, interface) = name.split_once('/')?;
            Some((router, interface, InterfaceId(*id)))
        })
    }

    /// Switches by name.
    pub fn switches(&self) -> impl Iterator<Item = (&str, SwitchId)> {
        self.switches.iter().map(|(name, id)| (name.as_str(), SwitchId(*id)))
    }

    /// Ports by name.
    pub fn ports(&self) -> impl Iterator<Item = (&str, PortId)> {
        self.ports.iter().map(|(name, id)| (name.as_str(), PortId(*id)))
    }

    /// The numbers after a change: what stays keeps its number, what comes gets the lowest that was free before, so
    /// that no number changes hands within one change.
    #[must_use]
    pub fn after(&self, desired: &Config) -> Ids {
        let named = |router: &config::Router| -> Vec<String> {
            router.interfaces.iter().map(|interface| format!("{}/{}", router.name, interface.name)).collect()
        };
        let interfaces: Vec<String> = desired.routers.iter().flat_map(named).collect();
        Ids {
            switches: renumber(&self.switches, desired.switches.iter().map(|s| s.name.as_str())),
            ports: renumber(&self.ports, desired.ports.iter().map(|p| p.name.as_str())),
            appliances: renumber(&self.appliances, desired.appliances.iter().map(|a| a.name.as_str())),
            routers: renumber(&self.routers, desired.routers.iter().map(|r| r.name.as_str())),
            interfaces: renumber(&self.interfaces, interfaces.iter().map(String::as_str)),
        }
    }
}

fn renumber<'a>(before: &BTreeMap<String, u16>, names: impl Iterator<Item = &'a str>) -> BTreeMap<String, u16> {
    let taken: std::collections::BTreeSet<u16> = before.values().copied().collect();
    let mut free = (0..=u16::MAX).filter(|id| !taken.contains(id));
    let mut after = BTreeMap::new();
    for name in names {
        // A checked state has fewer names than there are numbers, also when all of them are replaced at once.
        if let Some(id) = before.get(name).copied().or_else(|| free.next()) {
            after.insert(name.to_owned(), id);
        }
    }
    after
}

/// The fabric's part of a list of changes.
pub fn steps(changes: &[Change], desired: &Config, before: &Ids, after: &Ids) -> Vec<Step> {
    let mut steps = Vec::new();
    for change in changes {
        let step = match change {
            Change::RemovePort(name) => before.port(name).map(Step::RemovePort),
            Change::RemoveSwitch(name) => before.switch(name).map(Step::RemoveSwitch),
            Change::AddSwitch(name) | Change::SetSwitch(name, _) => set_switch(name, desired, after),
            Change::ReplacePort(name, _) => {
                // What was learned from the old attachment has nothing to do with the one that comes.
                steps.extend(before.port(name).map(Step::RemovePort));
                set_port(name, desired, after)
            }
            Change::AddPort(name) | Change::SetPort(name, _) => set_port(name, desired, after),
            Change::RemoveAppliance(name) => before.appliance(name).map(Step::RemoveAppliance),
            Change::AddAppliance(name) | Change::SetAppliance(name, _) => appliances::step(name, desired, after),
            Change::RemoveRouter(name) => before.router(name).map(Step::RemoveRouter),
            // One router can join others that did not meet before, so all are told.
            Change::AddRouter(_) | Change::SetRouter(..) => None,
            Change::AddMirror(_)
            | Change::SetMirror(..)
            | Change::RemoveMirror(_)
            | Change::AddGroup(_)
            | Change::SetGroup(..)
            | Change::RemoveGroup(_)
            | Change::RemoveRuleSet(_)
            | Change::RemoveRule(_)
            | Change::SetSettings(_)
            | Change::AddRuleSet(_)
            | Change::SetRuleSet(..)
            | Change::ReloadRuleSet(_)
            | Change::SetContent(_)
            | Change::ReloadContent(_)
            | Change::SetVirus(_)
            | Change::ReloadVirus
            | Change::AddSegment(..)
            | Change::SetSegment(..)
            | Change::RemoveSegment(..)
            | Change::OrderTiers
            | Change::AddRule(_)
            | Change::SetRule(..)
            | Change::OrderRules
            | Change::LoadShadow(_)
            | Change::DropShadow => None,
        };
        steps.extend(step);
    }
    // Policy routes name ports and groups of ports.
    let by_port = desired.routers.iter().flat_map(|r| &r.policies).any(|p| !p.ports.is_empty() || !p.groups.is_empty());
    let of_router =
        |change: &Change| matches!(change, Change::AddRouter(_) | Change::SetRouter(..) | Change::RemoveRouter(_));
    let of_port = |change: &Change| {
        matches!(change, Change::AddPort(_) | Change::SetPort(..) | Change::ReplacePort(..) | Change::RemovePort(_))
    };
    let concerns = |change: &Change| of_router(change) || by_port && of_port(change);
    if changes.iter().any(concerns) {
        steps.extend(routers::steps(desired, after));
    }
    steps
}

fn set_switch(name: &str, desired: &Config, ids: &Ids) -> Option<Step> {
    let switch = desired.switch(name)?;
    let flood = |flood: config::Flood| match flood {
        config::Flood::Flood => Flood::Flood,
        config::Flood::Drop => Flood::Drop,
    };
    let config = SwitchConfig {
        ageing_s: switch.ageing_s,
        fdb_limit: switch.fdb_limit as usize,
        unknown_unicast: flood(switch.unknown_unicast),
        broadcast: flood(switch.broadcast),
        multicast: flood(switch.multicast),
        static_macs: switch
            .static_macs
            .iter()
            .filter_map(|entry| Some((Vid(entry.vlan), entry.mac.0, ids.port(&entry.port)?)))
            .collect(),
        snooping: switching::snooping(switch),
        loop_guard: switching::loop_guard(switch),
        suppress: switch.suppress_arp,
    };
    Some(Step::SetSwitch(ids.switch(name)?, config))
}

fn set_port(name: &str, desired: &Config, ids: &Ids) -> Option<Step> {
    let port = desired.port(name)?;
    let mut config = PortConfig {
        switch: ids.switch(&port.switch).or_else(|| ids.appliance(&port.switch))?,
        vlan: vlan_mode(port.vlan.as_ref()),
        isolated: port.isolated,
        down: port.down,
        learning: port.learning,
        fdb_limit: port.fdb_limit as usize,
        guard: port.effective_guard().map(|guard| guard.spec()),
        ..PortConfig::default()
    };
    switching::port(port, desired, &mut config);
    Some(Step::SetPort(ids.port(name)?, config))
}

/// What the ports that have rates may carry. Whoever has a share has it of every port that it sends to.
pub fn carriages(desired: &Config, ids: &Ids) -> Vec<(PortId, Carriage)> {
    let limit = |bits: Option<Bits>, packets: u64, burst: u64| Limit { bits: bits.map_or(0, |b| b.0), packets, burst };
    let share = |share: &config::Share| {
        let bits = |bits: Option<Bits>| bits.map_or(0, |bits| bits.0);
        Share { guarantee: bits(share.guarantee), peak: bits(share.peak), weight: share.weight }
    };
    let of_port = |port: &config::Port| Some((ids.port(&port.name)?, share(port.share.as_ref()?)));
    let shares: Vec<(PortId, Share)> = desired.ports.iter().filter_map(of_port).collect();
    let of_group = |group: &config::Group| {
        let members = desired.ports.iter().filter(|port| desired.sharing_group(port) == Some(&group.name));
        let members = members.filter_map(|port| ids.port(&port.name)).collect();
        Some(GroupShare { share: share(group.share.as_ref()?), members })
    };
    let group_shares: Vec<GroupShare> = desired.groups.iter().filter_map(of_group).collect();
    let both = |rate: config::Rate| {
        (limit(rate.inward, rate.in_packets, rate.burst), limit(rate.outward, rate.out_packets, rate.burst))
    };
    let carried = desired.ports.iter().filter_map(|port| {
        let (inward, outward) = port.rate.map(both).unwrap_or_default();
        let named = port.groups.iter().filter_map(|name| {
            let (inward, outward) = both(desired.group(name)?.rate?);
            Some(GroupRate { name: name.clone(), inward, outward })
        });
        let carriage = Carriage {
            inward,
            outward,
            shares: shares.clone(),
            group_shares: group_shares.clone(),
            groups: named.collect(),
        };
        Some((ids.port(&port.name)?, carriage))
    });
    carried.filter(|(_, carriage)| !carriage.is_free()).collect()
}

/// Ports toward which segments are not joined.
pub fn no_gro(desired: &Config, ids: &Ids) -> Vec<PortId> {
    desired.ports.iter().filter(|port| !port.gro).filter_map(|port| ids.port(&port.name)).collect()
}

fn vlan_mode(vlan: Option<&config::Vlan>) -> VlanMode {
    match vlan {
        None => VlanMode::Access(Vid(0)),
        Some(vlan) => match (vlan.access, vlan.tunnel) {
            (Some(vid), _) => VlanMode::Access(Vid(vid)),
            (None, Some(vid)) => VlanMode::Tunnel(Vid(vid)),
            (None, None) => VlanMode::Trunk {
                allowed: vlan.trunk.iter().map(|r| (Vid(r.first), Vid(r.last))).collect(),
                native: vlan.native.map(Vid),
            },
        },
    }
}

/// The state as the policy compiler takes it; the rule sets are put in by the caller.
pub fn spec(desired: &Config, ids: &Ids, facts: &Facts) -> spec::Spec {
    let switches = desired.switches.iter().filter_map(|s| {
        let inspect = s.inspect.clone().filter(|name| name != "none");
        Some(spec::Switch { id: ids.switch(&s.name)?, name: s.name.clone(), default: action(s.default), inspect })
    });
    let ports = desired.ports.iter();
    let zones = Zones::of(desired, ids);
    let mut rules: Vec<spec::Rule> =
        desired.rules.iter().map(|stated| spec::Rule { idle: !facts.has(stated), ..rule(stated) }).collect();
    let (groups, labels) = segments::groups(desired);
    let labels = |port: &config::Port| {
        let mut all = port.groups.clone();
        all.extend(labels.get(&port.name).into_iter().flatten().cloned());
        all
    };
    // Routers that meet are one to the policy: what names one of them names them all.
    for name in rules.iter_mut().flat_map(|rule| &mut rule.switches) {
        if let Some(zone) = zones.name_of(name) {
            zone.clone_into(name);
        }
    }
    spec::Spec {
        switches: switches.chain(zones.switches(desired)).chain(appliances::switches(desired, ids)).collect(),
        listened: appliances::listened(desired, ids),
        ports: ports
            .filter_map(|p| Some(spec::Port { id: ids.port(&p.name)?, name: p.name.clone(), groups: labels(p) }))
            .collect(),
        rules,
        tiers: segments::tiers(desired),
        services: segments::services(desired),
        groups,
        rule_sets: Vec::new(),
        content: Default::default(),
        scan: Default::default(),
        accounts: desired.accounts(ids),
        syn_proxies: desired.syn_proxies(ids),
        settings: desired.settings.spec(),
    }
}

pub(crate) fn action(action: config::Action) -> spec::Action {
    match action {
        config::Action::Allow => spec::Action::Allow,
        config::Action::Drop => spec::Action::Drop,
        config::Action::Reject => spec::Action::Reject,
    }
}

fn rule(rule: &config::Rule) -> spec::Rule {
    let ranges = |list: &[config::Range]| list.iter().map(|r| (*r).into()).collect();
    spec::Rule {
        name: rule.name.clone(),
        action: action(rule.action.action().unwrap_or_default()),
        log: rule.log,
        inspect: rule.inspect.clone(),
        trusted: rule.trusted,
        overload: rule.overload.map(Into::into),
        dscp: rule.dscp.map(|dscp| dscp.0),
        switches: rule.switches.clone(),
        from: side(&rule.from),
        to: side(&rule.to),
        vlans: ranges(&rule.vlans),
        ether_types: rule.ether_types.clone(),
        protocols: rule.protocol.iter().map(|p| p.0).collect(),
        source_ports: ranges(&rule.source_ports),
        destination_ports: ranges(&rule.destination_ports),
        icmp: icmp(&rule.icmp),
        services: rule.services.clone(),
        tier: rule.tier.clone(),
        next: rule.action == config::Verb::Next,
        idle: false,
    }
}

fn icmp(stated: &[config::Icmp]) -> Vec<spec::Icmp> {
    stated.iter().flat_map(|icmp| icmp.kinds.iter().map(|&kind| spec::Icmp { kind, code: icmp.code })).collect()
}

fn side(side: &config::Side) -> spec::Side {
    spec::Side {
        ports: side.ports.clone(),
        groups: side.groups.clone(),
        addresses: side.addresses.clone(),
        macs: side.macs.iter().map(|m| m.0).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    fn config(text: &str) -> Config {
        let config = Config::parse(text).expect("parses");
        config.check().expect("makes sense");
        config
    }

    const TWO: &str = r#"
        switch = [{ name = "lan" }]
        port = [{ name = "a", switch = "lan", mem = {} }, { name = "b", switch = "lan", mem = {} }]
    "#;

    #[test]
    fn names_keep_their_numbers_while_others_come_and_go() {
        let ids = Ids::default().after(&config(TWO));
        assert_eq!((ids.port("a"), ids.port("b")), (Some(PortId(0)), Some(PortId(1))));
        let other = config(&TWO.replace("name = \"a\"", "name = \"c\""));
        let after = ids.after(&other);
        // "c" takes a number that was free before, not the one that "a" gives up in the same change.
        assert_eq!((after.port("a"), after.port("b"), after.port("c")), (None, Some(PortId(1)), Some(PortId(2))));
        assert_eq!(after.after(&config(TWO)).port("a"), Some(PortId(0)));
    }

    #[test]
    fn steps_remove_ports_before_switches_and_add_switches_before_ports() {
        let full = config(TWO);
        let ids = Ids::default().after(&full);
        let kinds = |steps: &[Step]| -> Vec<&'static str> {
            steps
                .iter()
                .map(|s| match s {
                    Step::SetSwitch(..) => "set-switch",
                    Step::RemoveSwitch(_) => "remove-switch",
                    Step::SetPort(..) => "set-port",
                    Step::RemovePort(_) => "remove-port",
                    Step::FlushFdb(_) | Step::FlushNeighbors(_) | Step::FlushNat | Step::SetServed(_) => "flush",
                    Step::SetMirrors(_) => "set-mirrors",
                    Step::SetRouter(..) => "set-router",
                    Step::RemoveRouter(_) => "remove-router",
                    Step::SetAppliance(..) => "set-appliance",
                    Step::RemoveAppliance(_) => "remove-appliance",
                })
                .collect()
        };
        let empty = Config::default();
        let up = steps(&plan(&empty, &full), &full, &Ids::default(), &ids);
        assert_eq!(kinds(&up), ["set-switch", "set-port", "set-port"]);
        let down = steps(&plan(&full, &empty), &empty, &ids, &Ids::default());
        assert_eq!(kinds(&down), ["remove-port", "remove-port", "remove-switch"]);
    }

    #[test]
    fn vlans_become_modes() {
        let range = config::Range { first: 20, last: 30 };
        let trunk = config::Vlan { trunk: vec![range], native: Some(1), ..config::Vlan::default() };
        assert_eq!(
            vlan_mode(Some(&trunk)),
            VlanMode::Trunk { allowed: vec![(Vid(20), Vid(30))], native: Some(Vid(1)) }
        );
        assert_eq!(vlan_mode(None), VlanMode::Access(Vid(0)));
    }

    #[test]
    fn icmp_names_stand_for_both_versions() {
        let config = config("rule = [{ name = \"r\", action = \"drop\", icmp = [\"echo-request\", \"3/4\"] }]");
        let kinds: Vec<_> =
            spec(&config, &Ids::default(), &Facts::default()).rules[0].icmp.iter().map(|i| (i.kind, i.code)).collect();
        assert_eq!(kinds, [(8, None), (128, None), (3, Some(4))]);
    }
}
