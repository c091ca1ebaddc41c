//! What a guard answers: TCP resets to either end of a connection, and ICMP errors.
//!
//! Each reply is built from the packet that caused it: the Ethernet header with its tags is taken over (turned round
//! where the reply goes back), so the reply leaves a port as a forwarded frame of the same VLAN does. A switch has no
//! address of its own, so the reply bears the address of the other end, as Linux's bridge `reject` does.

use core::net::IpAddr;

use super::frames::{IpHeader, tcp_header};
use crate::numbers::*;
use crate::{Fragment, L3, Offload, Packet, Pool, TcpFields, TcpOptions, checksum};

/// Which end of the offending packet a reply goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// Back to where it came from.
    Sender,
    /// On to where it was going.
    Receiver,
}

/// The numbers of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Sequence number: what the end that is reset expects next, else it answers with a challenge (RFC 5961, 3.2).
    pub seq: u32,
    /// Acknowledgment number; `None` leaves ACK off.
    pub ack: Option<u32>,
}

/// Sequence space that a segment takes: its data, and one each for SYN and FIN.
fn segment_length(packet: &Packet, fields: &TcpFields) -> u32 {
    packet.payload().len() as u32 + u32::from(fields.has(TCP_SYN)) + u32::from(fields.has(TCP_FIN))
}

/// The numbers that RFC 9293 (3.5.2 and 3.10.7.1) gives a reset caused by `packet`. Towards the receiver they fit where
/// the packet is the next in order; a guard that knows the connection puts in what the receiver expects.
pub fn reset_numbers(packet: &Packet, toward: Toward) -> Option<Reset> {
    let fields = packet.tcp()?;
    let acknowledges = fields.has(TCP_ACK);
    Some(match toward {
        Toward::Sender if acknowledges => Reset { seq: fields.ack, ack: None },
        Toward::Sender => Reset { seq: 0, ack: Some(fields.seq.wrapping_add(segment_length(packet, &fields))) },
        Toward::Receiver => Reset { seq: fields.seq, ack: acknowledges.then_some(fields.ack) },
    })
}

/// A reset caused by `packet`. `None` where it is no TCP segment, is a reset itself, goes to a group, or where the pool
/// is empty.
pub fn reset(packet: &Packet, toward: Toward, numbers: Reset, pool: &mut Pool) -> Option<Packet> {
    let offending = packet.tcp()?;
    if offending.has(TCP_RST) || packet.dst_mac().is_multicast() || packet.src_mac().is_multicast() {
        return None;
    }
    let (source, destination) = packet.addresses()?;
    let ports = (offending.source_port, offending.destination_port);
    let (from, to, (source_port, destination_port)) = match toward {
        Toward::Sender => (destination, source, (ports.1, ports.0)),
        Toward::Receiver => (source, destination, ports),
    };
    let flags = TCP_RST | if numbers.ack.is_some() { TCP_ACK } else { 0 };
    let ack = numbers.ack.unwrap_or(0);
    let header = tcp_header(&TcpFields { source_port, destination_port, seq: numbers.seq, ack, flags, window: 0 }, 0);
    let network = IpHeader::new(from, to, PROTOCOL_TCP, header.len());
    originate(packet, toward, &[network.bytes(), &header], pool)
}

/// A segment without data between the ends of `packet`, a TCP segment itself: toward its sender or its receiver, with
/// these numbers, flags, window and options. `None` where it goes to a group, or where the pool is empty.
pub fn bare_segment(
    packet: &Packet,
    toward: Toward,
    numbers: TcpFields,
    options: &TcpOptions,
    pool: &mut Pool,
) -> Option<Packet> {
    let cause = packet.tcp()?;
    if packet.dst_mac().is_multicast() || packet.src_mac().is_multicast() {
        return None;
    }
    let (source, destination) = packet.addresses()?;
    let (from, to) = if toward == Toward::Sender { (destination, source) } else { (source, destination) };
    let (source_port, destination_port) = match toward {
        Toward::Sender => (cause.destination_port, cause.source_port),
        Toward::Receiver => (cause.source_port, cause.destination_port),
    };
    let options = options.bytes();
    let header = tcp_header(&TcpFields { source_port, destination_port, ..numbers }, options.len());
    let network = IpHeader::new(from, to, PROTOCOL_TCP, header.len() + options.len());
    originate(packet, toward, &[network.bytes(), &header, &options], pool)
}

/// A segment to the sender of `packet` that carries `payload` and ends its side of the connection, as if the other end
/// had sent it. `None` as for [`reset`], and where the segment acknowledges nothing.
pub fn last_segment(packet: &Packet, payload: &[u8], pool: &mut Pool) -> Option<Packet> {
    let offending = packet.tcp()?;
    if offending.has(TCP_RST) || !offending.has(TCP_ACK) || packet.dst_mac().is_multicast() {
        return None;
    }
    let (source, destination) = packet.addresses()?;
    let ack = offending.seq.wrapping_add(segment_length(packet, &offending));
    let fields = TcpFields {
        source_port: offending.destination_port,
        destination_port: offending.source_port,
        seq: offending.ack,
        ack,
        flags: TCP_ACK | TCP_PSH | TCP_FIN,
        window: u16::MAX,
    };
    let header = tcp_header(&fields, 0);
    let network = IpHeader::new(destination, source, PROTOCOL_TCP, header.len() + payload.len());
    originate(packet, Toward::Sender, &[network.bytes(), &header, payload], pool)
}

/// A datagram to the sender of `packet`, a datagram itself, as if from its receiver.
pub fn datagram_back(packet: &Packet, payload: &[u8], pool: &mut Pool) -> Option<Packet> {
    datagram(packet, payload, Toward::Sender, pool)
}

/// A datagram in place of `packet`: from its sender, to where it was going. `None` as for [`datagram_back`].
pub fn datagram_instead(packet: &Packet, payload: &[u8], pool: &mut Pool) -> Option<Packet> {
    datagram(packet, payload, Toward::Receiver, pool)
}

fn datagram(packet: &Packet, payload: &[u8], toward: Toward, pool: &mut Pool) -> Option<Packet> {
    let (mut source, mut destination) = packet.addresses()?;
    let (mut source_port, mut destination_port) = packet.ports()?;
    if toward == Toward::Receiver {
        (source, destination, source_port, destination_port) = (destination, source, destination_port, source_port);
    }
    if packet.headers.protocol != PROTOCOL_UDP || packet.dst_mac().is_multicast() {
        return None;
    }
    let length = u16::try_from(payload.len() + 8).ok()?;
    let [a, b] = destination_port.to_be_bytes();
    let [c, d] = source_port.to_be_bytes();
    let [e, f] = length.to_be_bytes();
    let network = IpHeader::new(destination, source, PROTOCOL_UDP, usize::from(length));
    originate(packet, toward, &[network.bytes(), &[a, b, c, d, e, f, 0, 0], payload], pool)
}

/// Why a destination cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Communication administratively prohibited: ICMP 3/13 (RFC 1812), ICMPv6 1/1 (RFC 4443).
    Prohibited,
    /// Port unreachable: ICMP 3/3, ICMPv6 1/4.
    Port,
}

/// Longest ICMP error as an IPv4 packet (RFC 1812, 4.3.2.3).
pub(super) const ICMP_MAX: usize = 576;
/// Longest ICMPv6 error as an IPv6 packet: the smallest MTU (RFC 4443, 2.4 c).
pub(super) const ICMPV6_MAX: usize = 1280;

/// An ICMP error to the sender of `packet`, quoting it. `None` where none may be sent (RFC 1122 3.2.2, RFC 4443 2.4 e):
/// about an ICMP error, a later fragment, a packet to a group or from no single host; and where the pool is empty.
pub fn unreachable(packet: &Packet, why: Unreachable, pool: &mut Pool) -> Option<Packet> {
    if !may_be_answered(packet) {
        return None;
    }
    let (source, destination) = packet.addresses()?;
    let (protocol, header, quote_max) = match (packet.headers.l3_kind, why) {
        (L3::Ipv4, Unreachable::Prohibited) => (PROTOCOL_ICMP, [3, 13, 0, 0, 0, 0, 0, 0], ICMP_MAX - 28),
        (L3::Ipv4, Unreachable::Port) => (PROTOCOL_ICMP, [3, 3, 0, 0, 0, 0, 0, 0], ICMP_MAX - 28),
        (L3::Ipv6, Unreachable::Prohibited) => (PROTOCOL_ICMPV6, [1, 1, 0, 0, 0, 0, 0, 0], ICMPV6_MAX - 48),
        (L3::Ipv6, Unreachable::Port) => (PROTOCOL_ICMPV6, [1, 4, 0, 0, 0, 0, 0, 0], ICMPV6_MAX - 48),
        (L3::Arp | L3::Other, _) => return None,
    };
    let quote = packet.network();
    let quote = quote.get(..quote_max).unwrap_or(quote);
    let network = IpHeader::new(destination, source, protocol, header.len() + quote.len());
    originate(packet, Toward::Sender, &[network.bytes(), &header, quote], pool)
}

pub(super) fn may_be_answered(packet: &Packet) -> bool {
    let is_error = match (packet.icmp(), packet.headers.l3_kind) {
        (Some((kind, _)), L3::Ipv4) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        // Errors are below 128 (RFC 4443, 2.1); 137 is a redirect.
        (Some((kind, _)), _) => kind < 128 || kind == 137,
        (None, _) => false,
    };
    let Some((source, destination)) = packet.addresses() else { return false };
    !is_error
        && packet.headers.fragment != Fragment::Later
        && !packet.dst_mac().is_multicast()
        && !packet.src_mac().is_multicast()
        && is_single_host(source)
        && is_single_host(destination)
}

fn is_single_host(address: IpAddr) -> bool {
    match address {
        // 0/8 is "this network", 224/4 multicast, 240/4 reserved with the broadcast address at its end.
        IpAddr::V4(v4) => v4.octets()[0] != 0 && v4.octets()[0] < 224 && !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified() && !v6.is_loopback(),
    }
}

/// Puts the parts behind the Ethernet header of `cause`, fills the checksum in and parses the result.
pub(super) fn originate(cause: &Packet, toward: Toward, parts: &[&[u8]], pool: &mut Pool) -> Option<Packet> {
    let link = cause.bytes().get(..usize::from(cause.headers.l3))?;
    let length = link.len() + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut buffer = pool.take(length)?;
    let mut rest = buffer.room();
    for part in core::iter::once(link).chain(parts.iter().copied()) {
        let Some((here, behind)) = rest.split_at_mut_checked(part.len()) else { break };
        here.copy_from_slice(part);
        rest = behind;
    }
    buffer.set_len(length);
    if toward == Toward::Sender
        && let Some(macs) = buffer.bytes_mut().first_chunk_mut::<12>()
    {
        macs.rotate_left(6);
    }
    let mut reply = Packet::new(buffer, cause.port, Offload::default());
    reply.vid = cause.vid;
    if reply.parse().is_err() {
        pool.give(reply.buffer);
        return None;
    }
    checksum::fill(reply.buffer.bytes_mut(), &reply.headers);
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{EchoKind, Ends, arp, fragments, icmp_echo, packet, tagged, tcp, udp};
    use crate::{MacAddr, PortId, Tag, Vid};

    const SEGMENT: TcpFields =
        TcpFields { source_port: 1000, destination_port: 80, seq: u32::MAX, ack: 500, flags: TCP_ACK, window: 9 };

    fn cause(frame: &[u8], pool: &mut Pool) -> Packet {
        let mut cause = packet(frame, PortId(3), pool).unwrap();
        cause.vid = Vid(42);
        cause
    }

    #[test]
    fn a_reset_to_the_sender_takes_its_acknowledgment_as_sequence() {
        let mut pool = Pool::default();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            let cause = cause(&tagged(&tcp(ends, SEGMENT, &[], b"attack"), 42, 1), &mut pool);
            let numbers = reset_numbers(&cause, Toward::Sender).unwrap();
            let reply = reset(&cause, Toward::Sender, numbers, &mut pool).unwrap();
            let fields =
                TcpFields { source_port: 80, destination_port: 1000, seq: 500, ack: 0, flags: TCP_RST, window: 0 };
            assert_eq!(reply.bytes(), tagged(&tcp(ends.reversed(), fields, &[], b""), 42, 1));
            assert_eq!((reply.vid, reply.port), (Vid(42), PortId(3)));
            assert_eq!(reply.headers.tag, Some(Tag { vid: Vid(42), pcp_dei: 1 }));
            assert!(checksum::verify_l4(&reply));
        }
    }

    #[test]
    fn a_bare_segment_has_its_numbers_and_its_options() {
        let mut pool = Pool::default();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            let cause = cause(&tcp(ends, SEGMENT, &[], b"data"), &mut pool);
            let numbers = TcpFields { seq: 7, ack: 8, flags: TCP_SYN | TCP_ACK, window: 0, ..TcpFields::default() };
            let options = TcpOptions { mss: Some(1460), ..TcpOptions::default() };
            let reply = bare_segment(&cause, Toward::Sender, numbers, &options, &mut pool).unwrap();
            let fields = TcpFields { source_port: 80, destination_port: 1000, ..numbers };
            assert_eq!(reply.bytes(), tcp(ends.reversed(), fields, &[2, 4, 5, 180], b""));
            let none = TcpOptions::default();
            let on = bare_segment(&cause, Toward::Receiver, numbers, &none, &mut pool).unwrap();
            let fields = TcpFields { source_port: 1000, destination_port: 80, ..numbers };
            assert_eq!(on.bytes(), tcp(ends, fields, &[], b""));
        }
    }

    #[test]
    fn a_reset_without_acknowledgment_acknowledges_all_of_the_segment() {
        let mut pool = Pool::default();
        let syn = TcpFields { flags: TCP_SYN, ack: 0, ..SEGMENT };
        let cause = cause(&tcp(Ends::ipv4(1, 2), syn, &[], b"abc"), &mut pool);
        assert_eq!(reset_numbers(&cause, Toward::Sender), Some(Reset { seq: 0, ack: Some(3) }));
        assert_eq!(reset_numbers(&cause, Toward::Receiver), Some(Reset { seq: u32::MAX, ack: None }));
    }

    #[test]
    fn a_reset_to_the_receiver_comes_from_the_sender() {
        let mut pool = Pool::default();
        let cause = cause(&tcp(Ends::ipv4(1, 2), SEGMENT, &[], b"attack"), &mut pool);
        let numbers = reset_numbers(&cause, Toward::Receiver).unwrap();
        let reply = reset(&cause, Toward::Receiver, numbers, &mut pool).unwrap();
        let fields = TcpFields { flags: TCP_RST | TCP_ACK, window: 0, ..SEGMENT };
        assert_eq!(reply.bytes(), tcp(Ends::ipv4(1, 2), fields, &[], b""));
    }

    #[test]
    fn a_reset_is_not_answered_with_a_reset() {
        let mut pool = Pool::default();
        let rst = TcpFields { flags: TCP_RST, ..SEGMENT };
        let cause = cause(&tcp(Ends::ipv4(1, 2), rst, &[], b""), &mut pool);
        let numbers = reset_numbers(&cause, Toward::Sender).unwrap();
        assert!(reset(&cause, Toward::Sender, numbers, &mut pool).is_none());
        assert_eq!(pool.outstanding(), 1);
    }

    #[test]
    fn icmp_errors_quote_within_their_limits() {
        let mut pool = Pool::default();
        for (ends, why, head, longest) in [
            (Ends::ipv4(1, 2), Unreachable::Prohibited, (3, 13), 576),
            (Ends::ipv4(1, 2), Unreachable::Port, (3, 3), 576),
            (Ends::ipv6(1, 2), Unreachable::Prohibited, (1, 1), 1280),
            (Ends::ipv6(1, 2), Unreachable::Port, (1, 4), 1280),
        ] {
            for length in [0, 10, 1400] {
                let cause = cause(&udp(ends, (5, 6), &vec![b'q'; length]), &mut pool);
                let reply = unreachable(&cause, why, &mut pool).unwrap();
                assert_eq!(reply.icmp(), Some(head));
                assert_eq!(reply.addresses(), Some((ends.destination, ends.source)));
                assert_eq!((reply.src_mac(), reply.dst_mac()), (ends.destination_mac, ends.source_mac));
                assert!(checksum::verify_l4(&reply) && reply.network().len() <= longest);
                assert!(cause.network().starts_with(reply.payload()));
                assert!(reply.network().len() == longest || reply.payload() == cause.network());
            }
        }
    }

    #[test]
    fn icmp_errors_are_not_sent_where_the_rules_forbid_it() {
        let mut pool = Pool::default();
        let first = cause(&udp(Ends::ipv4(1, 2), (5, 6), b"x"), &mut pool);
        let error = unreachable(&first, Unreachable::Port, &mut pool).unwrap();
        let error6 = cause(&udp(Ends::ipv6(1, 2), (5, 6), b"x"), &mut pool);
        let error6 = unreachable(&error6, Unreachable::Port, &mut pool).unwrap();
        let to = |address: &str| Ends { destination: address.parse().unwrap(), ..Ends::ipv4(1, 2) };
        let from = |address: &str| Ends { source: address.parse().unwrap(), ..Ends::ipv4(1, 2) };
        let everybody = Ends { destination_mac: MacAddr::BROADCAST, ..Ends::ipv4(1, 2) };
        let later = fragments(&udp(Ends::ipv4(1, 2), (5, 6), &[0; 2000]), 1500, 1).pop().unwrap();
        let zero = (MacAddr::ZERO, core::net::Ipv4Addr::UNSPECIFIED);
        for frame in [
            error.bytes().to_vec(),
            error6.bytes().to_vec(),
            udp(to("224.0.0.251"), (5, 6), b""),
            udp(to("255.255.255.255"), (5, 6), b""),
            udp(to("ff02::1"), (5, 6), b""),
            udp(from("0.0.0.0"), (5, 6), b""),
            udp(everybody, (5, 6), b""),
            later,
            arp(crate::build::ArpKind::Request, zero, zero),
        ] {
            let cause = cause(&frame, &mut pool);
            assert!(unreachable(&cause, Unreachable::Prohibited, &mut pool).is_none(), "{frame:x?}");
        }
        let ping = cause(&icmp_echo(Ends::ipv4(1, 2), EchoKind::Request, 1, 1, b""), &mut pool);
        assert!(unreachable(&ping, Unreachable::Prohibited, &mut pool).is_some());
    }
}
