//! Another end for the packets of a flow: worked out for one of them, and the same for all that follow it.
//!
//! Of the common packets over IPv4 the checksums change by the same amount whatever else the packet says (RFC 1624), so
//! that a packet costs a few additions. Others are written field by field ([`write`]). Both leave the same packet.

use std::net::IpAddr;

use weir_wire::numbers::{ETHERTYPE_IPV4, PROTOCOL_TCP};
use weir_wire::{Checksum, Packet, checksum};

use super::ends::{End, Side, write};
use crate::router::hop::Hop;

/// Where IPv4 addresses and ports stand in a packet that [`Packet::parse_common`] has parsed, for either side.
const PLACES: [(usize, usize); 2] = [(26, 34), (30, 36)];
/// Where the time to live stands, the header's checksum, and those of UDP and TCP.
const TTL: usize = 22;
const HEADER_SUM: usize = 24;
const UDP_SUM: usize = 40;
const TCP_SUM: usize = 50;

/// What is put in place of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rename {
    side: Side,
    to: End,
    known: Option<Known>,
}

/// The same over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    address: [u8; 4],
    port: [u8; 2],
    /// What checksums grow by: those of addresses alone, those of ports too.
    by_address: u16,
    by_both: u16,
}

/// How the transport's checksum of a packet stands.
#[derive(Clone, Copy, Debug)]
struct Sum {
    /// It is to be completed.
    partial: bool,
    is_tcp: bool,
}

impl Sum {
    #[inline]
    fn of(packet: &Packet) -> Sum {
        let partial = matches!(packet.offload.checksum, Checksum::Partial { .. });
        Sum { partial, is_tcp: packet.headers.protocol == PROTOCOL_TCP }
    }
}

/// What the sum of words grows by when one of them is replaced.
#[inline]
fn grown<const N: usize>(by: u16, old: &[u8; N], new: &[u8; N]) -> u16 {
    let words = old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0);
    words.fold(by, |by, (old, new)| !checksum::update(!by, u16::from_be_bytes(*old), u16::from_be_bytes(*new)))
}

/// A checksum of which the sum has grown.
#[inline]
fn follow(field: &mut [u8; 2], by: u16) {
    *field = checksum::update(u16::from_be_bytes(*field), u16::MAX, by).to_be_bytes();
}

impl Rename {
    /// For packets like this one, that [`Packet::parse_common`] has parsed.
    #[inline]
    pub fn new(packet: &Packet, side: Side, to: End) -> Rename {
        let known = match to.0 {
            IpAddr::V4(address) if packet.headers.ether_type == ETHERTYPE_IPV4 => {
                Known::new(packet.bytes(), side, (address.octets(), to.1.to_be_bytes()))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        Rename { side, to, known }
    }

    /// Renames a packet that has the ends of the first one. `false` where it is not what its headers say.
    #[inline]
    pub fn apply(&self, packet: &mut Packet) -> bool {
        match &self.known {
            Some(known) => known.apply(self.side, packet),
            None => write(packet, self.side, self.to).is_some(),
        }
    }

    /// The same for one that then leaves by this hop: what both change is changed at once.
    #[inline]
    pub fn apply_leaving(&self, packet: &mut Packet, hop: &Hop) {
        match &self.known {
            Some(known) if !hop.clamps(packet) => known.apply_leaving(self.side, packet, hop),
            Some(_) | None => {
                self.apply(packet);
                hop.rewrite(packet);
            }
        }
    }
}

impl Known {
    #[inline]
    fn new(frame: &[u8], side: Side, (address, port): ([u8; 4], [u8; 2])) -> Option<Known> {
        let head: &[u8; 42] = frame.first_chunk()?;
        let (at, port_at) = PLACES[side as usize & 1];
        let by_address = grown(0, head.get(at..)?.first_chunk()?, &address);
        let by_both = grown(by_address, head.get(port_at..)?.first_chunk()?, &port);
        Some(Known { address, port, by_address, by_both })
    }

    #[inline]
    fn apply(&self, side: Side, packet: &mut Packet) -> bool {
        let end = Sum::of(packet);
        let frame = packet.buffer.bytes_mut();
        let Some(head) = frame.first_chunk_mut::<42>() else { return false };
        self.put(side, head);
        if let Some(field) = head[HEADER_SUM..].first_chunk_mut() {
            follow(field, self.by_address);
        }
        self.put_sum(end, frame).is_some()
    }

    #[inline]
    fn apply_leaving(&self, side: Side, packet: &mut Packet, hop: &Hop) {
        packet.vid = hop.vid;
        let end = Sum::of(packet);
        let frame = packet.buffer.bytes_mut();
        let Some(head) = frame.first_chunk_mut::<42>() else { return };
        head[..6].copy_from_slice(&hop.destination.0);
        head[6..12].copy_from_slice(&hop.source.0);
        self.put(side, head);
        let before = u16::from_be_bytes([head[TTL], head[TTL + 1]]);
        head[TTL] = head[TTL].saturating_sub(hop.hops);
        let after = u16::from_be_bytes([head[TTL], head[TTL + 1]]);
        let sum = checksum::update(u16::from_be_bytes([head[HEADER_SUM], head[HEADER_SUM + 1]]), before, after);
        let sum = checksum::update(sum, u16::MAX, self.by_address);
        head[HEADER_SUM..HEADER_SUM + 2].copy_from_slice(&sum.to_be_bytes());
        self.put_sum(end, frame);
    }

    /// Address and port.
    #[inline]
    fn put(&self, side: Side, head: &mut [u8; 42]) {
        let (at, port_at) = PLACES[side as usize & 1];
        if let Some(address) = head[at..].first_chunk_mut() {
            *address = self.address;
        }
        if let Some(port) = head[port_at..].first_chunk_mut() {
            *port = self.port;
        }
    }

    /// The checksum of UDP or TCP.
    #[inline]
    fn put_sum(&self, end: Sum, frame: &mut [u8]) -> Option<()> {
        let sum_at = if end.is_tcp { TCP_SUM } else { UDP_SUM };
        let field = frame.get_mut(sum_at..)?.first_chunk_mut::<2>()?;
        match (end.partial, end.is_tcp, u16::from_be_bytes(*field)) {
            // The plain sum of addresses and length.
            (true, _, sum) => *field = (!checksum::update(!sum, u16::MAX, self.by_address)).to_be_bytes(),
            // RFC 768: a UDP datagram over IPv4 may have no checksum, and zero is not one.
            (false, false, 0) => {}
            (false, true, _) => follow(field, self.by_both),
            (false, false, _) => {
                follow(field, self.by_both);
                if *field == [0; 2] {
                    *field = [0xff; 2];
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use weir_wire::build::{self, packet, tcp, udp};
    use weir_wire::checksum::make_partial;
    use weir_wire::{Pool, PortId, TcpFields};

    use super::*;

    #[test]
    fn packets_are_renamed_as_if_each_field_was_written() {
        let mut pool = Pool::default();
        let ends = [
            (build::Ends::ipv4(1, 2), ["203.0.113.9", "0.0.0.0", "255.255.255.255"]),
            (build::Ends::ipv6(1, 2), ["2001:db8::9", "::", "ffff::ffff"]),
        ];
        let fields = TcpFields { source_port: 1000, destination_port: 80, flags: 16, ..TcpFields::default() };
        let mut renamed = 0;
        for (ends, addresses) in ends {
            let mut frames = vec![tcp(ends, fields, &[1; 4], b"abc"), udp(ends, (1000, 80), b"abcd")];
            let mut without = udp(ends, (1000, 80), b"x");
            if let Some(sum) = without.get_mut(40..42).filter(|_| ends.source.is_ipv4()) {
                sum.fill(0);
                frames.push(without);
            }
            for (frame, address, port) in frames
                .iter()
                .flat_map(|frame| addresses.iter().flat_map(move |a| [0, 80, 0xffff].map(|p| (frame, a, p))))
            {
                for (side, partial) in
                    [Side::Source, Side::Destination].into_iter().flat_map(|s| [(s, false), (s, true)])
                {
                    let to = (address.parse().unwrap(), port);
                    let [mut quick, mut slow] = [(); 2].map(|()| packet(frame, PortId(1), &mut pool).unwrap());
                    if partial && !(make_partial(&mut quick) && make_partial(&mut slow)) {
                        continue;
                    }
                    assert!(Rename::new(&quick, side, to).apply(&mut quick));
                    write(&mut slow, side, to).unwrap();
                    assert_eq!(quick.bytes(), slow.bytes(), "{side:?} {to:?} {partial}");
                    renamed += 1;
                }
            }
        }
        assert!(renamed > 100, "{renamed}");
    }

    #[test]
    fn a_packet_that_is_renamed_and_leaves_at_once_is_what_it_is_one_after_the_other() {
        let mut pool = Pool::default();
        let mac = |n| weir_wire::MacAddr([2, 0, 0, 0, 0, n]);
        let hop = Hop {
            switch: weir_wire::SwitchId(1),
            vid: weir_wire::Vid(7),
            source: mac(8),
            destination: mac(9),
            hops: 2,
            mtu: 1500,
            clamp: Some(1280),
        };
        let ends = build::Ends::ipv4(1, 2);
        let syn = TcpFields { source_port: 1000, destination_port: 80, flags: 2, ..TcpFields::default() };
        let data = TcpFields { flags: 16, ..syn };
        let mss = [2, 4, 0xff, 0xff];
        let frames = [tcp(ends, syn, &mss, b""), tcp(ends, data, &[], b"abc"), udp(ends, (1000, 80), b"abcd")];
        for (frame, port) in frames.iter().flat_map(|frame| (0..=u16::MAX).step_by(251).map(move |port| (frame, port)))
        {
            let [mut quick, mut slow] = [(); 2].map(|()| packet(frame, PortId(1), &mut pool).unwrap());
            let rename = Rename::new(&quick, Side::Source, ("203.0.113.9".parse().unwrap(), port));
            rename.apply_leaving(&mut quick, &hop);
            assert!(rename.apply(&mut slow));
            hop.rewrite(&mut slow);
            assert_eq!((quick.bytes(), quick.vid), (slow.bytes(), slow.vid), "{port}");
            assert_ne!(quick.bytes(), frame.as_slice());
        }
    }

    #[test]
    fn what_is_worked_out_for_one_packet_serves_those_that_follow_it() {
        let mut pool = Pool::default();
        let ends = build::Ends::ipv4(1, 2);
        let to = ("203.0.113.9".parse().unwrap(), 5000);
        let first = packet(&udp(ends, (1000, 80), b"first"), PortId(1), &mut pool).unwrap();
        let rename = Rename::new(&first, Side::Source, to);
        for length in 0..700 {
            let frame = udp(ends, (1000, 80), &vec![length as u8; length]);
            let [mut quick, mut slow] = [(); 2].map(|()| packet(&frame, PortId(1), &mut pool).unwrap());
            assert!(rename.apply(&mut quick));
            write(&mut slow, Side::Source, to).unwrap();
            assert_eq!(quick.bytes(), slow.bytes(), "{length}");
        }
    }
}
