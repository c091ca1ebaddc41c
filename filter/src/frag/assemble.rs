//! Fragments read, and datagrams made of them.

use weir_wire::numbers::{PROTOCOL_AH, PROTOCOL_FRAGMENT};
use weir_wire::{Checksum, DropReason, L3, Offload, Packet, Pool, PortId, Segmentation, SwitchId, Vid, checksum};

/// Longest IP packet that is not a jumbogram.
const PACKET_MAX: usize = 65_535;

/// What names a datagram (RFC 791 3.2, RFC 8200 4.5), and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub switch: SwitchId,
    pub vid: Vid,
    pub port: PortId,
    pub addresses: [u8; 32],
    pub id: u32,
    /// IPv4's protocol; 0 for IPv6, where the identification alone counts.
    pub protocol: u8,
    pub v6: bool,
}

/// One fragment's place in its datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Bytes before it.
    pub offset: usize,
    /// Where its data stand in the frame.
    pub data: (usize, usize),
    pub more: bool,
}

impl Span {
    pub(super) fn end(&self) -> usize {
        self.offset + (self.data.1 - self.data.0)
    }
}

pub(super) fn data<'a>(packet: &'a Packet, span: &Span) -> &'a [u8] {
    packet.bytes().get(span.data.0..span.data.1).unwrap_or(&[])
}

/// Where the fragment header of an IPv6 packet stands, and the byte that announces it.
fn fragment_header(packet: &Packet) -> Option<(usize, usize)> {
    let l3 = usize::from(packet.headers.l3);
    let (mut announced, mut at) = (l3 + 6, l3 + 40);
    for _ in 0..8 {
        let bytes = packet.bytes();
        if *bytes.get(announced)? == PROTOCOL_FRAGMENT {
            return (at + 8 <= packet.headers.end as usize).then_some((at, announced));
        }
        let size = match *bytes.get(announced)? {
            PROTOCOL_AH => (usize::from(*bytes.get(at + 1)?) + 2) * 4,
            _ => (usize::from(*bytes.get(at + 1)?) + 1) * 8,
        };
        (announced, at) = (at, at + size);
    }
    None
}

/// Reads a fragment; `None` where its numbers make no sense: nothing in it, not a multiple of eight bytes before the
/// end, or beyond the longest packet.
pub(super) fn read(packet: &Packet, switch: SwitchId) -> Option<(Key, Span)> {
    let mut addresses = [0; 32];
    let (l3, end) = (usize::from(packet.headers.l3), packet.headers.end as usize);
    let v6 = packet.headers.l3_kind == L3::Ipv6;
    let (id, field, protocol, start, header) = if v6 {
        addresses.copy_from_slice(packet.ipv6()?.get(8..40)?);
        let (at, _) = fragment_header(packet)?;
        let &[_, _, high, low, a, b, c, d] = packet.bytes().get(at..)?.first_chunk()?;
        (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low]), 0, at + 8, at - l3 - 40)
    } else {
        let fixed = packet.ipv4()?;
        addresses.get_mut(..8)?.copy_from_slice(fixed.get(12..20)?);
        let header_len = usize::from(fixed[0] & 15) * 4;
        let id = u32::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        (id, u16::from_be_bytes([fixed[6], fixed[7]]), fixed[9], l3 + header_len, header_len)
    };
    let (offset, more) = if v6 {
        (usize::from(field & 0xfff8), field & 1 != 0)
    } else {
        (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0)
    };
    let span = Span { offset, data: (start, end), more };
    let length = end.checked_sub(start)?;
    if length == 0 || (more && length % 8 != 0) || header + span.end() > PACKET_MAX {
        return None;
    }
    let key = Key { switch, vid: packet.vid, port: packet.port, addresses, id, protocol, v6 };
    Some((key, span))
}

/// One packet of all fragments: the headers of the first, without what made it a fragment, and everybody's data.
pub(super) fn assemble(key: &Key, pieces: &[(Span, Packet)], pool: &mut Pool) -> Result<Packet, DropReason> {
    let bad = DropReason::FragmentOverlap;
    let (first_span, first) = pieces.first().ok_or(bad)?;
    let l3 = usize::from(first.headers.l3);
    let header_end = if key.v6 { first_span.data.0 - 8 } else { first_span.data.0 };
    let head = first.bytes().get(..header_end).ok_or(bad)?;
    let length = head.len() + pieces.iter().map(|(span, _)| span.end() - span.offset).sum::<usize>();
    let mut buffer = pool.take(length).ok_or(DropReason::NoBuffer)?;
    let mut rest = buffer.room();
    for part in std::iter::once(head).chain(pieces.iter().map(|(span, packet)| data(packet, span))) {
        let Some((here, behind)) = rest.split_at_mut_checked(part.len()) else { break };
        here.copy_from_slice(part);
        rest = behind;
    }
    buffer.set_len(length);
    let fixed = rewrite(key, first, buffer.bytes_mut(), l3);
    let size = pieces.iter().map(|(_, p)| p.headers.end as usize - usize::from(p.headers.l3)).max().unwrap_or(0);
    let size = u16::try_from(size).unwrap_or(u16::MAX);
    let offload = Offload { checksum: Checksum::Complete, segmentation: Segmentation::Fragments { size, id: key.id } };
    let mut whole = Packet::new(buffer, first.port, offload);
    whole.vid = first.vid;
    match fixed.ok_or(bad).and_then(|()| whole.parse()) {
        Ok(()) => Ok(whole),
        Err(reason) => {
            pool.give(whole.buffer);
            Err(reason)
        }
    }
}

/// Makes the first fragment's headers those of the whole.
fn rewrite(key: &Key, first: &Packet, frame: &mut [u8], l3: usize) -> Option<()> {
    let length = frame.len().checked_sub(l3)?;
    if key.v6 {
        let (at, announced) = fragment_header(first)?;
        let next = *first.bytes().get(at)?;
        *frame.get_mut(announced)? = next;
        let payload = u16::try_from(length.checked_sub(40)?).ok()?;
        frame.get_mut(l3 + 4..l3 + 6)?.copy_from_slice(&payload.to_be_bytes());
        return Some(());
    }
    let header_len = usize::from(*frame.get(l3)? & 15) * 4;
    let header = frame.get_mut(l3..l3 + header_len)?;
    header.get_mut(2..4)?.copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    header.get_mut(6..8)?.fill(0);
    header.get_mut(10..12)?.fill(0);
    let checksum = !checksum::sum(header).fold();
    header.get_mut(10..12)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}
