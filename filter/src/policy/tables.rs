//! The rules as tables: for each thing that rules ask of a packet, the set of rules that its value satisfies.
//!
//! A packet's rule is the first bit of the intersection of its sets. A set that holds all rules is skipped, and the
//! intersection stops at the first block that is not empty, so the cost falls with what the rules leave open and grows
//! with the place of the rule that decides (Lakshman and Stiliadis, "High-Speed Policy-based Packet Forwarding", 1998).

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_wire::numbers::{ETHERTYPE_ARP, ETHERTYPE_RARP, PROTOCOL_ICMPV6};
use weir_wire::{MacAddr, Packet, PortId, SwitchId, Vid};

use super::sets::{ALL, BLOCK, Intervals, Row, Rows};
use crate::event::Tuple;
use crate::flow::key::Key;
use crate::inspect::Direction;

/// What rules are asked about: a packet, or a flow's first packet as a later one of its packets shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The switch it is on.
    pub switch: SwitchId,
    /// Its VLAN.
    pub vid: Vid,
    /// The port of its sender.
    pub from: PortId,
    /// The port of its receiver.
    pub to: PortId,
    /// MAC of the sender.
    pub source_mac: MacAddr,
    /// MAC of the receiver.
    pub destination_mac: MacAddr,
    /// EtherType behind the outermost tag.
    pub ether_type: u16,
    /// Addresses, ports and protocol; ICMP type and code in place of ports.
    pub tuple: Option<Tuple>,
}

impl Subject {
    /// A packet on its own.
    pub fn of_packet(packet: &Packet, switch: SwitchId, to: PortId) -> Subject {
        Subject {
            switch,
            vid: packet.vid,
            from: packet.port,
            to,
            source_mac: packet.src_mac(),
            destination_mac: packet.dst_mac(),
            ether_type: packet.headers.ether_type,
            tuple: Subject::tuple_of(packet),
        }
    }

    /// The packet's addresses and ports as rules and events name them.
    pub fn tuple_of(packet: &Packet) -> Option<Tuple> {
        let (source, destination) = packet.addresses()?;
        let protocol = packet.headers.protocol;
        let (source_port, destination_port) = match packet.icmp() {
            Some((kind, code)) => (u16::from(kind), u16::from(code)),
            None => packet.ports().unwrap_or((0, 0)),
        };
        Some(Tuple { source, destination, source_port, destination_port, protocol })
    }

    /// The first packet of the flow that `packet` belongs to: `tuple` is the initiator's, `direction` the way of
    /// `packet`. Ports are set by [`Subject::between`].
    pub fn of_flow(packet: &Packet, switch: SwitchId, tuple: Tuple, direction: Direction) -> Subject {
        let (mut source_mac, mut destination_mac) = (packet.src_mac(), packet.dst_mac());
        if direction == Direction::Reply {
            (source_mac, destination_mac) = (destination_mac, source_mac);
        }
        Subject {
            switch,
            vid: packet.vid,
            from: packet.port,
            to: packet.port,
            source_mac,
            destination_mac,
            ether_type: packet.headers.ether_type,
            tuple: Some(tuple),
        }
    }

    /// All of it in one word, mixed.
    #[inline]
    pub fn mixed(&self) -> u64 {
        let mac = |mac: MacAddr| {
            let [a, b, c, d, e, f] = mac.0;
            u64::from_be_bytes([0, 0, a, b, c, d, e, f])
        };
        let fold = |a: u64, b: u64| {
            let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xa076_1d64_78bd_642f);
            (product as u64) ^ ((product >> 64) as u64)
        };
        let word = |address: IpAddr| match address {
            IpAddr::V4(v4) => u64::from(u32::from(v4)),
            IpAddr::V6(v6) => {
                let wide = u128::from(v6);
                (wide >> 64) as u64 ^ (wide as u64).rotate_left(32)
            }
        };
        let places = u64::from(self.from.0) << 48 | u64::from(self.to.0) << 32 | u64::from(self.switch.0) << 16;
        let link = u64::from(self.vid.0) << 16 | u64::from(self.ether_type);
        let macs = fold(mac(self.source_mac) ^ places, mac(self.destination_mac) ^ link);
        let Some(tuple) = &self.tuple else { return macs };
        let ports = u64::from(tuple.source_port) << 32 | u64::from(tuple.destination_port) << 16;
        fold(macs ^ word(tuple.source), word(tuple.destination) ^ ports.rotate_left(24) ^ u64::from(tuple.protocol))
    }

    /// ARP and RARP, or IPv6 neighbour discovery between hosts: router and neighbour solicitation, neighbour advertisement
    /// (RFC 826; RFC 4861, 4.1, 4.3 and 4.4). A router's advertisements and redirects are not among them.
    pub fn resolves_addresses(&self) -> bool {
        match &self.tuple {
            None => matches!(self.ether_type, ETHERTYPE_ARP | ETHERTYPE_RARP),
            Some(tuple) => {
                tuple.protocol == PROTOCOL_ICMPV6
                    && tuple.source.is_ipv6()
                    && matches!(tuple.source_port, 133 | 135 | 136)
            }
        }
    }

    /// The same between these ports.
    pub fn between(mut self, [from, to]: [PortId; 2]) -> Subject {
        (self.from, self.to) = (from, to);
        self
    }

    /// The same, sent by the other end.
    pub fn reversed(self) -> Subject {
        let tuple = self.tuple.map(|t| Tuple {
            source: t.destination,
            destination: t.source,
            source_port: t.destination_port,
            destination_port: t.source_port,
            protocol: t.protocol,
        });
        Subject {
            from: self.to,
            to: self.from,
            source_mac: self.destination_mac,
            destination_mac: self.source_mac,
            tuple,
            ..self
        }
    }
}

/// Rows by port number.
#[derive(Debug, Default)]
pub(super) struct ByPort {
    pub rows: Vec<Row>,
    /// Of ports that the policy does not know.
    pub elsewhere: Row,
}

impl ByPort {
    fn get(&self, port: PortId) -> Row {
        self.rows.get(usize::from(port.0)).copied().unwrap_or(self.elsewhere)
    }
}

/// Rows by MAC address.
#[derive(Debug, Default)]
pub(super) struct ByMac {
    pub rows: BTreeMap<MacAddr, Row>,
    /// Of addresses that no rule names.
    pub other: Row,
}

impl Tables {
    /// A rule asks for a MAC address.
    pub fn names_macs(&self) -> bool {
        !self.source_mac.rows.is_empty() || !self.destination_mac.rows.is_empty()
    }
}

impl ByMac {
    fn get(&self, mac: MacAddr) -> Row {
        if self.rows.is_empty() { self.other } else { self.rows.get(&mac).copied().unwrap_or(self.other) }
    }
}

/// Rows by IP address.
#[derive(Debug, Default)]
pub(super) struct ByAddress {
    pub v4: Intervals<u32>,
    pub v6: Intervals<u128>,
}

impl ByAddress {
    fn get(&self, address: IpAddr) -> Row {
        match address {
            IpAddr::V4(a) => self.v4.get(a.into()),
            IpAddr::V6(a) => self.v6.get(a.into()),
        }
    }
}

/// Everything a rule may ask for.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub rows: Rows,
    pub from: ByPort,
    pub to: ByPort,
    pub switch: ByPort,
    pub source_mac: ByMac,
    pub destination_mac: ByMac,
    pub vlan: Intervals<u16>,
    pub ether_type: Intervals<u16>,
    pub source: ByAddress,
    pub destination: ByAddress,
    /// Rules that ask for no address, protocol, port or ICMP type: all that frames without IP can match.
    pub without_ip: Row,
    pub protocol: Intervals<u8>,
    pub source_port: Intervals<u16>,
    pub destination_port: Intervals<u16>,
    /// Rules that ask for no TCP or UDP port.
    pub without_ports: Row,
    /// By type and code as one number.
    pub icmp: Intervals<u16>,
    /// Rules that ask for no ICMP type.
    pub without_icmp: Row,
}

/// Things a rule may ask for.
const DIMENSIONS: usize = 13;

/// As much of the first packet of a flow as rules can tell apart, for the policy that made it.
pub type Words = [u64; 8];

impl Tables {
    /// What rules can ask of the first packet of the flow with this key, which the first end sent or the second, between these
    /// ports. Of packets with equal words [`Tables::asked`] makes equal subjects.
    #[inline]
    pub fn words(
        &self,
        packet: &Packet,
        switch: SwitchId,
        (key, from_low): (&Key, bool),
        [from, to]: [PortId; 2],
    ) -> Words {
        // Its VLAN stands with the packet.
        let mut mask = !(0xfff << 36);
        if key.has_ports() {
            let (source, destination) = if from_low { (0xffff_0000, 0xffff) } else { (0xffff, 0xffff_0000) };
            mask &= if self.source_port.is_one() { !source } else { u64::MAX };
            mask &= if self.destination_port.is_one() { !destination } else { u64::MAX };
        }
        let vid = if self.vlan.is_one() { 0 } else { packet.vid.0 };
        let [places, port, vid, switch] = [from.0, to.0, vid, switch.0].map(u64::from);
        let link = places << 48 | port << 32 | vid << 16 | u64::from(packet.headers.ether_type);
        let mac = |MacAddr([a, b, c, d, e, f])| u64::from_be_bytes([a, b, c, d, e, f, 0, 0]);
        let macs = if self.names_macs() { [packet.src_mac(), packet.dst_mac()].map(mac) } else { [0; 2] };
        let [a, b, c, d, rest] = key.words();
        [a, b, c, d, rest & mask, link, macs[0] | switch, macs[1] | u64::from(from_low)]
    }

    /// A subject without what no rule asks for.
    #[inline]
    pub fn asked(&self, mut subject: Subject) -> Subject {
        if !self.names_macs() {
            (subject.source_mac, subject.destination_mac) = (MacAddr::ZERO, MacAddr::ZERO);
        }
        if self.vlan.is_one() {
            subject.vid = Vid(0);
        }
        if let Some(tuple) = subject.tuple.as_mut().filter(|tuple| matches!(tuple.protocol, 6 | 17)) {
            // Clients' ports differ from flow to flow, and rules seldom ask for them.
            if self.source_port.is_one() {
                tuple.source_port = 0;
            }
            if self.destination_port.is_one() {
                tuple.destination_port = 0;
            }
        }
        subject
    }

    /// The first rule from place `from` on that matches.
    pub fn first(&self, subject: &Subject, from: u32) -> Option<u32> {
        let mut sets: [&[u64]; DIMENSIONS] = [&[]; DIMENSIONS];
        let mut n = 0;
        for row in self.select(subject) {
            if row != ALL {
                sets[n] = self.rows.get(row);
                n += 1;
            }
        }
        let sets = sets.get(..n).unwrap_or(&[]);
        let everything = self.rows.get(ALL);
        let from = from as usize;
        let begin = from / (64 * BLOCK);
        for (at, all) in everything.as_chunks::<BLOCK>().0.iter().enumerate().skip(begin) {
            let mut block = *all;
            if at == begin && from != 0 {
                let (words, bits) = (from / 64 % BLOCK, from % 64);
                block.iter_mut().take(words).for_each(|word| *word = 0);
                block.iter_mut().skip(words).take(1).for_each(|word| *word &= u64::MAX << bits);
            }
            for set in sets {
                let Some(other) = set.as_chunks::<BLOCK>().0.get(at) else { continue };
                for (word, other) in block.iter_mut().zip(other) {
                    *word &= other;
                }
            }
            if let Some(word) = block.iter().position(|&word| word != 0) {
                return Some(((at * BLOCK + word) * 64) as u32 + block[word].trailing_zeros());
            }
        }
        None
    }

    /// The rows of a packet's values.
    fn select(&self, s: &Subject) -> [Row; DIMENSIONS] {
        let mut rows = [ALL; DIMENSIONS];
        rows[0] = self.from.get(s.from);
        rows[1] = self.to.get(s.to);
        rows[2] = self.switch.get(PortId(s.switch.0));
        rows[3] = self.source_mac.get(s.source_mac);
        rows[4] = self.destination_mac.get(s.destination_mac);
        rows[5] = self.vlan.get(s.vid.0);
        rows[6] = self.ether_type.get(s.ether_type);
        let Some(tuple) = &s.tuple else {
            rows[7] = self.without_ip;
            return rows;
        };
        rows[7] = self.source.get(tuple.source);
        rows[8] = self.destination.get(tuple.destination);
        rows[9] = self.protocol.get(tuple.protocol);
        match (tuple.protocol, tuple.source) {
            (6 | 17, _) => {
                rows[10] = self.source_port.get(tuple.source_port);
                rows[11] = self.destination_port.get(tuple.destination_port);
                rows[12] = self.without_icmp;
            }
            (1, IpAddr::V4(_)) | (58, IpAddr::V6(_)) => {
                rows[10] = self.without_ports;
                rows[12] = self.icmp.get(tuple.source_port << 8 | tuple.destination_port & 0xff);
            }
            _ => {
                rows[10] = self.without_ports;
                rows[12] = self.without_icmp;
            }
        }
        rows
    }
}
