//! Snooping, the loop guard, storm control, LLDP and marks in the fabric's terms.

use weir_fabric::PortConfig;
use weir_fabric::lldp::{Announcement, LldpConfig};
use weir_fabric::loops::LoopGuard;
use weir_fabric::multicast::{RouterPort, SnoopingConfig};
use weir_fabric::shape::Limit;
use weir_fabric::storm::StormLimits;
use weir_wire::{MacAddr, Vid};

use crate::config::{self, Attachment, Config, Port, Switch};

pub(super) fn snooping(switch: &Switch) -> Option<SnoopingConfig> {
    let wanted = switch.snooping?;
    Some(SnoopingConfig {
        querier: wanted.querier,
        interval_s: wanted.interval_s,
        response_s: wanted.response_s,
        flood_unregistered: wanted.unregistered == config::Flood::Flood,
        fast_leave: wanted.fast_leave,
        groups_max: wanted.groups as usize,
        port_groups_max: wanted.groups_per_port as usize,
    })
}

pub(super) fn loop_guard(switch: &Switch) -> LoopGuard {
    let config::LoopGuard { moves, within_s, block, probe_s, recover_s } = switch.loop_guard;
    LoopGuard { moves, within_s, block, probe_s, recover_s }
}

/// Puts a port's part of it into its settings.
pub(super) fn port(port: &Port, desired: &Config, into: &mut PortConfig) {
    let is_uplink = matches!(port.attachment(), Ok(Attachment::Uplink(_)));
    into.tag_type = port.vlan.as_ref().and_then(|vlan| vlan.tag_type).map(config::TagType::number);
    into.storm = port.storm.as_ref().map(storm).unwrap_or_default();
    into.bpdu_guard = port.bpdu_guard;
    // Everybody's way out is not closed because of one address.
    into.may_block = !is_uplink;
    into.lldp = lldp(port, desired);
    into.multicast_router = match port.multicast_router {
        config::MulticastRouter::Learn => RouterPort::Learn,
        config::MulticastRouter::Always => RouterPort::Always,
        config::MulticastRouter::Never => RouterPort::Never,
    };
    into.dscp = port.dscp.map(|dscp| dscp.0);
}

fn storm(storm: &config::Storm) -> StormLimits {
    let limit = |limit: Option<config::StormLimit>| {
        limit.map_or(Limit::default(), |limit| Limit {
            bits: limit.bits.map_or(0, |bits| bits.0),
            packets: limit.packets,
            burst: 0,
        })
    };
    StormLimits { broadcast: limit(storm.broadcast), multicast: limit(storm.multicast), unknown: limit(storm.unknown) }
}

fn lldp(port: &Port, desired: &Config) -> LldpConfig {
    let is_device = matches!(port.attachment(), Ok(Attachment::Uplink(_) | Attachment::Xdp(_)));
    let (sends, receive) = match port.lldp {
        config::Lldp::Auto => (false, is_device),
        config::Lldp::Off => (false, false),
        config::Lldp::Receive => (false, true),
        config::Lldp::Send => (true, false),
        config::Lldp::Both => (true, true),
    };
    LldpConfig { send: sends.then(|| announcement(port, desired).frame()), receive }
}

fn announcement(port: &Port, desired: &Config) -> Announcement {
    let system = host_name();
    Announcement {
        chassis: chassis(&system),
        port: port.name.clone(),
        description: format!("port {} of switch {}", port.name, port.switch),
        system,
        system_description: format!("Weir {}", env!("CARGO_PKG_VERSION")),
        routes: !desired.routers.is_empty(),
        vid: Vid(port.vlan.as_ref().and_then(|vlan| vlan.access.or(vlan.native)).unwrap_or(0)),
    }
}

/// The name of this host, as the kernel has it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "weir".into() } else { name.into() }
}

/// A chassis that stays the same for a host: locally administered, made of its name (FNV-1a).
fn chassis(name: &str) -> MacAddr {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let [.., a, b, c, d, e] = hash.to_be_bytes();
    MacAddr([0x02, a, b, c, d, e])
}
