//! Whether hosts answer pings: what a change on trial must not cut off.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
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
            let links =
                ns.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6")).map_err(io::Error::other)?;
            // Without IPv6 there is no such file, and no link-local address to be asked.
            found.extend(ask(&socket, &some, &links_in(&links.unwrap_or_default()), within)?);
        }
    }
    Ok(found)
}

fn raw_socket(is_v6: bool) -> io::Result<UdpSocket> {
    let (domain, protocol) = if is_v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
    Socket::new(domain, Type::RAW, Some(protocol)).map(UdpSocket::from)
}

/// The numbers of the devices that have link-local addresses: what such an address of another host can mean (proc(5)).
fn links_in(addresses: &str) -> Vec<u32> {
    let link = |line: &str| {
        let mut words = line.split_whitespace();
        let is_link_local = words.next()?.starts_with("fe80");
        u32::from_str_radix(words.next()?, 16).ok().filter(|_| is_link_local)
    };
    addresses.lines().filter_map(link).collect()
}

/// Where an echo request goes: a link-local address may be on any link.
fn places(target: IpAddr, links: &[u32]) -> Vec<SocketAddr> {
    match target {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            links.iter().map(|&link| SocketAddrV6::new(v6, 0, 0, link).into()).collect()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => vec![SocketAddr::new(target, 0)],
    }
}

fn ask(socket: &UdpSocket, targets: &[IpAddr], links: &[u32], within: Duration) -> io::Result<Vec<IpAddr>> {
    let is_v6 = targets.iter().any(IpAddr::is_ipv6);
    let id = (std::process::id() as u16).to_be_bytes();
    let end = Instant::now() + within;
    for &target in targets {
        // A host that cannot be reached at present is one that does not answer.
        for place in places(target, links) {
            let _ = socket.send_to(&echo_request(is_v6, id), place);
        }
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
    fn a_link_local_host_is_asked_on_every_link() {
        let links = links_in(
            "00000000000000000000000000000001 01 80 10 80       lo\n\
             fe80000000000000505400fffe000001 0a 40 20 80     eth0\n\
             fe80000000000000505400fffe000002 0b 40 20 80     eth1\n",
        );
        assert_eq!(links, [10, 11]);
        let asked = places("fe80::1".parse().unwrap(), &links);
        assert_eq!(asked.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[fe80::1%10]:0", "[fe80::1%11]:0"]);
        assert_eq!(places("fd00::1".parse().unwrap(), &links).len(), 1);
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
