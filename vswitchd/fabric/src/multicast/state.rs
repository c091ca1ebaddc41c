//! What a switch is told about multicast groups, and what it tells of them.

use std::net::{IpAddr, Ipv4Addr};

use weir_wire::{PortId, Vid};

/// What a switch does about multicast groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnoopingConfig {
    /// Ask hosts for their groups, from this IPv4 address (0.0.0.0: as a proxy, which yields to any other querier) and
    /// from a link-local IPv6 address.
    pub querier: Option<Ipv4Addr>,
    /// Seconds between two questions; members are forgotten after twice that and the time to answer.
    pub interval_s: u32,
    /// Seconds that hosts may take to answer.
    pub response_s: u32,
    /// Flood groups that nobody has joined; otherwise only routers get them.
    pub flood_unregistered: bool,
    /// A port is out of a group with the first leave: for ports with one host each.
    pub fast_leave: bool,
    /// Groups at most.
    pub groups_max: usize,
    /// Groups of one port at most.
    pub port_groups_max: usize,
}

impl Default for SnoopingConfig {
    fn default() -> SnoopingConfig {
        SnoopingConfig {
            querier: None,
            interval_s: 125,
            response_s: 10,
            flood_unregistered: true,
            fast_leave: false,
            groups_max: 1024,
            port_groups_max: 256,
        }
    }
}

/// Whether a multicast router is behind a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouterPort {
    /// As it is heard.
    #[default]
    Learn,
    /// It gets every group.
    Always,
    /// What says so is not believed.
    Never,
}

/// A port in a group, or one with a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The port.
    pub port: PortId,
    /// Seconds until it is forgotten.
    pub left_s: u32,
}

/// A group that somebody has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The VLAN.
    pub vid: Vid,
    /// The group.
    pub address: IpAddr,
    /// Its ports, in order.
    pub members: Vec<Member>,
}

/// Who asks in a VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Querier {
    /// The VLAN.
    pub vid: Vid,
    /// The address that asks.
    pub address: IpAddr,
    /// The port; `None` where the switch itself asks.
    pub port: Option<PortId>,
}

/// What a switch knows about groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnoopingState {
    /// Groups in order of VLAN and address.
    pub groups: Vec<Group>,
    /// Ports with multicast routers, by VLAN.
    pub routers: Vec<(Vid, Member)>,
    /// Queriers, by VLAN.
    pub queriers: Vec<Querier>,
    /// What was counted.
    pub stats: SnoopingStats,
}

/// What snooping has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnoopingStats {
    /// Reports and leaves that were read.
    pub reports: u64,
    /// Queries that were read.
    pub queries: u64,
    /// Queries of the switch's own.
    pub asked: u64,
    /// Messages that could not be believed.
    pub broken: u64,
    /// Joins refused at a limit.
    pub refused: u64,
}
