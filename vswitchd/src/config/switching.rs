//! What a switch and its ports do beyond forwarding: multicast snooping, the loop guard, storm control, LLDP.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::is_default;
use super::values::Bits;

/// Groups go where they were joined: `snooping = {}`, `{ querier = "10.0.0.1" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snooping {
    /// Ask hosts for their groups, from this address; IPv6 is asked from a link-local one. `0.0.0.0`: as a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub querier: Option<Ipv4Addr>,
    /// Seconds between two questions.
    pub interval_s: u32,
    /// Seconds that hosts may take to answer.
    pub response_s: u32,
    /// Groups that nobody has joined: `flood`, or `drop` (routers get them all the same).
    pub unregistered: super::Flood,
    /// A port is out of a group with the first leave.
    pub fast_leave: bool,
    /// Groups at most.
    pub groups: u32,
    /// Groups of one port at most.
    pub groups_per_port: u32,
}

impl Default for Snooping {
    fn default() -> Snooping {
        Snooping {
            querier: None,
            interval_s: 125,
            response_s: 10,
            unregistered: super::Flood::Flood,
            fast_leave: false,
            groups: 1024,
            groups_per_port: 256,
        }
    }
}

/// What a switch does about loops: `loop_guard = { block = true }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoopGuard {
    /// So many moves of one address between ports are flapping; 0: not watched.
    pub moves: u32,
    /// Seconds in which they are counted.
    pub within_s: u32,
    /// Block the port that a flapping address does not belong to, or that hears our probe.
    pub block: bool,
    /// Send probes so often, in seconds; 0: none.
    pub probe_s: u32,
    /// Open a blocked port after so many seconds; 0: by `vswitchctl port clear` alone.
    pub recover_s: u32,
}

impl Default for LoopGuard {
    fn default() -> LoopGuard {
        LoopGuard { moves: 8, within_s: 10, block: false, probe_s: 0, recover_s: 300 }
    }
}

/// What a port may send to many: `storm = { broadcast = { packets = 1000 } }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// To everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<StormLimit>,
    /// To groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast: Option<StormLimit>,
    /// To addresses that the switch does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<StormLimit>,
}

/// How much of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StormLimit {
    /// Bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<Bits>,
    /// Frames a second; 0 for no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub packets: u64,
}

/// What a port does about LLDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lldp {
    /// Listen on network devices, nothing towards guests.
    #[default]
    Auto,
    /// Nothing.
    Off,
    /// Listen.
    Receive,
    /// Speak.
    Send,
    /// Both.
    Both,
}

/// Whether a multicast router is behind a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MulticastRouter {
    /// As it is heard.
    #[default]
    Learn,
    /// It gets every group.
    Always,
    /// What says so is not believed.
    Never,
}

/// The EtherType of outer tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TagType {
    /// 0x8100.
    #[serde(rename = "802.1q")]
    Customer,
    /// 0x88a8.
    #[serde(rename = "802.1ad")]
    Service,
    /// 0x9100, of older equipment.
    #[serde(rename = "0x9100")]
    Stacked,
}

impl TagType {
    /// All of them.
    pub const ALL: [TagType; 3] = [TagType::Customer, TagType::Service, TagType::Stacked];

    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            TagType::Customer => 0x8100,
            TagType::Service => 0x88a8,
            TagType::Stacked => 0x9100,
        }
    }
}
