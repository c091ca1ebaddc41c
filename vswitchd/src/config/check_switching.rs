//! Whether what is said of snooping, loops, storms, LLDP and marks makes sense.

use super::check::{Problems, VID_MAX};
use super::{Port, Storm, Switch, Vlan};

/// The least rate that is one, in bits a second.
const RATE_MIN: u64 = 8000;

pub(super) fn check_switch(switch: &Switch, problems: &mut Problems) {
    let name = &switch.name;
    if let Some(snooping) = &switch.snooping {
        for (field, value, least, most) in [
            ("interval_s", snooping.interval_s, 10, 3600),
            ("response_s", snooping.response_s, 1, 12),
            ("groups", snooping.groups, 1, 65536),
            ("groups_per_port", snooping.groups_per_port, 1, 65536),
        ] {
            problems.unless((least..=most).contains(&value), || {
                format!("switch {name}: snooping.{field} = {value} is outside {least} to {most}")
            });
        }
        problems.unless(snooping.querier.is_none_or(|own| !own.is_multicast() && !own.is_broadcast()), || {
            format!("switch {name}: snooping.querier is no address of a host; 0.0.0.0 asks as a proxy")
        });
    }
    let guard = &switch.loop_guard;
    for (field, value, most) in [
        ("moves", guard.moves, 1_000_000),
        ("within_s", guard.within_s, 3600),
        ("probe_s", guard.probe_s, 3600),
        ("recover_s", guard.recover_s, 1_000_000),
    ] {
        problems.unless(value <= most, || format!("switch {name}: loop_guard.{field} = {value} is above {most}"));
    }
    problems.unless(guard.within_s > 0, || format!("switch {name}: loop_guard.within_s is 0; moves = 0 turns it off"));
}

pub(super) fn check_port(port: &Port, problems: &mut Problems) {
    let name = &port.name;
    problems.unless(port.dscp.is_none_or(|dscp| dscp.0 < 64), || format!("port {name}: dscp is outside 0 to 63"));
    if let Some(storm) = &port.storm {
        check_storm(name, storm, problems);
    }
    if let Some(vlan) = &port.vlan {
        check_tunnel(name, vlan, problems);
    }
}

fn check_storm(port: &str, storm: &Storm, problems: &mut Problems) {
    for (field, limit) in [("broadcast", storm.broadcast), ("multicast", storm.multicast), ("unknown", storm.unknown)] {
        let Some(limit) = limit else { continue };
        problems.unless(limit.bits.is_some() || limit.packets > 0, || {
            format!("port {port}: storm.{field} limits nothing; give bits, packets or both")
        });
        problems.unless(limit.bits.is_none_or(|bits| bits.0 >= RATE_MIN), || {
            format!(
                "port {port}: storm.{field}.bits is below {RATE_MIN} bits a second; give packets = 1 for next to none"
            )
        });
        problems.unless(limit.packets <= 1 << 40, || format!("port {port}: storm.{field}.packets is above 2^40"));
    }
}

fn check_tunnel(port: &str, vlan: &Vlan, problems: &mut Problems) {
    let Some(vid) = vlan.tunnel else {
        return problems.unless(vlan.tag_type.is_none() || !vlan.trunk.is_empty(), || {
            format!("port {port}: vlan.tag_type belongs to a trunk or a tunnel; an access port has no tags")
        });
    };
    problems.unless((1..=VID_MAX).contains(&vid), || format!("port {port}: VLAN {vid} is outside 1 to {VID_MAX}"));
    problems.unless(vlan.access.is_none() && vlan.trunk.is_empty() && vlan.native.is_none(), || {
        format!("port {port}: vlan.tunnel takes all frames of the port; give no access, trunk or native with it")
    });
}
