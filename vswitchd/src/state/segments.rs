//! What rules speak in, in the guard's terms: services, tiers, groups, and which schedules are open.

use std::collections::{BTreeMap, BTreeSet};

use weir_filter::policy::spec;

use super::action;
use crate::config::{self, Config};

/// What a policy depends on beside the state that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Schedules that hold the present.
    pub open: BTreeSet<String>,
}

impl Facts {
    /// The facts at a second since 1970, where the host's clock is `offset_s` seconds ahead of universal time. Schedules
    /// that no rule names, of the policy or of a candidate, are left out.
    pub fn at(desired: &Config, second: i64, offset_s: i64) -> Facts {
        let candidate = desired.shadow.iter().flat_map(|shadow| &shadow.rules);
        let all = desired.rules.iter().chain(candidate);
        let named: BTreeSet<&str> = all.filter_map(|rule| rule.schedule.as_deref()).collect();
        let holds = |schedule: &&config::Schedule| {
            let offset = match schedule.zone {
                config::Zone::Utc => 0,
                config::Zone::Local => offset_s,
            };
            named.contains(schedule.name.as_str()) && schedule.holds(second.saturating_add(offset))
        };
        Facts { open: desired.schedules.iter().filter(holds).map(|schedule| schedule.name.clone()).collect() }
    }

    /// Whether a rule exists at present.
    pub fn has(&self, rule: &config::Rule) -> bool {
        rule.schedule.as_ref().is_none_or(|name| self.open.contains(name))
    }
}

pub(super) fn tiers(desired: &Config) -> Vec<spec::Tier> {
    let tier = |tier: &config::Tier| spec::Tier { name: tier.name.clone(), default: tier.default.map(action) };
    desired.tiers.iter().map(tier).collect()
}

pub(super) fn services(desired: &Config) -> Vec<spec::Service> {
    let ranges = |list: &[config::Range]| list.iter().map(|range| (*range).into()).collect();
    let entry = |entry: &config::ServiceEntry| spec::ServiceEntry {
        protocols: entry.protocol.iter().map(|protocol| protocol.0).collect(),
        source_ports: ranges(&entry.source_ports),
        destination_ports: ranges(&entry.destination_ports),
        icmp: super::icmp(&entry.icmp),
    };
    let service = |service: &config::Service| spec::Service {
        name: service.name.clone(),
        entries: service.entries.iter().map(entry).collect(),
    };
    desired.services.iter().map(service).collect()
}

/// Groups with more than labels, and the labels that ports have by being those of DHCP hosts.
pub(super) fn groups(desired: &Config) -> (Vec<spec::Group>, BTreeMap<String, Vec<String>>) {
    let (mut groups, mut labels) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
    for group in &desired.groups {
        let config::Members { addresses, macs, ports } = desired.members(group);
        ports.into_iter().for_each(|port| labels.entry(port).or_default().push(group.name.clone()));
        groups.push(spec::Group { name: group.name.clone(), addresses, macs, isolated: group.isolated });
    }
    (groups, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        switch = [{ name = "lan" }]
        port = [{ name = "vm1", switch = "lan", groups = "db", mem = {} }, { name = "vm2", switch = "lan", mem = {} }]
        router = [{ name = "edge", interface = [{ name = "lan", switch = "lan", addresses = "10.0.0.1/24", dhcp = {
            ranges = "10.0.0.100-10.0.0.199",
            host = [{ name = "web", port = "vm2" }, { name = "mail", mac = "02:00:00:00:00:05", address = "10.0.0.9" }],
        } }] }]
        group = [{ name = "front", addresses = "192.0.2.0/24", dhcp_hosts = ["web", "mail"], isolated = true }]
        service = [{ name = "names", entries = [{ protocol = ["tcp", "udp"], destination_ports = 53 }] }]
        schedule = [
            { name = "office", times = "mon-fri 08:00-18:00" },
            { name = "here", times = "mon-fri 08:00-18:00", zone = "local" },
            { name = "unused", times = "daily 00:00-24:00" },
        ]
        tier = [{ name = "emergency" }, { name = "site", default = "drop" }]
        rule = [
            { name = "a", action = "pass", tier = "site", services = "names", schedule = "office" },
            { name = "b", action = "next", tier = "emergency", schedule = "here" },
        ]
    "#;

    fn config(text: &str) -> Config {
        let config = Config::parse(text).expect("parses");
        config.check().expect("makes sense");
        config
    }

    #[test]
    fn groups_have_their_hosts_of_dhcp() {
        let config = config(TEXT);
        let (groups, labels) = groups(&config);
        let front = &groups[0];
        let addresses: Vec<String> = front.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.0/24", "10.0.0.9/32"]);
        assert_eq!((front.macs.len(), front.isolated), (1, true));
        assert_eq!(labels.get("vm2"), Some(&vec!["front".to_owned()]));
        let ghost = TEXT.replace("\"mail\"]", "\"ghost\"]");
        let problems = Config::parse(&ghost).expect("parses").check().expect_err("no such host");
        assert!(problems[0].contains("group front: there is no DHCP host \"ghost\""), "{problems:?}");
    }

    #[test]
    fn rules_exist_while_their_schedules_are_open() {
        let config = config(TEXT);
        // Monday, 1970-01-05, 17:59:59 of universal time.
        let before = 4 * 86_400 + 17 * 3600 + 59 * 60 + 59;
        let open = |second, offset| Facts::at(&config, second, offset).open.into_iter().collect::<Vec<_>>();
        assert_eq!(open(before, 0), ["here", "office"]);
        assert_eq!(open(before + 1, 0), [""; 0]);
        assert_eq!(open(before, 3600), ["office"]);
        assert_eq!(open(before + 1, -3600), ["here"]);
        let ids = super::super::Ids::default().after(&config);
        let idle = |second| {
            let spec = super::super::spec(&config, &ids, &Facts::at(&config, second, 0));
            spec.rules.iter().map(|rule| rule.idle).collect::<Vec<_>>()
        };
        assert_eq!((idle(before), idle(before + 1)), (vec![false, false], vec![true, true]));
    }
}
