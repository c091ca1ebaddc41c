//! Sequence and acknowledgment numbers of a TCP segment moved in place, for connections whose two ends count differently.

use crate::numbers::PROTOCOL_TCP;
use crate::{Checksum, Fragment, Packet, checksum};

/// Where the numbers stand in the TCP header (RFC 9293, 3.1).
const SEQ: usize = 4;
const ACK: usize = 8;
const CHECKSUM: usize = 16;

/// Adds to the sequence number, modulo 2³². `false` where the packet is no whole TCP segment; nothing has changed then.
pub fn shift_seq(packet: &mut Packet, by: u32) -> bool {
    shift(packet, SEQ, by)
}

/// Adds to the acknowledgment number, modulo 2³².
pub fn shift_ack(packet: &mut Packet, by: u32) -> bool {
    shift(packet, ACK, by)
}

fn shift(packet: &mut Packet, field: usize, by: u32) -> bool {
    let headers = packet.headers;
    if headers.protocol != PROTOCOL_TCP || headers.fragment != Fragment::No {
        return false;
    }
    // A partial checksum is the pseudo-header's alone: the numbers are summed when it is finished.
    let is_partial = matches!(packet.offload.checksum, Checksum::Partial { .. });
    let header = packet.buffer.bytes_mut().get_mut(usize::from(headers.l4)..).and_then(<[u8]>::first_chunk_mut::<20>);
    let Some(header) = header else { return false };
    let Some(place) = header.get_mut(field..field + 4).and_then(<[u8]>::first_chunk_mut::<4>) else { return false };
    let old = u32::from_be_bytes(*place);
    let new = old.wrapping_add(by);
    *place = new.to_be_bytes();
    if !is_partial && let Some(sum) = header.get_mut(CHECKSUM..CHECKSUM + 2).and_then(<[u8]>::first_chunk_mut::<2>) {
        *sum = checksum::update_u32(u16::from_be_bytes(*sum), old, new).to_be_bytes();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Ends, packet, tcp, udp};
    use crate::numbers::TCP_ACK;
    use crate::{Pool, PortId, TcpFields};

    const FIELDS: TcpFields =
        TcpFields { source_port: 1000, destination_port: 80, seq: u32::MAX - 1, ack: 500, flags: TCP_ACK, window: 9 };

    #[test]
    fn numbers_move_and_the_checksum_with_them() {
        let mut pool = Pool::default();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            for by in [1, 5, 0x8000_0000, u32::MAX] {
                let mut segment = packet(&tcp(ends, FIELDS, &[], b"data"), PortId(0), &mut pool).unwrap();
                assert!(shift_seq(&mut segment, by) && shift_ack(&mut segment, by));
                let moved = TcpFields { seq: FIELDS.seq.wrapping_add(by), ack: FIELDS.ack.wrapping_add(by), ..FIELDS };
                assert_eq!(segment.tcp(), Some(moved));
                assert!(checksum::verify_l4(&segment));
            }
        }
    }

    #[test]
    fn a_partial_checksum_stays_and_other_packets_are_left_alone() {
        let mut pool = Pool::default();
        let mut segment = packet(&tcp(Ends::ipv4(1, 2), FIELDS, &[], b"data"), PortId(0), &mut pool).unwrap();
        assert!(checksum::make_partial(&mut segment));
        assert!(shift_seq(&mut segment, 77) && checksum::finish_partial(&mut segment));
        segment.offload.checksum = Checksum::Complete;
        assert!(checksum::verify_l4(&segment));
        let frame = udp(Ends::ipv4(1, 2), (1, 2), b"x");
        let mut datagram = packet(&frame, PortId(0), &mut pool).unwrap();
        assert!(!shift_ack(&mut datagram, 1));
        assert_eq!(datagram.bytes(), frame);
    }
}
