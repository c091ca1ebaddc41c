//! Mirrors: copies of what passes, which take nothing from it.

use std::net::Ipv4Addr;

use weir_fabric::mirror::erspan::Erspan;
use weir_fabric::mirror::filter::Filter;
use weir_fabric::mirror::{COPIES, MirrorConfig, Sink, Source};
use weir_fabric::{PortConfig, Step, SwitchConfig, VlanMode};
use weir_wire::build::{Ends, tagged, udp};
use weir_wire::{DropReason, PortId, Vid};

use crate::lab::{Lab, frame, hello, mac, raw};

fn source(port: u16, inward: bool, outward: bool) -> Source {
    Source { port: PortId(port), inward, outward }
}

fn mirror(sources: &[Source], sink: Sink) -> MirrorConfig {
    let (vids, filter) = (Vec::new(), Filter::default());
    MirrorConfig { name: "m".into(), sources: sources.to_vec(), vids, filter, one_of: 1, snap: 0, sink }
}

/// Ports 1 to 3 and a monitor, port 9, which takes no part.
fn watched(config: MirrorConfig) -> Lab {
    let mut lab = Lab::plain();
    lab.step(Step::SetSwitch(weir_wire::SwitchId(1), SwitchConfig::default()));
    lab.port(9, PortConfig { switch: weir_wire::SwitchId(1), ..PortConfig::default() });
    lab.step(Step::SetMirrors(vec![config]));
    lab
}

#[test]
fn both_directions_are_copied_as_they_are() {
    let mut lab = watched(mirror(&[source(2, true, true)], Sink::Port(PortId(9))));
    lab.send(2, &frame(2, 7));
    let out = lab.send(1, &frame(1, 2));
    assert_eq!(out, [(2, frame(1, 2)), (9, frame(1, 2))]);
    let out = lab.send(2, &frame(2, 1));
    assert_eq!(out, [(1, frame(2, 1)), (9, frame(2, 1))]);
    assert_eq!(lab.ports(1, &frame(1, 3)), [2, 3, 9], "flooded: what leaves by port 2 is one");
    assert_eq!(lab.ports(3, &frame(3, 1)), [1], "not its business");
    // What comes in is seen though it goes nowhere.
    let bad = raw([1, 0, 0, 0, 0, 1], mac(1));
    assert_eq!(lab.send(2, &bad), [(9, bad.clone())]);
    assert_eq!(lab.dropped(2, DropReason::BadSourceMac), 1);
    let stats = lab.fabric.mirrors();
    assert_eq!((stats[0].0.as_str(), stats[0].1.mirrored, stats[0].1.dropped), ("m", 5, 0));
}

#[test]
fn settled_flows_are_copied_too_and_filters_vlans_and_samples_choose() {
    let filter = Filter::parse("udp port 53").unwrap();
    let mut config = mirror(&[source(1, true, false)], Sink::Port(PortId(9)));
    config.filter = filter;
    let mut lab = watched(config.clone());
    let (ask, other) = (udp(Ends::ipv4(1, 2), (9, 53), b"q"), udp(Ends::ipv4(1, 2), (9, 54), b"q"));
    let answer = udp(Ends::ipv4(2, 1), (53, 9), b"a");
    for _ in 0..5 {
        lab.send(2, &answer);
        let out = lab.burst(1, &[ask.clone(), other.clone(), ask.clone()]);
        assert_eq!(out.iter().filter(|(port, _)| *port == 9).count(), 2);
        assert_eq!(out.iter().filter(|(port, _)| *port == 2).count(), 3);
    }
    lab.step(Step::SetMirrors(vec![MirrorConfig { one_of: 4, snap: 20, ..config.clone() }]));
    assert_eq!(lab.fabric.mirrors()[0].1.mirrored, 10, "counters go on");
    let out = lab.burst(1, &vec![ask.clone(); 8]);
    let copies: Vec<_> = out.iter().filter(|(port, _)| *port == 9).collect();
    assert_eq!((copies.len(), &copies[0].1[..]), (2, &ask[..20]));

    lab.port(
        1,
        PortConfig { vlan: VlanMode::Trunk { allowed: vec![(Vid(1), Vid(9))], native: None }, ..PortConfig::default() },
    );
    let config = MirrorConfig { vids: vec![Vid(5)], filter: Filter::default(), ..config };
    lab.step(Step::SetMirrors(vec![config]));
    assert_eq!(lab.ports(1, &tagged(&hello(1), 5, 0)), [9]);
    assert_eq!(lab.ports(1, &tagged(&hello(1), 6, 0)), [] as [u16; 0]);
}

#[test]
fn a_mirror_without_room_loses_copies_and_nothing_else() {
    let mut lab = watched(mirror(&[source(1, true, false)], Sink::Port(PortId(9))));
    let burst: Vec<Vec<u8>> = vec![hello(1); COPIES + 100];
    let out = lab.burst(1, &burst);
    let to = |wanted: u16| out.iter().filter(|(port, _)| *port == wanted).count();
    assert_eq!((to(2), to(3), to(9)), (COPIES + 100, COPIES + 100, COPIES));
    assert_eq!(lab.fabric.mirrors()[0].1.dropped, 100);
    // A monitor that is down takes none, and the sum stays exact.
    lab.fabric.set_link(PortId(9), false);
    assert_eq!(lab.ports(1, &hello(1)), [2, 3]);
    assert_eq!(lab.dropped(1, DropReason::MirrorLimit), 1);
}

#[test]
fn copies_for_files_and_the_host_are_handed_over() {
    let erspan = Erspan {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 9),
        session: 5,
        is_type_3: false,
    };
    let mut lab = watched(mirror(&[source(1, true, false)], Sink::Handed(77)));
    lab.send(1, &hello(1));
    lab.send(1, &frame(1, 2));
    let handed = lab.fabric.drain_mirrored().expect("two copies");
    assert_eq!(
        handed.copies.iter().map(|c| (c.outlet, c.start, c.length, c.whole)).collect::<Vec<_>>(),
        [(77, 0, 60, 60), (77, 60, 60, 60)]
    );
    assert_eq!(handed.bytes, [hello(1), frame(1, 2)].concat());
    assert!(lab.fabric.drain_mirrored().is_none());
    lab.fabric.lose_mirrored(&handed);
    assert_eq!((lab.fabric.mirrors()[0].1.mirrored, lab.fabric.mirrors()[0].1.dropped), (0, 2));

    lab.step(Step::SetMirrors(vec![mirror(&[source(1, true, false)], Sink::HandedErspan(78, erspan))]));
    lab.send(1, &hello(1));
    let handed = lab.fabric.drain_mirrored().expect("a copy");
    assert_eq!((handed.bytes.len(), &handed.bytes[36..]), (96, &hello(1)[..]));
    assert_eq!(handed.bytes[12..20], [10, 0, 0, 1, 10, 0, 0, 9]);
}
