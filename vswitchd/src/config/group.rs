//! What ports of one group share. Ports name their groups; a group needs an entry of its own only for what it is given.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use weir_wire::MacAddr;

use super::check::Problems;
use super::values::{Mac, one_or_many};
use super::{Config, GuestHost, Port, Quota, Rate, Share, is_default};

/// Groups with an entry at most.
pub const GROUPS_MAX: usize = 1024;
/// Members of one kind that a group's entry names at most.
const MEMBERS_MAX: usize = 16_384;

/// A group of ports, by the label that these carry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The label.
    pub name: String,
    /// What its ports may carry together; absent: as much as they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The share that its ports have together of the ports with a rate that they send to; absent: each has its own alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// What its ports may open together; absent: as much as they like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Addresses that belong to it, beside the ports that carry its label.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub addresses: Vec<IpNetwork>,
    /// MACs that belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub macs: Vec<Mac>,
    /// Hosts of DHCP that belong to it, by the names that the operator gives them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub dhcp_hosts: Vec<String>,
    /// Its members may not talk to each other, unless a tier lets them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub isolated: bool,
}

/// By what a group's members are known, all ways taken together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// Addresses.
    pub addresses: Vec<IpNetwork>,
    /// MACs.
    pub macs: Vec<MacAddr>,
    /// Ports by name that carry the label by being those of a DHCP host.
    pub ports: Vec<String>,
}

impl Config {
    /// The members that a group's entry names.
    pub fn members(&self, group: &Group) -> Members {
        let mut members = Members {
            addresses: group.addresses.clone(),
            macs: group.macs.iter().map(|mac| mac.0).collect(),
            ports: Vec::new(),
        };
        for host in self.dhcp_hosts().filter(|(name, _)| group.dhcp_hosts.iter().any(|wanted| wanted == name)) {
            let (_, host) = host;
            members.addresses.extend(host.address.map(IpNetwork::from));
            members.macs.extend(host.mac.map(|mac| mac.0));
            members.ports.extend(host.port.clone());
        }
        members
    }

    /// Hosts of DHCP that have names.
    fn dhcp_hosts(&self) -> impl Iterator<Item = (&str, &GuestHost)> {
        let interfaces = self.routers.iter().flat_map(|router| &router.interfaces);
        let hosts = interfaces.flat_map(|interface| {
            let v4 = interface.dhcp.iter().flat_map(|dhcp| &dhcp.hosts);
            v4.chain(interface.dhcp6.iter().flat_map(|dhcp| &dhcp.hosts))
        });
        hosts.filter_map(|host| Some((host.name.as_deref()?, host)))
    }

    /// A group by name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The group of whose share a port has a part: the first of its groups that has one.
    pub fn sharing_group<'p>(&self, port: &'p Port) -> Option<&'p String> {
        port.groups.iter().find(|name| self.group(name).is_some_and(|group| group.share.is_some()))
    }

    pub(super) fn check_groups(&self, problems: &mut Problems) {
        let count = self.groups.len();
        problems
            .unless(count <= GROUPS_MAX, || format!("{count} groups are more than the {GROUPS_MAX} a daemon takes"));
        super::check::unique("group", self.groups.iter().map(|group| group.name.as_str()), problems);
        for group in &self.groups {
            if let Some(rate) = &group.rate {
                super::check::check_rate(&format!("group {}", group.name), rate, problems);
            }
            if let Some(share) = &group.share {
                super::check::check_share(&format!("group {}", group.name), share, problems);
            }
            let name = &group.name;
            for list in [group.addresses.len(), group.macs.len(), group.dhcp_hosts.len()] {
                problems.unless(list <= MEMBERS_MAX, || {
                    format!("group {name}: a list of {list} members is longer than {MEMBERS_MAX}; name networks")
                });
            }
            for wanted in &group.dhcp_hosts {
                let mut known = self.dhcp_hosts().filter(|(host, _)| host == wanted).peekable();
                if known.peek().is_none() {
                    problems.add(format!(
                        "group {name}: there is no DHCP host \"{wanted}\"; add it (vswitchctl dhcp host add)"
                    ));
                } else if known.all(|(_, host)| host.address.is_none() && host.mac.is_none() && host.port.is_none()) {
                    problems
                        .add(format!("group {name}: DHCP host \"{wanted}\" has no address, MAC or port to know it by"));
                }
            }
        }
    }
}
