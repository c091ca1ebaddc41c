//! The Internet checksum (RFC 1071): sums, pseudo-headers, verification and completion.
//!
//! The ones' complement sum does not depend on the order of the bytes in a word, so words are summed as they lie in
//! memory and the result is swapped once at the end (RFC 1071, 2 (B)). Functions on packets rely on
//! [`Packet::parse`]; on a packet without the header in question they do nothing and say so.

use crate::numbers::*;
use crate::{Checksum, Fragment, Headers, L3, Packet};

/// A ones' complement sum that is not folded yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of both. The bytes of all but the last part must be even in number.
    #[inline]
    pub fn and(self, other: Sum) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Sum(sum + u64::from(carry))
    }

    /// The sum in 16 bits, in host order, not complemented.
    #[inline]
    pub fn fold(self) -> u16 {
        let (sum, carry) = (self.0 as u32).overflowing_add((self.0 >> 32) as u32);
        let sum = sum + u32::from(carry);
        // Adding the halves to each other crosswise leaves sum and carry in the upper one.
        let sum = sum.wrapping_add(sum.rotate_left(16)) >> 16;
        u16::from_be(sum as u16)
    }

    /// Whether bytes that hold their own checksum sum up to what they must.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The sum of a few bytes of known number, a multiple of four.
#[inline]
pub(crate) fn sum_fixed<const N: usize>(bytes: &[u8; N]) -> Sum {
    Sum(bytes.as_chunks::<4>().0.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum())
}

/// The sum of `bytes`; an odd last byte is the upper half of its word.
pub fn sum(bytes: &[u8]) -> Sum {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    total += u64::from(u32::from_ne_bytes(last));
    Sum(total)
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293, 3.1); `length` counts transport header and data.
#[inline]
pub fn pseudo_ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, length: u32) -> Sum {
    Sum(u64::from(u32::from_ne_bytes(source)) + u64::from(u32::from_ne_bytes(destination))).and(tail(protocol, length))
}

/// The pseudo-header of TCP, UDP and ICMPv6 over IPv6 (RFC 8200, 8.1).
#[inline]
pub fn pseudo_ipv6(source: &[u8; 16], destination: &[u8; 16], protocol: u8, length: u32) -> Sum {
    sum_fixed(source).and(sum_fixed(destination)).and(tail(protocol, length))
}

#[inline]
fn tail(protocol: u8, length: u32) -> Sum {
    Sum(u64::from(length.to_be()) + u64::from(u32::from(protocol).to_be()))
}

/// A checksum after a field of the summed bytes changed from `old` to `new` (RFC 1624, equation 3). All in host order.
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The same for a field of 32 bits that begins at an even offset.
#[inline]
pub fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update(high, old as u16, new as u16)
}

/// The pseudo-header of this packet for a transport part of `length` bytes; zero for ICMP over IPv4, which has none.
/// An IPv6 routing header is not looked into, so a packet that has segments left does not verify.
pub(crate) fn pseudo(frame: &[u8], headers: &Headers, length: u32) -> Option<Sum> {
    let network = frame.get(usize::from(headers.l3)..)?;
    match headers.l3_kind {
        L3::Ipv4 if headers.protocol == PROTOCOL_ICMP => Some(Sum::default()),
        L3::Ipv4 => {
            let addresses = network.get(12..)?.first_chunk::<8>()?;
            Some(sum_fixed(addresses).and(tail(headers.protocol, length)))
        }
        L3::Ipv6 => {
            let addresses = network.get(8..)?.first_chunk::<32>()?;
            Some(sum_fixed(addresses).and(tail(headers.protocol, length)))
        }
        L3::Arp | L3::Other => None,
    }
}

/// Offset of the checksum field from the transport header.
#[inline]
pub(crate) fn field_offset(headers: &Headers) -> Option<usize> {
    match (headers.protocol, headers.l3_kind) {
        _ if headers.l4 == 0 => None,
        (PROTOCOL_TCP, _) => Some(usize::from(TCP_CHECKSUM_AT)),
        (PROTOCOL_UDP, _) => Some(usize::from(UDP_CHECKSUM_AT)),
        (PROTOCOL_ICMP, L3::Ipv4) | (PROTOCOL_ICMPV6, L3::Ipv6) => Some(2),
        _ => None,
    }
}

/// The bytes that the transport checksum covers: UDP's own length counts where it is shorter than IP's.
fn covered<'a>(frame: &'a [u8], headers: &Headers) -> Option<&'a [u8]> {
    let segment = frame.get(usize::from(headers.l4)..headers.end as usize)?;
    if headers.protocol != PROTOCOL_UDP {
        return Some(segment);
    }
    let length = usize::from(u16::from_be_bytes(*segment.get(4..)?.first_chunk()?));
    if length == 0 { Some(segment) } else { segment.get(..length) }
}

/// Writes a complete transport checksum, whatever stands there; `false` where the headers have none.
pub(crate) fn fill(frame: &mut [u8], headers: &Headers) -> bool {
    let written = (|| {
        let at = usize::from(headers.l4) + field_offset(headers)?;
        frame.get_mut(at..at + 2)?.fill(0);
        let segment = covered(frame, headers)?;
        let total = pseudo(frame, headers, segment.len() as u32)?.and(sum(segment));
        write(frame, at, !total.fold(), headers.protocol)
    })();
    written.is_some()
}

/// Writes a checksum field. RFC 768: a UDP checksum that comes out zero is sent as all ones, zero means "none".
fn write(frame: &mut [u8], at: usize, checksum: u16, protocol: u8) -> Option<()> {
    let checksum = if checksum == 0 && protocol == PROTOCOL_UDP { 0xffff } else { checksum };
    frame.get_mut(at..at + 2)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// Writes the pseudo-header's folded sum, as a partial checksum wants it; returns the field's offset.
pub(crate) fn fill_partial(frame: &mut [u8], headers: &Headers) -> Option<u16> {
    let offset = field_offset(headers)?;
    let at = usize::from(headers.l4) + offset;
    let length = covered(frame, headers)?.len() as u32;
    let folded = pseudo(frame, headers, length)?.fold();
    frame.get_mut(at..at + 2)?.copy_from_slice(&folded.to_be_bytes());
    Some(offset as u16)
}

/// Turns a parsed TCP or UDP packet into one whose checksum is left to be finished, as a guest with checksum offload
/// sends it; `false` where it is neither, or a fragment.
pub fn make_partial(packet: &mut Packet) -> bool {
    let headers = packet.headers;
    if headers.fragment != Fragment::No || !matches!(headers.protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
        return false;
    }
    let Some(offset) = fill_partial(packet.buffer.bytes_mut(), &headers) else { return false };
    packet.offload.checksum = Checksum::Partial { start: headers.l4, offset };
    true
}

/// Completes a partial checksum and marks the packet [`Checksum::Verified`]; other packets stay as they are.
/// `false` where the mark points outside the frame, which [`Packet::parse`] excludes.
pub fn finish_partial(packet: &mut Packet) -> bool {
    let Checksum::Partial { start, offset } = packet.offload.checksum else { return true };
    let headers = packet.headers;
    let frame = packet.buffer.bytes_mut();
    let written = (|| {
        let at = usize::from(start) + usize::from(offset);
        // The field holds the pseudo-header's sum, so it is summed with the rest. What stands behind a datagram by its own
        // length is no part of it.
        let total = sum(covered(frame, &headers).filter(|_| start == headers.l4)?);
        write(frame, at, !total.fold(), headers.protocol)
    })();
    if written.is_some() {
        packet.offload.checksum = Checksum::Verified;
    }
    written.is_some()
}

/// Whether the receiver will accept the transport checksum of a parsed packet. `true` also where there is nothing to
/// hold it against: a partial or verified mark, a fragment, a protocol without one, IPv4 UDP that sends none.
pub fn verify_l4(packet: &Packet) -> bool {
    let headers = &packet.headers;
    if packet.offload.checksum != Checksum::Complete || headers.fragment != Fragment::No {
        return true;
    }
    let Some(field) = field_offset(headers) else { return true };
    let frame = packet.bytes();
    let verified = (|| {
        let segment = covered(frame, headers)?;
        if headers.protocol == PROTOCOL_UDP && segment.get(field..field + 2)? == [0, 0] {
            // RFC 8200, 8.1: zero is not allowed over IPv6.
            return Some(headers.l3_kind == L3::Ipv4);
        }
        Some(pseudo(frame, headers, segment.len() as u32)?.and(sum(segment)).is_valid())
    })();
    verified.unwrap_or(false)
}

/// Completes the checksum of a parsed TCP or UDP packet whose state is unknown, as AF_XDP hands them over: where the
/// field equals the pseudo-header's folded sum, the sender left it to be finished. A frame that was complete already
/// comes out the same, so nothing can be spoilt. Returns whether it was such a frame; it is then
/// [`Checksum::Verified`].
///
/// Fragments stay as they are: Linux completes a datagram before it cuts it.
pub fn complete_unmarked(packet: &mut Packet) -> bool {
    let headers = packet.headers;
    if packet.offload.checksum != Checksum::Complete
        || headers.fragment != Fragment::No
        || !matches!(headers.protocol, PROTOCOL_TCP | PROTOCOL_UDP)
    {
        return false;
    }
    let frame = packet.buffer.bytes_mut();
    let unfinished = (|| {
        let field = usize::from(headers.l4) + field_offset(&headers)?;
        let stands = u16::from_be_bytes(*frame.get(field..)?.first_chunk()?);
        let segment = covered(frame, &headers)?;
        Some(pseudo(frame, &headers, segment.len() as u32)?.fold() == stands)
    })();
    if unfinished != Some(true) || !fill(frame, &headers) {
        return false;
    }
    packet.offload.checksum = Checksum::Verified;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{self, EchoKind, Ends};
    use crate::{Pool, PortId, TcpFields};

    /// RFC 1071 as it reads, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    fn bytes(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn sums_match_the_naive_sum_at_all_lengths() {
        for length in (0..200).chain([1459, 1460, 65535, 65536]) {
            let bytes = bytes(length, length as u64 + 7);
            assert_eq!(sum(&bytes).fold() % 0xffff, naive(&bytes) % 0xffff, "{length} bytes");
        }
        let ones = vec![0xff; 65536];
        assert_eq!(sum(&ones).fold(), 0xffff);
    }

    #[test]
    fn pseudo_headers_match_smoltcp() {
        use smoltcp::wire::{IpAddress, Ipv4Address, Ipv6Address, TcpPacket};
        let segment = bytes(33, 5);
        let (a, b) = ([10, 1, 2, 3], [172, 16, 9, 255]);
        let ours = pseudo_ipv4(a, b, 6, 33).and(sum(&segment)).is_valid();
        let theirs = |bytes: &[u8], a: IpAddress, b: IpAddress| {
            let mut copy = bytes.to_vec();
            TcpPacket::new_unchecked(&mut copy).fill_checksum(&a, &b);
            copy
        };
        assert!(!ours);
        let filled = theirs(&segment, Ipv4Address::from(a).into(), Ipv4Address::from(b).into());
        assert!(pseudo_ipv4(a, b, 6, 33).and(sum(&filled)).is_valid());
        let (a, b) = ([0x20; 16], [0x31; 16]);
        let filled = theirs(&segment, Ipv6Address::from(a).into(), Ipv6Address::from(b).into());
        assert!(pseudo_ipv6(&a, &b, 6, 33).and(sum(&filled)).is_valid());
    }

    #[test]
    fn an_updated_checksum_is_the_one_of_the_changed_bytes() {
        for seed in 0..500 {
            let mut data = bytes(40, seed);
            let before = !sum(&data).fold();
            let old = u32::from_be_bytes(*data[8..].first_chunk().unwrap());
            let new = if seed == 0 { !old } else { old.wrapping_mul(2654435761) };
            data[8..12].copy_from_slice(&new.to_be_bytes());
            let updated = update_u32(before, old, new);
            assert!(sum(&data).and(Sum(u64::from(updated.to_be()))).is_valid(), "seed {seed}");
        }
    }

    /// Frames of every kind that has a checksum.
    fn subjects() -> Vec<Vec<u8>> {
        let fields = TcpFields { source_port: 5, destination_port: 6, ..TcpFields::default() };
        let mut all = Vec::new();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            for length in [0, 1, 5, 1400] {
                let data = bytes(length, 3);
                all.push(build::udp(ends, (1000, 2000), &data));
                all.push(build::tcp(ends, fields, &[1, 1, 1, 0], &data));
                all.push(build::icmp_echo(ends, EchoKind::Request, 7, 8, &data));
            }
        }
        // A datagram that ends before its packet does.
        let mut short = build::udp(Ends::ipv6(1, 2), (1000, 2000), &bytes(53, 3));
        short.extend([0xa5; 3]);
        short[19] += 3;
        all.push(short);
        all
    }

    #[test]
    fn built_frames_verify_and_any_flipped_bit_shows() {
        let mut pool = Pool::default();
        for frame in subjects() {
            let mut subject = build::packet(&frame, PortId(1), &mut pool).unwrap();
            assert!(verify_l4(&subject));
            let at = usize::from(subject.headers.l4) + 1;
            subject.buffer.bytes_mut()[at] ^= 0x10;
            assert!(!verify_l4(&subject), "{frame:x?}");
            pool.give(subject.buffer);
        }
    }

    #[test]
    fn partial_checksums_come_out_as_the_complete_ones() {
        let mut pool = Pool::default();
        for frame in subjects() {
            // Padding behind the datagram must not be summed.
            let padded = [&frame[..], &[0xa5; 7]].concat();
            let mut subject = build::packet(&padded, PortId(1), &mut pool).unwrap();
            let marked = make_partial(&mut subject);
            assert_eq!(marked, subject.headers.protocol == PROTOCOL_TCP || subject.headers.protocol == PROTOCOL_UDP);
            assert!(finish_partial(&mut subject));
            assert_eq!(subject.bytes(), padded);
            pool.give(subject.buffer);
        }
    }

    #[test]
    fn unmarked_partial_checksums_are_found_and_complete_ones_kept() {
        let mut pool = Pool::default();
        for frame in subjects() {
            let mut subject = build::packet(&frame, PortId(1), &mut pool).unwrap();
            assert!(!complete_unmarked(&mut subject));
            assert_eq!(subject.bytes(), frame);
            if make_partial(&mut subject) {
                subject.offload.checksum = Checksum::Complete;
                assert!(complete_unmarked(&mut subject));
                assert_eq!((subject.bytes(), subject.offload.checksum), (&frame[..], Checksum::Verified));
            }
            pool.give(subject.buffer);
        }
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_ones_and_means_none_over_ipv4_alone() {
        let mut pool = Pool::default();
        // The payload is chosen so that the sum comes out as all ones.
        let base = build::udp(Ends::ipv4(1, 2), (1, 2), &[0, 0]);
        let field = u16::from_be_bytes([base[40], base[41]]);
        let frame = build::udp(Ends::ipv4(1, 2), (1, 2), &field.to_be_bytes());
        assert_eq!(frame[40..42], [0xff, 0xff]);
        for (ends, valid) in [(Ends::ipv4(1, 2), true), (Ends::ipv6(1, 2), false)] {
            let mut subject = build::packet(&build::udp(ends, (1, 2), b"x"), PortId(1), &mut pool).unwrap();
            let at = usize::from(subject.headers.l4) + 6;
            subject.buffer.bytes_mut()[at..at + 2].fill(0);
            assert_eq!(verify_l4(&subject), valid);
        }
    }
}
