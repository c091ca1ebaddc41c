//! The virtio-net header before each frame, and the mark it stands for (virtio 1.2, 5.1.6).
//!
//! What a guest writes here is a request to finish its frame, and so is checked against what was agreed on and against
//! the frame's length before it becomes an [`Offload`]; whether it also fits the frame's headers is for the parser.

use weir_wire::{Checksum, Offload, Packet, Segmentation};

use super::features::{self, Agreed};

/// The longest form of the header; legacy drivers without mergeable buffers leave out the last two bytes.
pub const LEN: usize = 12;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// The header asks for something that was not agreed on or does not fit the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHeader;

/// The header asks for nothing.
#[inline]
pub fn is_plain(header: &[u8; LEN]) -> bool {
    header[0] & NEEDS_CSUM == 0 && header[1] == GSO_NONE
}

/// Reads the header of a frame of `frame_len` bytes from a guest.
///
/// # Errors
/// [`BadHeader`].
#[inline]
pub fn read(header: &[u8; LEN], agreed: Agreed, frame_len: usize) -> Result<Offload, BadHeader> {
    let [flags, gso, _, _, size_lo, size_hi, start_lo, start_hi, offset_lo, offset_hi, _, _] = *header;
    if is_plain(header) {
        return Ok(Offload::default());
    }
    if flags & NEEDS_CSUM == 0 || !agreed.has(features::CSUM) {
        return Err(BadHeader);
    }
    let start = u16::from_le_bytes([start_lo, start_hi]);
    let offset = u16::from_le_bytes([offset_lo, offset_hi]);
    if usize::from(start) + usize::from(offset) + 2 > frame_len {
        return Err(BadHeader);
    }
    let size = u16::from_le_bytes([size_lo, size_hi]);
    Ok(Offload { checksum: Checksum::Partial { start, offset }, segmentation: segmentation(gso, size, agreed)? })
}

fn segmentation(gso: u8, size: u16, agreed: Agreed) -> Result<Segmentation, BadHeader> {
    let ecn = gso & GSO_ECN != 0;
    let (segmentation, needed) = match gso & !GSO_ECN {
        GSO_NONE if !ecn => return Ok(Segmentation::None),
        GSO_TCPV4 => (Segmentation::Tcp4 { size, ecn }, features::HOST_TSO4),
        GSO_TCPV6 => (Segmentation::Tcp6 { size, ecn }, features::HOST_TSO6),
        GSO_UDP_L4 if !ecn => (Segmentation::Udp { size }, features::HOST_USO),
        _ => return Err(BadHeader),
    };
    let needed = if ecn { needed | features::HOST_ECN } else { needed };
    if size == 0 || !agreed.has(needed) { Err(BadHeader) } else { Ok(segmentation) }
}

/// The header for a packet on its way to a guest that accepts its marks; `buffers` is how many of the guest's buffers
/// it spans. "Checked" is said only to a guest that takes checksums at all. As numbers, in the host's byte order: the
/// first eight bytes and the last four.
#[inline]
pub fn pack(packet: &Packet, agreed: Agreed, buffers: u16) -> (u64, u32) {
    let (flags, start, offset) = match packet.offload.checksum {
        Checksum::Complete => (0, 0, 0),
        Checksum::Verified => (if agreed.has(features::GUEST_CSUM) { DATA_VALID } else { 0 }, 0, 0),
        Checksum::Partial { start, offset } => (NEEDS_CSUM, start, offset),
    };
    let (gso, size) = match packet.offload.segmentation {
        Segmentation::None | Segmentation::Fragments { .. } => (GSO_NONE, 0),
        Segmentation::Tcp4 { size, ecn } => (GSO_TCPV4 | if ecn { GSO_ECN } else { 0 }, size),
        Segmentation::Tcp6 { size, ecn } => (GSO_TCPV6 | if ecn { GSO_ECN } else { 0 }, size),
        Segmentation::Udp { size } => (GSO_UDP_L4, size),
    };
    // A hint, and only of use where the frame is to be cut.
    let header_len = if gso == GSO_NONE { 0 } else { packet.headers.payload };
    let first = u64::from(flags)
        | u64::from(gso) << 8
        | u64::from(header_len) << 16
        | u64::from(size) << 32
        | u64::from(start) << 48;
    (first, u32::from(offset) | u32::from(buffers) << 16)
}

/// The header as bytes; see [`pack`].
pub fn write(packet: &Packet, agreed: Agreed, buffers: u16) -> [u8; LEN] {
    let (first, last) = pack(packet, agreed, buffers);
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&last.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::{Pool, PortId};

    const ALL: Agreed = Agreed(u64::MAX);

    fn header(flags: u8, gso: u8, size: u16, start: u16, offset: u16) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = flags;
        bytes[1] = gso;
        bytes[4..6].copy_from_slice(&size.to_le_bytes());
        bytes[6..8].copy_from_slice(&start.to_le_bytes());
        bytes[8..10].copy_from_slice(&offset.to_le_bytes());
        bytes
    }

    #[test]
    fn a_plain_header_asks_for_nothing() {
        assert_eq!(read(&header(0, 0, 0, 0, 0), Agreed(0), 60), Ok(Offload::default()));
        // What a guest calls checked is its own word.
        assert_eq!(read(&header(DATA_VALID, 0, 0, 0, 0), ALL, 60), Ok(Offload::default()));
    }

    #[test]
    fn a_checksum_must_lie_inside_the_frame() {
        let partial =
            |start, offset| Ok(Offload { checksum: Checksum::Partial { start, offset }, ..Offload::default() });
        assert_eq!(read(&header(NEEDS_CSUM, 0, 0, 34, 16), ALL, 52), partial(34, 16));
        assert_eq!(read(&header(NEEDS_CSUM, 0, 0, 34, 16), ALL, 51), Err(BadHeader));
        assert_eq!(read(&header(NEEDS_CSUM, 0, 0, 0xffff, 0xffff), ALL, 65536), Err(BadHeader));
    }

    #[test]
    fn offloads_that_were_not_agreed_on_are_refused() {
        let tcp4 = header(NEEDS_CSUM, GSO_TCPV4, 1448, 34, 16);
        let agreed = |bits| Agreed(features::CSUM | bits);
        assert!(read(&tcp4, agreed(features::HOST_TSO4), 4000).is_ok());
        assert_eq!(read(&tcp4, agreed(features::HOST_TSO6), 4000), Err(BadHeader));
        assert_eq!(read(&tcp4, Agreed(features::HOST_TSO4), 4000), Err(BadHeader));
        let with_ecn = header(NEEDS_CSUM, GSO_TCPV4 | GSO_ECN, 1448, 34, 16);
        assert_eq!(read(&with_ecn, agreed(features::HOST_TSO4), 4000), Err(BadHeader));
        assert!(read(&with_ecn, agreed(features::HOST_TSO4 | features::HOST_ECN), 4000).is_ok());
    }

    #[test]
    fn segmentation_wants_a_checksum_a_size_and_a_known_kind() {
        assert_eq!(read(&header(0, GSO_TCPV4, 1448, 0, 0), ALL, 4000), Err(BadHeader));
        assert_eq!(read(&header(NEEDS_CSUM, GSO_TCPV4, 0, 34, 16), ALL, 4000), Err(BadHeader));
        for gso in [2, 3, 6, 0x7f, GSO_ECN, GSO_UDP_L4 | GSO_ECN] {
            assert_eq!(read(&header(NEEDS_CSUM, gso, 1448, 34, 16), ALL, 4000), Err(BadHeader), "{gso}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut pool = Pool::default();
        for (checksum, segmentation) in [
            (Checksum::Complete, Segmentation::None),
            (Checksum::Partial { start: 34, offset: 16 }, Segmentation::None),
            (Checksum::Partial { start: 34, offset: 16 }, Segmentation::Tcp4 { size: 1448, ecn: true }),
            (Checksum::Partial { start: 54, offset: 16 }, Segmentation::Tcp6 { size: 1428, ecn: false }),
            (Checksum::Partial { start: 34, offset: 6 }, Segmentation::Udp { size: 1000 }),
        ] {
            let offload = Offload { checksum, segmentation };
            let packet = Packet::new(pool.copy(&[0; 100]).unwrap(), PortId(1), offload);
            let bytes = write(&packet, ALL, 3);
            assert_eq!(read(&bytes, ALL, 100), Ok(offload));
            assert_eq!(bytes[10..], [3, 0]);
        }
    }

    #[test]
    fn checked_is_said_only_to_a_guest_that_takes_checksums() {
        let mut pool = Pool::default();
        let offload = Offload { checksum: Checksum::Verified, ..Offload::default() };
        let packet = Packet::new(pool.copy(&[0; 100]).unwrap(), PortId(1), offload);
        assert_eq!(write(&packet, Agreed(0), 1)[0], 0);
        assert_eq!(write(&packet, Agreed(features::GUEST_CSUM), 1)[0], DATA_VALID);
    }
}
