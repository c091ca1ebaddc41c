//! The desired state: everything an operator can ask of the daemon, as one TOML text.
//!
//! [`Config::parse`] answers with the place in the text where its form is wrong; [`Config::check`] (in `check.rs`) with
//! the object whose meaning is. [`Config::to_toml`] prints a text that parses to the same value.
//!
//! ```toml
//! [[switch]]
//! name = "lan"
//! default = "allow"
//! inspect = "starter"
//!
//! [[port]]
//! name = "vm1"
//! switch = "lan"
//! vhost_user = { path = "/run/weir/vm1.sock" }
//!
//! [[rule_set]]
//! name = "starter"
//! builtin = "starter"
//! ```

mod appliance;
mod check;
mod check_router;
mod check_services;
mod check_switching;
mod content;
mod dscp;
mod file_store;
mod group;
mod guard;
mod inspection;
mod metadata;
mod mirror;
mod nat;
mod policy_route;
mod port;
mod quota;
mod router;
mod rule;
mod segment;
mod services;
mod settings;
mod shadow;
mod switching;
mod values;
mod virus;
mod workers;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use appliance::{APPLIANCES_MAX, Appliance, Hairpin, Probe};
pub use check::{PORTS_MAX, RULES_MAX, SWITCHES_MAX};
pub use check_router::{INTERFACES_MAX, ROUTERS_MAX, ROUTES_MAX};
pub use content::{
    CONTENT_RULES_MAX, Content, ContentList, ContentRule, Judgement, LISTS_MAX, Met, Reply, country_code,
};
pub use dscp::Dscp;
pub use file_store::FileStore;
pub use group::{GROUPS_MAX, Group, Members};
pub use guard::{Guard, Role};
pub use inspection::{Inspection, Percent, Whole};
pub use metadata::Metadata;
pub use mirror::{CaptureFile, Direction, ErspanTo, MIRRORS_MAX, Mirror, erspan_interface};
pub use nat::{Forward, Helper, Masquerade, Nat64, Nptv6, OneToOne, well_known_prefix};
pub use policy_route::PolicyRoute;
pub use port::{
    Attachment, Mem, Pcap, Port, Rate, Share, Tap, Uplink, VhostProfile, VhostRole, VhostUser, Vlan, Xdp, XdpMode,
};
pub use quota::{Detection, Quota, SynProxy};
pub use router::{Advertise, Interface, Neighbor, Route, RouteAction, Router};
pub use rule::{Action, Rule, Side, Verb};
pub use segment::{SCHEDULES_MAX, SERVICES_MAX, Schedule, Service, ServiceEntry, TIERS_MAX, Tier, Times, Zone};
pub use services::{Addresses, Dhcp, Dhcp6, Dns, GuestHost, GuestOption, GuestRoute, NameRecord, Resolver, unhex};
pub use settings::{Limits, OnFailure, Settings, Timeouts};
pub use shadow::{SHADOW_FLOWS_MAX, Shadow, default_flows};
pub use switching::{Lldp, LoopGuard, MulticastRouter, Snooping, Storm, StormLimit, TagType};
pub use values::{Bits, Icmp, Mac, Protocol, Range};
pub use virus::Virus;
pub use workers::{WorkerOf, Workers};

/// Everything that is wanted. The order of switches, ports and rule sets has no meaning; that of rules has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The guard's settings and limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub settings: Settings,
    /// The switches.
    #[serde(default, rename = "switch", skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<Switch>,
    /// The ports.
    #[serde(default, rename = "port", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What ports of one group share.
    #[serde(default, rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// Copies of frames for analysers.
    #[serde(default, rename = "mirror", skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// The routers between the switches.
    #[serde(default, rename = "router", skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<Router>,
    /// The guard as a device between ports or switches.
    #[serde(default, rename = "appliance", skip_serializing_if = "Vec::is_empty")]
    pub appliances: Vec<Appliance>,
    /// The rule sets that flows can be inspected with.
    #[serde(default, rename = "rule_set", skip_serializing_if = "Vec::is_empty")]
    pub rule_sets: Vec<RuleSet>,
    /// The content filter.
    #[serde(default, skip_serializing_if = "is_default")]
    pub content: Content,
    /// The virus check.
    #[serde(default, skip_serializing_if = "is_default")]
    pub virus: Virus,
    /// What rules call protocols with their ports.
    #[serde(default, rename = "service", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// When rules are in force.
    #[serde(default, rename = "schedule", skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// The tiers of the policy, the first first.
    #[serde(default, rename = "tier", skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// The policy: the first rule that matches a flow's first packet decides.
    #[serde(default, rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// A candidate for the policy, beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// A learning bridge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Its name.
    pub name: String,
    /// What happens to flows no rule names.
    #[serde(default)]
    pub default: Action,
    /// Rule set for flows whose rule names none; absent: nothing is inspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect: Option<String>,
    /// Learned addresses are forgotten after this many seconds without a frame.
    #[serde(default = "default_ageing_s")]
    pub ageing_s: u32,
    /// Learned addresses at most; the longest unused makes room for a new one.
    #[serde(default = "default_fdb_limit")]
    pub fdb_limit: u32,
    /// Frames to addresses not known.
    #[serde(default)]
    pub unknown_unicast: Flood,
    /// Frames to everybody.
    #[serde(default)]
    pub broadcast: Flood,
    /// Frames to groups.
    #[serde(default)]
    pub multicast: Flood,
    /// Configured addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub static_macs: Vec<StaticMac>,
    /// Send groups where they were joined; absent: everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snooping: Option<Snooping>,
    /// What is done about loops.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loop_guard: LoopGuard,
    /// Answer ARP requests and neighbour solicitations for hosts that are known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suppress_arp: bool,
}

impl Switch {
    /// A switch with the usual settings.
    pub fn named(name: &str) -> Switch {
        Switch {
            name: name.into(),
            default: Action::Allow,
            inspect: None,
            ageing_s: default_ageing_s(),
            fdb_limit: default_fdb_limit(),
            unknown_unicast: Flood::Flood,
            broadcast: Flood::Flood,
            multicast: Flood::Flood,
            static_macs: Vec::new(),
            snooping: None,
            loop_guard: LoopGuard::default(),
            suppress_arp: false,
        }
    }
}

/// What to do with a kind of frame that has no single destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flood {
    /// Send it to every other port of the VLAN.
    #[default]
    Flood,
    /// Drop it.
    Drop,
}

/// An address that is not learned but configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticMac {
    /// The address.
    pub mac: Mac,
    /// VLAN, 0 for the untagged LAN.
    #[serde(default)]
    pub vlan: u16,
    /// Name of the port.
    pub port: String,
}

/// Files of the rule language, or their text. Exactly one of `builtin`, `files` and `text` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSet {
    /// Its name.
    pub name: String,
    /// A set that comes with the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<String>,
    /// Files on this host, read when the set is applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Refuse the whole set when one rule is refused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strict: bool,
    /// Definitions of variables (`HOME_NET`) beyond the usual ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// The folder of the sets of values that rules read and save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// A `threshold.config`: suppressions, thresholds and rate filters for rules of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<String>,
    /// A `classification.config`: classtypes beyond the customary ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifications: Option<String>,
    /// The reputation of addresses, for `iprep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reputation: Option<Reputation>,
    /// A database of places in MaxMind's format, for `geoip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geoip: Option<String>,
}

/// Files of the reputation of addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reputation {
    /// Lines of `id,name,description`.
    pub categories: String,
    /// Lines of `address,id,score`; a network may stand in place of an address.
    #[serde(default)]
    pub addresses: Vec<String>,
}

fn default_ageing_s() -> u32 {
    300
}

fn default_fdb_limit() -> u32 {
    65536
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A text that is not a desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The rules of a policy file: `[[rule]]` tables alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    #[serde(default)]
    rule: Vec<Rule>,
}

impl Config {
    /// Reads a text. Names are not looked up yet: see [`Config::check`].
    ///
    /// # Errors
    /// Where the text is no TOML or has unknown or ill-formed fields; says line and column and shows the line.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        toml::from_str(text).map_err(|e| ConfigError(e.to_string().trim_end().to_owned()))
    }

    /// Reads the rules of a policy file.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_rules(text: &str) -> Result<Vec<Rule>, ConfigError> {
        let policy: PolicyText = toml::from_str(text).map_err(|e| ConfigError(e.to_string().trim_end().to_owned()))?;
        Ok(policy.rule)
    }

    /// Prints the state as a text that [`Config::parse`] takes.
    ///
    /// # Errors
    /// Where a number does not fit TOML's 63 bits.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|e| ConfigError(format!("the state cannot be printed as TOML: {e}")))
    }

    /// A switch by name.
    pub fn switch(&self, name: &str) -> Option<&Switch> {
        self.switches.iter().find(|s| s.name == name)
    }

    /// A port by name.
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|p| p.name == name)
    }

    /// A router by name.
    pub fn router(&self, name: &str) -> Option<&Router> {
        self.routers.iter().find(|r| r.name == name)
    }

    /// A rule set by name.
    pub fn rule_set(&self, name: &str) -> Option<&RuleSet> {
        self.rule_sets.iter().find(|s| s.name == name)
    }

    /// What inspects by a rule set: "switch lan", "rule web-to-db".
    pub fn users_of_rule_set(&self, name: &str) -> Vec<String> {
        let switches = self.switches.iter().filter(|s| s.inspect.as_deref() == Some(name));
        let routers = self.routers.iter().filter(|r| r.inspect.as_deref() == Some(name));
        let appliances = self.appliances.iter().filter(|a| a.inspect.as_deref() == Some(name));
        let rules = self.rules.iter().filter(|r| r.inspect.as_deref() == Some(name));
        let named = |kind: &str, name: &str| format!("{kind} {name}");
        switches
            .map(|s| named("switch", &s.name))
            .chain(routers.map(|r| named("router", &r.name)))
            .chain(appliances.map(|a| named("appliance", &a.name)))
            .chain(rules.map(|r| named("rule", &r.name)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
