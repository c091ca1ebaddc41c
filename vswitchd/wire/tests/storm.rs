//! Storms of random, mutated and cut-off frames against everything that reads or changes a packet: nothing panics, no
//! buffer is lost, what is found lies within the frame, and etherparse reads the same headers.

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use weir_wire::build::{self, ArpKind, EchoKind, Ends, Toward, Unreachable};
use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP, TCP_ACK, TCP_SYN};
use weir_wire::{
    Capabilities, Checksum, Fragment, L3, MacAddr, Offload, Packet, Pool, PortId, Segmentation, Tag, TcpFields, Vid,
    checksum, segment,
};

/// xorshift64*: enough chance for a storm, and the same on each machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 56) as u8).collect()
    }
}

/// Valid frames of every kind that is told apart.
fn seeds() -> Vec<Vec<u8>> {
    let fields = TcpFields { source_port: 1, destination_port: 80, seq: 5, ack: 6, flags: TCP_ACK, window: 7 };
    let syn = TcpFields { flags: TCP_SYN, ..fields };
    let host = |n: u8| (MacAddr([2, 0, 0, 0, 0, n]), [10, 0, 0, n].into());
    let mut all = vec![build::arp(ArpKind::Request, host(1), host(2)), build::rarp(host(1).0), vec![0; 14]];
    for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
        all.push(build::tcp(ends, fields, &[], b"GET / HTTP/1.1\r\n\r\n"));
        all.push(build::tcp(ends, syn, &[2, 4, 5, 0xb4, 1, 3, 3, 7], b""));
        all.push(build::udp(ends, (5353, 53), b"question"));
        all.push(build::icmp_echo(ends, EchoKind::Request, 1, 2, b"ping"));
        all.push(build::ip(ends, 47, &[b"\0\0\x08\0inner"]));
        all.extend(build::fragments(&build::udp(ends, (1, 2), &[7; 100]), 96, 9));
    }
    let udp = build::udp(Ends::ipv6(1, 2), (1, 2), b"options");
    let mut extended = [&udp[..54], &[60, 0, 1, 4, 0, 0, 0, 0], &[17, 0, 1, 4, 0, 0, 0, 0], &udp[54..]].concat();
    extended[19] += 16;
    extended[20] = 0;
    all.push(extended);
    let tagged: Vec<Vec<u8>> = all.iter().map(|frame| build::tagged(&build::tagged(frame, 7, 0), 8, 3)).collect();
    all.extend(tagged);
    all
}

/// Marks that fit some frames, and marks that fit none.
fn random_offload(chance: &mut Chance) -> Offload {
    let size = [0, 1, 8, 100, 1460, 65535][chance.below(6)];
    let start = [14, 34, 42, 54, 62, 65535][chance.below(6)];
    let offset = [6, 16, 2, 65535][chance.below(4)];
    Offload {
        checksum: [Checksum::Complete, Checksum::Verified, Checksum::Partial { start, offset }][chance.below(3)],
        segmentation: [
            Segmentation::None,
            Segmentation::Tcp4 { size, ecn: true },
            Segmentation::Tcp6 { size, ecn: false },
            Segmentation::Udp { size },
            Segmentation::Fragments { size, id: 77 },
        ][chance.below(5)],
    }
}

/// What must hold of any frame that was taken.
fn check_found(packet: &Packet) {
    let found = packet.headers;
    let end = found.end as usize;
    assert!(end <= packet.len() && usize::from(found.payload) <= end, "{found:?} of {}", packet.len());
    assert!(found.l3 >= 14 && found.l3 <= found.payload);
    assert!(found.l4 == 0 || (found.l3 < found.l4 && found.l4 <= found.payload));
    assert_eq!(found.l4 != 0, packet.ipv4().or(packet.ipv6().map(|_| &[0; 20])).is_some() && packet.has_transport());
    match (found.protocol, found.l4) {
        (PROTOCOL_TCP, 1..) => assert!(packet.tcp().is_some() && found.payload - found.l4 >= 20),
        (PROTOCOL_UDP, 1..) => assert!(packet.ports().is_some() && found.payload - found.l4 == 8),
        _ => {}
    }
    assert!(packet.tcp_options().len() <= 40);
    assert!(found.fragment == Fragment::No || packet.fragment_fields().is_some());
}

/// Everything that may be done with a parsed packet.
fn use_everything(mut packet: Packet, chance: &mut Chance, pool: &mut Pool) {
    let before = pool.outstanding();
    checksum::verify_l4(&packet);
    checksum::complete_unmarked(&mut packet);
    for toward in [Toward::Sender, Toward::Receiver] {
        let reply = build::reset_numbers(&packet, toward).and_then(|n| build::reset(&packet, toward, n, pool));
        reply.into_iter().for_each(|reply| pool.give(reply.buffer));
    }
    let reply = build::unreachable(&packet, Unreachable::Prohibited, pool);
    reply.into_iter().for_each(|reply| pool.give(reply.buffer));
    for _ in 0..chance.below(4) {
        match chance.below(3) {
            0 => build::push_tag(&mut packet, Tag { vid: Vid(chance.below(4095) as u16), pcp_dei: 5 }),
            1 => build::pop_tag(&mut packet),
            _ => build::set_vid(&mut packet, Vid(chance.below(4095) as u16)),
        };
    }
    check_found(&packet);
    let found = packet.headers;
    // Only more tags than are read can make a packet of ours unreadable.
    if packet.parse().is_ok() {
        assert_eq!(packet.headers, found);
    } else {
        packet.headers = found;
    }
    let bits = chance.next();
    let capabilities = Capabilities {
        checksum: bits & 1 != 0,
        tso4: bits & 2 != 0,
        tso6: bits & 4 != 0,
        ecn: bits & 8 != 0,
        uso: bits & 16 != 0,
    };
    let mut out = Vec::new();
    let mtu = [68, 1280, 1500, 65535][chance.below(4)];
    let result = segment::complete(packet, capabilities, mtu, pool, &mut out);
    assert_eq!(result.is_ok(), !out.is_empty());
    for made in out {
        check_found(&made);
        assert!(capabilities.accepts(made.offload));
        pool.give(made.buffer);
    }
    assert_eq!(pool.outstanding(), before - 1);
}

/// Parses and uses one frame; returns how many (0 or 1) were taken.
fn feed(frame: &[u8], offload: Offload, chance: &mut Chance, pool: &mut Pool) -> usize {
    let buffer = pool.copy(frame);
    assert!(buffer.is_some(), "the pool holds any frame of the storm");
    let Some(buffer) = buffer else { return 0 };
    let mut packet = Packet::new(buffer, PortId(1), offload);
    match packet.parse() {
        Ok(()) => {
            check_found(&packet);
            if offload == Offload::default() {
                agrees_with_etherparse(&packet);
            }
            use_everything(packet, chance, pool);
            1
        }
        Err(_) => {
            pool.give(packet.buffer);
            0
        }
    }
}

/// What we take, etherparse reads alike.
fn agrees_with_etherparse(packet: &Packet) {
    let found = packet.headers;
    // etherparse takes an IPv6 payload length of zero for "up to the end"; to us and to Linux nothing follows.
    let states_nothing = packet.ipv6().is_some_and(|header| header[4..6] == [0, 0]);
    if !matches!(found.l3_kind, L3::Ipv4 | L3::Ipv6) || states_nothing {
        return;
    }
    // It checks more of what stands behind later fragments and unknown protocols, where we claim nothing.
    let Ok(read) = SlicedPacket::from_ethernet(packet.bytes()) else { return };
    let fragmented = found.fragment != Fragment::No;
    assert_eq!(read.is_ip_payload_fragmented(), fragmented, "{found:?}");
    let payload = match &read.net {
        Some(NetSlice::Ipv4(v4)) => v4.payload(),
        Some(NetSlice::Ipv6(v6)) => v6.payload(),
        other => return assert!(other.is_some(), "we found IP, etherparse nothing"),
    };
    let outermost = read.link_exts.iter().find_map(|ext| match ext {
        LinkExtSlice::Vlan(vlan) => Some(vlan.vlan_identifier().value()),
        _ => None,
    });
    assert_eq!(outermost, found.tag.map(|tag| tag.vid.0));
    let transport = if found.fragment == Fragment::Later { found.payload } else { found.l4 };
    let ours = &packet.bytes()[usize::from(transport)..found.end as usize];
    if !is_extension(payload.ip_number.0) && !is_extension(found.protocol) {
        assert_eq!((payload.ip_number.0, payload.payload), (found.protocol, ours));
    }
    match &read.transport {
        Some(TransportSlice::Tcp(tcp)) => assert_eq!((tcp.payload(), found.tcp_flags), (packet.payload(), flags(tcp))),
        // Bytes behind a short UDP length are payload for us alone.
        Some(TransportSlice::Udp(udp)) => assert!(packet.payload().starts_with(udp.payload())),
        _ => {}
    }
}

/// Extension headers where one reader stops and the other does not: repeated ones, AH, and behind later fragments.
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60)
}

fn flags(tcp: &etherparse::TcpSlice<'_>) -> u8 {
    tcp.slice()[13]
}

/// Repairs the IPv4 header checksum so that a mutation gets past it.
fn repair_ipv4(frame: &mut [u8]) {
    let Some(at) = (14..=22).step_by(4).find(|&at| frame.get(at - 2..at) == Some(&[8, 0])) else { return };
    let Some(first) = frame.get(at) else { return };
    let length = usize::from(first & 15) * 4;
    if let Some(header) = frame.get_mut(at..at + length)
        && header.len() >= 20
    {
        header[10..12].fill(0);
        let sum = !checksum::sum(header).fold();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

#[test]
fn mutated_frames_are_read_within_their_bounds() {
    let mut pool = Pool::default();
    let mut chance = Chance(0x5eed_0001);
    let seeds = seeds();
    let mut taken = 0;
    for _ in 0..200_000 {
        let mut frame = seeds[chance.below(seeds.len())].clone();
        for _ in 0..chance.below(5) {
            let at = chance.below(frame.len().min(90));
            frame[at] = match chance.below(3) {
                0 => frame[at] ^ (1 << chance.below(8)),
                1 => [0, 1, 0xff, 0x80, 44, 43, 60, 0x45][chance.below(8)],
                _ => chance.next() as u8,
            };
        }
        match chance.below(4) {
            0 => frame.truncate(chance.below(frame.len() + 1)),
            1 => frame.extend(chance.bytes(20)),
            _ => {}
        }
        repair_ipv4(&mut frame);
        let offload = if chance.below(2) == 0 { Offload::default() } else { random_offload(&mut chance) };
        taken += feed(&frame, offload, &mut chance, &mut pool);
    }
    assert!(taken > 50_000, "only {taken} frames got past the parser");
    assert_eq!(pool.outstanding(), 0);
}

#[test]
fn random_bytes_behind_a_known_ether_type_are_read_within_their_bounds() {
    let mut pool = Pool::default();
    let mut chance = Chance(0x5eed_0002);
    let types = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0], [0x88, 0xa8], [0, 40]];
    let mut taken = 0;
    for _ in 0..200_000 {
        let length = chance.below(120);
        let mut frame = chance.bytes(12 + 2 + length);
        frame[12..14].copy_from_slice(&types[chance.below(types.len())]);
        if let Some(version) = frame.get_mut(14) {
            *version = [0x45, 0x60, 0x46, *version][chance.below(4)];
        }
        repair_ipv4(&mut frame);
        let offload = random_offload(&mut chance);
        taken += feed(&frame, offload, &mut chance, &mut pool);
    }
    assert!(taken > 10_000, "only {taken} frames got past the parser");
    assert_eq!(pool.outstanding(), 0);
}

#[test]
fn every_truncation_of_every_kind_is_read_within_its_bounds() {
    let mut pool = Pool::default();
    let mut chance = Chance(0x5eed_0003);
    for frame in seeds() {
        for length in 0..=frame.len() {
            feed(&frame[..length], Offload::default(), &mut chance, &mut pool);
            let offload = random_offload(&mut chance);
            feed(&frame[..length], offload, &mut chance, &mut pool);
        }
    }
    assert_eq!(pool.outstanding(), 0);
}

#[test]
fn valid_frames_of_every_kind_are_taken() {
    let mut pool = Pool::default();
    for frame in seeds() {
        let packet = build::packet(&frame, PortId(1), &mut pool).unwrap_or_else(|| panic!("refused: {frame:x?}"));
        assert!(checksum::verify_l4(&packet));
        pool.give(packet.buffer);
    }
}
