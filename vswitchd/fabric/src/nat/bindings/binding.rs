//! A binding as it stands in the table: one cache line, with all that a packet needs of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use weir_filter::spec::Timeouts;
use weir_wire::Instant;
use weir_wire::numbers::*;

use super::{At, Names, Way};
use crate::nat::ends::End;

/// The time of the last use is kept in units of this power of two of nanoseconds: 67 ms, so that a binding ends up to two
/// of them late, never early. Four and a half years can be told apart.
const UNIT_BITS: u32 = 26;

/// What is true of a binding, as bits.
mod flag {
    /// Packets went out, and in.
    pub const HEARD: [u16; 2] = [1, 2];
    /// A TCP end of it has finished, by FIN or RST.
    pub const FINISHED: [u16; 2] = [4, 8];
    /// The address inside, outside, and of the remote end is of IPv6.
    pub const V6: [u16; 3] = [16, 32, 64];
    /// More is known of it elsewhere.
    pub const NOTED: u16 = 128;
    /// There is a binding here.
    pub const TAKEN: u16 = 256;
}

/// The ends by their place in [`Binding::ends`].
const INSIDE: usize = 0;
const OUTSIDE: usize = 1;
const REMOTE: usize = 2;

/// An address, of IPv4 in the first four bytes, and a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes {
    address: [u8; 16],
    port: u16,
}

impl Bytes {
    #[inline]
    fn of((address, port): End) -> Bytes {
        let address = match address {
            IpAddr::V4(v4) => u128::from(u32::from_ne_bytes(v4.octets())).to_le_bytes(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Bytes { address, port }
    }

    #[inline]
    fn end(&self, is_v6: bool) -> End {
        let [a, b, c, d, ..] = self.address;
        let v4 = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        (if is_v6 { IpAddr::V6(Ipv6Addr::from(self.address)) } else { v4 }, self.port)
    }
}

/// A binding, or the place for one.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(in crate::nat) struct Binding {
    /// When it was used last.
    used: u32,
    zone: u16,
    flags: u16,
    ends: [Bytes; 3],
    protocol: u8,
}

const _: () = assert!(size_of::<Binding>() == 64);

#[inline]
fn units(time: Instant) -> u32 {
    (time.0 >> UNIT_BITS) as u32
}

impl Binding {
    /// Makes it one that a packet has made which went this way. Written where it stands: the processor waits where it reads
    /// in one piece what was written in several.
    #[inline]
    pub fn write(&mut self, names: &Names, now: Instant, way: Way) {
        let Names { zone, protocol, inside, outside, remote } = names;
        let [inside_v6, outside_v6, remote_v6] = flag::V6;
        let family = |(address, _): &End, v6: u16| if address.is_ipv6() { v6 } else { 0 };
        let families = family(inside, inside_v6) | family(outside, outside_v6) | family(remote, remote_v6);
        self.flags = flag::TAKEN | flag::HEARD[way as usize & 1] | families;
        (self.used, self.zone, self.protocol) = (units(now), *zone, *protocol);
        self.ends[INSIDE] = Bytes::of(*inside);
        self.ends[OUTSIDE] = Bytes::of(*outside);
        self.ends[REMOTE] = Bytes::of(*remote);
    }

    #[inline]
    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    fn has_both(&self, [a, b]: [u16; 2]) -> bool {
        self.has(a) && self.has(b)
    }

    /// There is one.
    #[inline]
    pub fn is_taken(&self) -> bool {
        self.has(flag::TAKEN)
    }

    #[inline]
    fn end(&self, which: usize) -> End {
        self.ends[which].end(self.has(flag::V6[which]))
    }

    /// Its end inside.
    #[inline]
    pub fn inside(&self) -> End {
        self.end(INSIDE)
    }

    /// The same end's name outside.
    #[inline]
    pub fn outside(&self) -> End {
        self.end(OUTSIDE)
    }

    /// What names it.
    pub fn names(&self) -> Names {
        let [inside, outside, remote] = [INSIDE, OUTSIDE, REMOTE].map(|which| self.end(which));
        Names { zone: self.zone, protocol: self.protocol, inside, outside, remote }
    }

    /// There is one, and packets that go this way look for it there.
    #[inline]
    pub fn is_at(&self, way: Way, at: &At) -> bool {
        let (zone, protocol, end, remote) = at;
        let which = if way == Way::Out { INSIDE } else { OUTSIDE };
        let is_it = |which: usize, end: &End| {
            end.0.is_ipv6() == self.has(flag::V6[which]) && self.ends[which] == Bytes::of(*end)
        };
        self.is_taken()
            && (self.zone, self.protocol) == (*zone, *protocol)
            && is_it(which, end)
            && is_it(REMOTE, remote)
    }

    /// A packet goes through it; `flags` are TCP's.
    #[inline]
    pub fn pass(&mut self, now: Instant, way: Way, flags: u8) {
        let way = way as usize & 1;
        let (used, heard) = (units(now), self.flags | flag::HEARD[way]);
        // What does not change is not written: far lines that were only read need not be written back.
        if (self.used, self.flags) != (used, heard) {
            (self.used, self.flags) = (used, heard);
        }
        if flags & (TCP_FIN | TCP_RST | TCP_SYN) != 0 && self.protocol == PROTOCOL_TCP {
            self.turn(way, flags);
        }
    }

    /// A segment that opens or ends a connection.
    fn turn(&mut self, way: usize, flags: u8) {
        let [out, back] = flag::FINISHED;
        if flags & TCP_RST != 0 {
            self.flags |= out | back;
        } else if flags & TCP_FIN != 0 {
            self.flags |= flag::FINISHED[way & 1];
        }
        if flags & (TCP_SYN | TCP_ACK) == TCP_SYN {
            // Another connection between the same ends.
            self.flags &= !(out | back);
        }
    }

    /// Both sides have used it.
    #[inline]
    pub fn is_answered(&self) -> bool {
        self.has_both(flag::HEARD)
    }

    /// One side at least has finished its connection.
    pub fn is_ending(&self) -> bool {
        let [out, back] = flag::FINISHED;
        self.has(out | back)
    }

    /// Another time of its last use, by both sides.
    pub fn set_used(&mut self, used: Instant) {
        self.used = units(used);
        self.flags |= flag::HEARD[0] | flag::HEARD[1];
    }

    /// More is known of it elsewhere.
    #[inline]
    pub fn is_noted(&self) -> bool {
        self.has(flag::NOTED)
    }

    /// From here on more is known of it.
    pub fn note(&mut self) {
        self.flags |= flag::NOTED;
    }

    fn idle_units(&self, now: Instant) -> u64 {
        // A time before the last use, or one that cannot be told from it, is none at all.
        let units = units(now).wrapping_sub(self.used) as i32;
        u64::try_from(units).unwrap_or(0)
    }

    /// For how long nobody has used it.
    pub fn idle(&self, now: Instant) -> Duration {
        let units = self.idle_units(now);
        Duration::from_nanos((units + u64::from(units > 0)) << UNIT_BITS)
    }

    /// Nobody has used it for its time.
    #[inline]
    pub fn is_over(&self, now: Instant, timeouts: &Timeouts) -> bool {
        Duration::from_nanos(self.idle_units(now).saturating_sub(1) << UNIT_BITS) >= self.stays(timeouts)
    }

    /// How long it may be idle.
    fn stays(&self, timeouts: &Timeouts) -> Duration {
        let answered = self.is_answered();
        match self.protocol {
            PROTOCOL_TCP if self.has_both(flag::FINISHED) => timeouts.tcp_closing,
            PROTOCOL_TCP if answered => timeouts.tcp_established,
            PROTOCOL_TCP => timeouts.tcp_handshake,
            PROTOCOL_UDP if answered => timeouts.udp_stream,
            PROTOCOL_UDP => timeouts.udp_single,
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => timeouts.icmp,
            _ => timeouts.other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ANYBODY;
    use super::*;

    fn names(inside: &str, remote: End) -> Names {
        let inside = (inside.parse().unwrap(), 1000);
        Names { zone: 7, protocol: PROTOCOL_TCP, inside, outside: ("192.0.2.1".parse().unwrap(), 2000), remote }
    }

    #[test]
    fn it_is_what_it_was_made_of_and_found_by_nothing_else() {
        let remote = ("198.51.100.9".parse().unwrap(), 443);
        // An address of IPv6 that begins like one of IPv4 is another one.
        let (four, six) = (names("10.0.0.1", remote), names("a00:1::", remote));
        let anybody = names("10.0.0.1", ANYBODY);
        let all = [four, six, anybody];
        for (n, one) in all.iter().enumerate() {
            let mut binding = Binding::default();
            binding.write(one, Instant::from_secs(1), Way::Out);
            assert_eq!(binding.names(), *one);
            assert_eq!((binding.inside(), binding.outside()), (one.inside, one.outside));
            for (m, other) in all.iter().enumerate() {
                assert_eq!(binding.is_at(Way::Out, &other.at(Way::Out)), n == m, "{other:?}");
            }
            let at = one.at(Way::Out);
            for other in [(8, at.1, at.2, at.3), (7, PROTOCOL_UDP, at.2, at.3), (7, at.1, (at.2.0, 1), at.3)] {
                assert!(!binding.is_at(Way::Out, &other), "{other:?}");
            }
            assert!(binding.is_at(Way::In, &one.at(Way::In)) && !binding.is_at(Way::In, &at));
        }
        assert!(!Binding::default().is_at(Way::Out, &(0, 0, ANYBODY, ANYBODY)));
    }

    #[test]
    fn it_ends_after_its_time_and_little_later() {
        let (timeouts, start) = (Timeouts::default(), Instant::from_secs(100));
        let mut binding = Binding::default();
        binding.write(&names("10.0.0.1", ANYBODY), start, Way::Out);
        let unit = Duration::from_nanos(1 << UNIT_BITS);
        let check = |binding: &Binding, stays: Duration| {
            assert!(!binding.is_over(start.after(stays - Duration::from_nanos(1)), &timeouts), "{stays:?}");
            assert!(binding.is_over(start.after(stays + 2 * unit), &timeouts), "{stays:?}");
        };
        check(&binding, timeouts.tcp_handshake);
        binding.pass(start, Way::In, TCP_SYN | TCP_ACK);
        check(&binding, timeouts.tcp_established);
        assert_eq!(binding.idle(start.after(Duration::from_secs(5))).as_secs(), 5);
        binding.pass(start, Way::In, TCP_FIN | TCP_ACK);
        assert!(binding.is_ending());
        check(&binding, timeouts.tcp_established);
        binding.pass(start, Way::Out, TCP_FIN | TCP_ACK);
        check(&binding, timeouts.tcp_closing);
        binding.pass(start, Way::Out, TCP_SYN);
        check(&binding, timeouts.tcp_established);
        binding.pass(start, Way::In, TCP_RST);
        check(&binding, timeouts.tcp_closing);
        // A clock that goes back says nothing.
        assert_eq!(binding.idle(Instant::from_secs(1)), Duration::ZERO);
    }
}
