//! Two fabrics become one: what stood in either stands in the one, and every packet is accounted for.

use weir_fabric::{Fabric, PortConfig, Step, SwitchConfig};
use weir_filter::event::FlowRecord;
use weir_filter::{Event, Policy};
use weir_wire::build::{Ends, fragments, tcp, udp};
use weir_wire::numbers::{TCP_ACK, TCP_SYN};
use weir_wire::{DropReason, MacAddr, PortId, SwitchId, TcpFields};

use std::sync::Arc;

use crate::lab::{Lab, frame};
use crate::routing::only;
use crate::translation::{back, inside, masquerading};

/// The switch of the network that joins, and its ports.
const OTHER: SwitchId = SwitchId(9);
const PORTS: [u16; 2] = [20, 21];

/// A network with numbers that the other one does not use.
fn other() -> Lab {
    let mut lab = Lab { fabric: Fabric::new(Default::default(), 7), ..Lab::new(SwitchConfig::default(), &[]) };
    lab.fabric.number_flows_from(1 << 40);
    lab.step(Step::SetSwitch(OTHER, SwitchConfig::default()));
    for port in PORTS {
        lab.port(port, PortConfig { switch: OTHER, ..PortConfig::default() });
    }
    lab
}

fn ends(from: u8, to: u8) -> Ends {
    Ends::ipv4(from, to)
}

fn join(lab: &mut Lab, joins: Lab) {
    let Lab { fabric, pool, .. } = joins;
    lab.pool.adopt(pool);
    lab.fabric.adopt(lab.now, fabric, &mut lab.pool, &mut lab.out);
    lab.collect();
}

fn flows(lab: &Lab) -> Vec<FlowRecord> {
    lab.fabric.engine().flows(100, |_| true)
}

/// The addresses of the network that joins, and where they are.
fn known(lab: &Lab) -> Vec<(MacAddr, PortId)> {
    lab.fabric.fdb(lab.now, OTHER).iter().map(|entry| (entry.mac, entry.port)).collect()
}

/// Nothing is taken up in its midst.
fn strict(lab: &mut Lab) {
    let settings = weir_filter::spec::Settings { midstream_grace: std::time::Duration::ZERO, ..Default::default() };
    let spec = weir_filter::spec::Spec { settings, ..Default::default() };
    let policy = Policy::compile(&spec, weir_wire::Epoch(1)).expect("compiles");
    lab.fabric.install(Arc::new(policy));
}

#[test]
fn connections_bindings_addresses_and_counters_go_on() {
    let (mut lab, mut joins) = (masquerading(), other());
    strict(&mut lab);
    strict(&mut joins);
    // A translated conversation here, a connection there.
    let (_, asked) = only(&lab.send(1, &udp(inside(1), (5000, 53), b"ask")));
    only(&lab.send(3, &udp(back(&asked), (53, asked.ports().unwrap().0), b"answer")));
    let syn = TcpFields { source_port: 6000, destination_port: 80, flags: TCP_SYN, ..TcpFields::default() };
    let accept = TcpFields { source_port: 80, destination_port: 6000, flags: TCP_SYN | TCP_ACK, ack: 1, ..syn };
    let [a, b] = PORTS;
    joins.send(a, &tcp(ends(31, 32), syn, &[], &[]));
    assert_eq!(joins.ports(b, &tcp(ends(32, 31), accept, &[], &[])), [a]);
    let mut before = [flows(&lab), flows(&joins)].concat();
    let received = joins.fabric.counters(PortId(a)).unwrap().received;
    let addresses = known(&joins);
    assert_eq!(addresses.len(), 2);

    join(&mut lab, joins);
    let mut after = flows(&lab);
    before.sort_by_key(|flow| flow.flow);
    after.sort_by_key(|flow| flow.flow);
    let names = |flows: &[FlowRecord]| flows.iter().map(|flow| (flow.flow, flow.packets)).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "the same flows, by the same numbers");
    assert_eq!(lab.fabric.counters(PortId(a)).unwrap().received, received);
    assert_eq!(known(&lab), addresses);
    // Segments in the midst of the connection pass, since it is known; those of another do not.
    let data = TcpFields { flags: TCP_ACK, seq: 1, ack: 1, ..syn };
    assert_eq!(lab.ports(a, &tcp(ends(31, 32), data, &[], b"on it goes")), [b]);
    let strange = TcpFields { source_port: 6001, ..data };
    lab.refused(a, &tcp(ends(31, 32), strange, &[], b"from nowhere"), DropReason::TcpMidstream);
    let (_, more) = only(&lab.send(1, &udp(inside(1), (5000, 53), b"more")));
    assert_eq!(more.ports(), asked.ports(), "the binding is the same");
    // The fabrics are one, their switches are two.
    assert_eq!(lab.ports(a, &frame(31, 32)), [b]);
    assert!(lab.ports(1, &frame(1, 32)).iter().all(|port| !PORTS.contains(port)));
}

#[test]
fn what_waits_goes_on_or_ends_and_is_counted() {
    let (mut lab, mut joins) = (masquerading(), other());
    let [a, b] = PORTS;
    joins.send(b, &udp(ends(32, 31), (9, 9), b"here"));
    let datagram = udp(ends(31, 32), (5000, 53), &[7; 2000]);
    let pieces = fragments(&datagram, 1000, 77);
    joins.send(a, &pieces[0]);
    assert_eq!(joins.fabric.totals().held, 1);
    join(&mut lab, joins);
    assert_eq!((lab.fabric.totals().held, lab.dropped(a, DropReason::FragmentTimeout)), (0, 1));
    lab.tick();
    assert_eq!(lab.fabric.engine().flow_count(), flows(&lab).len());
    let mut told = Vec::new();
    lab.fabric.drain_events(|event| told.push(event));
    assert!(!told.iter().any(|event| matches!(event, Event::Flow(_))), "no flow has ended: {told:?}");
}
