//! What ports of one group share. Ports name their groups; a group needs an entry of its own only for what it is given.

use serde::{Deserialize, Serialize};

use super::check::Problems;
use super::{Config, Port, Quota, Rate, Share};

/// Groups with an entry at most.
pub const GROUPS_MAX: usize = 1024;

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
}

impl Config {
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
        }
    }
}
