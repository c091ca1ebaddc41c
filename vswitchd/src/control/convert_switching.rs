//! Messages to the desired state and back: snooping, the loop guard, storm control, LLDP.

use weir_proto::v1;

use super::convert::{filled, narrow, text};
use crate::config::{Bits, Dscp, Flood, Lldp, LoopGuard, MulticastRouter, Port, Snooping, Storm, StormLimit, TagType};
use crate::refusal::Refusal;

pub(super) fn snooping_of(object: &str, told: &v1::Snooping) -> Result<Snooping, Refusal> {
    let usual = Snooping::default();
    let or = |value: u32, usual: u32| if value == 0 { usual } else { value };
    Ok(Snooping {
        querier: filled(&told.querier).map(|own| text(object, "snooping.querier", &own)).transpose()?,
        interval_s: or(told.interval_s, usual.interval_s),
        response_s: or(told.response_s, usual.response_s),
        unregistered: if told.drop_unregistered { Flood::Drop } else { Flood::Flood },
        fast_leave: told.fast_leave,
        groups: or(told.groups, usual.groups),
        groups_per_port: or(told.groups_per_port, usual.groups_per_port),
    })
}

pub(super) fn snooping_to_proto(snooping: &Snooping) -> v1::Snooping {
    v1::Snooping {
        querier: snooping.querier.map(|own| own.to_string()).unwrap_or_default(),
        interval_s: snooping.interval_s,
        response_s: snooping.response_s,
        drop_unregistered: snooping.unregistered == Flood::Drop,
        fast_leave: snooping.fast_leave,
        groups: snooping.groups,
        groups_per_port: snooping.groups_per_port,
    }
}

pub(super) fn loop_guard_of(told: Option<&v1::LoopGuard>) -> LoopGuard {
    told.map_or(LoopGuard::default(), |&v1::LoopGuard { moves, within_s, block, probe_s, recover_s }| LoopGuard {
        moves,
        within_s,
        block,
        probe_s,
        recover_s,
    })
}

pub(super) fn loop_guard_to_proto(guard: LoopGuard) -> v1::LoopGuard {
    let LoopGuard { moves, within_s, block, probe_s, recover_s } = guard;
    v1::LoopGuard { moves, within_s, block, probe_s, recover_s }
}

/// Takes over a port's part.
pub(super) fn port_of(object: &str, spec: &v1::PortSpec, port: &mut Port) -> Result<(), Refusal> {
    port.storm = spec.storm.as_ref().map(storm_of);
    port.bpdu_guard = spec.bpdu_guard;
    port.lldp = match v1::Lldp::try_from(spec.lldp) {
        Ok(v1::Lldp::Unspecified | v1::Lldp::Auto) => Lldp::Auto,
        Ok(v1::Lldp::Off) => Lldp::Off,
        Ok(v1::Lldp::Receive) => Lldp::Receive,
        Ok(v1::Lldp::Send) => Lldp::Send,
        Ok(v1::Lldp::Both) => Lldp::Both,
        Err(_) => return Err(Refusal::invalid(format!("{object}: lldp {} is not known to this version", spec.lldp))),
    };
    port.multicast_router = match v1::MulticastRouter::try_from(spec.multicast_router) {
        Ok(v1::MulticastRouter::Unspecified | v1::MulticastRouter::Learn) => MulticastRouter::Learn,
        Ok(v1::MulticastRouter::Always) => MulticastRouter::Always,
        Ok(v1::MulticastRouter::Never) => MulticastRouter::Never,
        Err(_) => {
            let number = spec.multicast_router;
            return Err(Refusal::invalid(format!("{object}: multicast_router {number} is not known to this version")));
        }
    };
    port.dscp = spec.dscp.map(|dscp| narrow(object, "dscp", dscp).map(Dscp)).transpose()?;
    Ok(())
}

/// Puts a port's part into its message.
pub(super) fn port_to_proto(port: &Port, spec: &mut v1::PortSpec) {
    spec.storm = port.storm.as_ref().map(storm_to_proto);
    spec.bpdu_guard = port.bpdu_guard;
    spec.lldp = match port.lldp {
        Lldp::Auto => v1::Lldp::Auto.into(),
        Lldp::Off => v1::Lldp::Off.into(),
        Lldp::Receive => v1::Lldp::Receive.into(),
        Lldp::Send => v1::Lldp::Send.into(),
        Lldp::Both => v1::Lldp::Both.into(),
    };
    spec.multicast_router = match port.multicast_router {
        MulticastRouter::Learn => v1::MulticastRouter::Learn.into(),
        MulticastRouter::Always => v1::MulticastRouter::Always.into(),
        MulticastRouter::Never => v1::MulticastRouter::Never.into(),
    };
    spec.dscp = port.dscp.map(|dscp| u32::from(dscp.0));
}

fn storm_of(storm: &v1::Storm) -> Storm {
    let limit = |limit: &Option<v1::StormLimit>| {
        limit.as_ref().map(|limit| StormLimit { bits: limit.bits.map(Bits), packets: limit.packets })
    };
    Storm { broadcast: limit(&storm.broadcast), multicast: limit(&storm.multicast), unknown: limit(&storm.unknown) }
}

fn storm_to_proto(storm: &Storm) -> v1::Storm {
    let limit = |limit: Option<StormLimit>| {
        limit.map(|limit| v1::StormLimit { bits: limit.bits.map(|bits| bits.0), packets: limit.packets })
    };
    v1::Storm { broadcast: limit(storm.broadcast), multicast: limit(storm.multicast), unknown: limit(storm.unknown) }
}

pub(super) fn tag_type_of(object: &str, number: u32) -> Result<Option<TagType>, Refusal> {
    if number == 0 {
        return Ok(None);
    }
    let found = TagType::ALL.into_iter().find(|kind| u32::from(kind.number()) == number);
    found.map(Some).ok_or_else(|| {
        Refusal::invalid(format!("{object}: vlan.tag_type {number:#06x} is none of 0x8100, 0x88a8 and 0x9100"))
    })
}
