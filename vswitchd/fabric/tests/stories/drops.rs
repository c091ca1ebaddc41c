//! Every reason for which the switch itself drops, each provoked and counted once.

use weir_fabric::{PortConfig, Step, SwitchConfig, VlanMode};
use weir_wire::buffer::PoolLimits;
use weir_wire::{DropReason, MacAddr, Offload, Packet, Pool, PortId, Vid};

use crate::lab::{LAN, Lab, frame, hello, mac, raw};

#[test]
fn malformed_frames_are_refused_by_the_parser() {
    let mut lab = Lab::plain();
    lab.refused(1, &[0xff; 13], DropReason::TruncatedEthernet);
    lab.refused(1, &[], DropReason::TruncatedEthernet);
    let mut cut = hello(1);
    cut.truncate(14);
    cut[12..14].copy_from_slice(&[0x81, 0]);
    lab.refused(1, &cut, DropReason::BadVlanTag);
    assert_eq!(lab.fabric.fdb(lab.now, LAN), [], "nothing is learned from them");
}

#[test]
fn ports_without_a_switch() {
    let mut lab = Lab::plain();
    lab.refused(40, &hello(1), DropReason::PortUnbound);
    assert_eq!(lab.fabric.stray_counters().received, 1);
    lab.step(Step::RemoveSwitch(LAN));
    lab.refused(1, &hello(1), DropReason::PortUnbound);
    lab.step(Step::SetSwitch(LAN, SwitchConfig::default()));
    assert_eq!(lab.ports(1, &hello(1)), [2, 3], "a switch finds its ports again");
}

#[test]
fn ports_that_are_down() {
    let statics = vec![(Vid(0), MacAddr(mac(2)), PortId(2))];
    let mut lab = Lab::new(SwitchConfig { static_macs: statics, ..SwitchConfig::default() }, &[1, 2, 3]);
    lab.fabric.set_link(PortId(2), false);
    lab.refused(1, &frame(1, 2), DropReason::LinkDown);
    lab.port(2, PortConfig { down: true, ..PortConfig::default() });
    lab.refused(1, &frame(1, 2), DropReason::PortDown);
    lab.refused(2, &frame(2, 1), DropReason::PortDown);
    assert_eq!(lab.ports(1, &hello(1)), [3]);
}

#[test]
fn source_addresses_that_no_host_has() {
    let mut lab = Lab::plain();
    for source in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
        lab.refused(1, &raw(source, mac(2)), DropReason::BadSourceMac);
    }
    assert_eq!(lab.fabric.fdb(lab.now, LAN), []);
}

#[test]
fn reserved_group_addresses_end_here() {
    let mut lab = Lab::plain();
    for last in 0..=0x0f {
        lab.refused(1, &raw(mac(1), [1, 0x80, 0xc2, 0, 0, last]), DropReason::ReservedAddress);
    }
    assert_eq!(lab.ports(1, &raw(mac(1), [1, 0x80, 0xc2, 0, 0, 0x10])), [2, 3]);
}

#[test]
fn destinations_that_are_none() {
    let mut lab = Lab::plain();
    lab.send(1, &hello(1));
    lab.refused(1, &frame(9, 1), DropReason::SamePort);
    let mut alone = Lab::new(SwitchConfig::default(), &[1]);
    alone.refused(1, &hello(1), DropReason::NoDestination);
}

#[test]
fn isolated_ports_reach_the_others_only() {
    let mut lab = Lab::plain();
    for port in [1, 2] {
        lab.port(port, PortConfig { isolated: true, ..PortConfig::default() });
    }
    assert_eq!(lab.ports(1, &hello(1)), [3]);
    assert_eq!(lab.ports(3, &hello(3)), [1, 2]);
    assert_eq!(lab.ports(2, &hello(2)), [3]);
    lab.refused(1, &frame(1, 2), DropReason::Isolated);
    assert_eq!(lab.ports(1, &frame(1, 3)), [3]);
    lab.step(Step::RemovePort(PortId(3)));
    lab.refused(1, &hello(1), DropReason::Isolated);
}

#[test]
fn a_static_address_on_a_port_outside_the_vlan() {
    let statics = vec![(Vid(0), MacAddr(mac(2)), PortId(2))];
    let mut lab = Lab::new(SwitchConfig { static_macs: statics, ..SwitchConfig::default() }, &[1, 3]);
    lab.port(2, PortConfig { vlan: VlanMode::Access(Vid(7)), ..PortConfig::default() });
    lab.refused(1, &frame(1, 2), DropReason::VlanNotAllowed);
}

#[test]
fn a_flood_that_finds_too_few_buffers_drops_the_copies() {
    let mut lab = Lab::plain();
    lab.pool = Pool::new(PoolLimits { frames: 2, supers: 0 });
    lab.port(4, PortConfig::default());
    // One buffer for the frame, one for a copy, none for the third destination.
    assert_eq!(lab.ports(1, &hello(1)), [2, 4]);
    assert_eq!(lab.dropped(1, DropReason::NoBuffer), 1);
    let counters = lab.fabric.counters(PortId(1)).unwrap();
    assert_eq!((counters.received, counters.copied, counters.dropped.total()), (1, 2, 1));
    assert_eq!(lab.fabric.last_drops(None).pop().unwrap().why.reason, DropReason::NoBuffer);
}

#[test]
fn a_port_is_given_so_many_packets_a_turn() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    let limit = weir_fabric::egress::EGRESS_LIMIT;
    let frames = vec![frame(1, 2); limit + 5];
    assert_eq!(lab.burst(1, &frames).len(), limit);
    assert_eq!(lab.dropped(1, DropReason::EgressLimit), 5);
    assert_eq!(lab.ports(1, &frame(1, 2)), [2], "the next turn starts anew");
}

#[test]
fn drops_are_remembered_across_ports_in_their_order() {
    let mut lab = Lab::plain();
    lab.refused(2, &raw([0; 6], mac(1)), DropReason::BadSourceMac);
    lab.refused(1, &raw(mac(1), [1, 0x80, 0xc2, 0, 0, 0]), DropReason::ReservedAddress);
    lab.refused(40, &hello(1), DropReason::PortUnbound);
    lab.refused(2, &raw([0; 6], mac(1)), DropReason::BadSourceMac);
    let ports: Vec<u16> = lab.fabric.last_drops(None).iter().map(|drop| drop.port.0).collect();
    assert_eq!(ports, [2, 1, 40, 2]);
    assert_eq!(lab.fabric.last_drops(Some(PortId(2))).len(), 2);
    for _ in 0..100 {
        lab.refused(1, &raw([0; 6], mac(1)), DropReason::BadSourceMac);
    }
    assert_eq!(lab.fabric.last_drops(Some(PortId(1))).len(), weir_fabric::why::REMEMBERED);
}

#[test]
fn a_tag_needs_room_before_the_frame() {
    let mut lab = Lab::plain();
    let trunk = VlanMode::Trunk { allowed: vec![(Vid(7), Vid(7))], native: None };
    lab.port(1, PortConfig { vlan: VlanMode::Access(Vid(7)), ..PortConfig::default() });
    lab.port(2, PortConfig { vlan: trunk, ..PortConfig::default() });
    let mut buffer = lab.pool.copy(&[]).unwrap();
    assert!(buffer.grow_front(60));
    buffer.bytes_mut().copy_from_slice(&hello(1));
    assert!(buffer.grow_front(0));
    let mut whole = lab.pool.copy(&[]).unwrap();
    assert!(whole.grow_front(64));
    whole.bytes_mut()[..60].copy_from_slice(&hello(1));
    let mut burst =
        vec![Packet::new(buffer, PortId(1), Offload::default()), Packet::new(whole, PortId(1), Offload::default())];
    lab.fabric.process(lab.now, &mut burst, &mut lab.pool, &mut lab.out);
    assert_eq!(lab.collect().len(), 1, "the first has four bytes left for its tag");
    assert_eq!(lab.dropped(1, DropReason::TooLong), 1);
}
