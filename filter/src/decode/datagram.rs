//! Frames as most datagrams come: Ethernet, IPv4 without options, UDP, all of it there and nothing odd. They are read at a
//! glance; [`Decoder::decode`] says the same of them, at more length.

use std::net::Ipv4Addr;

use weir_wire::Instant;
use weir_wire::checksum;
use weir_wire::numbers::PROTOCOL_UDP;

use super::{Decoder, Settings, View, addresses};
use crate::event::Tuple;

/// Bytes of the headers.
const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;

/// A datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'p> {
    /// Who sends it: address and port.
    pub source: (Ipv4Addr, u16),
    /// To whom.
    pub destination: (Ipv4Addr, u16),
    /// What it carries.
    pub payload: &'p [u8],
}

/// The ports of tunnels, a bit each.
#[derive(Debug)]
pub(super) struct Tunnels(Box<[u64]>);

impl Tunnels {
    /// Those that the settings name.
    pub(super) fn new(settings: &Settings) -> Tunnels {
        let mut bits = vec![0; 1 << 10];
        let ports = settings.vxlan.iter().chain(&settings.geneve).chain(&settings.teredo);
        ports.for_each(|port| {
            bits.get_mut(usize::from(port >> 6)).into_iter().for_each(|word| *word |= 1 << (port & 63))
        });
        Tunnels(bits.into())
    }

    #[inline]
    fn has(&self, port: u16) -> bool {
        self.0.get(usize::from(port >> 6)).is_some_and(|word| word >> (port & 63) & 1 == 1)
    }
}

impl Decoder {
    /// The datagram that a frame of Ethernet is, where nothing is odd about it, no sum is wrong, and its ports are not those
    /// of a tunnel.
    #[inline]
    pub fn datagram<'p>(&self, frame: &'p [u8]) -> Option<Datagram<'p>> {
        let header: &[u8; ETHERNET + IP + UDP] = frame.first_chunk()?;
        let [
            ..,
            8,
            0,
            0x45,
            _,
            t,
            u,
            _,
            _,
            more,
            place,
            _,
            PROTOCOL_UDP,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
            p,
            o,
            q,
            r,
            l,
            m,
            _,
            _,
        ] = *header
        else {
            return None;
        };
        let (total, length) = (usize::from(u16::from_be_bytes([t, u])), usize::from(u16::from_be_bytes([l, m])));
        if more & 0x3f != 0 || place != 0 || length < UDP || IP + length > total || ETHERNET + total > frame.len() {
            return None;
        }
        let payload = frame.get(ETHERNET + IP + UDP..ETHERNET + IP + length)?;
        let (from, to) = (u16::from_be_bytes([p, o]), u16::from_be_bytes([q, r]));
        let tunnel = self.tunnels.has(from) | self.tunnels.has(to);
        if tunnel || self.settings.checksums && !sums_hold(frame, length) {
            return None;
        }
        let (source, destination) = ([s0, s1, s2, s3].into(), [d0, d1, d2, d3].into());
        Some(Datagram { source: (source, from), destination: (destination, to), payload })
    }
}

impl<'p> Datagram<'p> {
    /// The packet that the frame carries, as the decoder would hand it on.
    #[inline]
    pub fn view(&self, frame: &'p [u8], time: Instant) -> View<'p> {
        let ((source, source_port), (destination, destination_port)) = (self.source, self.destination);
        let tuple = addresses(source.into(), destination.into(), PROTOCOL_UDP);
        let (ethernet, rest) = frame.split_at_checked(ETHERNET).unwrap_or_default();
        let (ip, rest) = rest.split_at_checked(IP).unwrap_or_default();
        View {
            time,
            tuple: Some(Tuple { source_port, destination_port, ..tuple }),
            ethernet,
            ip,
            transport: rest.get(..UDP).unwrap_or_default(),
            payload: self.payload,
            frame,
            sound: true,
            ..View::default()
        }
    }
}

/// Whether the sums of IPv4 and of UDP are right, for a datagram of so many bytes.
#[inline(never)]
fn sums_hold(frame: &[u8], length: usize) -> bool {
    let Some((header, rest)) = frame.get(ETHERNET..).and_then(<[u8]>::split_first_chunk::<IP>) else { return false };
    let Some(datagram) = rest.get(..length) else { return false };
    let &[.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
    let pseudo = checksum::pseudo_ipv4([s0, s1, s2, s3], [d0, d1, d2, d3], PROTOCOL_UDP, length as u32);
    let has_sum = datagram.get(6..8).is_some_and(|sum| sum != [0, 0]);
    checksum::sum(header).is_valid() && (!has_sum || pseudo.and(checksum::sum(datagram)).is_valid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Link, Settings, Taken};

    /// A frame with right sums, and three bytes behind the datagram.
    fn frame() -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0]);
        let mut ip = [0x45, 0, 0, 33, 1, 2, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 9, 10, 0, 0, 2];
        let sum = !checksum::sum(&ip).fold();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut udp = [0x30, 0x39, 0, 53, 0, 13, 0, 0, b'h', b'e', b'l', b'l', b'o'];
        let sum = !checksum::pseudo_ipv4([10, 0, 0, 9], [10, 0, 0, 2], 17, 13).and(checksum::sum(&udp)).fold();
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        frame.extend(ip);
        frame.extend(udp);
        frame.extend([0xa5; 3]);
        frame
    }

    /// Whether a glance is enough for a frame; then the decoder must say the same of it.
    fn agree(settings: &Settings, frame: &[u8]) -> bool {
        let mut decoder = Decoder::new(settings.clone());
        let glance = decoder.datagram(frame);
        let (mut packets, mut same) = (0, false);
        let mut look = |view: &View<'_>| {
            packets += 1;
            same = glance.is_some_and(|glance| {
                let seen = glance.view(frame, Instant::ZERO);
                let plain = view.events.is_empty() && view.sound;
                plain && format!("{view:?}") == format!("{seen:?}")
            });
            Taken::Passed
        };
        decoder.decode(Link::Ethernet, frame, Instant::ZERO, &mut look);
        assert!(glance.is_none() || (packets == 1 && same), "{frame:x?}");
        glance.is_some()
    }

    #[test]
    fn a_glance_says_what_the_decoder_says() {
        let settings = Settings::default();
        assert!(agree(&settings, &frame()));
        assert_eq!(Decoder::new(settings.clone()).datagram(&frame()).unwrap().payload, b"hello");
        // Each bit of the headers by itself, and each length.
        for bit in 0..(ETHERNET + IP + UDP) * 8 {
            let mut other = frame();
            other[bit / 8] ^= 1 << (bit % 8);
            agree(&settings, &other);
            agree(&Settings { checksums: false, ..settings.clone() }, &other);
        }
        for length in 0..frame().len() {
            assert_eq!(agree(&settings, &frame()[..length]), length >= frame().len() - 3, "{length}");
        }
    }

    #[test]
    fn what_is_odd_is_not_taken_at_a_glance() {
        let settings = Settings { checksums: false, ..Settings::default() };
        for (place, value) in [(12, 0x81), (14, 0x46), (17, 32), (20, 0x20), (21, 1), (23, 6), (39, 7), (39, 14)] {
            let mut other = frame();
            other[place] = value;
            assert!(!agree(&settings, &other), "{place}");
        }
        for port in [4789u16, 6081, 3544] {
            let mut other = frame();
            other[36..38].copy_from_slice(&port.to_be_bytes());
            assert!(!agree(&settings, &other), "{port}");
        }
        let mut wrong = frame();
        wrong[44] ^= 1;
        assert!(agree(&settings, &wrong) && !agree(&Settings::default(), &wrong));
    }
}
