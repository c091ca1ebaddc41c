//! First-hop security of ports as it is wanted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use weir_fabric::first_hop::GuardConfig;

use super::check::Problems;
use super::values::{Mac, one_or_many};
use super::{Attachment, Port, is_default};

/// Learned addresses of a port at most, where nothing else is said.
const LIMIT: u32 = 64;
/// Entries of each list at most.
const LIST_MAX: usize = 4096;

/// What a guest does beside speaking for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It forwards for others, advertises itself and redirects.
    Router,
    /// It gives addresses, or passes requests for them on.
    DhcpServer,
}

impl Role {
    /// Its name in the configuration.
    pub const fn label(self) -> &'static str {
        match self {
            Role::Router => "router",
            Role::DhcpServer => "dhcp-server",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let known = [Role::Router, Role::DhcpServer].into_iter().find(|role| role.label() == text);
        known.ok_or_else(|| format!("\"{text}\" is no role; there are router and dhcp-server"))
    }
}

/// What a port's guard does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Guarded, or trusted; absent: as [`Port::is_guests`] says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// What the guest does beside speaking for itself.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub roles: Vec<Role>,
    /// Learn addresses on first use.
    pub learn: bool,
    /// Learned addresses at most.
    pub limit: u32,
    /// Addresses that are the port's.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub addresses: Vec<IpAddr>,
    /// Addresses that it may use whoever else does.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "one_or_many")]
    pub shared: Vec<IpAddr>,
    /// The only MACs that it may use; absent: any that is nobody else's.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub macs: Vec<Mac>,
    /// MACs that it may use whoever else does.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub shared_macs: Vec<Mac>,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard {
            on: None,
            roles: Vec::new(),
            learn: true,
            limit: LIMIT,
            addresses: Vec::new(),
            shared: Vec::new(),
            macs: Vec::new(),
            shared_macs: Vec::new(),
        }
    }
}

impl Guard {
    /// As the fabric takes it.
    pub fn spec(&self) -> GuardConfig {
        let macs = |list: &[Mac]| list.iter().map(|mac| mac.0).collect();
        GuardConfig {
            learn: self.learn,
            limit: self.limit as usize,
            addresses: self.addresses.clone(),
            shared: self.shared.clone(),
            macs: macs(&self.macs),
            shared_macs: macs(&self.shared_macs),
            router: self.roles.contains(&Role::Router),
            dhcp_server: self.roles.contains(&Role::DhcpServer),
        }
    }
}

impl Port {
    /// Whether one guest is behind the port, as far as its kind tells: a virtual machine, or a namespace other than the
    /// host's, without VLANs of its own. Behind cards (AF_XDP, uplinks) there is a network, behind trunks and tunnels
    /// there are switches or routers, and what the host itself does in its own namespace it may do anyhow.
    pub fn is_guests(&self) -> bool {
        let many = self.vlan.as_ref().is_some_and(|vlan| !vlan.trunk.is_empty() || vlan.tunnel.is_some());
        let guest = match self.attachment() {
            Ok(Attachment::VhostUser(_)) => true,
            Ok(Attachment::Tap(tap)) => tap.netns.is_some(),
            Ok(Attachment::Xdp(_) | Attachment::Uplink(_) | Attachment::Pcap(_) | Attachment::Mem(_)) | Err(_) => false,
        };
        guest && !many
    }

    /// What its guard does; `None` where it is trusted.
    pub fn effective_guard(&self) -> Option<Guard> {
        let guard = self.guard.clone().unwrap_or_default();
        guard.on.unwrap_or_else(|| self.is_guests()).then_some(guard)
    }

    pub(super) fn check_guard(&self, problems: &mut Problems) {
        let Some(guard) = &self.guard else { return };
        let (name, limit) = (&self.name, guard.limit);
        problems.unless((1..=4096).contains(&limit), || {
            format!("port {name}: guard.limit = {limit} is outside 1 to 4096 addresses")
        });
        for mac in guard.macs.iter().chain(&guard.shared_macs) {
            problems.unless(!mac.0.is_multicast(), || format!("port {name}: guard: {mac} is a group address"));
        }
        let lists = [guard.addresses.len(), guard.shared.len(), guard.macs.len(), guard.shared_macs.len()];
        problems.unless(lists.iter().all(|&length| length <= LIST_MAX), || {
            format!("port {name}: guard: a list has more than {LIST_MAX} entries")
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn guests_are_guarded_and_the_rest_where_it_is_said() {
        let text = r#"
            switch = [{ name = "lan" }]
            port = [
                { name = "vm", switch = "lan", vhost_user = { path = "/run/vm.sock" } },
                { name = "container", switch = "lan", tap = { name = "t0", netns = "c" } },
                { name = "host", switch = "lan", tap = { name = "t0" } },
                { name = "trunk", switch = "lan", tap = { name = "t1", netns = "c" }, vlan = { trunk = "10-20" } },
                { name = "trusted", switch = "lan", tap = { name = "t2", netns = "c" }, guard = { on = false } },
                { name = "router", switch = "lan", tap = { name = "t3", netns = "c" }, guard = { roles = "router" } },
                { name = "strict", switch = "lan", mem = {}, guard = { on = true, learn = false, addresses = "10.0.0.5" } },
                { name = "up", switch = "lan", xdp = { interface = "eth1" } },
            ]
        "#;
        let config = Config::parse(text).expect("parses");
        config.check().expect("makes sense");
        let on = |name: &str| config.port(name).and_then(|port| port.effective_guard());
        assert!(on("vm").is_some_and(|guard| guard.learn && guard.limit == 64));
        assert!(on("container").is_some_and(|guard| !guard.spec().router));
        assert!(on("router").is_some_and(|guard| guard.spec().router && !guard.spec().dhcp_server));
        for trusted in ["host", "trunk", "trusted", "up"] {
            assert_eq!(on(trusted), None, "{trusted}");
        }
        assert!(on("strict").is_some_and(|guard| !guard.learn && guard.addresses.len() == 1));
        assert_eq!(Config::parse(&config.to_toml().expect("prints")).expect("parses"), config);
    }

    #[test]
    fn what_a_guard_cannot_do_is_told_with_its_port() {
        let text =
            "switch = [{ name = \"lan\" }]\nport = [{ name = \"vm\", switch = \"lan\", mem = {}, guard = GUARD }]";
        for (guard, told) in [
            ("{ limit = 0 }", "port vm: guard.limit = 0 is outside 1 to 4096 addresses"),
            ("{ macs = \"01:00:5e:00:00:01\" }", "port vm: guard: 01:00:5e:00:00:01 is a group address"),
        ] {
            let config = Config::parse(&text.replace("GUARD", guard)).expect("parses");
            assert_eq!(config.check(), Err(vec![told.to_owned()]));
        }
        let unknown = Config::parse(&text.replace("GUARD", "{ roles = [\"king\"] }")).expect_err("no such role");
        assert!(unknown.0.contains("king") && unknown.0.contains("dhcp-server"), "{unknown}");
    }
}
