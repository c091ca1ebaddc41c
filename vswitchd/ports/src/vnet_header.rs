//! The virtio-net header that TAP devices put before each frame (virtio 1.2, 5.1.6; linux/virtio_net.h).
//!
//! Twelve bytes, little-endian: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers. The kernel
//! is trusted, but what its header says is checked against the frame all the same: a mark that points outside the
//! frame must not travel on.

use weir_wire::{Checksum, DropReason, Offload, Segmentation};

/// Length of the header with `num_buffers`.
pub(crate) const LEN: usize = 12;

const FLAG_NEEDS_CSUM: u8 = 1;
const FLAG_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// The marks a header stands for on a frame of `frame_len` bytes.
pub(crate) fn decode(header: &[u8; LEN], frame_len: usize) -> Result<Offload, DropReason> {
    let [flags, gso_type, _, _, size_0, size_1, start_0, start_1, offset_0, offset_1, _, _] = *header;
    let checksum = if flags & FLAG_NEEDS_CSUM != 0 {
        let start = u16::from_le_bytes([start_0, start_1]);
        let offset = u16::from_le_bytes([offset_0, offset_1]);
        if usize::from(start) + usize::from(offset) + 2 > frame_len {
            return Err(DropReason::BadOffload);
        }
        Checksum::Partial { start, offset }
    } else if flags & FLAG_DATA_VALID != 0 {
        Checksum::Verified
    } else {
        Checksum::Complete
    };
    let size = u16::from_le_bytes([size_0, size_1]);
    let ecn = gso_type & GSO_ECN != 0;
    let segmentation = match gso_type & !GSO_ECN {
        GSO_NONE => Segmentation::None,
        _ if size == 0 => return Err(DropReason::BadOffload),
        GSO_TCPV4 => Segmentation::Tcp4 { size, ecn },
        GSO_TCPV6 => Segmentation::Tcp6 { size, ecn },
        GSO_UDP_L4 => Segmentation::Udp { size },
        _ => return Err(DropReason::BadOffload),
    };
    Ok(Offload { checksum, segmentation })
}

/// The header for a frame with these marks. `header_len` is where the transport payload begins, 0 where unknown; the
/// receiver takes it as a hint.
pub(crate) fn encode(offload: Offload, header_len: u16) -> [u8; LEN] {
    let (flags, start, offset) = match offload.checksum {
        Checksum::Partial { start, offset } => (FLAG_NEEDS_CSUM, start, offset),
        Checksum::Verified => (FLAG_DATA_VALID, 0, 0),
        Checksum::Complete => (0, 0, 0),
    };
    let with_ecn = |kind: u8, ecn: bool| if ecn { kind | GSO_ECN } else { kind };
    let (gso_type, size) = match offload.segmentation {
        Segmentation::Tcp4 { size, ecn } => (with_ecn(GSO_TCPV4, ecn), size),
        Segmentation::Tcp6 { size, ecn } => (with_ecn(GSO_TCPV6, ecn), size),
        Segmentation::Udp { size } => (GSO_UDP_L4, size),
        // Datagrams of fragments are cut before they come here.
        Segmentation::None | Segmentation::Fragments { .. } => (GSO_NONE, 0),
    };
    let header_len = if gso_type == GSO_NONE { 0 } else { header_len };
    let [length_0, length_1] = header_len.to_le_bytes();
    let [size_0, size_1] = size.to_le_bytes();
    let [start_0, start_1] = start.to_le_bytes();
    let [offset_0, offset_1] = offset.to_le_bytes();
    [flags, gso_type, length_0, length_1, size_0, size_1, start_0, start_1, offset_0, offset_1, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTIAL: Checksum = Checksum::Partial { start: 34, offset: 16 };

    #[test]
    fn marks_survive_the_way_there_and_back() {
        let kinds = [
            Segmentation::None,
            Segmentation::Tcp4 { size: 1448, ecn: false },
            Segmentation::Tcp4 { size: 1448, ecn: true },
            Segmentation::Tcp6 { size: 1428, ecn: true },
            Segmentation::Udp { size: 1472 },
        ];
        for segmentation in kinds {
            for checksum in [Checksum::Complete, Checksum::Verified, PARTIAL] {
                let offload = Offload { checksum, segmentation };
                assert_eq!(decode(&encode(offload, 54), 4000), Ok(offload));
            }
        }
    }

    #[test]
    fn marks_that_point_outside_the_frame_are_refused() {
        let header = encode(Offload { checksum: PARTIAL, segmentation: Segmentation::None }, 0);
        assert!(decode(&header, 52).is_ok());
        assert_eq!(decode(&header, 51), Err(DropReason::BadOffload));
        let far = Checksum::Partial { start: u16::MAX, offset: u16::MAX };
        let header = encode(Offload { checksum: far, segmentation: Segmentation::None }, 0);
        assert_eq!(decode(&header, 65600), Err(DropReason::BadOffload));
    }

    #[test]
    fn unknown_kinds_and_segments_of_nothing_are_refused() {
        let ufo = [1, 3, 0, 0, 100, 0, 34, 0, 6, 0, 0, 0];
        assert_eq!(decode(&ufo, 2000), Err(DropReason::BadOffload));
        let empty = [1, 1, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
        assert_eq!(decode(&empty, 2000), Err(DropReason::BadOffload));
    }
}
