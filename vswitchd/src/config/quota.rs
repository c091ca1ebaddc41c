//! What guests may open, and what counts as a scan or a flood.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_filter::policy::{self, Account};
use weir_filter::suspects;
use weir_wire::PortId;

use super::check::Problems;
use super::{Config, is_default};
use crate::state::Ids;

/// What a port, or the ports of a group together, may open: `{ flows = 1000, new_flows = 200, half_open = 64 }`. 0: no
/// limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Flows at a time.
    #[serde(skip_serializing_if = "is_default")]
    pub flows: u32,
    /// New flows a second.
    #[serde(skip_serializing_if = "is_default")]
    pub new_flows: u32,
    /// TCP connections that wait half-open.
    #[serde(skip_serializing_if = "is_default")]
    pub half_open: u32,
}

impl Quota {
    fn spec(&self) -> policy::Quota {
        let Quota { flows, new_flows, half_open } = *self;
        policy::Quota { flows, new_flows, half_open }
    }
}

/// When handshakes are done in a guest's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynProxy {
    /// From so many half-open connections toward it on; 0: always.
    pub half_open: u32,
}

/// What counts as a scan or a flood. 0 switches a thing off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detection {
    /// Different ports that a source tries in vain within the window.
    pub ports: u32,
    /// Different hosts.
    pub hosts: u32,
    /// The window, in seconds.
    pub window_s: u32,
    /// Connections a second of one source that nobody answers.
    pub syn_rate: u32,
    /// UDP a second of one source that nobody answers.
    pub udp_rate: u32,
    /// ICMP queries a second of one source that nobody answers.
    pub icmp_rate: u32,
    /// Half-open connections toward one port of a switch.
    pub half_open: u32,
    /// Seconds that a source that was found may open nothing; 0: it is only told of.
    pub block_s: u32,
}

impl Default for Detection {
    fn default() -> Detection {
        let of = suspects::Detection::default();
        let [syn_rate, udp_rate, icmp_rate] = of.rates;
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Detection {
            ports: of.ports,
            hosts: of.hosts,
            window_s: seconds(of.window),
            syn_rate,
            udp_rate,
            icmp_rate,
            half_open: of.half_open,
            block_s: seconds(of.block),
        }
    }
}

impl Detection {
    /// As the guard takes it.
    pub fn spec(&self) -> suspects::Detection {
        suspects::Detection {
            ports: self.ports,
            hosts: self.hosts,
            window: Duration::from_secs(u64::from(self.window_s)),
            rates: [self.syn_rate, self.udp_rate, self.icmp_rate],
            half_open: self.half_open,
            block: Duration::from_secs(u64::from(self.block_s)),
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let most = suspects::DISTINCT_MAX;
        for (name, value) in [("ports", self.ports), ("hosts", self.hosts)] {
            problems.unless(value <= most, || format!("settings.detection: {name} = {value} is above {most}"));
        }
        problems.unless(self.window_s > 0, || "settings.detection: window_s = 0: write at least 1".into());
    }
}

impl Config {
    /// Whose flows are counted together, and up to which limits.
    pub fn accounts(&self, ids: &Ids) -> Vec<Account> {
        let limited = |quota: &&Quota| **quota != Quota::default();
        let of_ports = self.ports.iter().filter_map(|port| {
            let quota = port.quota.as_ref().filter(limited)?;
            let (name, ports) = (format!("port {}", port.name), vec![ids.port(&port.name)?]);
            Some(Account { name, ports, quota: quota.spec() })
        });
        let of_groups = self.groups.iter().filter_map(|group| {
            let quota = group.quota.as_ref().filter(limited)?;
            let members = self.ports.iter().filter(|port| port.groups.contains(&group.name));
            let ports = members.filter_map(|port| ids.port(&port.name)).collect();
            Some(Account { name: format!("group {}", group.name), ports, quota: quota.spec() })
        });
        of_ports.chain(of_groups).collect()
    }

    /// The ports that a SYN proxy stands before.
    pub fn syn_proxies(&self, ids: &Ids) -> Vec<(PortId, policy::SynProxy)> {
        let proxied = self.ports.iter().filter_map(|port| {
            let half_open = port.syn_proxy?.half_open;
            Some((ids.port(&port.name)?, policy::SynProxy { half_open }))
        });
        proxied.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_of_ports_and_groups_become_accounts() {
        let text = r#"
            switch = [{ name = "lan" }]
            group = [{ name = "web", quota = { flows = 100 } }, { name = "db", quota = {} }]
            port = [
                { name = "a", switch = "lan", mem = {}, groups = "web", quota = { new_flows = 5, half_open = 6 } },
                { name = "b", switch = "lan", mem = {}, groups = ["web", "db"], syn_proxy = { half_open = 64 } },
            ]
            [settings.detection]
            block_s = 30
        "#;
        let config = Config::parse(text).expect("parses");
        config.check().expect("makes sense");
        let ids = Ids::default().after(&config);
        let accounts = config.accounts(&ids);
        let named: Vec<(&str, usize)> = accounts.iter().map(|a| (a.name.as_str(), a.ports.len())).collect();
        assert_eq!(named, [("port a", 1), ("group web", 2)]);
        assert_eq!((accounts[0].quota.new_flows, accounts[1].quota.flows), (5, 100));
        assert_eq!(config.syn_proxies(&ids), [(ids.port("b").expect("is there"), policy::SynProxy { half_open: 64 })]);
        assert_eq!(config.settings.detection.spec().block, Duration::from_secs(30));
        assert_eq!(Config::parse(&config.to_toml().expect("prints")).expect("parses"), config);
        let wrong = Config::parse("[settings.detection]\nports = 9999\nwindow_s = 0").expect("parses");
        let problems = wrong.check().expect_err("does not make sense");
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
