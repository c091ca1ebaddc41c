//! Frames of conversations: Ethernet, IPv4 or IPv6, with right checksums.

use weir_filter::inspect::Direction;

pub const ASK: Direction = Direction::Original;
pub const ANSWER: Direction = Direction::Reply;

/// What is said, and by whom.
pub type Said = Vec<(Direction, Vec<u8>)>;

const SYN: u8 = 2;
const ACK: u8 = 16;

/// An Ethernet frame from the client or the server.
pub fn ethernet(way: Direction, kind: u16, packet: &[u8]) -> Vec<u8> {
    let (from, to) = if way == ASK { (1, 2) } else { (2, 1) };
    [&[2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from][..], &kind.to_be_bytes(), packet].concat()
}

fn addresses(way: Direction) -> ([u8; 4], [u8; 4]) {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    if way == ASK { (client, server) } else { (server, client) }
}

/// An IPv4 packet with options; `fragment` is flags and offset.
pub fn ipv4(way: Direction, protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let (from, to) = addresses(way);
    let header = 20 + options.len();
    let mut out = vec![0x40 | (header / 4) as u8, 16];
    out.extend(((header + payload.len()) as u16).to_be_bytes());
    out.extend([0x12, 0x34]);
    out.extend(fragment.to_be_bytes());
    out.extend([64, protocol, 0, 0]);
    out.extend(from);
    out.extend(to);
    out.extend(options);
    let sum = !weir_wire::checksum::sum(&out).fold();
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend(payload);
    ethernet(way, 0x0800, &out)
}

fn address6(way: Direction) -> ([u8; 16], [u8; 16]) {
    let host = |last: u8| {
        let mut address = [0; 16];
        (address[0], address[1], address[15]) = (0xfd, 0, last);
        address
    };
    if way == ASK { (host(1), host(2)) } else { (host(2), host(1)) }
}

/// An IPv6 packet; the checksum of its payload is put at a place.
pub fn ipv6(way: Direction, protocol: u8, sum_at: usize, mut payload: Vec<u8>) -> Vec<u8> {
    let (from, to) = address6(way);
    let length = payload.len() as u32;
    let pseudo = [&from[..], &to, &length.to_be_bytes(), &[0, 0, 0, protocol]].concat();
    let sum = !weir_wire::checksum::sum(&pseudo).and(weir_wire::checksum::sum(&payload)).fold();
    payload[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    let mut out = vec![0x60, 0, 0, 0];
    out.extend((length as u16).to_be_bytes());
    out.extend([protocol, 64]);
    out.extend(from);
    out.extend(to);
    out.extend(payload);
    ethernet(way, 0x86dd, &out)
}

/// With the checksum of IPv4 at a place.
fn summed(way: Direction, protocol: u8, sum_at: usize, mut payload: Vec<u8>) -> Vec<u8> {
    let (from, to) = addresses(way);
    let pseudo = weir_wire::checksum::pseudo_ipv4(from, to, protocol, payload.len() as u32);
    let sum = !pseudo.and(weir_wire::checksum::sum(&payload)).fold();
    payload[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    ipv4(way, protocol, 0x4000, &[], &payload)
}

/// A TCP segment without checksum.
pub fn tcp_segment(way: Direction, port: u16, numbers: (u32, u32), flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let (from, to) = if way == ASK { (40_000, port) } else { (port, 40_000) };
    let mut out = [from.to_be_bytes(), to.to_be_bytes()].concat();
    out.extend(numbers.0.to_be_bytes());
    out.extend(numbers.1.to_be_bytes());
    out.extend([((20 + options.len()) * 4) as u8, flags]);
    out.extend(5000u16.to_be_bytes());
    out.extend([0; 4]);
    out.extend(options);
    out.extend(data);
    out
}

/// A TCP segment in IPv4.
pub fn segment(way: Direction, port: u16, numbers: (u32, u32), flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    summed(way, 6, 16, tcp_segment(way, port, numbers, flags, options, data))
}

/// A datagram without checksum.
pub fn udp_datagram(way: Direction, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let (from, to) = if way == ASK { ports } else { (ports.1, ports.0) };
    let length = (8 + data.len()) as u16;
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length.to_be_bytes(), &[0, 0], data].concat()
}

/// Datagrams between a client's port and a server's.
pub fn udp_between(ports: (u16, u16), said: &[(Direction, Vec<u8>)]) -> Vec<Vec<u8>> {
    said.iter().map(|(way, bytes)| summed(*way, 17, 6, udp_datagram(*way, ports, bytes))).collect()
}

/// Datagrams to a server's port and back.
pub fn udp(port: u16, said: &[(Direction, Vec<u8>)]) -> Vec<Vec<u8>> {
    udp_between((40_000, port), said)
}

/// A whole connection to a server's port; each piece is acknowledged.
pub fn tcp(port: u16, said: &[(Direction, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut next = [1000u32, 5000];
    let options = [2, 4, 5, 0xb4, 3, 3, 7, 0];
    let mut frames = vec![
        segment(ASK, port, (next[0], 0), SYN, &options, b""),
        segment(ANSWER, port, (next[1], next[0] + 1), SYN | ACK, &options, b""),
    ];
    next = [next[0] + 1, next[1] + 1];
    frames.push(segment(ASK, port, (next[0], next[1]), ACK, b"", b""));
    for (way, bytes) in said {
        for piece in bytes.chunks(1200) {
            let (own, other) = (*way as usize, 1 - *way as usize);
            let back = if *way == ASK { ANSWER } else { ASK };
            frames.push(segment(*way, port, (next[own], next[other]), ACK | 8, b"", piece));
            next[own] += piece.len() as u32;
            frames.push(segment(back, port, (next[other], next[own]), ACK, b"", b""));
        }
    }
    frames.push(segment(ASK, port, (next[0], next[1]), ACK | 1, b"", b""));
    frames.push(segment(ANSWER, port, (next[1], next[0] + 1), ACK | 1, b"", b""));
    frames.push(segment(ASK, port, (next[0] + 1, next[1] + 1), ACK, b"", b""));
    frames
}

/// A database of places that knows the lower half of all addresses as one country.
pub fn places(code: &str) -> Vec<u8> {
    let text = |text: &str| [&[0x40 | text.len() as u8][..], text.as_bytes()].concat();
    let map = |members: &[(&str, Vec<u8>)]| {
        let mut bytes = vec![0xe0 | members.len() as u8];
        for (key, value) in members {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        bytes
    };
    let mut bytes = vec![0, 0, 17, 0, 0, 1];
    bytes.extend([0; 16]);
    bytes.extend(map(&[("country", map(&[("iso_code", text(code))]))]));
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    bytes.extend(map(&[
        ("binary_format_major_version", vec![0xa1, 2]),
        ("binary_format_minor_version", vec![0xa1, 0]),
        ("build_epoch", vec![0x01, 0x02, 1]),
        ("database_type", text("Test")),
        ("description", map(&[])),
        ("ip_version", vec![0xa1, 4]),
        ("languages", vec![0x00, 0x04]),
        ("node_count", vec![0xc1, 1]),
        ("record_size", vec![0xa1, 24]),
    ]));
    bytes
}
