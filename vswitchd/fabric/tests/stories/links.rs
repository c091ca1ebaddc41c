//! Between switches: LLDP, tunnels for a customer's VLANs (802.1ad), and marks.

use weir_fabric::lldp::{Announcement, LldpConfig};
use weir_fabric::{PortConfig, SwitchConfig, VlanMode};
use weir_wire::build::{Ends, tagged, udp};
use weir_wire::{DropReason, MacAddr, PortId, Vid};

use crate::lab::{Lab, frame, hello, mac};

fn announcement(port: &str) -> Box<[u8]> {
    let (chassis, port) = (MacAddr(mac(77)), port.to_owned());
    Announcement { chassis, port, system: "host".into(), ..Announcement::default() }.frame()
}

#[test]
fn lldp_is_sent_where_it_is_wanted_and_read_where_it_is_heard() {
    let mut lab = Lab::plain();
    let lldp = LldpConfig { send: Some(announcement("one")), receive: true };
    lab.port(1, PortConfig { lldp, ..PortConfig::default() });
    let sent = lab.age();
    assert_eq!(sent, [(1, announcement("one").to_vec())]);
    assert_eq!(lab.age(), []);
    lab.wait(30);
    assert_eq!(lab.age().len(), 1);

    assert_eq!(lab.send(1, &announcement("other")), []);
    assert_eq!(lab.fabric.counters(PortId(1)).map(|c| (c.delivered, c.dropped.total())), Some((1, 0)));
    let (heard, stats) = lab.fabric.lldp(PortId(1)).unwrap();
    assert_eq!((heard[0].neighbor.port.as_str(), stats.received, stats.sent), ("other", 1, 2));
    lab.refused(2, &announcement("other"), DropReason::ReservedAddress);
    let broken = announcement("x")[..40].to_vec();
    lab.refused(1, &broken, DropReason::ReservedAddress);
    lab.wait(121);
    lab.age();
    assert_eq!(lab.fabric.lldp(PortId(1)).unwrap().0, [], "its time is over");

    lab.send(1, &announcement("other"));
    lab.fabric.set_link(PortId(1), false);
    assert_eq!(lab.fabric.lldp(PortId(1)).unwrap().0, []);
    lab.wait(30);
    assert_eq!(lab.age(), [], "nothing is sent without a link");
    lab.fabric.set_link(PortId(1), true);
    assert_eq!(lab.age().len(), 1, "and at once with one");
}

fn port(vlan: VlanMode, tag_type: Option<u16>) -> PortConfig {
    PortConfig { vlan, tag_type, ..PortConfig::default() }
}

fn trunk(native: Option<Vid>) -> VlanMode {
    VlanMode::Trunk { allowed: vec![(Vid(1), Vid(4094))], native }
}

/// A frame with an outer tag of this type.
fn service(frame: &[u8], kind: u16, vid: u16, pcp_dei: u8) -> Vec<u8> {
    let mut out = tagged(frame, vid, pcp_dei);
    out[12..14].copy_from_slice(&kind.to_be_bytes());
    out
}

#[test]
fn a_customers_vlans_pass_through_a_tunnel_unchanged() {
    let mut lab = Lab::new(SwitchConfig::default(), &[]);
    lab.port(1, port(VlanMode::Tunnel(Vid(100)), None));
    lab.port(2, port(trunk(None), Some(0x88a8)));
    lab.port(3, port(VlanMode::Tunnel(Vid(100)), None));
    lab.port(4, port(VlanMode::Tunnel(Vid(200)), None));
    lab.port(5, port(VlanMode::Access(Vid(100)), None));
    for customer in [hello(1), tagged(&hello(1), 7, 5), tagged(&tagged(&hello(1), 9, 0), 7, 0), tagged(&hello(1), 0, 3)]
    {
        let out = lab.send(1, &customer);
        let pcp = if customer[12..14] == [0x81, 0] { customer[14] >> 4 } else { 0 };
        let wanted = service(&customer, 0x88a8, 100, pcp);
        assert!(out.contains(&(2, wanted.clone())), "{out:x?}");
        assert!(out.contains(&(3, customer.clone())), "the other customer port: as it came");
        let plain = customer.len() == 60;
        assert_eq!(out.iter().any(|(port, _)| *port == 5), plain, "an access port takes no second tag");
        // And back from the trunk.
        let back = lab.send(2, &service(&customer, 0x88a8, 100, 0));
        assert!(back.contains(&(1, customer.clone())) && back.contains(&(3, customer)), "{back:x?}");
    }
    assert!(lab.send(4, &hello(4)).iter().all(|(port, _)| *port == 2), "another customer is another VLAN");
    // The trunk takes its own kind of tag only.
    lab.refused(2, &tagged(&hello(2), 100, 0), DropReason::VlanNotAllowed);
    lab.refused(2, &service(&hello(2), 0x9100, 100, 0), DropReason::VlanNotAllowed);
    // Addresses are learned in the service's VLAN: inner tags do not matter.
    lab.send(3, &tagged(&hello(30), 8, 0));
    assert_eq!(lab.ports(1, &tagged(&frame(1, 30), 7, 0)), [3]);
}

#[test]
fn the_outer_tags_type_is_the_ports() {
    let mut lab = Lab::new(SwitchConfig::default(), &[]);
    lab.port(1, port(trunk(None), Some(0x9100)));
    lab.port(2, port(trunk(None), Some(0x8100)));
    lab.port(3, port(trunk(None), None));
    lab.port(4, port(VlanMode::Tunnel(Vid(5)), Some(0x9100)));
    let plain = udp(Ends::ipv4(1, 2), (1, 2), b"data");
    let mut broadcast = plain.clone();
    broadcast[..6].fill(0xff);
    let out = lab.send(1, &service(&broadcast, 0x9100, 5, 0));
    let as_type = |kind| service(&broadcast, kind, 5, 0);
    assert_eq!(out, [(2, as_type(0x8100)), (3, as_type(0x9100)), (4, broadcast.clone())]);
    let out = lab.send(4, &broadcast);
    assert_eq!(out, [(1, as_type(0x9100)), (2, as_type(0x8100)), (3, as_type(0x9100))]);
}

#[test]
fn packets_are_marked_at_the_door_or_trusted() {
    let mut lab = Lab::plain();
    lab.port(1, PortConfig { dscp: Some(46), ..PortConfig::default() });
    for ends in [Ends::ipv4, Ends::ipv6] {
        let sent = udp(ends(1, 2), (5, 6), b"data");
        let class =
            |frame: &[u8]| if frame[14] >> 4 == 4 { frame[15] >> 2 } else { (frame[14] << 4 | frame[15] >> 4) >> 2 };
        // The first takes the long way, others of the flow the short one.
        lab.send(2, &udp(ends(2, 1), (6, 5), b"data"));
        for _ in 0..4 {
            let out = lab.burst(1, &vec![sent.clone(); 3]);
            assert_eq!(out.len(), 3);
            for (to, frame) in out {
                assert_eq!((to, class(&frame)), (2, 46));
                let mut pool = weir_wire::Pool::default();
                assert!(weir_wire::build::packet(&frame, PortId(9), &mut pool).is_some());
            }
        }
        let back = lab.send(2, &udp(ends(2, 1), (6, 5), b"data"));
        assert_eq!(class(&back[0].1), 0, "what comes in by other ports is trusted");
    }
    assert_eq!(lab.ports(1, &hello(1)), [2, 3], "what is no IP has no mark");
}
