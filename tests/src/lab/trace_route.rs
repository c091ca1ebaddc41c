//! The routers on the way to a host, as `traceroute` finds them: UDP datagrams whose TTL ends one router further each
//! time, and the ICMP errors that come back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_ipv6_unicast_hops;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto, recvfrom, socket_with};

use super::{Failure, Namespace};

/// How long an error may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// The port that nobody listens on, plus the number of the datagram.
const PORT: u16 = 33434;
/// Routers at most.
const HOPS_MAX: u8 = 8;

/// The addresses that answer on the way from a namespace to `address`, the host itself at the end; `None` for one that
/// is silent.
pub fn trace_route(from: &Namespace, address: &str) -> Result<Vec<Option<IpAddr>>, Failure> {
    let address: IpAddr = address.parse().map_err(|e| Failure::of(address, e))?;
    from.inside(move || {
        let (family, protocol, any): (_, _, IpAddr) = match address {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let errors = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
        let mut way = Vec::new();
        for ttl in 1..=HOPS_MAX {
            let port = PORT + u16::from(ttl);
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            match address {
                IpAddr::V4(_) => socket.set_ttl(ttl.into())?,
                IpAddr::V6(_) => set_ipv6_unicast_hops(&socket, Some(ttl))?,
            }
            socket.send_to(b"where", SocketAddr::new(address, port))?;
            let answer = error_about(&errors, address.is_ipv4(), port)?;
            way.push(answer);
            if answer == Some(address) {
                break;
            }
        }
        Ok(way)
    })
}

/// Who sends an error that quotes a datagram to this port.
fn error_about(socket: &OwnedFd, v4: bool, port: u16) -> Result<Option<IpAddr>, Failure> {
    let (mut buffer, start) = ([0; 2048], Instant::now());
    while let Some(left) = ANSWER_WITHIN.checked_sub(start.elapsed()) {
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))? == 0 {
            return Ok(None);
        }
        let (length, _, sender) = recvfrom(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
        let message = buffer.get(..length).unwrap_or(&[]);
        // A raw IPv4 socket hands over the IP header too; the quoted one stands behind eight bytes of ICMP.
        let (icmp, quoted) = if v4 { (20, 20) } else { (0, 40) };
        let kinds: &[u8] = if v4 { &[3, 11] } else { &[1, 3] };
        let is_error = message.get(icmp).is_some_and(|kind| kinds.contains(kind));
        let quoted_port = message.get(icmp + 8 + quoted + 2..).and_then(<[u8]>::first_chunk);
        let sender = sender.and_then(|sender| SocketAddr::try_from(sender).ok());
        if is_error && quoted_port == Some(&port.to_be_bytes()) {
            return Ok(sender.map(|sender| sender.ip()));
        }
    }
    Ok(None)
}
