//! What the tracker reads of a TCP segment.

use weir_wire::Packet;
use weir_wire::numbers::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

/// RFC 7323, 2.3: larger shifts count as this one.
pub(super) const SCALE_MAX: u8 = 14;
/// No window scale option.
pub(super) const NO_SCALE: u8 = u8::MAX;

/// What the tracker needs of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// SYN, ACK, FIN, RST.
    pub flags: u8,
    /// Window as it stands in the header.
    pub window: u16,
    /// Bytes of data, without SYN and FIN.
    pub data: u32,
    /// Window scale offered; of SYNs only.
    pub(super) scale: u8,
}

impl Segment {
    /// The numbers of a parsed packet; `None` where it is not TCP.
    #[inline]
    pub fn of(packet: &Packet) -> Option<Segment> {
        let tcp = packet.tcp()?;
        let flags = tcp.flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST);
        let data = packet.headers.end.saturating_sub(u32::from(packet.headers.payload));
        let scale = if flags & TCP_SYN != 0 { window_scale(packet.tcp_options()) } else { NO_SCALE };
        Some(Segment { seq: tcp.seq, ack: tcp.ack, flags, window: tcp.window, data, scale })
    }

    /// The same for a packet that [`Packet::parse_common`] has parsed, where it neither opens nor ends a connection.
    #[inline]
    pub fn of_settled(packet: &Packet) -> Option<Segment> {
        let headers = &packet.headers;
        if headers.tcp_flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST) != TCP_ACK {
            return None;
        }
        let header: &[u8; 16] = packet.bytes().get(usize::from(headers.l4)..)?.first_chunk()?;
        let &[_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, _, _, w0, w1] = header;
        Some(Segment {
            seq: u32::from_be_bytes([s0, s1, s2, s3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            flags: TCP_ACK,
            window: u16::from_be_bytes([w0, w1]),
            data: headers.end.saturating_sub(u32::from(headers.payload)),
            scale: NO_SCALE,
        })
    }

    #[inline]
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence number behind the segment; SYN and FIN take one each.
    #[inline]
    pub(super) fn end(&self) -> u32 {
        let control = u32::from(self.has(TCP_SYN)) + u32::from(self.has(TCP_FIN));
        self.seq.wrapping_add(self.data).wrapping_add(control)
    }

    /// The combinations a host sends. Everything else is a scan, or wants to be read differently by different hosts.
    #[inline]
    pub(super) fn is_valid(&self) -> bool {
        match self.flags {
            TCP_ACK | TCP_SYN | TCP_RST => true,
            flags => flags == TCP_SYN | TCP_ACK || flags == TCP_RST | TCP_ACK || flags == TCP_FIN | TCP_ACK,
        }
    }

    /// Opens a connection.
    pub fn is_open(&self) -> bool {
        self.flags == TCP_SYN
    }
}

/// RFC 7323, 2.2: kind 3, length 3.
pub(super) fn window_scale(mut options: &[u8]) -> u8 {
    loop {
        options = match options {
            [3, 3, shift, ..] => return (*shift).min(SCALE_MAX),
            [1, rest @ ..] => rest,
            [2..=u8::MAX, length @ 2..=u8::MAX, ..] => options.get(usize::from(*length)..).unwrap_or(&[]),
            _ => return NO_SCALE,
        }
    }
}
