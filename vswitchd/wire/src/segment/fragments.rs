//! Cuts a datagram into IPv4 (RFC 791, 3.2) or IPv6 (RFC 8200, 4.5) fragments.

use super::{FRAMES_MAX, copy, fill_ipv4};
use crate::numbers::*;
use crate::{Checksum, DropReason, L3, Offload, Packet, Pool, checksum};

/// Longest head of a fragment: Ethernet with three tags, then IPv4 with options, or IPv6 with the extension headers
/// that go into each fragment. Longer ones are refused.
const HEAD_MAX: usize = 256;

/// A fragment's bytes before the data, put together on the stack.
#[derive(Clone, Copy)]
struct Head {
    bytes: [u8; HEAD_MAX],
    len: usize,
}

impl Head {
    fn of(parts: &[&[u8]]) -> Option<Head> {
        let mut head = Head { bytes: [0; HEAD_MAX], len: 0 };
        parts.iter().try_for_each(|part| head.push(part))?;
        Some(head)
    }

    fn push(&mut self, part: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.len..self.len.checked_add(part.len())?)?.copy_from_slice(part);
        self.len += part.len();
        Some(())
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Cuts a whole, parsed datagram into fragments of at most `limit` bytes of IP packet and appends them to `out`.
pub(super) fn cut(
    packet: &mut Packet,
    limit: usize,
    id: u32,
    pool: &mut Pool,
    out: &mut Vec<Packet>,
) -> Result<(), DropReason> {
    // The checksum covers the datagram, so it is finished before it is cut.
    if !checksum::finish_partial(packet) {
        return Err(DropReason::TxOffload);
    }
    let (first, later, data) = heads(packet, id).ok_or(DropReason::TxOffload)?;
    let l3 = usize::from(packet.headers.l3);
    let head_len = first.len.saturating_sub(l3);
    let room = limit.checked_sub(head_len).map_or(0, |room| room & !7);
    if room == 0 {
        return Err(DropReason::TxTooLong);
    }
    if data.len().div_ceil(room) > FRAMES_MAX {
        return Err(DropReason::TxOffload);
    }
    for (index, chunk) in data.chunks(room).enumerate() {
        let offset = index * room;
        let mut head = if index == 0 { first } else { later };
        finish(&mut head, packet, offset, offset + chunk.len() < data.len(), chunk.len())
            .ok_or(DropReason::TxOffload)?;
        let buffer = copy(&[head.bytes(), chunk], pool).ok_or(DropReason::NoBuffer)?;
        let offload = Offload { checksum: Checksum::Complete, ..packet.offload };
        let mut piece = Packet { buffer, offload, ..*packet };
        if piece.parse().is_err() {
            pool.give(piece.buffer);
            return Err(DropReason::TxOffload);
        }
        out.push(piece);
    }
    Ok(())
}

/// The heads of the first and of the later fragments, with lengths and offsets to be filled in, and the data to cut.
fn heads(packet: &Packet, id: u32) -> Option<(Head, Head, &[u8])> {
    let (link, network) =
        packet.bytes().get(..packet.headers.end as usize)?.split_at_checked(packet.headers.l3.into())?;
    if packet.headers.l3_kind == L3::Ipv4 {
        let header_len = usize::from(*network.first()? & 15) * 4;
        let (header, data) = network.split_at_checked(header_len)?;
        let (fixed, options) = header.split_first_chunk::<20>()?;
        let mut fixed = *fixed;
        [fixed[4], fixed[5]] = (id as u16).to_be_bytes();
        let (copied, copied_len) = copied_options(options);
        let mut fixed_later = fixed;
        fixed_later[0] = 0x40 | (5 + copied_len / 4) as u8;
        let first = Head::of(&[link, &fixed, options])?;
        return Some((first, Head::of(&[link, &fixed_later, copied.get(..copied_len)?])?, data));
    }
    let (split, next_at) = unfragmentable(network)?;
    let (before, data) = network.split_at_checked(split)?;
    let [a, b, c, d] = id.to_be_bytes();
    let fragment = [*network.get(next_at)?, 0, 0, 0, a, b, c, d];
    let mut head = Head::of(&[link, before, &fragment])?;
    *head.bytes.get_mut(link.len() + next_at)? = PROTOCOL_FRAGMENT;
    Some((head, head, data))
}

/// Fills in what differs between fragments.
fn finish(head: &mut Head, packet: &Packet, offset: usize, more: bool, length: usize) -> Option<()> {
    let l3 = usize::from(packet.headers.l3);
    let total = head.len.checked_sub(l3)? + length;
    let header = head.bytes.get_mut(l3..head.len)?;
    if packet.headers.l3_kind == L3::Ipv4 {
        header.get_mut(2..4)?.copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
        // The reserved bit and DF stay as the sender set them.
        let flags = u16::from(*header.get(6)? & 0xc0) << 8;
        let place = flags | (u16::from(more) << 13) | u16::try_from(offset / 8).ok()?;
        header.get_mut(6..8)?.copy_from_slice(&place.to_be_bytes());
        return fill_ipv4(header);
    }
    header.get_mut(4..6)?.copy_from_slice(&u16::try_from(total.checked_sub(40)?).ok()?.to_be_bytes());
    let place = u16::try_from(offset).ok()? | u16::from(more);
    let at = header.len().checked_sub(6)?;
    header.get_mut(at..at + 2)?.copy_from_slice(&place.to_be_bytes());
    Some(())
}

/// The IPv4 options that go into each fragment (RFC 791, 3.1: the copied flag), padded to whole words.
fn copied_options(options: &[u8]) -> ([u8; 40], usize) {
    let mut copied = [0; 40];
    let mut len = 0;
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        let size = match (kind, tail.first()) {
            (0, _) => break,
            (1, _) => 1,
            (_, Some(&size)) if size >= 2 => usize::from(size),
            _ => break,
        };
        let Some((option, behind)) = rest.split_at_checked(size) else { break };
        if kind & 0x80 != 0
            && let Some(to) = copied.get_mut(len..len + size)
        {
            to.copy_from_slice(option);
            len += size;
        }
        rest = behind;
    }
    (copied, len.next_multiple_of(4))
}

/// Where the IPv6 fragment header goes, and the offset of the next-header field that will name it: behind hop-by-hop
/// options and routing header, with the destination options before the latter.
fn unfragmentable(network: &[u8]) -> Option<(usize, usize)> {
    let mut next = *network.get(6)?;
    let mut at = 40;
    let mut split = (at, 6);
    while matches!(next, PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_DESTINATION_OPTIONS) {
        let &[following, length] = network.get(at..)?.first_chunk()?;
        let end = at + (usize::from(length) + 1) * 8;
        if next != PROTOCOL_DESTINATION_OPTIONS {
            split = (end, at);
        }
        (next, at) = (following, end);
    }
    Some(split)
}

#[cfg(test)]
mod tests {
    use super::super::{complete, tests::bytes};
    use super::*;
    use crate::build::{self, Ends, tagged};
    use crate::{Capabilities, Fragment, PortId, Segmentation};

    /// The packet as a port gets it that takes everything but datagrams put together from fragments.
    fn cut_again(frame: &[u8], size: u16, pool: &mut Pool) -> Vec<Packet> {
        let mut packet = build::packet(frame, PortId(1), pool).unwrap();
        packet.offload.segmentation = Segmentation::Fragments { size, id: 0xabcd_1234 };
        let mut out = Vec::new();
        complete(packet, Capabilities::ALL, 1500, pool, &mut out).unwrap();
        out
    }

    #[test]
    fn fragments_come_out_as_the_builder_cuts_them() {
        let mut pool = Pool::default();
        for (ends, id) in [(Ends::ipv4(1, 2), 0x1234), (Ends::ipv6(1, 2), 0xabcd_1234)] {
            let mut frame = tagged(&build::udp(ends, (1, 2), &bytes(4001)), 3, 0);
            if ends.source.is_ipv4() {
                // Who sends fragments has not set DF.
                frame[24] = 0;
                super::fill_ipv4(&mut frame[18..38]).unwrap();
            }
            let expected = build::fragments(&frame, 1400, id);
            let out = cut_again(&frame, 1400, &mut pool);
            assert_eq!(out.iter().map(|piece| piece.bytes().to_vec()).collect::<Vec<_>>(), expected);
            assert_eq!(out[0].headers.fragment, Fragment::First);
            assert!(out[1..].iter().all(|piece| piece.headers.fragment == Fragment::Later));
            out.into_iter().for_each(|piece| pool.give(piece.buffer));
        }
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    fn a_datagram_within_the_size_stays_whole() {
        let mut pool = Pool::default();
        let frame = build::udp(Ends::ipv4(1, 2), (1, 2), &bytes(100));
        let out = cut_again(&frame, 128, &mut pool);
        assert_eq!((out.len(), out[0].bytes(), out[0].offload.segmentation), (1, &frame[..], Segmentation::None));
    }

    #[test]
    fn ipv4_options_are_copied_as_their_flag_says() {
        // Record route (not copied), router alert (copied), padding.
        let options = [7, 3, 4, 0x94, 4, 0, 0, 0];
        let (copied, len) = copied_options(&options);
        assert_eq!(copied[..len], [0x94, 4, 0, 0]);
        assert_eq!(copied_options(&[0x94, 40]).1, 0);
        assert_eq!(copied_options(&[0x94]).1, 0);
        assert_eq!(copied_options(&[0x94, 0, 1, 1]).1, 0);
    }

    #[test]
    fn ipv6_extension_headers_up_to_the_routing_header_go_into_each_fragment() {
        let mut pool = Pool::default();
        let udp = build::udp(Ends::ipv6(1, 2), (1, 2), &bytes(3000));
        let hop = [43, 0, 1, 4, 0, 0, 0, 0];
        let routing = [60, 0, 4, 0, 0, 0, 0, 0];
        let options = [17, 0, 1, 4, 0, 0, 0, 0];
        let mut frame = [&udp[..54], &hop, &routing, &options, &udp[54..]].concat();
        frame[20] = PROTOCOL_HOP_BY_HOP;
        let length = (frame.len() - 54) as u16;
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        let out = cut_again(&frame, 1280, &mut pool);
        let mut data = Vec::new();
        for piece in &out {
            let bytes = piece.bytes();
            assert_eq!((bytes[20], bytes[54], bytes[62], bytes[70]), (0, 43, 44, 60));
            assert_eq!(usize::from(u16::from_be_bytes([bytes[72], bytes[73]]) & !7), data.len());
            data.extend_from_slice(&bytes[78..]);
        }
        assert_eq!((out.len(), &data[..]), (3, &frame[70..]));
    }
}
