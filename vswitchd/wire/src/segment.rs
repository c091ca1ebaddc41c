//! Software segmentation: what a port cannot take as it is, is finished here on its way out.
//!
//! [`complete`] computes partial checksums, cuts TCP and UDP super-segments as the receiver's hardware would (Linux
//! `tcp_gso_segment`, `__udp_gso_segment`), and cuts datagrams that were put together for inspection into fragments
//! again. It is all or nothing: a packet whose last frame finds no buffer sends none. Limit: [`FRAMES_MAX`] frames
//! from one packet, so that a guest that asks for segments of one byte cannot multiply its packets by 65,000.

mod fragments;

use crate::checksum::{self, fill, fill_partial};
use crate::numbers::*;
use crate::{Buffer, Capabilities, Checksum, DropReason, Headers, L3, Offload, Packet, Pool, Segmentation};

/// Frames that one packet may be cut into: 64 KiB in segments of 128 bytes.
pub const FRAMES_MAX: usize = 512;

/// Finishes a parsed packet for a port that takes `capabilities` and IP packets of up to `mtu` bytes, and appends what
/// is to be sent to `out`. The packet's buffer goes on to `out` or back to `pool`.
///
/// # Errors
/// [`DropReason::TxTooLong`]: longer than `mtu`, as it is or after cutting. [`DropReason::TxOffload`]: the marks do
/// not fit the frame, or it would take more than [`FRAMES_MAX`] frames. [`DropReason::NoBuffer`]: the pool is empty.
/// `out` is then as before, and the buffer is back in `pool`.
pub fn complete(
    packet: Packet,
    capabilities: Capabilities,
    mtu: u32,
    pool: &mut Pool,
    out: &mut Vec<Packet>,
) -> Result<(), DropReason> {
    let before = out.len();
    let result = if packet.offload.segmentation == Segmentation::None {
        whole(packet, capabilities, mtu, pool, out)
    } else if capabilities.accepts(packet.offload) {
        out.push(packet);
        Ok(())
    } else {
        cut(packet, capabilities, mtu, pool, out)
    };
    if result.is_err() {
        out.drain(before..).for_each(|made| pool.give(made.buffer));
    }
    result
}

/// Bytes of the frame behind its link header, without padding behind an IP packet.
fn network_len(packet: &Packet) -> usize {
    (packet.headers.end as usize).saturating_sub(usize::from(packet.headers.l3))
}

/// An ordinary frame: its checksum is completed where the port does not.
fn whole(
    mut packet: Packet,
    capabilities: Capabilities,
    mtu: u32,
    pool: &mut Pool,
    out: &mut Vec<Packet>,
) -> Result<(), DropReason> {
    let refused = if network_len(&packet) > mtu as usize {
        Some(DropReason::TxTooLong)
    } else if capabilities.checksum || checksum::finish_partial(&mut packet) {
        None
    } else {
        Some(DropReason::TxOffload)
    };
    match refused {
        Some(reason) => {
            pool.give(packet.buffer);
            Err(reason)
        }
        None => {
            out.push(packet);
            Ok(())
        }
    }
}

/// A packet that has to become several; its own buffer goes back to the pool.
fn cut(
    mut packet: Packet,
    capabilities: Capabilities,
    mtu: u32,
    pool: &mut Pool,
    out: &mut Vec<Packet>,
) -> Result<(), DropReason> {
    let size = match packet.offload.segmentation {
        Segmentation::Tcp4 { size, .. } | Segmentation::Tcp6 { size, .. } | Segmentation::Udp { size } => size,
        Segmentation::Fragments { size, id } => {
            let limit = usize::from(size).min(mtu as usize);
            packet.offload.segmentation = Segmentation::None;
            if network_len(&packet) <= limit {
                return whole(packet, capabilities, mtu, pool, out);
            }
            let result = fragments::cut(&mut packet, limit, id, pool, out);
            pool.give(packet.buffer);
            return result;
        }
        // `complete` sends these to `whole` itself.
        Segmentation::None => return whole(packet, capabilities, mtu, pool, out),
    };
    if packet.payload().len() <= usize::from(size) {
        packet.offload.segmentation = Segmentation::None;
        return whole(packet, capabilities, mtu, pool, out);
    }
    let result = segments(&packet, usize::from(size), capabilities, mtu, pool, out);
    pool.give(packet.buffer);
    result
}

/// Cuts a TCP or UDP super-segment into frames with `size` bytes of payload each.
fn segments(
    packet: &Packet,
    size: usize,
    capabilities: Capabilities,
    mtu: u32,
    pool: &mut Pool,
    out: &mut Vec<Packet>,
) -> Result<(), DropReason> {
    let head = packet.bytes().get(..usize::from(packet.headers.payload)).ok_or(DropReason::TxOffload)?;
    let payload = packet.payload();
    if size == 0 || payload.len().div_ceil(size) > FRAMES_MAX {
        return Err(DropReason::TxOffload);
    }
    if head.len() - usize::from(packet.headers.l3) + size > mtu as usize {
        return Err(DropReason::TxTooLong);
    }
    let last = (payload.len() - 1) / size;
    for (index, chunk) in payload.chunks(size).enumerate() {
        let mut frame = copy(&[head, chunk], pool).ok_or(DropReason::NoBuffer)?;
        let place = Place { index, size, is_last: index == last };
        match place.finish(&mut frame, packet, capabilities) {
            Some((headers, checksum)) => out.push(Packet {
                buffer: frame,
                offload: Offload { checksum, segmentation: Segmentation::None },
                headers,
                ..*packet
            }),
            None => {
                pool.give(frame);
                return Err(DropReason::TxOffload);
            }
        }
    }
    Ok(())
}

/// A buffer with these parts one after the other.
fn copy(parts: &[&[u8]], pool: &mut Pool) -> Option<Buffer> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut buffer = pool.take(length)?;
    let mut rest = buffer.room();
    for part in parts {
        // The pool hands out a class that holds `length`.
        let Some((here, behind)) = rest.split_at_mut_checked(part.len()) else { break };
        here.copy_from_slice(part);
        rest = behind;
    }
    buffer.set_len(length);
    Some(buffer)
}

/// Where a segment stands in its super-segment.
struct Place {
    index: usize,
    size: usize,
    is_last: bool,
}

impl Place {
    /// Makes the copied headers those of this segment.
    fn finish(&self, frame: &mut Buffer, whole: &Packet, capabilities: Capabilities) -> Option<(Headers, Checksum)> {
        let mut headers = whole.headers;
        headers.end = frame.len() as u32;
        let bytes = frame.bytes_mut();
        self.network(bytes, &headers)?;
        let transport = bytes.get_mut(usize::from(headers.l4)..)?;
        match headers.protocol {
            PROTOCOL_TCP => headers.tcp_flags = self.tcp(transport)?,
            PROTOCOL_UDP => {
                let length = u16::try_from(transport.len()).ok()?;
                transport.get_mut(4..6)?.copy_from_slice(&length.to_be_bytes());
            }
            _ => return None,
        }
        if !capabilities.checksum {
            return fill(bytes, &headers).then_some((headers, Checksum::Verified));
        }
        let offset = fill_partial(bytes, &headers)?;
        Some((headers, Checksum::Partial { start: headers.l4, offset }))
    }

    /// Lengths, and for IPv4 identification and checksum.
    fn network(&self, bytes: &mut [u8], headers: &Headers) -> Option<()> {
        let network = bytes.get_mut(usize::from(headers.l3)..)?;
        let length = network.len();
        match headers.l3_kind {
            L3::Ipv4 => {
                let length = u16::try_from(length).ok()?;
                let header_len = usize::from(headers.l4 - headers.l3);
                let header = network.get_mut(..header_len)?;
                header.get_mut(2..4)?.copy_from_slice(&length.to_be_bytes());
                let id = u16::from_be_bytes(*header.get(4..)?.first_chunk()?).wrapping_add(self.index as u16);
                header.get_mut(4..6)?.copy_from_slice(&id.to_be_bytes());
                fill_ipv4(header)
            }
            L3::Ipv6 => {
                let length = u16::try_from(length.checked_sub(40)?).ok()?;
                network.get_mut(4..6)?.copy_from_slice(&length.to_be_bytes());
                Some(())
            }
            L3::Arp | L3::Other => None,
        }
    }

    /// Sequence number and flags; returns the flags.
    fn tcp(&self, transport: &mut [u8]) -> Option<u8> {
        let header = transport.first_chunk_mut::<20>()?;
        let [_, _, _, _, a, b, c, d, ..] = *header;
        let seq = u32::from_be_bytes([a, b, c, d]).wrapping_add((self.index * self.size) as u32);
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        if !self.is_last {
            header[13] &= !(TCP_FIN | TCP_PSH);
        }
        // RFC 3168, 6.1.2: the first segment after a reduction says so, the others do not.
        if self.index > 0 {
            header[13] &= !TCP_CWR;
        }
        Some(header[13])
    }
}

/// Computes an IPv4 header's checksum.
pub(crate) fn fill_ipv4(header: &mut [u8]) -> Option<()> {
    header.get_mut(10..12)?.fill(0);
    let checksum = !checksum::sum(header).fold();
    header.get_mut(10..12)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::PoolLimits;
    use crate::build::{self, Ends, tagged};
    use crate::{PortId, TcpFields};

    const NOTHING: Capabilities = Capabilities { checksum: false, tso4: false, tso6: false, ecn: false, uso: false };
    const CHECKSUM: Capabilities = Capabilities { checksum: true, ..NOTHING };
    const FIELDS: TcpFields = TcpFields {
        source_port: 1,
        destination_port: 2,
        seq: u32::MAX - 2000,
        ack: 3,
        flags: TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR,
        window: 4,
    };

    /// Payload of a repeating but not periodic-by-word kind.
    pub(super) fn bytes(length: usize) -> Vec<u8> {
        (0..length as u32).map(|n| (n.wrapping_mul(2654435761) >> 24) as u8).collect()
    }

    /// A parsed packet of `frame` with a partial checksum and this mark.
    fn marked(frame: &[u8], segmentation: Segmentation, pool: &mut Pool) -> Packet {
        let mut packet = build::packet(frame, PortId(1), pool).unwrap();
        assert!(checksum::make_partial(&mut packet));
        packet.offload.segmentation = segmentation;
        packet.parse().unwrap();
        packet
    }

    fn tcp_super(ends: Ends, length: usize, pool: &mut Pool) -> Packet {
        let frame = tagged(&build::tcp(ends, FIELDS, &[1, 1, 1, 0], &bytes(length)), 9, 2);
        let (size, ecn) = (1420, true);
        let kind =
            if ends.source.is_ipv4() { Segmentation::Tcp4 { size, ecn } } else { Segmentation::Tcp6 { size, ecn } };
        marked(&frame, kind, pool)
    }

    /// What a receiver reads from frames that must be right as they are: smoltcp checks lengths and checksums.
    fn smoltcp_payload(frame: &[u8]) -> Vec<u8> {
        use smoltcp::wire::*;
        let ethernet = EthernetFrame::new_checked(frame).unwrap();
        // The tag is stripped by hand, smoltcp knows none.
        let tag = if u16::from(ethernet.ethertype()) == ETHERTYPE_VLAN { 4 } else { 0 };
        let network = &frame[14 + tag..];
        let (protocol, source, destination, segment): (_, IpAddress, IpAddress, _) = if network[0] >> 4 == 4 {
            let packet = Ipv4Packet::new_checked(network).unwrap();
            assert!(packet.verify_checksum());
            (packet.next_header(), packet.src_addr().into(), packet.dst_addr().into(), packet.payload().to_vec())
        } else {
            let packet = Ipv6Packet::new_checked(network).unwrap();
            (packet.next_header(), packet.src_addr().into(), packet.dst_addr().into(), packet.payload().to_vec())
        };
        if protocol == IpProtocol::Tcp {
            let packet = TcpPacket::new_checked(&segment[..]).unwrap();
            assert!(packet.verify_checksum(&source, &destination));
            return packet.payload().to_vec();
        }
        let packet = UdpPacket::new_checked(&segment[..]).unwrap();
        assert!(packet.verify_checksum(&source, &destination));
        packet.payload().to_vec()
    }

    #[test]
    fn every_tcp_segment_verifies_and_the_bytes_stay_in_order() {
        let mut pool = Pool::default();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            for length in [1421, 2840, 2841, 20_001, 65_000] {
                let mut out = Vec::new();
                let whole = tcp_super(ends, length, &mut pool);
                complete(whole, NOTHING, 1500, &mut pool, &mut out).unwrap();
                assert_eq!(out.len(), length.div_ceil(1420));
                let mut seen = Vec::new();
                for (index, mut segment) in out.into_iter().enumerate() {
                    let is_last = seen.len() + 1420 >= length;
                    let fields = segment.tcp().unwrap();
                    assert_eq!(fields.seq, FIELDS.seq.wrapping_add(seen.len() as u32));
                    assert_eq!(fields.has(TCP_FIN | TCP_PSH), is_last);
                    assert_eq!(fields.has(TCP_CWR), index == 0);
                    assert!(is_last || fields.flags & (TCP_FIN | TCP_PSH) == 0);
                    if let Some(header) = segment.ipv4() {
                        assert_eq!(header[4..6], (index as u16).to_be_bytes());
                    }
                    seen.extend(smoltcp_payload(segment.bytes()));
                    let found = segment.headers;
                    segment.parse().unwrap();
                    assert_eq!(segment.headers, found);
                    pool.give(segment.buffer);
                }
                assert_eq!(seen, bytes(length));
            }
        }
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn segments_with_partial_checksums_come_out_as_the_complete_ones() {
        let mut pool = Pool::default();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            let (mut full, mut partial) = (Vec::new(), Vec::new());
            let whole = tcp_super(ends, 5000, &mut pool);
            complete(whole.duplicate(&mut pool).unwrap(), NOTHING, 1500, &mut pool, &mut full).unwrap();
            complete(whole, CHECKSUM, 1500, &mut pool, &mut partial).unwrap();
            for (full, mut partial) in full.into_iter().zip(partial) {
                assert!(matches!(partial.offload.checksum, Checksum::Partial { .. }));
                assert_ne!(partial.bytes(), full.bytes());
                assert!(checksum::finish_partial(&mut partial));
                assert_eq!(partial.bytes(), full.bytes());
            }
        }
    }

    #[test]
    fn every_udp_datagram_verifies() {
        let mut pool = Pool::default();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            let mut out = Vec::new();
            let frame = build::udp(ends, (5, 6), &bytes(4001));
            let whole = marked(&frame, Segmentation::Udp { size: 1200 }, &mut pool);
            complete(whole, NOTHING, 1500, &mut pool, &mut out).unwrap();
            let seen: Vec<Vec<u8>> = out.iter().map(|datagram| smoltcp_payload(datagram.bytes())).collect();
            assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [1200, 1200, 1200, 401]);
            assert_eq!(seen.concat(), bytes(4001));
        }
    }

    #[test]
    fn what_the_port_takes_goes_as_it_is() {
        let mut pool = Pool::default();
        let mut out = Vec::new();
        let whole = tcp_super(Ends::ipv4(1, 2), 9000, &mut pool);
        let (frame, offload) = (whole.bytes().to_vec(), whole.offload);
        complete(whole, Capabilities::ALL, 1500, &mut pool, &mut out).unwrap();
        assert_eq!((out[0].bytes(), out[0].offload), (&frame[..], offload));
        // Without ECN it is cut, though TSO is there.
        let without_ecn = Capabilities { ecn: false, ..Capabilities::ALL };
        complete(out.remove(0), without_ecn, 1500, &mut pool, &mut out).unwrap();
        assert_eq!(out.len(), 7);
    }

    #[test]
    fn a_small_packet_with_a_segmentation_mark_is_an_ordinary_one() {
        let mut pool = Pool::default();
        let mut out = Vec::new();
        complete(tcp_super(Ends::ipv4(1, 2), 0, &mut pool), NOTHING, 1500, &mut pool, &mut out).unwrap();
        assert_eq!((out.len(), out[0].offload.segmentation), (1, Segmentation::None));
        assert_eq!(smoltcp_payload(out[0].bytes()), b"");
    }

    #[test]
    fn refusals_leave_no_buffer_behind_and_send_nothing() {
        let mut pool = Pool::new(PoolLimits { frames: 4, supers: 2 });
        let mut out = Vec::new();
        let whole = tcp_super(Ends::ipv4(1, 2), 60_000, &mut pool);
        assert_eq!(complete(whole, NOTHING, 1500, &mut pool, &mut out), Err(DropReason::NoBuffer));
        let whole = tcp_super(Ends::ipv4(1, 2), 3000, &mut pool);
        assert_eq!(complete(whole, NOTHING, 1400, &mut pool, &mut out), Err(DropReason::TxTooLong));
        let frame = build::tcp(Ends::ipv4(1, 2), FIELDS, &[], &bytes(1000));
        let tiny = marked(&frame, Segmentation::Tcp4 { size: 1, ecn: false }, &mut pool);
        assert_eq!(complete(tiny, NOTHING, 1500, &mut pool, &mut out), Err(DropReason::TxOffload));
        let long = build::packet(&frame, PortId(1), &mut pool).unwrap();
        assert_eq!(complete(long, Capabilities::ALL, 1039, &mut pool, &mut out), Err(DropReason::TxTooLong));
        let fits = build::packet(&frame, PortId(1), &mut pool).unwrap();
        assert_eq!(complete(fits, Capabilities::ALL, 1040, &mut pool, &mut out), Ok(()));
        let unparsed = Packet::new(
            pool.copy(&frame).unwrap(),
            PortId(1),
            Offload { checksum: Checksum::Partial { start: 34, offset: 16 }, ..Offload::default() },
        );
        assert_eq!(complete(unparsed, NOTHING, 1500, &mut pool, &mut out), Err(DropReason::TxOffload));
        assert_eq!((out.len(), pool.outstanding()), (1, 1));
    }

    #[test]
    fn a_super_segment_beyond_what_ip_can_state_is_cut() {
        let mut pool = Pool::default();
        let mut frame = build::tcp(Ends::ipv4(1, 2), FIELDS, &[], &bytes(65_400));
        frame.extend_from_slice(&bytes(100));
        frame[16..18].fill(0);
        fill_ipv4(&mut frame[14..34]).unwrap();
        let offload = Offload {
            checksum: Checksum::Partial { start: 34, offset: 16 },
            segmentation: Segmentation::Tcp4 { size: 1460, ecn: false },
        };
        let mut whole = Packet::new(pool.copy(&frame).unwrap(), PortId(1), offload);
        whole.parse().unwrap();
        assert_eq!(whole.payload().len(), 65_500);
        let mut out = Vec::new();
        complete(whole, NOTHING, 1500, &mut pool, &mut out).unwrap();
        let seen: Vec<u8> = out.iter().flat_map(|segment| smoltcp_payload(segment.bytes())).collect();
        assert_eq!(seen, [bytes(65_400), bytes(100)].concat());
        // The same frame without the mark is a packet with a wrong length.
        let mut plain = Packet::new(pool.copy(&frame).unwrap(), PortId(1), Offload::default());
        assert_eq!(plain.parse(), Err(DropReason::BadIpv4));
    }
}
