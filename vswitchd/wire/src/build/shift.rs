//! Numbers of a TCP segment moved in place, for connections whose two ends count differently: sequence and
//! acknowledgment, selective acknowledgments and timestamps, and windows of another scale.

use crate::numbers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP};
use crate::tcp_options::{SACK, TIMESTAMPS, places};
use crate::{Checksum, Fragment, Packet, checksum};

/// Where the numbers stand in the TCP header (RFC 9293, 3.1).
const SEQ: usize = 4;
const ACK: usize = 8;
const WINDOW: usize = 14;
const CHECKSUM: usize = 16;
const OPTIONS: usize = 20;
/// Where an ICMP error begins to quote.
const QUOTE: usize = 8;

/// One of the two numbers of the option for timestamps (RFC 7323, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// The sender's time.
    Value,
    /// The receiver's, as the sender heard it last.
    Echo,
}

/// Adds to the sequence number, modulo 2³². `false` where the packet is no whole TCP segment; nothing has changed then.
pub fn shift_seq(packet: &mut Packet, by: u32) -> bool {
    shift(packet, SEQ, by)
}

/// Adds to the acknowledgment number, modulo 2³².
pub fn shift_ack(packet: &mut Packet, by: u32) -> bool {
    shift(packet, ACK, by)
}

/// Adds to both ends of each block that a selective acknowledgment names (RFC 2018, 3), modulo 2³².
pub fn shift_sack(packet: &mut Packet, by: u32) {
    let Some((at, length)) = option(packet, SACK) else { return };
    (0..length / 4).for_each(|edge| {
        shift(packet, at + edge * 4, by);
    });
}

/// Adds to one of the timestamps, modulo 2³². `false` where the segment has none.
pub fn shift_stamp(packet: &mut Packet, which: Stamp, by: u32) -> bool {
    match (option(packet, TIMESTAMPS), which) {
        (Some((at, 8)), Stamp::Value) => shift(packet, at, by),
        (Some((at, 8)), Stamp::Echo) => shift(packet, at + 4, by),
        (Some(_) | None, _) => false,
    }
}

/// Adds to the sequence number of the TCP segment that an ICMP error quotes (RFC 792; RFC 4443, 2.4 (c)). `false` where
/// it quotes none that far, or one behind extension headers; nothing has changed then.
pub fn shift_quoted_seq(packet: &mut Packet, by: u32) -> bool {
    let headers = packet.headers;
    if !matches!(headers.protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6) || headers.fragment != Fragment::No {
        return false;
    }
    let Some(message) = packet.buffer.bytes_mut().get_mut(usize::from(headers.l4)..) else { return false };
    let quote = message.get(QUOTE..).unwrap_or(&[]);
    let length = match *quote {
        [version, _, _, _, _, _, _, _, _, PROTOCOL_TCP, ..] if version >> 4 == 4 => usize::from(version & 15) * 4,
        [version, _, _, _, _, _, PROTOCOL_TCP, ..] if version >> 4 == 6 => 40,
        _ => return false,
    };
    let Some(place) = message.get_mut(QUOTE + length + SEQ..).and_then(<[u8]>::first_chunk_mut::<4>) else {
        return false;
    };
    let old = u32::from_be_bytes(*place);
    let new = old.wrapping_add(by);
    *place = new.to_be_bytes();
    if let Some(sum) = message.get_mut(2..4).and_then(<[u8]>::first_chunk_mut::<2>) {
        *sum = checksum::update_u32(u16::from_be_bytes(*sum), old, new).to_be_bytes();
    }
    true
}

/// Writes the window in units that are `by` doublings smaller: as far as it can be told, and never more than it was.
pub fn scale_window(packet: &mut Packet, by: i8) -> bool {
    let scaled = |window: u16| {
        let wide = u32::from(window).checked_shl(u32::from(by.max(0).unsigned_abs())).unwrap_or(u32::MAX);
        let wide = wide.checked_shr(u32::from(by.min(0).unsigned_abs())).unwrap_or(0);
        u16::try_from(wide).unwrap_or(u16::MAX)
    };
    edit(packet, WINDOW, |place: &mut [u8; 2]| *place = scaled(u16::from_be_bytes(*place)).to_be_bytes())
}

fn shift(packet: &mut Packet, field: usize, by: u32) -> bool {
    edit(packet, field, |place: &mut [u8; 4]| *place = u32::from_be_bytes(*place).wrapping_add(by).to_be_bytes())
}

/// Where the data of the first option of this kind stands in the TCP header, and how long it is.
fn option(packet: &Packet, kind: u8) -> Option<(usize, usize)> {
    let (_, at, length) = places(packet.tcp_options()).find(|(found, ..)| *found == kind)?;
    Some((OPTIONS + at, length))
}

/// Changes a field of the TCP header, and the checksum with it.
fn edit<const N: usize>(packet: &mut Packet, field: usize, change: impl FnOnce(&mut [u8; N])) -> bool {
    let headers = packet.headers;
    if headers.protocol != PROTOCOL_TCP || headers.fragment != Fragment::No {
        return false;
    }
    // A partial checksum is the pseudo-header's alone: the numbers are summed when it is finished.
    let is_partial = matches!(packet.offload.checksum, Checksum::Partial { .. });
    let header = packet.buffer.bytes_mut().get_mut(usize::from(headers.l4)..).filter(|header| header.len() >= OPTIONS);
    let Some(header) = header else { return false };
    let Some(place) = header.get_mut(field..).and_then(<[u8]>::first_chunk_mut::<N>) else { return false };
    let old = *place;
    change(place);
    let new = *place;
    if !is_partial && let Some(sum) = header.get_mut(CHECKSUM..).and_then(<[u8]>::first_chunk_mut::<2>) {
        // Options begin anywhere: at odd places what is summed stands with its bytes exchanged (RFC 1071, 2 (B)).
        let is_odd = field % 2 == 1;
        let turned = |sum: u16| if is_odd { sum.swap_bytes() } else { sum };
        let words = old.chunks_exact(2).zip(new.chunks_exact(2));
        let changed = words.fold(turned(u16::from_be_bytes(*sum)), |sum, (old, new)| match (old, new) {
            (&[a, b], &[c, d]) => checksum::update(sum, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            _ => sum,
        });
        *sum = turned(changed).to_be_bytes();
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
    fn options_move_wherever_they_begin() {
        let mut pool = Pool::default();
        let stamps = [8, 10, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0];
        let sack = [5, 18, 0, 0, 0, 9, 0, 0, 0, 12, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 2];
        for padding in 0..4 {
            let mut options = [&[1; 4][..padding], &stamps, &sack].concat();
            options.resize(options.len().next_multiple_of(4), 0);
            let mut segment = packet(&tcp(Ends::ipv4(1, 2), FIELDS, &options, b"data"), PortId(0), &mut pool).unwrap();
            assert!(shift_stamp(&mut segment, Stamp::Value, 3) && shift_stamp(&mut segment, Stamp::Echo, 0xffff_ffff));
            shift_sack(&mut segment, 0x20);
            assert!(checksum::verify_l4(&segment), "{padding} bytes before");
            let found = &segment.tcp_options()[padding..];
            assert_eq!(found[..10], [8, 10, 0, 0, 0, 2, 0, 0, 0, 255]);
            assert_eq!(found[10..28], [5, 18, 0, 0, 0, 41, 0, 0, 0, 44, 0, 0, 0, 16, 0, 0, 0, 34]);
        }
        let mut bare = packet(&tcp(Ends::ipv4(1, 2), FIELDS, &[], b""), PortId(0), &mut pool).unwrap();
        assert!(!shift_stamp(&mut bare, Stamp::Value, 1));
    }

    #[test]
    fn what_an_error_quotes_moves_with_its_checksum() {
        let mut pool = Pool::default();
        for (ends, router) in [(Ends::ipv4(1, 2), Ends::ipv4(9, 1)), (Ends::ipv6(1, 2), Ends::ipv6(9, 1))] {
            let cause = packet(&tcp(ends, FIELDS, &[], b"data"), PortId(0), &mut pool).unwrap();
            let error = crate::build::IcmpError::TooBig(1400);
            let mut told = crate::build::icmp_error(&cause, router.source, error, &mut pool).unwrap();
            assert!(shift_quoted_seq(&mut told, 7));
            assert!(checksum::verify_l4(&told));
            let quoted = told.transport()[8..].to_vec();
            let moved = FIELDS.seq.wrapping_add(7).to_be_bytes();
            assert!(quoted.windows(4).any(|bytes| bytes == moved), "{quoted:?}");
        }
        let mut segment = packet(&tcp(Ends::ipv4(1, 2), FIELDS, &[], b""), PortId(0), &mut pool).unwrap();
        assert!(!shift_quoted_seq(&mut segment, 7), "it is no error");
    }

    #[test]
    fn a_window_is_told_in_other_units_and_never_more_than_it_was() {
        let mut pool = Pool::default();
        for (window, by, told) in
            [(9, 3, 72), (9, -3, 1), (7, -3, 0), (0x8000, 1, u16::MAX), (5, 0, 5), (1, 40, u16::MAX)]
        {
            let frame = tcp(Ends::ipv6(1, 2), TcpFields { window, ..FIELDS }, &[], b"");
            let mut segment = packet(&frame, PortId(0), &mut pool).unwrap();
            assert!(scale_window(&mut segment, by));
            assert_eq!(segment.tcp().map(|tcp| tcp.window), Some(told), "{window} by {by}");
            assert!(checksum::verify_l4(&segment));
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
