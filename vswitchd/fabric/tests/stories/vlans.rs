//! Access, trunk and native VLANs against untagged, tagged and priority-tagged frames.

use weir_fabric::{PortConfig, VlanMode};
use weir_wire::build::frames::{Ends, tagged, udp};
use weir_wire::{DropReason, MacAddr, PortId, Vid};

use crate::lab::{Delivery, LAN, Lab, frame, hello, mac};

fn access(vid: u16) -> PortConfig {
    PortConfig { vlan: VlanMode::Access(Vid(vid)), ..PortConfig::default() }
}

fn trunk(allowed: &[(u16, u16)], native: Option<u16>) -> PortConfig {
    let allowed = allowed.iter().map(|&(first, last)| (Vid(first), Vid(last))).collect();
    PortConfig { vlan: VlanMode::Trunk { allowed, native: native.map(Vid) }, ..PortConfig::default() }
}

/// Ports 1 and 2 in VLAN 10, 3 in VLAN 20, 4 a trunk for 10 to 19, 5 a trunk for all with native VLAN 20.
fn campus() -> Lab {
    let mut lab = Lab::new(Default::default(), &[]);
    lab.port(1, access(10));
    lab.port(2, access(10));
    lab.port(3, access(20));
    lab.port(4, trunk(&[(10, 19)], None));
    lab.port(5, trunk(&[(1, 4094)], Some(20)));
    lab
}

#[test]
fn every_kind_of_frame_leaves_every_kind_of_port_as_it_must() {
    let plain = hello(1);
    let tag = |vid: u16, pcp: u8| tagged(&plain, vid, pcp << 1);
    let table: [(&str, u16, Vec<u8>, Vec<Delivery>); 9] = [
        ("access, untagged", 1, plain.clone(), vec![(2, plain.clone()), (4, tag(10, 0)), (5, tag(10, 0))]),
        (
            "access, priority: the priority stays where a tag does",
            1,
            tag(0, 5),
            vec![(2, plain.clone()), (4, tag(10, 5)), (5, tag(10, 5))],
        ),
        ("access, its own tag", 1, tag(10, 3), vec![(2, plain.clone()), (4, tag(10, 3)), (5, tag(10, 3))]),
        ("trunk, tagged", 4, tag(10, 1), vec![(1, plain.clone()), (2, plain.clone()), (5, tag(10, 1))]),
        ("trunk, tagged, nobody but the other trunk", 4, tag(15, 0), vec![(5, tag(15, 0))]),
        ("native, untagged", 5, plain.clone(), vec![(3, plain.clone())]),
        ("native, priority", 5, tag(0, 7), vec![(3, plain.clone())]),
        ("native, its native tagged", 5, tag(20, 7), vec![(3, plain.clone())]),
        ("access of the native VLAN", 3, plain.clone(), vec![(5, plain.clone())]),
    ];
    for (what, port, sent, expected) in table {
        assert_eq!(campus().send(port, &sent), expected, "{what}");
    }
}

#[test]
fn frames_of_other_vlans_are_refused_at_the_door() {
    let plain = hello(1);
    let mut lab = campus();
    lab.refused(1, &tagged(&plain, 20, 0), DropReason::VlanNotAllowed);
    lab.refused(4, &plain, DropReason::VlanNotAllowed);
    lab.refused(4, &tagged(&plain, 0, 0), DropReason::VlanNotAllowed);
    lab.refused(4, &tagged(&plain, 20, 0), DropReason::VlanNotAllowed);
    assert_eq!(lab.fabric.fdb(lab.now, LAN), [], "nothing is learned from them");
}

#[test]
fn each_vlan_learns_by_itself() {
    let mut lab = campus();
    lab.send(1, &hello(7));
    lab.send(3, &hello(7));
    let ports: Vec<_> = lab.fabric.fdb(lab.now, LAN).into_iter().map(|e| (e.vid, e.mac, e.port)).collect();
    let host = MacAddr(mac(7));
    assert_eq!(ports, [(Vid(10), host, PortId(1)), (Vid(20), host, PortId(3))]);
    assert_eq!(lab.ports(2, &frame(2, 7)), [1]);
    assert_eq!(lab.ports(5, &frame(2, 7)), [3]);
    assert_eq!(lab.fabric.fdb_stats(LAN).unwrap().moves, 0);
}

#[test]
fn a_stacked_tag_does_not_come_to_the_front() {
    // Host 1 writes its own VLAN in front of VLAN 20 and hopes that a port takes the first off.
    let hop = tagged(&tagged(&hello(1), 20, 0), 10, 0);
    let mut lab = campus();
    assert_eq!(lab.ports(1, &hop), [4, 5], "behind the tag of VLAN 10 it stays what it is");
    assert_eq!(lab.dropped(1, DropReason::VlanNotAllowed), 1, "the copy for port 2");
    let hop = tagged(&tagged(&hello(5), 10, 0), 0, 0);
    lab.refused(5, &hop, DropReason::VlanNotAllowed);
}

#[test]
fn a_port_that_changes_its_vlan_is_learned_anew() {
    let mut lab = campus();
    lab.send(2, &hello(2));
    assert_eq!(lab.ports(1, &frame(1, 2)), [2]);
    lab.port(2, access(20));
    assert_eq!(lab.ports(1, &frame(1, 2)), [4, 5]);
}

#[test]
fn headers_stay_right_under_a_tag() {
    let mut lab = campus();
    let sent = udp(Ends::ipv4(1, 2), (53, 53), b"payload");
    let out = lab.send(1, &sent);
    assert_eq!(out[0], (2, sent.clone()));
    assert_eq!(out[1], (4, tagged(&sent, 10, 0)));
    let back = udp(Ends::ipv4(2, 1), (53, 53), b"payload");
    assert_eq!(lab.send(4, &tagged(&back, 10, 0)), [(1, back)]);
}
