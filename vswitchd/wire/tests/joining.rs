//! Segments that are joined: which, which not, and that cutting gives the same frames again.

use weir_wire::buffer::PoolLimits;
use weir_wire::build::{self, Ends, tagged};
use weir_wire::checksum::{make_partial, sum};
use weir_wire::join::{Joined, join};
use weir_wire::numbers::*;
use weir_wire::segment::complete;
use weir_wire::{
    Capabilities, Checksum, Nowhere, Offload, Origin, Packet, Pool, PortId, Rest, Segmentation, TcpFields,
};

const TSO: Capabilities = Capabilities { checksum: true, tso4: true, tso6: true, ecn: false, uso: false };
const STAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];
const MTU: u32 = 1500;

/// A segment as a sender makes it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    ends: Ends,
    port: u16,
    seq: u32,
    len: usize,
    flags: u8,
    ack: u32,
    window: u16,
    options: &'static [u8],
    id: u16,
    may_fragment: bool,
    tos: u8,
    ttl: u8,
    vid: Option<u16>,
}

const FIRST: Segment = Segment {
    ends: Ends::ipv4(1, 2),
    port: 5000,
    seq: u32::MAX - 3000,
    len: 1448,
    flags: TCP_ACK,
    ack: 77,
    window: 500,
    options: &STAMP,
    id: 65_530,
    may_fragment: false,
    tos: 0,
    ttl: 64,
    vid: None,
};

impl Segment {
    fn next(self) -> Segment {
        Segment { seq: self.seq.wrapping_add(self.len as u32), id: self.id.wrapping_add(1), ..self }
    }

    fn frame(&self) -> Vec<u8> {
        let Segment { port: source_port, seq, flags, ack, window, .. } = *self;
        let fields = TcpFields { source_port, destination_port: 80, seq, ack, flags, window };
        let data: Vec<u8> =
            (0..self.len as u32).map(|n| (n.wrapping_add(seq).wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
        let mut frame = build::tcp(self.ends, fields, self.options, &data);
        if self.ends.source.is_ipv4() {
            frame[15] = self.tos;
            frame[18..20].copy_from_slice(&self.id.to_be_bytes());
            frame[20] = if self.may_fragment { 0 } else { 0x40 };
            frame[22] = self.ttl;
            frame[24..26].fill(0);
            let checksum = !sum(&frame[14..34]).fold();
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        } else {
            frame[14] |= self.tos >> 4;
            frame[15] |= self.tos << 4;
            frame[21] = self.ttl;
        }
        self.vid.map_or(frame.clone(), |vid| tagged(&frame, vid, 3))
    }

    fn packet(&self, pool: &mut Pool) -> Packet {
        packet(&self.frame(), pool)
    }
}

/// A packet of a frame, with a hash as the guard gives it: one for both ends of a connection.
fn packet(frame: &[u8], pool: &mut Pool) -> Packet {
    let Some(mut packet) = build::packet(frame, PortId(1), pool) else {
        unreachable!("a frame of ours parses: {frame:x?}")
    };
    packet.hash = packet.tcp().map_or(9, |tcp| u64::from(tcp.source_port) | 1 << 40);
    packet
}

fn frames(packets: &[Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| packet.bytes().to_vec()).collect()
}

/// What leaves by a port that finishes everything itself.
fn cut(packets: Vec<Packet>, pool: &mut Pool) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for packet in packets {
        assert_eq!(complete(packet, Capabilities::default(), MTU, pool, &mut out), Ok(()));
    }
    let cut = frames(&out);
    out.into_iter().for_each(|packet| pool.give(packet.buffer));
    cut
}

fn give_all(packets: Vec<Packet>, pool: &mut Pool) {
    packets.into_iter().for_each(|packet| pool.give(packet.buffer));
    assert_eq!(pool.outstanding(), 0);
}

/// A train of `count` segments, the last with these flags and so many bytes.
fn train(first: Segment, count: usize, last: (u8, usize)) -> Vec<Segment> {
    let mut all: Vec<Segment> =
        std::iter::successors(Some(first), |segment| Some(segment.next())).take(count).collect();
    if let Some(segment) = all.last_mut() {
        (segment.flags, segment.len) = last;
    }
    all
}

#[test]
fn a_train_becomes_one_super_segment_and_cutting_gives_the_same_frames() {
    let mut pool = Pool::default();
    for (ends, vid) in
        [(Ends::ipv4(1, 2), None), (Ends::ipv6(1, 2), None), (Ends::ipv4(1, 2), Some(7)), (Ends::ipv6(1, 2), Some(7))]
    {
        for (flags, len) in [(TCP_ACK, 1428), (TCP_ACK | TCP_PSH, 9), (TCP_ACK | TCP_PSH | TCP_FIN, 1428)] {
            let sent = train(Segment { ends, vid, len: 1428, ..FIRST }, 10, (flags, len));
            let mut packets: Vec<Packet> = sent.iter().map(|segment| segment.packet(&mut pool)).collect();
            let before = frames(&packets);
            let joined = join(&mut packets, TSO, MTU, &Nowhere, &mut pool);
            assert_eq!(joined, Joined { frames: 9, supers: 1 });
            let [one] = packets.as_mut_slice() else { panic!("{} packets", packets.len()) };
            let kind = |size| {
                if ends.source.is_ipv4() {
                    Segmentation::Tcp4 { size, ecn: false }
                } else {
                    Segmentation::Tcp6 { size, ecn: false }
                }
            };
            assert_eq!(one.offload.segmentation, kind(1428));
            assert_eq!(one.offload.checksum, Checksum::Partial { start: one.headers.l4, offset: 16 });
            assert_eq!(one.payload().len(), 9 * 1428 + len);
            assert_eq!(one.tcp().unwrap().flags, flags);
            let found = one.headers;
            one.parse().unwrap();
            assert_eq!(one.headers, found);
            assert!(TSO.accepts(one.offload));
            assert_eq!(cut(packets, &mut pool), before);
            assert_eq!(pool.outstanding(), 0);
        }
    }
}

/// What differs in the second of two segments so that it is not joined to the first.
fn differences() -> Vec<(&'static str, Segment)> {
    let next = FIRST.next();
    const OTHER_STAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 8, 0, 0, 0, 9];
    let mac = Ends { source_mac: weir_wire::MacAddr([2, 0, 0, 0, 0, 9]), ..next.ends };
    vec![
        ("a gap", Segment { seq: next.seq.wrapping_add(1), ..next }),
        ("an overlap", Segment { seq: next.seq.wrapping_sub(1), ..next }),
        ("a repetition", Segment { seq: FIRST.seq, ..next }),
        ("longer than the first", Segment { len: 1449, options: &[], ..next }),
        ("no data", Segment { len: 0, ..next }),
        ("another acknowledgement", Segment { ack: 78, ..next }),
        ("another window", Segment { window: 501, ..next }),
        ("another timestamp", Segment { options: &OTHER_STAMP, ..next }),
        ("no options", Segment { options: &[], ..next }),
        ("a SYN", Segment { flags: TCP_ACK | TCP_SYN, ..next }),
        ("a reset", Segment { flags: TCP_ACK | TCP_RST, ..next }),
        ("urgent data", Segment { flags: TCP_ACK | TCP_URG, ..next }),
        ("an echo of congestion", Segment { flags: TCP_ACK | TCP_ECE, ..next }),
        ("a reduced window", Segment { flags: TCP_ACK | TCP_CWR, ..next }),
        ("no acknowledgement", Segment { flags: 0, ..next }),
        ("congestion experienced", Segment { tos: 3, ..next }),
        ("another service", Segment { tos: 0x28, ..next }),
        ("another TTL", Segment { ttl: 63, ..next }),
        ("a gap of identification", Segment { id: next.id.wrapping_add(1), ..next }),
        ("may be fragmented", Segment { may_fragment: true, ..next }),
        ("another MAC", Segment { ends: mac, ..next }),
        ("another VLAN", Segment { vid: Some(8), ..next }),
        ("another host", Segment { ends: Ends::ipv4(1, 3), ..next }),
        ("another port", Segment { port: 5001, ..next }),
    ]
}

#[test]
fn whatever_differs_is_not_joined_and_stays_as_it_is() {
    let mut pool = Pool::default();
    for (what, second) in differences() {
        let mut packets = vec![FIRST.packet(&mut pool), second.packet(&mut pool)];
        // The guard never gives the same hash to two connections; here it does, so that the names are held together.
        packets.iter_mut().for_each(|packet| packet.hash = 5);
        let before = frames(&packets);
        assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool), Joined::default(), "{what}");
        assert_eq!(frames(&packets), before, "{what}");
        assert!(packets.iter().all(|packet| packet.offload.segmentation == Segmentation::None), "{what}");
        give_all(packets, &mut pool);
    }
    for (what, changed) in
        [("another hop limit", Segment { ttl: 63, ..FIRST }), ("another class", Segment { tos: 3, ..FIRST })]
    {
        let six = |segment: Segment| Segment { ends: Ends::ipv6(1, 2), len: 1428, ..segment };
        let mut packets = vec![six(FIRST).packet(&mut pool), six(changed).next().packet(&mut pool)];
        assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool).frames, 0, "{what}");
        give_all(packets, &mut pool);
    }
}

#[test]
fn what_ends_a_super_segment_lets_nothing_follow() {
    let mut pool = Pool::default();
    for (what, flags, len) in
        [("PSH", TCP_ACK | TCP_PSH, 1448), ("FIN", TCP_ACK | TCP_FIN, 1448), ("a short one", TCP_ACK, 1447)]
    {
        let second = Segment { flags, len, ..FIRST.next() };
        let third = Segment { flags: TCP_ACK, len: 1448, ..second.next() };
        let mut packets: Vec<Packet> =
            [FIRST, second, third, third.next()].iter().map(|segment| segment.packet(&mut pool)).collect();
        let before = frames(&packets);
        assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool), Joined { frames: 2, supers: 2 }, "{what}");
        assert_eq!(packets.len(), 2);
        assert_eq!(cut(packets, &mut pool), before, "{what}");
        // The first of all cannot be followed either.
        if flags != TCP_ACK {
            let mut packets = vec![Segment { flags, ..FIRST }.packet(&mut pool), FIRST.next().packet(&mut pool)];
            assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool).frames, 0, "{what}");
            give_all(packets, &mut pool);
        }
    }
}

#[test]
fn one_identification_for_all_is_no_obstacle_where_it_says_nothing() {
    let mut pool = Pool::default();
    for (may_fragment, ids, joined) in [
        (false, [0, 0, 0], 2),
        (true, [0, 0, 0], 0),
        (true, [65_535, 0, 1], 2),
        (false, [4, 4, 5], 1),
        (false, [4, 5, 5], 1),
        (false, [4, 5, 4], 1),
    ] {
        let sent = train(Segment { may_fragment, ..FIRST }, 3, (TCP_ACK, 1448));
        let sent: Vec<Segment> = sent.iter().zip(ids).map(|(segment, id)| Segment { id, ..*segment }).collect();
        let mut packets: Vec<Packet> = sent.iter().map(|segment| segment.packet(&mut pool)).collect();
        assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool).frames, joined, "{ids:?} {may_fragment}");
        give_all(packets, &mut pool);
    }
}

#[test]
fn a_wrong_checksum_is_not_hidden() {
    let mut pool = Pool::default();
    for broken in 0..3 {
        let sent = train(FIRST, 3, (TCP_ACK, 1448));
        let mut packets: Vec<Packet> = sent.iter().map(|segment| segment.packet(&mut pool)).collect();
        packets[broken].buffer.bytes_mut()[700] ^= 1;
        let before = frames(&packets);
        let joined = join(&mut packets, TSO, MTU, &Nowhere, &mut pool).frames;
        assert_eq!(joined, [1, 0, 1][broken]);
        let after: Vec<Vec<u8>> = packets
            .into_iter()
            .flat_map(|packet| match packet.offload.segmentation {
                Segmentation::None => {
                    let bytes = packet.bytes().to_vec();
                    pool.give(packet.buffer);
                    vec![bytes]
                }
                _ => cut(vec![packet], &mut pool),
            })
            .collect();
        assert_eq!(after, before);
    }
    // Known good, whoever says so, is not looked at again.
    for marked in [true, false] {
        let mut packets = vec![FIRST.packet(&mut pool), FIRST.next().packet(&mut pool)];
        let before = frames(&packets);
        for packet in &mut packets {
            if marked {
                assert!(make_partial(packet));
            } else {
                packet.offload.checksum = Checksum::Verified;
            }
        }
        assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool).frames, 1);
        assert_eq!(cut(packets, &mut pool), before);
    }
}

#[test]
fn what_the_port_cannot_take_is_not_joined() {
    let mut pool = Pool::default();
    let (v4, v6) = (FIRST, Segment { ends: Ends::ipv6(1, 2), len: 1428, ..FIRST });
    for (first, capabilities, mtu, joined) in [
        (v4, Capabilities { tso6: false, ..TSO }, MTU, 1),
        (v4, Capabilities { tso4: false, ..TSO }, MTU, 0),
        (v6, Capabilities { tso4: false, ..TSO }, MTU, 1),
        (v6, Capabilities { tso6: false, ..TSO }, MTU, 0),
        (v4, TSO, 1499, 0),
    ] {
        let mut packets = vec![first.packet(&mut pool), first.next().packet(&mut pool)];
        assert_eq!(join(&mut packets, capabilities, mtu, &Nowhere, &mut pool).frames, joined);
        give_all(packets, &mut pool);
    }
}

#[test]
fn super_segments_have_limits_and_without_a_buffer_there_are_none() {
    let mut pool = Pool::default();
    let long = train(FIRST, 100, (TCP_ACK, 1448));
    let mut packets: Vec<Packet> = long.iter().map(|segment| segment.packet(&mut pool)).collect();
    let before = frames(&packets);
    assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool), Joined { frames: 97, supers: 3 });
    assert!(packets.iter().all(|packet| packet.network().len() <= 65535));
    assert_eq!(cut(packets, &mut pool), before);

    let short = train(Segment { len: 8, ..FIRST }, 600, (TCP_ACK, 8));
    let mut packets: Vec<Packet> = short.iter().map(|segment| segment.packet(&mut pool)).collect();
    let before = frames(&packets);
    assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool), Joined { frames: 598, supers: 2 });
    assert_eq!(cut(packets, &mut pool), before);

    let mut pool = Pool::new(PoolLimits { frames: 10, supers: 0 });
    let mut packets: Vec<Packet> = long[..4].iter().map(|segment| segment.packet(&mut pool)).collect();
    let before = frames(&packets);
    assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool), Joined::default());
    assert_eq!(frames(&packets), before);
    give_all(packets, &mut pool);
    // Where the frame's own buffer has room, no other is wanted.
    let mut packets: Vec<Packet> = short[..10].iter().map(|segment| segment.packet(&mut pool)).collect();
    assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool), Joined { frames: 9, supers: 1 });
    give_all(packets, &mut pool);
}

/// Keeps what stands behind the first bytes of frames.
struct Kept(Vec<Vec<u8>>);

impl Kept {
    fn leave(&mut self, packet: &mut Packet, at: usize) {
        let rest = packet.bytes()[at..].to_vec();
        packet.rest = Rest { len: rest.len() as u32, slot: self.0.len() as u32 };
        packet.buffer.set_len(at);
        self.0.push(rest);
    }
}

impl Origin for Kept {
    fn fill(&self, packet: &mut Packet, pool: &mut Pool) -> bool {
        let rest = &self.0[packet.rest.slot as usize];
        if packet.buffer.tail().len() < rest.len() {
            let Some(mut larger) = pool.take(packet.len()) else { return false };
            larger.fill(packet.bytes());
            pool.give(std::mem::replace(&mut packet.buffer, larger));
        }
        packet.buffer.tail()[..rest.len()].copy_from_slice(rest);
        packet.buffer.extend(rest.len());
        packet.rest = Rest::default();
        true
    }

    fn copy_rest(&self, packet: &Packet, to: &mut [u8]) -> bool {
        to.copy_from_slice(&self.0[packet.rest.slot as usize]);
        true
    }
}

#[test]
fn what_was_left_where_it_came_from_is_copied_once() {
    let mut pool = Pool::default();
    let sent = train(FIRST, 5, (TCP_ACK | TCP_PSH, 1300));
    let mut packets: Vec<Packet> = sent.iter().map(|segment| segment.packet(&mut pool)).collect();
    let before = frames(&packets);
    let mut kept = Kept(Vec::new());
    packets.iter_mut().for_each(|packet| kept.leave(packet, 128));
    assert_eq!(join(&mut packets, TSO, MTU, &Nowhere, &mut pool), Joined::default(), "nothing is known of the rest");
    assert!(packets.iter().all(|packet| packet.bytes().len() == 128 && packet.offload == Offload::default()));
    assert_eq!(join(&mut packets, TSO, MTU, &kept, &mut pool), Joined { frames: 4, supers: 1 });
    assert_eq!(cut(packets, &mut pool), before);
    assert_eq!(pool.outstanding(), 0);
}

/// xorshift64*.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// Bursts of several connections in turns, with whatever may come between: joined and cut again they are what they were,
/// each connection in its order.
#[test]
fn any_burst_that_is_joined_and_cut_again_is_what_it_was() {
    let (mut pool, mut total, mut most) = (Pool::default(), Joined::default(), 0);
    for seed in 1..400u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let connections = 1 + chance.below(24);
        let mut state: Vec<Segment> = (0..connections)
            .map(|n| Segment {
                ends: if n % 3 == 2 { Ends::ipv6(1, 2) } else { Ends::ipv4(1, 2) },
                port: 1000 + n as u16 * 7,
                seq: (chance.below(1 << 31) as u32).wrapping_mul(3),
                len: 1 + chance.below(if n % 2 == 0 { 1428 } else { 40 }),
                may_fragment: chance.below(4) == 0,
                ..FIRST
            })
            .collect();
        let changed = differences();
        let mut packets = Vec::new();
        for _ in 0..1 + chance.below(120) {
            let at = chance.below(connections);
            let now = state[at];
            let mut sent = now;
            match chance.below(12) {
                0 => sent.flags |= TCP_PSH,
                1 => sent.len = 1 + chance.below(now.len),
                2 => {
                    let other = changed[chance.below(changed.len())].1;
                    sent = Segment {
                        ends: now.ends,
                        port: now.port,
                        vid: None,
                        seq: now.seq,
                        id: now.id,
                        len: now.len,
                        ..other
                    };
                }
                3 => sent.seq = sent.seq.wrapping_add(chance.below(3) as u32),
                4 => sent.ack += chance.below(2) as u32,
                _ => {}
            }
            let mut made = sent.packet(&mut pool);
            if chance.below(30) == 0 {
                made.hash = 0;
            }
            packets.push(made);
            state[at] = Segment { len: now.len, flags: TCP_ACK, ..sent.next() };
            if chance.below(20) == 0 {
                packets.push(packet(&build::udp(Ends::ipv4(1, 2), (9, 80), b"datagram"), &mut pool));
            }
        }
        let before = frames(&packets);
        let joined = join(&mut packets, TSO, MTU, &Nowhere, &mut pool);
        assert_eq!(packets.len() + joined.frames as usize, before.len(), "seed {seed}");
        total = Joined { frames: total.frames + joined.frames, supers: total.supers + joined.supers };
        most = most.max(joined.supers);
        let after = cut(packets, &mut pool);
        assert_eq!(pool.outstanding(), 0, "seed {seed}");
        let of = |frames: &[Vec<u8>], key: &[u8]| -> Vec<Vec<u8>> {
            frames.iter().filter(|frame| key_of(frame) == key).cloned().collect()
        };
        for key in before.iter().map(|frame| key_of(frame)) {
            assert!(of(&after, key) == of(&before, key), "seed {seed}");
        }
    }
    assert!(total.frames > 3000 && total.supers > 1000 && most > 5, "{total:?} {most}");
}

/// Where the ports stand.
fn key_of(frame: &[u8]) -> &[u8] {
    if frame[12] == 8 { &frame[34..38] } else { &frame[54..58] }
}
