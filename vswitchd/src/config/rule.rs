//! Rules as they are wanted.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::dscp::Dscp;
use super::is_default;
use super::settings::OnFailure;
use super::values::{Icmp, Mac, Protocol, Range, one_or_many};

/// What is done with a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Forward it.
    #[default]
    Allow,
    /// Drop it and say nothing to the sender.
    Drop,
    /// Drop it and tell the sender.
    Reject,
}

/// What a rule does with a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Forward it; "pass" says the same.
    #[default]
    #[serde(alias = "pass")]
    Allow,
    /// Drop it and say nothing to the sender; "deny" says the same.
    #[serde(alias = "deny")]
    Drop,
    /// Drop it and tell the sender.
    Reject,
    /// Ask the tier that follows.
    Next,
}

impl From<Action> for Verb {
    fn from(action: Action) -> Verb {
        match action {
            Action::Allow => Verb::Allow,
            Action::Drop => Verb::Drop,
            Action::Reject => Verb::Reject,
        }
    }
}

impl Verb {
    /// What becomes of the flow; `None` where the next tier says.
    pub fn action(self) -> Option<Action> {
        match self {
            Verb::Allow => Some(Action::Allow),
            Verb::Drop => Some(Action::Drop),
            Verb::Reject => Some(Action::Reject),
            Verb::Next => None,
        }
    }
}

/// One rule. Empty lists match everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique name.
    pub name: String,
    /// What it does.
    pub action: Verb,
    /// The tier it belongs to; absent: behind all tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// When it is in force; absent: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Services by name, in place of protocol, ports and ICMP types.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub services: Vec<String>,
    /// Report when it decides.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log: bool,
    /// Rule set for the flows it allows; absent: the switch's; "none": no inspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect: Option<String>,
    /// Nothing looks into the flows that it allows: no rule set, no content filter, no virus check.
    #[serde(default, skip_serializing_if = "is_default")]
    pub trusted: bool,
    /// What becomes of the flows it allows where inspection has no processor time left; absent: the budget's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overload: Option<OnFailure>,
    /// The DSCP that packets of the flows it allows get, both ways; absent: they keep their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<Dscp>,
    /// Switches by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub switches: Vec<String>,
    /// VLANs.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub vlans: Vec<Range>,
    /// EtherTypes.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ether_types: Vec<u16>,
    /// IP protocols.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub protocol: Vec<Protocol>,
    /// TCP and UDP source ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub source_ports: Vec<Range>,
    /// TCP and UDP destination ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub destination_ports: Vec<Range>,
    /// ICMP and ICMPv6 types.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub icmp: Vec<Icmp>,
    /// The initiator's side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: Side,
    /// The responder's side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to: Side,
}

/// One side of a rule. Filled lists must all match, each by any of its members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// Ports by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub ports: Vec<String>,
    /// Groups by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub groups: Vec<String>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub addresses: Vec<IpNetwork>,
    /// MAC addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub macs: Vec<Mac>,
}
