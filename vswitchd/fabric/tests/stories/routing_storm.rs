//! Thousands of random packets to routers that translate, with routers, routes and neighbours that come and go: the lab
//! checks the sum and the buffers after each burst.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_fabric::Step;
use weir_fabric::nat::{Forward, Masquerade, NatConfig, OneToOne};
use weir_fabric::router::{Route, Target};
use weir_wire::build::neighbor::{advertisement, solicitation};
use weir_wire::build::{ArpKind, EchoKind, Ends, IcmpError, arp, fragments, icmp_echo, icmp_error, packet, tcp, udp};
use weir_wire::{InterfaceId, MacAddr, Pool, PortId, RouterId, TcpFields};

use crate::lab::Lab;
use crate::routing::{EAST, WEST, both_interfaces, prefix, set_edge, two_networks, via};

/// SplitMix64: a seed in, the same numbers out.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn v4(&mut self) -> Ipv4Addr {
        let host = [1, 2, 3, 4, 254, 255, 0][self.roll(7) as usize];
        [Ipv4Addr::new(10, 0, 0, host), Ipv4Addr::new(10, 0, 1, host), Ipv4Addr::new(10, 9, 0, host)]
            [self.roll(3) as usize]
    }

    fn v6(&mut self) -> Ipv6Addr {
        let (network, host) = (self.roll(2) as u16, [1, 2, 3, 0xfe][self.roll(4) as usize]);
        if self.roll(8) == 0 {
            return Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host);
        }
        Ipv6Addr::new(0xfd00, 0, 0, network, 0, 0, 0, host)
    }

    fn mac(&mut self) -> MacAddr {
        [EAST, WEST, MacAddr([2, 0, 0, 0, 0, self.roll(5) as u8]), MacAddr::BROADCAST][self.roll(4) as usize]
    }

    fn ends(&mut self) -> Ends {
        let (source_mac, destination_mac) = (MacAddr([2, 0, 0, 0, 0, 1 + self.roll(4) as u8]), self.mac());
        let (source, destination): (IpAddr, IpAddr) = match self.roll(3) {
            0 => (self.v6().into(), self.v6().into()),
            _ => (self.v4().into(), self.v4().into()),
        };
        Ends { source_mac, destination_mac, source, destination }
    }

    fn frame(&mut self) -> Vec<u8> {
        let ends = self.ends();
        let ports = (self.roll(4) as u16 + 79, self.roll(4) as u16 + 79);
        let mut sent = match self.roll(9) {
            0 => udp(ends, ports, &vec![7; self.roll(1400) as usize]),
            1 | 2 => {
                let (source_port, destination_port) = ports;
                let fields =
                    TcpFields { source_port, destination_port, flags: self.roll(64) as u8, ..TcpFields::default() };
                tcp(ends, fields, &[2, 4, 5, 0xb4], b"data")
            }
            3 => icmp_echo(ends, [EchoKind::Request, EchoKind::Reply][self.roll(2) as usize], ports.0, 1, b"ping"),
            4 => arp(ArpKind::Reply, (ends.source_mac, self.v4()), (ends.destination_mac, self.v4())),
            5 => arp(ArpKind::Request, (ends.source_mac, self.v4()), (MacAddr::ZERO, self.v4())),
            6 if self.roll(2) == 0 => solicitation((ends.source_mac, self.v6()), self.v6(), None),
            6 => advertisement((ends.source_mac, self.v6()), Some((ends.destination_mac, self.v6()))),
            7 => self.error(ends),
            _ => {
                let mut pieces = fragments(&udp(ends, ports, &[1; 2000]), 700, self.roll(9) as u32);
                let at = self.roll(pieces.len() as u64) as usize;
                pieces.swap_remove(at)
            }
        };
        // Some are damaged, some are cut.
        if self.roll(6) == 0 {
            let at = self.roll(sent.len() as u64) as usize;
            sent[at] ^= 1 << self.roll(8);
        }
        if self.roll(12) == 0 {
            sent.truncate(self.roll(sent.len() as u64 + 1) as usize);
        }
        sent
    }

    /// An ICMP error about a packet that somebody may have sent.
    fn error(&mut self, ends: Ends) -> Vec<u8> {
        let mut pool = Pool::default();
        let cause = udp(self.ends(), (80, 81), b"cause");
        let error = packet(&cause, PortId(1), &mut pool).and_then(|cause| {
            icmp_error(&cause, ends.source, IcmpError::TooBig(1000 + self.roll(500) as u32), &mut pool)
        });
        let Some(mut error) = error else { return cause };
        error.buffer.bytes_mut()[..6].copy_from_slice(&ends.destination_mac.0);
        error.bytes().to_vec()
    }

    fn nat(&mut self) -> NatConfig {
        let outside: IpAddr = Ipv4Addr::new(10, 0, 1, 254).into();
        let masquerade = Masquerade {
            interface: InterfaceId(self.roll(2) as u16),
            from: vec![],
            addresses: vec![],
            ports: 80..=80 + self.roll(6) as u16,
            endpoint_independent: self.roll(2) == 0,
            limit_each: self.roll(3) as u32 * 4,
            ports_each: if self.roll(4) == 0 { 4 } else { 0 },
        };
        let inside = Ipv4Addr::new(10, 0, 0, 1 + self.roll(3) as u8).into();
        let forward = Forward {
            protocol: 6 + 11 * self.roll(2) as u8,
            address: outside,
            ports: 80..=81,
            to: inside,
            to_port: 79,
        };
        let joined = OneToOne { outside, inside: Ipv4Addr::new(10, 0, 0, 4).into(), interface: InterfaceId(1) };
        let mut config = NatConfig::default();
        (0..self.roll(4)).for_each(|_| match self.roll(3) {
            0 => config.masquerades.push(masquerade.clone()),
            1 => config.forwards.push(forward.clone()),
            _ => config.one_to_one.push(joined),
        });
        config
    }

    fn router(&mut self, lab: &mut Lab) {
        let mut interfaces = both_interfaces();
        for (_, interface) in &mut interfaces {
            interface.mtu = [576, 1280, 1500][self.roll(3) as usize];
            interface.clamp_mss = self.roll(2) == 0;
        }
        if self.roll(5) == 0 {
            interfaces.truncate(1);
        }
        let mut routes = vec![Route { to: prefix("10.9.0.0/16"), target: Target::Unreachable }];
        if interfaces.len() == 2 && self.roll(2) == 0 {
            routes = vec![Route { to: prefix("10.9.0.0/16"), target: via(1, "10.0.1.3") }];
        }
        let nat = self.nat();
        set_edge(lab, 0, interfaces, routes, nat);
    }
}

fn storm(seed: u64) -> (Vec<(u16, Vec<u8>)>, String) {
    let mut dice = Dice(seed);
    let mut lab = two_networks();
    let mut seen = Vec::new();
    for _ in 0..1500 {
        let frames: Vec<Vec<u8>> = (0..dice.roll(12)).map(|_| dice.frame()).collect();
        let port = 1 + dice.roll(3) as u16;
        seen.extend(lab.burst(port, &frames));
        match dice.roll(24) {
            0 | 1 => dice.router(&mut lab),
            2 => lab.step(Step::RemoveRouter(RouterId(0))),
            3 => lab.step(Step::FlushNeighbors(InterfaceId(dice.roll(2) as u16))),
            4 => lab.step(Step::FlushNat),
            5..10 => lab.wait(dice.roll(4)),
            _ => {}
        }
        if dice.roll(3) == 0 {
            seen.extend(lab.age());
        }
    }
    for _ in 0..100 {
        lab.wait(10);
        seen.extend(lab.age());
    }
    assert_eq!(lab.fabric.totals().held, 0, "seed {seed}: nothing waits for ever");
    (seen, format!("{:?} {:?}", lab.fabric.totals(), lab.fabric.nat(lab.now, 0).2))
}

#[test]
fn invariant_3_nothing_vanishes_in_routers() {
    for seed in 0..6 {
        let (seen, books) = storm(seed);
        assert!(
            seen.len() > 2000 && !books.contains("made: 0,"),
            "seed {seed}: {} frames came out; {books}",
            seen.len()
        );
    }
}

#[test]
fn invariant_8_routers_answer_the_same_to_the_same() {
    assert_eq!(storm(21), storm(21));
}
