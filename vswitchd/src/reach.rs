//! Whether hosts answer pings: what a change on trial must not cut off.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use weir_ports::netns::NetNs;

/// ICMP types of echo request and reply (RFC 792, RFC 4443).
const ECHO: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];

/// Those of `targets` that answer an echo request from the namespace `netns` within `within`. Blocks for that long.
///
/// # Errors
/// Where no raw socket can be had: CAP_NET_RAW.
pub fn answering(targets: &[IpAddr], netns: Option<&str>, within: Duration) -> io::Result<Vec<IpAddr>> {
    let ns = NetNs::open(netns).map_err(io::Error::other)?;
    let mut found = Vec::new();
    for is_v6 in [false, true] {
        let some: Vec<IpAddr> = targets.iter().copied().filter(|t| t.is_ipv6() == is_v6).collect();
        if !some.is_empty() {
            let socket = ns.run(|| raw_socket(is_v6)).map_err(io::Error::other)??;
            found.extend(ask(&socket, &some, is_v6, within)?);
        }
    }
    Ok(found)
}

fn raw_socket(is_v6: bool) -> io::Result<UdpSocket> {
    let (domain, protocol) = if is_v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
    Socket::new(domain, Type::RAW, Some(protocol)).map(UdpSocket::from)
}

fn ask(socket: &UdpSocket, targets: &[IpAddr], is_v6: bool, within: Duration) -> io::Result<Vec<IpAddr>> {
    let id = (std::process::id() as u16).to_be_bytes();
    let end = Instant::now() + within;
    for &target in targets {
        // A host that cannot be reached at present is one that does not answer.
        let _ = socket.send_to(&echo_request(is_v6, id), SocketAddr::new(target, 0));
    }
    let (mut found, mut bytes) = (Vec::new(), [0; 256]);
    while found.len() < targets.len() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let Ok((length, from)) = socket.recv_from(&mut bytes) else { break };
        let answer = bytes.get(..length).is_some_and(|bytes| is_reply(bytes, is_v6, id));
        if answer && targets.contains(&from.ip()) && !found.contains(&from.ip()) {
            found.push(from.ip());
        }
    }
    Ok(found)
}

fn echo_request(is_v6: bool, [i0, i1]: [u8; 2]) -> [u8; 8] {
    let kind = ECHO[usize::from(is_v6)];
    // The kernel fills in the checksum of ICMPv6.
    let sum = !(u32::from(kind) << 8).wrapping_add(u32::from(u16::from_be_bytes([i0, i1]))) as u16;
    let carry = ((u32::from(kind) << 8) + u32::from(u16::from_be_bytes([i0, i1]))) >> 16;
    let [c0, c1] = sum.wrapping_sub(carry as u16).to_be_bytes();
    [kind, 0, c0, c1, i0, i1, 0, 0]
}

/// Raw IPv4 sockets give the IP header along, IPv6 ones do not.
fn is_reply(bytes: &[u8], is_v6: bool, id: [u8; 2]) -> bool {
    let header = if is_v6 { 0 } else { bytes.first().map_or(0, |b| usize::from(b & 15) * 4) };
    let icmp = bytes.get(header..).unwrap_or_default();
    matches!(icmp, [kind, _, _, _, a, b, ..] if *kind == ECHO_REPLY[usize::from(is_v6)] && [*a, *b] == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_carries_a_valid_checksum() {
        for id in [[0, 0], [0xff, 0xff], [0xf7, 0xff], [0x12, 0x34]] {
            let words = echo_request(false, id);
            let sum: u32 = words.as_chunks::<2>().0.iter().map(|&w| u32::from(u16::from_be_bytes(w))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{words:x?}");
        }
    }

    #[test]
    fn only_replies_to_us_count() {
        let reply = [&[0x45; 20][..], &[0, 0, 0, 0, 7, 9, 0, 0]].concat();
        assert!(is_reply(&reply, false, [7, 9]));
        assert!(!is_reply(&reply, false, [7, 8]));
        assert!(!is_reply(&reply[..22], false, [7, 9]));
        assert!(is_reply(&[129, 0, 0, 0, 7, 9, 0, 0], true, [7, 9]));
    }
}
