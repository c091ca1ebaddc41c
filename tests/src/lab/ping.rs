//! Echo requests from a namespace, by a raw socket: nothing to install.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with};

use super::{Failure, Namespace};

/// How the echo requests fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pings {
    /// Requests sent.
    pub sent: u32,
    /// Round trip times of the answers.
    pub times: Vec<Duration>,
}

impl Pings {
    /// Requests without an answer.
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(u32::try_from(self.times.len()).unwrap_or(u32::MAX))
    }

    /// The shortest round trip.
    pub fn best(&self) -> Option<Duration> {
        self.times.iter().min().copied()
    }
}

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of payload: 56, as `ping` sends them.
const PAYLOAD: usize = 56;

/// Sends `count` echo requests, one after the other, from a namespace to `address` (IPv4 or IPv6).
pub fn ping(from: &Namespace, address: &str, count: u32) -> Result<Pings, Failure> {
    let address: IpAddr = address.parse().map_err(|e| Failure::of(address, e))?;
    from.inside(move || {
        let (family, protocol) = match address {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
        let identifier = (std::process::id() & 0xffff) as u16;
        let mut pings = Pings::default();
        for sequence in 1..=count {
            pings.sent += 1;
            let message = request(address.is_ipv4(), identifier, sequence as u16);
            let start = Instant::now();
            // An unreachable host is a lost request, not a failure of the test's own doing.
            if sendto(&socket, &message, SendFlags::empty(), &SocketAddr::new(address, 0)).is_err() {
                continue;
            }
            if answered(&socket, address.is_ipv4(), identifier, sequence as u16, start)? {
                pings.times.push(start.elapsed());
            }
        }
        Ok(pings)
    })
}

fn request(v4: bool, identifier: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![if v4 { 8 } else { 128 }, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend((0..PAYLOAD).map(|i| i as u8));
    if v4 {
        // The kernel computes the checksum of ICMPv6 alone (RFC 3542, 3.1).
        let sum: u32 =
            message.chunks(2).map(|pair| pair.iter().fold(0, |high, &low| (high << 8) | u32::from(low))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        message[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    }
    message
}

/// Reads until the answer to our request comes or the time is over.
fn answered(socket: &OwnedFd, v4: bool, identifier: u16, sequence: u16, start: Instant) -> Result<bool, Failure> {
    let mut buffer = [0; 2048];
    while let Some(left) = ANSWER_WITHIN.checked_sub(start.elapsed()) {
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))? == 0 {
            return Ok(false);
        }
        let (length, _) = recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
        // A raw IPv4 socket hands over the IP header too; a raw IPv6 socket does not.
        let skip = if v4 { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
        let Some(message) = buffer.get(skip..length) else { continue };
        let reply = if v4 { 0 } else { 129 };
        let is_ours = message.len() == 8 + PAYLOAD
            && message[0] == reply
            && message[4..6] == identifier.to_be_bytes()
            && message[6..8] == sequence.to_be_bytes();
        if is_ours {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_request_makes_the_sum_complete() {
        let message = request(true, 0x1234, 7);
        let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn requests_without_an_answer_are_lost() {
        let pings = Pings { sent: 3, times: vec![Duration::from_micros(5), Duration::from_micros(2)] };
        assert_eq!((pings.lost(), pings.best()), (1, Some(Duration::from_micros(2))));
    }
}
