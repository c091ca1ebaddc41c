//! Any frame with any marks: parsed, its checksums touched, completed for ports that take nothing.
//!
//! An input is six bytes of marks and a frame: checksum (0 complete, 1 verified, 2 partial), start, offset,
//! segmentation (0 none, 1 TCP/IPv4, 2 TCP/IPv6, 3 UDP), segment size (two bytes, big endian).

use weir_wire::buffer::{PoolLimits, SUPER_MAX};
use weir_wire::{Capabilities, Checksum, Offload, Packet, Pool, PortId, Segmentation, build, checksum, segment};

use super::Target;

/// The target.
pub const TARGET: Target = Target { name: "packet", run, longest: 8192, one_in: 1 };

fn run(input: &[u8]) {
    let Some((marks, frame)) = input.split_first_chunk::<6>() else { return };
    let offload = offload(*marks);
    let mut pool = Pool::new(PoolLimits { frames: 600, supers: 8 });
    let Some(buffer) = pool.copy(frame) else {
        assert!(frame.len() > SUPER_MAX);
        return;
    };
    let mut packet = Packet::new(buffer, PortId(1), offload);
    if packet.parse().is_err() {
        pool.give(packet.buffer);
        assert_eq!(pool.outstanding(), 0);
        return;
    }
    headers_are_in_order(&packet);
    if matches!(offload.checksum, Checksum::Partial { .. }) {
        // The field as an honest sender leaves it, so that what is computed from it can be held against the frame.
        checksum::make_partial(&mut packet);
    }
    tags_come_and_go(&packet, &mut pool);
    // Asked of packets of every kind, whatever they answer.
    let valid = checksum::verify_l4(&packet);
    for why in [build::Unreachable::Port, build::Unreachable::Prohibited] {
        if let Some(answer) = build::unreachable(&packet, why, &mut pool) {
            pool.give(answer.buffer);
        }
    }
    completed(packet, valid, &mut pool);
    assert_eq!(pool.outstanding(), 0, "every buffer is back");
}

fn offload([sum, start, offset, kind, high, low]: [u8; 6]) -> Offload {
    let size = u16::from_be_bytes([high, low]);
    let checksum = match sum % 3 {
        0 => Checksum::Complete,
        1 => Checksum::Verified,
        _ => Checksum::Partial { start: start.into(), offset: offset.into() },
    };
    let segmentation = match kind % 8 {
        1 => Segmentation::Tcp4 { size, ecn: false },
        2 => Segmentation::Tcp6 { size, ecn: false },
        3 => Segmentation::Udp { size },
        5 => Segmentation::Tcp4 { size, ecn: true },
        6 => Segmentation::Tcp6 { size, ecn: true },
        _ => Segmentation::None,
    };
    Offload { checksum, segmentation }
}

fn headers_are_in_order(packet: &Packet) {
    let headers = &packet.headers;
    let [l3, l4, payload] = [headers.l3, headers.l4, headers.payload].map(u32::from);
    assert!(headers.end as usize <= packet.len(), "{headers:?} in {} bytes", packet.len());
    assert!(payload <= headers.end, "{headers:?}");
    assert!(l3 <= payload, "{headers:?}");
    assert!(l4 == 0 || (l3 <= l4 && l4 <= payload), "{headers:?}");
    assert!(packet.payload().len() <= packet.network().len(), "{headers:?}");
}

/// A tag that is put on and taken off leaves the frame and what was found in it as they were.
fn tags_come_and_go(packet: &Packet, pool: &mut Pool) {
    let Some(mut copy) = packet.duplicate(pool) else { return };
    let tag = weir_wire::Tag { vid: weir_wire::Vid(7), pcp_dei: 0 };
    if build::push_tag(&mut copy, tag) {
        assert!(build::pop_tag(&mut copy));
        assert_eq!(copy.bytes(), packet.bytes());
        assert_eq!(copy.headers, packet.headers);
        assert_eq!(copy.offload, packet.offload);
    }
    pool.give(copy.buffer);
}

/// What a port that takes nothing is given: frames within the MTU that parse and whose checksums are right, where
/// they were for us to compute.
fn completed(packet: Packet, valid: bool, pool: &mut Pool) {
    let (marks, mtu) = (packet.offload, 9000);
    let mut frames = Vec::new();
    let result = segment::complete(packet, Capabilities::default(), mtu, pool, &mut frames);
    assert!(result.is_ok() || frames.is_empty(), "all or nothing");
    for mut frame in frames {
        assert_eq!(frame.offload.segmentation, Segmentation::None);
        assert!(!matches!(frame.offload.checksum, Checksum::Partial { .. }));
        frame.offload.checksum = Checksum::Complete;
        assert_eq!(frame.parse(), Ok(()), "cut from {marks:?}: {:02x?}", frame.bytes());
        let right_before = valid && marks == Offload::default();
        if right_before || matches!(marks.checksum, Checksum::Partial { .. }) {
            assert!(checksum::verify_l4(&frame), "cut from {marks:?}: {:02x?}", frame.bytes());
        }
        pool.give(frame.buffer);
    }
}
