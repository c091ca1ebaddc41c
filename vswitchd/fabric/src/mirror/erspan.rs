//! ERSPAN: a mirrored frame in GRE, on its way to an analyser (draft-foschiano-erspan, types II and III).
//!
//! GRE carries a sequence number, so that the analyser sees what was lost. The outer packet may be fragmented on its
//! way: a mirrored frame of full size is longer than the link once it is wrapped.

use std::net::Ipv4Addr;

use weir_wire::numbers::PROTOCOL_GRE;
use weir_wire::{Instant, Vid, checksum};

/// Bytes in front of a mirrored frame: IPv4, GRE with a sequence number, and ERSPAN of type III.
pub const OVERHEAD: usize = 20 + 8 + 12;

/// Where mirrored frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erspan {
    /// From here.
    pub source: Ipv4Addr,
    /// To this analyser.
    pub destination: Ipv4Addr,
    /// The session, 0 to 1023.
    pub session: u16,
    /// Type III with time and direction; otherwise type II.
    pub is_type_3: bool,
}

/// What is said of a mirrored frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub time: Instant,
    pub vid: Vid,
    pub is_outward: bool,
    pub is_cut: bool,
    pub sequence: u32,
}

impl Erspan {
    /// The IPv4 packet that carries `frame`.
    pub(crate) fn wrap(&self, frame: &[u8], about: About) -> Vec<u8> {
        let mut packet = Vec::with_capacity(OVERHEAD + frame.len());
        let inner = if self.is_type_3 { 12 } else { 8 };
        let length = (20 + 8 + inner + frame.len()).min(usize::from(u16::MAX)) as u16;
        packet.extend([0x45, 0]);
        packet.extend(length.to_be_bytes());
        // The name of its fragments; no DF.
        packet.extend((about.sequence as u16).to_be_bytes());
        packet.extend([0, 0, 64, PROTOCOL_GRE, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        let sum = !checksum::sum(&packet).fold();
        if let Some(place) = packet.get_mut(10..12) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        let protocol: u16 = if self.is_type_3 { 0x22eb } else { 0x88be };
        // GRE: a sequence number is present.
        packet.extend([0x10, 0]);
        packet.extend(protocol.to_be_bytes());
        packet.extend(about.sequence.to_be_bytes());
        let version: u16 = if self.is_type_3 { 2 } else { 1 };
        packet.extend((version << 12 | about.vid.0 & 0xfff).to_be_bytes());
        let cut = u16::from(about.is_cut) << 10;
        if self.is_type_3 {
            packet.extend((cut | self.session & 0x3ff).to_be_bytes());
            // In units of 100 microseconds.
            packet.extend(((about.time.0 / 100_000) as u32).to_be_bytes());
            // No group tag; the frame is Ethernet; the direction.
            packet.extend([0, 0, 0x80, u8::from(about.is_outward) << 3]);
        } else {
            // The VLAN is stated, not carried in the frame.
            packet.extend((cut | self.session & 0x3ff).to_be_bytes());
            packet.extend([0, 0, 0, u8::from(about.is_outward)]);
        }
        packet.extend_from_slice(frame);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_the_draft_has_them() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9));
        let two = Erspan { source, destination, session: 100, is_type_3: false };
        let about =
            About { time: Instant::from_millis(1), vid: Vid(7), is_outward: true, is_cut: true, sequence: 0x01020304 };
        let packet = two.wrap(&[0xaa; 60], about);
        assert_eq!((packet.len(), &packet[2..4]), (96, &[0, 96][..]));
        assert!(checksum::sum(&packet[..20]).is_valid());
        assert_eq!(packet[20..36], [0x10, 0, 0x88, 0xbe, 1, 2, 3, 4, 0x10, 7, 4, 100, 0, 0, 0, 1]);
        let three = Erspan { is_type_3: true, ..two }.wrap(&[0xaa; 60], About { is_cut: false, ..about });
        assert_eq!(three[20..40], [0x10, 0, 0x22, 0xeb, 1, 2, 3, 4, 0x20, 7, 0, 100, 0, 0, 0, 10, 0, 0, 0x80, 8]);
        assert_eq!(three[40..], [0xaa; 60]);
    }
}
