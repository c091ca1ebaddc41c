//! What is left to finish on a frame, and what a port can finish by itself.
//!
//! Guests and kernels hand over frames whose TCP/UDP checksum holds only the pseudo-header sum, and super-segments of
//! up to 64 KiB (virtio 1.2, 5.1.6.2 and 5.1.6.4; Linux `CHECKSUM_PARTIAL` and GSO). Both travel as a mark beside the
//! bytes and are completed at the port that cannot take them.

/// State of the L4 checksum of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The bytes are as they must be on a wire; whether they are right has not been checked.
    #[default]
    Complete,
    /// Someone we trust (the host's kernel) has checked it, or it came from this host's memory.
    Verified,
    /// The field holds the folded pseudo-header sum; the sum from `start` to the end goes to `start + offset`.
    Partial {
        /// Offset of the first summed byte from the start of the frame.
        start: u16,
        /// Offset of the checksum field from `start`.
        offset: u16,
    },
}

/// The kind of a super-segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segmentation {
    /// An ordinary frame.
    #[default]
    None,
    /// TCP over IPv4, to be cut into segments of `size` payload bytes.
    Tcp4 {
        /// Payload bytes a segment.
        size: u16,
        /// The first segment carries CWR alone (RFC 3168 6.1.2).
        ecn: bool,
    },
    /// TCP over IPv6, to be cut into segments of `size` payload bytes.
    Tcp6 {
        /// Payload bytes a segment.
        size: u16,
        /// The first segment carries CWR alone.
        ecn: bool,
    },
    /// UDP, to be cut into datagrams of `size` payload bytes (USO, `VIRTIO_NET_HDR_GSO_UDP_L4`).
    Udp {
        /// Payload bytes a datagram.
        size: u16,
    },
    /// A datagram put together from fragments, to be cut again into fragments of at most `size` bytes of IP packet.
    /// No port takes it whole.
    Fragments {
        /// Largest IP packet among the fragments that came in, headers included.
        size: u16,
        /// The identification they carried (the lower 16 bits for IPv4).
        id: u32,
    },
}

/// What is left to finish on one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The L4 checksum's state.
    pub checksum: Checksum,
    /// Whether this is a super-segment.
    pub segmentation: Segmentation,
}

/// What a port takes unfinished on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Takes partial checksums.
    pub checksum: bool,
    /// Takes TCP over IPv4 super-segments.
    pub tso4: bool,
    /// Takes TCP over IPv6 super-segments.
    pub tso6: bool,
    /// Takes such super-segments with ECN bits.
    pub ecn: bool,
    /// Takes UDP super-segments.
    pub uso: bool,
}

impl Capabilities {
    /// A port that takes everything as it is: memory ports, and the far side of a trusted pair.
    pub const ALL: Capabilities = Capabilities { checksum: true, tso4: true, tso6: true, ecn: true, uso: true };

    /// Whether a frame with this mark can go out as it is.
    #[inline]
    pub fn accepts(&self, offload: Offload) -> bool {
        let segmentation = match offload.segmentation {
            Segmentation::None => true,
            Segmentation::Tcp4 { ecn, .. } => self.tso4 && (self.ecn || !ecn),
            Segmentation::Tcp6 { ecn, .. } => self.tso6 && (self.ecn || !ecn),
            Segmentation::Udp { .. } => self.uso,
            Segmentation::Fragments { .. } => false,
        };
        segmentation && (self.checksum || !matches!(offload.checksum, Checksum::Partial { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_accepts_what_it_can_finish() {
        let partial = Checksum::Partial { start: 34, offset: 16 };
        let tcp4 = |ecn| Offload { checksum: partial, segmentation: Segmentation::Tcp4 { size: 1460, ecn } };
        let tso = Capabilities { checksum: true, tso4: true, ..Capabilities::default() };
        assert!(tso.accepts(tcp4(false)) && !tso.accepts(tcp4(true)));
        assert!(!Capabilities { checksum: false, ..tso }.accepts(tcp4(false)));
        assert!(!tso.accepts(Offload { segmentation: Segmentation::Tcp6 { size: 1, ecn: false }, ..tcp4(false) }));
        assert!(!tso.accepts(Offload { segmentation: Segmentation::Udp { size: 1 }, ..tcp4(false) }));
        let fragments = Offload { segmentation: Segmentation::Fragments { size: 1500, id: 1 }, ..Offload::default() };
        assert!(!Capabilities::ALL.accepts(fragments));
        assert!(Capabilities::default().accepts(Offload::default()));
    }
}
