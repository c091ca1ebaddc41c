//! Thousands of random frames, changes of links, ports and switches in between: the lab checks the sum after each.

use weir_fabric::{PortConfig, Step, SwitchConfig, VlanMode};
use weir_wire::build::frames::{Ends, fragments, tagged, tcp, udp};
use weir_wire::{PortId, TcpFields, Vid};

use crate::lab::{LAN, Lab, frame, hello, mac, raw};

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

    fn host(&mut self) -> u8 {
        self.roll(12) as u8
    }

    fn frame(&mut self) -> Vec<u8> {
        let ends = if self.roll(2) == 0 { Ends::ipv4 } else { Ends::ipv6 }(self.host(), self.host());
        let ports = (self.roll(5) as u16, self.roll(5) as u16);
        let sent = match self.roll(7) {
            0 => hello(self.host()),
            1 => frame(self.host(), self.host()),
            2 => raw(mac(self.host()), [1, 0x80, 0xc2, 0, 0, self.roll(32) as u8]),
            3 => udp(ends, ports, &vec![7; self.roll(1400) as usize]),
            4 => {
                let (seq, ack, flags) = (self.roll(3) as u32, 0, 1 << self.roll(6));
                let (source_port, destination_port) = ports;
                let fields = TcpFields { source_port, destination_port, seq, ack, flags, window: 1000 };
                tcp(ends, fields, &[], b"data")
            }
            5 => {
                let mut pieces = fragments(&udp(ends, ports, &[1; 700]), 256, self.roll(9) as u32);
                let at = self.roll(pieces.len() as u64) as usize;
                pieces.swap_remove(at)
            }
            _ => (0..self.roll(200)).map(|_| self.roll(256) as u8).collect(),
        };
        match self.roll(4) {
            0 => tagged(&sent, self.roll(5) as u16, 0),
            1 => tagged(&tagged(&sent, self.roll(5) as u16, 0), self.roll(5) as u16, 6),
            _ => sent,
        }
    }

    fn port(&mut self) -> PortConfig {
        let vlan = match self.roll(3) {
            0 => VlanMode::Access(Vid(self.roll(4) as u16)),
            1 => VlanMode::Trunk { allowed: vec![(Vid(1), Vid(3))], native: None },
            _ => VlanMode::Trunk { allowed: vec![(Vid(2), Vid(4))], native: Some(Vid(self.roll(3) as u16)) },
        };
        let (isolated, learning) = (self.roll(4) == 0, self.roll(5) != 0);
        PortConfig { vlan, isolated, learning, down: self.roll(8) == 0, ..PortConfig::default() }
    }
}

/// Returns everything that came out, and the books.
fn storm(seed: u64) -> (Vec<(u16, Vec<u8>)>, String) {
    let mut dice = Dice(seed);
    let mut lab = Lab::new(SwitchConfig { fdb_limit: 8, ageing_s: 5, ..SwitchConfig::default() }, &[1, 2, 3, 4]);
    let mut seen = Vec::new();
    for _ in 0..1500 {
        let frames: Vec<Vec<u8>> = (0..dice.roll(16)).map(|_| dice.frame()).collect();
        let port = 1 + dice.roll(6) as u16;
        seen.extend(lab.burst(port, &frames));
        match dice.roll(12) {
            0 => lab.fabric.set_link(PortId(port), dice.roll(3) != 0),
            1 => lab.step(Step::SetPort(PortId(port), dice.port())),
            2 if dice.roll(3) == 0 => lab.step(Step::RemovePort(PortId(port))),
            3 => lab.step(Step::FlushFdb(LAN)),
            4..6 => lab.wait(dice.roll(4)),
            _ => {}
        }
        if dice.roll(4) == 0 {
            lab.tick();
            seen.extend(lab.collect());
        }
    }
    lab.wait(1000);
    for _ in 0..100 {
        lab.tick();
        seen.extend(lab.collect());
    }
    assert_eq!(lab.fabric.totals().held, 0, "seed {seed}: fragments do not wait forever");
    let books = format!("{:?} {:?}", lab.fabric.totals(), lab.fabric.stray_counters());
    (seen, books)
}

#[test]
fn invariant_3_nothing_vanishes_in_a_storm() {
    for seed in 0..4 {
        let (seen, books) = storm(seed);
        assert!(seen.len() > 2000, "seed {seed}: {} frames came out; {books}", seen.len());
    }
}

#[test]
fn invariant_8_the_same_seed_gives_the_same_bytes() {
    assert_eq!(storm(11), storm(11));
}
