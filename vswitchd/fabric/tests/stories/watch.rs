//! What a port is watched for: storms, bridges behind it, addresses that flap, loops.

use weir_fabric::loops::{BlockCause, LoopGuard, PROBE_MAC};
use weir_fabric::shape::Limit;
use weir_fabric::storm::StormLimits;
use weir_fabric::{PortConfig, SwitchConfig};
use weir_filter::Event;
use weir_wire::{DropReason, PortId};

use crate::lab::{Lab, frame, hello, mac, raw};

const GROUP: [u8; 6] = [0x01, 0, 0x5e, 1, 2, 3];
/// Spanning tree: an 802.2 frame to the bridges' group.
const BPDU: [u8; 17] = [1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 38, 0x42, 0x42, 3];

fn packets(packets: u64) -> Limit {
    Limit { packets, ..Limit::default() }
}

/// Kinds of the notices since the last call, with their ports.
fn notices(lab: &mut Lab) -> Vec<(&'static str, u16)> {
    let mut told = Vec::new();
    lab.fabric.drain_events(|event| {
        if let Event::Notice(notice) = event {
            told.push((notice.kind, notice.port.0));
        }
    });
    told
}

/// How many of a hundred frames come through, sent one by one.
fn through(lab: &mut Lab, frame: &[u8]) -> usize {
    (0..100).filter(|_| !lab.send(1, frame).is_empty()).count()
}

#[test]
fn a_storm_is_held_to_its_rate_by_kind() {
    let mut lab = Lab::plain();
    let storm = StormLimits { broadcast: packets(10), multicast: packets(20), unknown: packets(30) };
    lab.port(1, PortConfig { storm, ..PortConfig::default() });
    for (sent, reason) in [
        (hello(1), DropReason::StormBroadcast),
        (raw(mac(1), GROUP), DropReason::StormMulticast),
        (frame(1, 9), DropReason::StormUnknown),
    ] {
        assert_eq!(through(&mut lab, &sent), 64, "{reason:?}: a burst passes");
        assert_eq!(lab.dropped(1, reason), 36);
        lab.refused(1, &sent, reason);
    }
    assert_eq!(notices(&mut lab), [("storm-broadcast", 1)], "told once, whatever its kind");
    lab.wait(1);
    for (sent, rate) in [(hello(1), 10), (raw(mac(1), GROUP), 20), (frame(1, 9), 30)] {
        assert_eq!(through(&mut lab, &sent), rate, "after a second, a second's worth");
    }
    lab.send(2, &frame(9, 1));
    assert_eq!(through(&mut lab, &frame(1, 9)), 100, "an address that is known is no storm");
    assert_eq!(lab.ports(2, &hello(2)), [1, 3], "another port is not concerned");
}

#[test]
fn a_burst_to_one_unknown_address_is_weighed_frame_by_frame() {
    let mut lab = Lab::new(SwitchConfig::default(), &[1, 2]);
    let storm = StormLimits { unknown: packets(10), ..StormLimits::default() };
    lab.port(1, PortConfig { storm, ..PortConfig::default() });
    let udp = weir_wire::build::udp(weir_wire::build::Ends::ipv4(1, 9), (1, 2), b"data");
    let mut came = 0;
    for _ in 0..10 {
        came += lab.burst(1, &vec![udp.clone(); 20]).len();
    }
    assert_eq!((came, lab.dropped(1, DropReason::StormUnknown)), (64, 136), "also where only one port could be meant");
}

#[test]
fn bpdu_guard_blocks_the_port_until_it_is_cleared() {
    let guard = LoopGuard { recover_s: 0, ..LoopGuard::default() };
    let mut lab = Lab::new(SwitchConfig { loop_guard: guard, ..SwitchConfig::default() }, &[2, 3]);
    lab.port(1, PortConfig { bpdu_guard: true, ..PortConfig::default() });
    assert_eq!(lab.ports(1, &hello(1)), [2, 3]);
    lab.refused(2, &BPDU, DropReason::ReservedAddress);
    lab.refused(1, &BPDU, DropReason::BpduGuard);
    lab.refused(1, &hello(1), DropReason::PortBlocked);
    lab.refused(1, &BPDU, DropReason::PortBlocked);
    assert_eq!(lab.ports(2, &frame(2, 1)), [3], "what it had learned is forgotten, and nothing goes there");
    assert_eq!(notices(&mut lab), [("port-blocked", 1)]);
    lab.wait(100_000);
    lab.tick();
    assert_eq!(lab.fabric.blocked(PortId(1)).map(|blocked| blocked.cause), Some(BlockCause::Bpdu));
    assert!(lab.fabric.clear_port(PortId(1)).is_some());
    assert_eq!(lab.ports(1, &hello(1)), [2, 3]);
}

#[test]
fn per_vlan_spanning_tree_counts_too_and_a_block_passes() {
    let mut lab = Lab::new(SwitchConfig::default(), &[2]);
    lab.port(1, PortConfig { bpdu_guard: true, ..PortConfig::default() });
    let pvst =
        [&[1, 0, 0xc, 0xcc, 0xcc, 0xcd, 2, 0, 0, 0, 0, 9, 0, 50, 0xaa, 0xaa, 3, 0, 0, 0xc, 1, 0xb][..], &[0; 42]];
    lab.refused(1, &pvst.concat(), DropReason::BpduGuard);
    lab.wait(299);
    lab.tick();
    lab.refused(1, &hello(1), DropReason::PortBlocked);
    lab.wait(1);
    lab.tick();
    assert_eq!(lab.ports(1, &hello(1)), [2]);
    assert_eq!(notices(&mut lab), [("port-blocked", 1), ("port-opened", 1)]);
}

/// Host 5 appears on ports 1 and 2 in turns, ten times.
fn flap(lab: &mut Lab) {
    for _ in 0..5 {
        lab.send(1, &hello(5));
        lab.send(2, &hello(5));
    }
}

#[test]
fn a_flapping_address_is_told_and_blocks_the_port_it_does_not_belong_to() {
    let mut lab = Lab::plain();
    flap(&mut lab);
    assert_eq!(notices(&mut lab), [("mac-flap", 2)], "told, with the port it came to");
    assert_eq!(lab.fabric.blocked(PortId(2)), None);

    let guard = LoopGuard { moves: 3, block: true, ..LoopGuard::default() };
    let mut lab = Lab::new(SwitchConfig { loop_guard: guard, ..SwitchConfig::default() }, &[1, 2, 3]);
    flap(&mut lab);
    assert_eq!(notices(&mut lab), [("mac-flap", 2), ("port-blocked", 2)]);
    assert!(lab.fabric.blocked(PortId(1)).is_none() && lab.fabric.blocked(PortId(2)).is_some());
    lab.refused(2, &hello(5), DropReason::PortBlocked);
    assert_eq!(lab.ports(3, &frame(3, 5)), [1], "the address is where it was at home");

    // An uplink is not taken from everybody because somebody behind it has our guest's address.
    let mut lab = Lab::new(SwitchConfig { loop_guard: guard, ..SwitchConfig::default() }, &[1, 3]);
    lab.port(2, PortConfig { may_block: false, ..PortConfig::default() });
    flap(&mut lab);
    assert_eq!(notices(&mut lab), [("mac-flap", 2)]);
    assert_eq!(lab.fabric.blocked(PortId(2)), None);
}

#[test]
fn a_probe_that_comes_back_finds_the_loop() {
    let guard = LoopGuard { probe_s: 5, block: true, ..LoopGuard::default() };
    let mut lab = Lab::new(SwitchConfig { loop_guard: guard, ..SwitchConfig::default() }, &[1, 2, 3]);
    let probes = lab.age();
    let to: Vec<u16> = probes.iter().map(|(port, _)| *port).collect();
    assert_eq!(to, [1, 2, 3]);
    assert!(probes.iter().all(|(_, frame)| frame.starts_with(&PROBE_MAC.0)));
    assert_eq!(lab.age(), [], "not due again");
    // A cable between ports 2 and 3: the higher one is blocked, and the other goes on.
    assert_eq!(lab.send(2, &probes[2].1), []);
    assert_eq!(lab.send(3, &probes[1].1), []);
    assert_eq!(notices(&mut lab), [("loop", 2), ("port-blocked", 3)]);
    assert_eq!(lab.fabric.counters(PortId(2)).map(|c| c.delivered), Some(1), "read, not dropped");
    lab.wait(5);
    assert_eq!(lab.age().len(), 2, "none by the blocked port");
    // The probe of another switch is a frame like any other.
    let mut foreign = probes[0].1.clone();
    foreign[30] ^= 1;
    assert_eq!(lab.ports(1, &foreign), [2]);
}

#[test]
fn a_loop_between_two_ports_does_not_outlive_the_guard() {
    let guard = LoopGuard { block: true, ..LoopGuard::default() };
    let mut lab = Lab::new(SwitchConfig { loop_guard: guard, ..SwitchConfig::default() }, &[1, 2, 3]);
    // A cable joins ports 2 and 3: what leaves by one comes in by the other, as long as anything leaves.
    let mut under_way = lab.send(1, &hello(1));
    for _ in 0..200 {
        let mut next = Vec::new();
        for (port, frame) in under_way.into_iter().take(100) {
            match port {
                2 => next.extend(lab.send(3, &frame)),
                3 => next.extend(lab.send(2, &frame)),
                _ => {}
            }
        }
        under_way = next;
    }
    assert_eq!(under_way.len(), 0, "the loop is open");
    assert!(lab.fabric.blocked(PortId(1)).is_none());
}
