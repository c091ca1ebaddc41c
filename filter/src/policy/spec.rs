//! A policy as a person states it, with names; [`Policy::compile`](super::Policy::compile) turns it into tables.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::IpNetwork;
use weir_wire::{MacAddr, PortId, SwitchId};

use super::RuleSetProgram;

/// What a rule, or the default of a switch, does with a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Forward it.
    #[default]
    Allow,
    /// Drop it and say nothing to the sender.
    Drop,
    /// Drop it and tell the sender: TCP RST, otherwise ICMP "administratively prohibited".
    Reject,
}

/// What to do when something cannot be inspected (memory limit reached).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Drop, count and log.
    #[default]
    Closed,
    /// Forward uninspected, count and log.
    Open,
}

/// One side of a rule. Empty lists match everything; filled lists must all match, each by any of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Ports by name.
    pub ports: Vec<String>,
    /// Groups (labels on ports) by name.
    pub groups: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpNetwork>,
    /// MAC addresses.
    pub macs: Vec<MacAddr>,
}

/// ICMP or ICMPv6 type with an optional code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code; any where absent.
    pub code: Option<u8>,
}

/// One rule. The first rule that matches a flow's first packet decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Unique name, for people, counters and events.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Emit an event when it decides.
    pub log: bool,
    /// Inspect allowed flows with this rule set; `None` takes the switch's; `Some("none")` inspects nothing.
    pub inspect: Option<String>,
    /// Nothing looks into flows that it allows: no rule set, no content filter, no virus check.
    pub trusted: bool,
    /// What becomes of allowed flows that inspection cannot pay for; `None` takes the budget's.
    pub overload: Option<OnFailure>,
    /// The DSCP that packets of allowed flows get, both ways, 0 to 63; `None` leaves what they carry.
    pub dscp: Option<u8>,
    /// Switches by name; empty for all.
    pub switches: Vec<String>,
    /// The initiator's side.
    pub from: Side,
    /// The responder's side.
    pub to: Side,
    /// VLAN ids.
    pub vlans: Vec<RangeInclusive<u16>>,
    /// EtherTypes.
    pub ether_types: Vec<u16>,
    /// IP protocol numbers.
    pub protocols: Vec<u8>,
    /// TCP/UDP source ports.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// TCP/UDP destination ports.
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// ICMP and ICMPv6 types.
    pub icmp: Vec<Icmp>,
    /// Services by name, in place of protocols, ports and ICMP types.
    pub services: Vec<String>,
    /// The tier it belongs to; `None`: behind all tiers.
    pub tier: Option<String>,
    /// In place of what it does, it hands the flow on to the tier that follows.
    pub next: bool,
    /// It does not exist at present: its schedule is closed.
    pub idle: bool,
}

/// Rules that are asked before those of the tiers that follow, and before those without a tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// What happens to flows that none of its rules names; `None`: the next tier is asked. As with switches, address
    /// resolution is refused by rules only.
    pub default: Option<Action>,
}

/// What a service is spoken by: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its alternatives.
    pub entries: Vec<ServiceEntry>,
}

/// A protocol with its ports or types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// IP protocol numbers.
    pub protocols: Vec<u8>,
    /// TCP/UDP source ports.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// TCP/UDP destination ports.
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// ICMP and ICMPv6 types.
    pub icmp: Vec<Icmp>,
}

/// Members of a group beside the ports that carry its label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its label.
    pub name: String,
    /// Addresses that belong to it.
    pub addresses: Vec<IpNetwork>,
    /// MACs that belong to it.
    pub macs: Vec<MacAddr>,
    /// Its members may not talk to each other, unless a tier lets them.
    pub isolated: bool,
}

/// What the guard may do with the traffic of a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What it refuses does not pass.
    #[default]
    Enforce,
    /// It sees copies: it tells what it finds and refuses nothing.
    Listen,
}

/// What the policy needs to know of a switch.
#[derive(Clone, Debug)]
pub struct Switch {
    /// Its number.
    pub id: SwitchId,
    /// Its name.
    pub name: String,
    /// What happens to flows no rule names. Address resolution (ARP, neighbour discovery between hosts) passes unless a
    /// rule refuses it.
    pub default: Action,
    /// Rule set for flows whose rule names none; `None` inspects nothing.
    pub inspect: Option<String>,
}

/// What the policy needs to know of a port.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its number.
    pub id: PortId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub groups: Vec<String>,
}

/// Idle times after which a flow is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_handshake: Duration,
    /// TCP established.
    pub tcp_established: Duration,
    /// TCP after FIN, TIME-WAIT or RST.
    pub tcp_closing: Duration,
    /// UDP with traffic one way only.
    pub udp_single: Duration,
    /// UDP with traffic both ways.
    pub udp_stream: Duration,
    /// ICMP echo and the like.
    pub icmp: Duration,
    /// Other IP protocols.
    pub other: Duration,
    /// Flows ended by a verdict: how long their packets go on being dropped.
    pub blocked: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let s = Duration::from_secs;
        Timeouts {
            tcp_handshake: s(60),
            tcp_established: s(86_400),
            tcp_closing: s(60),
            udp_single: s(30),
            udp_stream: s(180),
            icmp: s(30),
            other: s(600),
            blocked: s(60),
        }
    }
}

/// Settings of the guard as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Idle times.
    pub timeouts: Timeouts,
    /// How long after its start an engine takes up TCP connections whose handshake it did not see (in either
    /// direction that the policy allows); later such segments are dropped as `tcp-midstream`.
    pub midstream_grace: Duration,
    /// Bytes of each direction of a TCP stream that are inspected; then the flow settles.
    pub stream_depth: u64,
    /// When the stream memory is used up.
    pub on_stream_limit: OnFailure,
    /// What inspection tells beside bare alerts.
    pub tells: crate::event::Tells,
    /// What inspection may cost; `None`: whatever it takes.
    pub cpu_budget: Option<CpuBudget>,
    /// What counts as a scan or a flood.
    pub detection: crate::suspects::Detection,
}

/// What inspection may cost, and what is given up beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuBudget {
    /// Nanoseconds of processor time in a second.
    pub ns_per_second: u64,
    /// Flows that have carried more bytes than this without an alert are given up first.
    pub elephant_bytes: u64,
    /// Bytes that a flow carries before it is given up where depth is.
    pub short_depth: u64,
    /// One of so many new flows is inspected where flows are sampled.
    pub sample: u32,
    /// What becomes of what cannot be paid for, unless its rule says otherwise.
    pub beyond: OnFailure,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            timeouts: Timeouts::default(),
            midstream_grace: Duration::from_secs(60),
            stream_depth: 1 << 20,
            on_stream_limit: OnFailure::Closed,
            tells: crate::event::Tells::default(),
            cpu_budget: None,
            detection: crate::suspects::Detection::default(),
        }
    }
}

/// A whole policy.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The switches there are.
    pub switches: Vec<Switch>,
    /// Switches whose traffic is listened to only.
    pub listened: Vec<SwitchId>,
    /// The ports there are.
    pub ports: Vec<Port>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// The tiers, the first first.
    pub tiers: Vec<Tier>,
    /// The services that rules name.
    pub services: Vec<Service>,
    /// Groups with more members than labelled ports, or whose members may not talk to each other.
    pub groups: Vec<Group>,
    /// The compiled rule sets by name.
    pub rule_sets: Vec<(String, Arc<RuleSetProgram>)>,
    /// The content filter.
    pub content: crate::content::Spec,
    /// The virus check.
    pub scan: Arc<crate::scan::Policy>,
    /// What ports and groups of ports may open.
    pub accounts: Vec<super::Account>,
    /// The ports that a SYN proxy stands before.
    pub syn_proxies: Vec<(PortId, super::SynProxy)>,
    /// Settings.
    pub settings: Settings,
}
