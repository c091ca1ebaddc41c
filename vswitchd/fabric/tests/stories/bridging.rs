//! Learning, flooding, ageing, static addresses, moves.

use weir_fabric::{FdbEntry, Flood, PortConfig, Step, SwitchConfig};
use weir_wire::{DropReason, Instant, MacAddr, PortId, SwitchId, Vid, build::frames};

use crate::lab::{LAN, Lab, frame, hello, mac, raw};

#[test]
fn an_unknown_destination_is_flooded_until_it_speaks() {
    let mut lab = Lab::plain();
    assert_eq!(lab.ports(1, &frame(1, 2)), [2, 3]);
    assert_eq!(lab.ports(2, &frame(2, 1)), [1]);
    assert_eq!(lab.ports(1, &frame(1, 2)), [2]);
    let counters = lab.fabric.counters(PortId(1)).unwrap();
    assert_eq!((counters.received, counters.received_bytes, counters.copied), (2, 120, 1));
    assert_eq!((counters.sent, counters.sent_bytes), (1, 60));
}

#[test]
fn what_leaves_is_what_came() {
    let mut lab = Lab::plain();
    let sent = raw(mac(1), [0xff; 6]);
    assert_eq!(lab.send(1, &sent), [(2, sent.clone()), (3, sent)]);
}

#[test]
fn arp_and_ip_take_the_same_way_as_other_frames() {
    let mut lab = Lab::plain();
    let udp = frames::udp(frames::Ends::ipv4(1, 2), (5, 6), b"hello");
    assert_eq!(lab.ports(1, &hello(1)), [2, 3]);
    assert_eq!(lab.ports(2, &hello(2)), [1, 3]);
    assert_eq!(lab.send(1, &udp), [(2, udp)]);
}

#[test]
fn a_burst_is_learned_from_before_its_destinations_are_looked_up() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    let out = lab.burst(1, &[frame(1, 9), frame(9, 2)]);
    assert_eq!(out, [(2, frame(9, 2))]);
    assert_eq!(lab.dropped(1, DropReason::SamePort), 1);
}

#[test]
fn what_floods_is_chosen_by_kind() {
    let multicast = raw(mac(1), [1, 0, 0x5e, 0, 0, 5]);
    type Setting = fn(&mut SwitchConfig) -> &mut Flood;
    let kinds: [(&[u8], Setting); 3] = [
        (&frame(1, 2), |config| &mut config.unknown_unicast),
        (&hello(1), |config| &mut config.broadcast),
        (&multicast, |config| &mut config.multicast),
    ];
    for (index, (sent, setting)) in kinds.iter().enumerate() {
        let mut config = SwitchConfig::default();
        *setting(&mut config) = Flood::Drop;
        let mut lab = Lab::new(config, &[1, 2, 3]);
        lab.refused(1, sent, DropReason::NoDestination);
        for (other, (sent, _)) in kinds.iter().enumerate().filter(|(other, _)| *other != index) {
            assert_eq!(lab.ports(1, sent), [2, 3], "kind {other} still floods");
        }
    }
}

#[test]
fn addresses_age_out_after_their_time_and_not_before() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    lab.wait(299);
    assert_eq!(lab.ports(1, &frame(1, 2)), [2]);
    lab.wait(1);
    // Time counts, whether or not the table was swept.
    assert_eq!(lab.ports(1, &frame(1, 2)), [2, 3]);
    assert_eq!(lab.tick(), Some(Instant::from_secs(1600)), "host 1 spoke at 1300");
    assert_eq!(lab.fabric.fdb_stats(LAN).unwrap().learned, 1);
    assert_eq!(lab.fabric.fdb_stats(LAN).unwrap().aged, 1);
    lab.wait(300);
    assert_eq!(lab.tick(), None, "nothing is left to age");
    assert_eq!(lab.fabric.fdb(lab.now, LAN), []);
}

#[test]
fn a_frame_renews_its_source_not_its_destination() {
    let mut lab = Lab::plain();
    lab.send(1, &hello(1));
    lab.send(2, &hello(2));
    lab.wait(200);
    lab.send(1, &frame(1, 2));
    lab.wait(150);
    let entries = lab.fabric.fdb(lab.now, LAN);
    let host1 = FdbEntry { vid: Vid(0), mac: MacAddr(mac(1)), port: PortId(1), is_static: false, age_s: 150 };
    assert_eq!(entries, [host1]);
}

#[test]
fn ageing_can_be_switched_off_and_changed_in_flight() {
    let mut lab = Lab::new(SwitchConfig { ageing_s: 0, ..SwitchConfig::default() }, &[1, 2, 3]);
    lab.send(2, &hello(2));
    lab.wait(1_000_000);
    assert_eq!(lab.tick(), None);
    assert_eq!(lab.ports(1, &frame(1, 2)), [2]);
    lab.step(Step::SetSwitch(LAN, SwitchConfig { ageing_s: 10, ..SwitchConfig::default() }));
    assert_eq!(lab.ports(1, &frame(1, 2)), [2, 3]);
}

#[test]
fn a_host_that_moves_is_found_again_and_counted() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    lab.send(3, &hello(2));
    assert_eq!(lab.ports(1, &frame(1, 2)), [3]);
    assert_eq!(lab.fabric.fdb_stats(LAN).unwrap().moves, 1);
    lab.wait(300);
    lab.send(2, &hello(2));
    assert_eq!(lab.fabric.fdb_stats(LAN).unwrap().moves, 1, "an address that aged out has not moved");
}

#[test]
fn static_addresses_neither_age_nor_move() {
    let statics = vec![(Vid(0), MacAddr(mac(2)), PortId(2)), (Vid(0), MacAddr(mac(9)), PortId(9))];
    let mut lab = Lab::new(SwitchConfig { static_macs: statics, ..SwitchConfig::default() }, &[1, 2, 3]);
    lab.wait(100_000);
    lab.tick();
    assert_eq!(lab.ports(1, &frame(1, 2)), [2]);
    lab.refused(3, &hello(2), DropReason::SourceMacElsewhere);
    assert_eq!(lab.ports(2, &hello(2)), [1, 3], "from its own port it is welcome");
    lab.refused(1, &frame(1, 9), DropReason::NoDestination);
    lab.port(3, PortConfig { learning: false, ..PortConfig::default() });
    lab.refused(3, &hello(2), DropReason::SourceMacElsewhere);
    lab.step(Step::FlushFdb(LAN));
    assert_eq!(lab.fabric.fdb(lab.now, LAN).len(), 2);
    lab.step(Step::SetSwitch(LAN, SwitchConfig::default()));
    assert_eq!(lab.ports(3, &hello(2)), [1, 2], "no longer configured");
}

#[test]
fn learned_addresses_survive_a_change_of_the_switch() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    lab.wait(100);
    let statics = vec![(Vid(0), MacAddr(mac(3)), PortId(3))];
    lab.step(Step::SetSwitch(LAN, SwitchConfig { static_macs: statics, fdb_limit: 99, ..SwitchConfig::default() }));
    let ages: Vec<_> = lab.fabric.fdb(lab.now, LAN).into_iter().map(|e| (e.mac.0[5], e.is_static, e.age_s)).collect();
    assert_eq!(ages, [(2, false, 100), (3, true, 0)]);
    assert_eq!(lab.fabric.fdb_stats(LAN).unwrap().limit, 99);
}

#[test]
fn a_port_that_does_not_learn_still_forwards() {
    let mut lab = Lab::plain();
    lab.port(2, PortConfig { learning: false, ..PortConfig::default() });
    assert_eq!(lab.ports(2, &hello(2)), [1, 3]);
    assert_eq!(lab.ports(1, &frame(1, 2)), [2, 3]);
}

#[test]
fn link_down_forgets_and_is_not_flooded_to() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    lab.fabric.set_link(PortId(2), false);
    assert_eq!(lab.ports(1, &frame(1, 2)), [3]);
    assert_eq!(lab.ports(2, &hello(2)), [1, 3], "what was on its way is forwarded");
    assert_eq!(lab.ports(1, &frame(1, 2)), [3], "but nothing is learned from it");
    lab.fabric.set_link(PortId(2), true);
    assert_eq!(lab.ports(1, &frame(1, 2)), [2, 3]);
}

#[test]
fn two_switches_share_nothing() {
    let mut lab = Lab::plain();
    let other = SwitchId(5);
    lab.step(Step::SetSwitch(other, SwitchConfig::default()));
    for port in [11, 12] {
        lab.port(port, PortConfig { switch: other, ..PortConfig::default() });
    }
    lab.send(2, &hello(2));
    assert_eq!(lab.ports(11, &hello(2)), [12]);
    assert_eq!(lab.ports(1, &frame(1, 2)), [2]);
    lab.port(12, PortConfig::default());
    assert_eq!(lab.ports(12, &frame(12, 7)), [1, 2, 3], "a port may change its switch");
    lab.refused(11, &hello(11), DropReason::NoDestination);
}

#[test]
fn a_removed_port_takes_its_addresses_and_leaves_its_counters() {
    let mut lab = Lab::plain();
    lab.send(2, &hello(2));
    lab.step(Step::RemovePort(PortId(2)));
    assert_eq!(lab.ports(1, &frame(1, 2)), [3]);
    assert!(lab.fabric.counters(PortId(2)).is_none());
    assert_eq!(lab.fabric.stray_counters().received, 1);
    lab.refused(2, &hello(2), DropReason::PortUnbound);
    lab.port(2, PortConfig::default());
    assert_eq!(lab.fabric.counters(PortId(2)).unwrap().received, 0);
}

#[test]
fn packets_of_one_flow_in_a_row_are_bridged_as_each_of_them_alone() {
    let frames = |from: u8, to: u8| {
        let ends = weir_wire::build::Ends {
            source_mac: weir_wire::MacAddr(mac(from)),
            destination_mac: weir_wire::MacAddr(mac(to)),
            ..weir_wire::build::Ends::ipv4(from, to)
        };
        weir_wire::build::udp(ends, (5000 + u16::from(from), 5000 + u16::from(to)), b"data")
    };
    let [mut together, mut alone] = [Lab::plain(), Lab::plain()];
    let broken = |mut frame: Vec<u8>| {
        frame[24] ^= 1;
        frame
    };
    let good = frames(1, 2);
    let mut row = vec![good.clone(); 4];
    row.extend([broken(good.clone()), good.clone(), frame(1, 2), good.clone(), good.clone(), hello(1)]);
    // Another host by the same port, and back again.
    row.extend([frames(9, 2), frames(9, 2), good.clone(), good.clone(), good]);
    for lab in [&mut together, &mut alone] {
        lab.send(2, &frames(2, 1));
    }
    let mut one_by_one: Vec<_> = row.iter().flat_map(|frame| alone.send(1, frame)).collect();
    one_by_one.sort_by_key(|&(port, _)| port);
    assert_eq!(together.burst(1, &row), one_by_one);
    assert_eq!(together.fabric.totals(), alone.fabric.totals());
    let flows = |lab: &Lab| lab.fabric.engine().flows(10, |_| true).iter().map(|flow| flow.packets).collect::<Vec<_>>();
    assert_eq!(flows(&together), flows(&alone));
}
