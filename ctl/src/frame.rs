//! Frames to be traced: from digits, or made from two ends. Plain bytes, so that the command line needs nothing of the
//! switch itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The Ethernet header's part.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Source address.
    pub source: [u8; 6],
    /// Destination address.
    pub destination: [u8; 6],
    /// VLAN of an 802.1Q tag.
    pub vlan: Option<u16>,
}

/// Two addresses of one family.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    /// IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// Both ends, where they are of one family.
    pub fn of(from: IpAddr, to: IpAddr) -> Result<Ends, String> {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Ok(Ends::V4(from, to)),
            (IpAddr::V6(from), IpAddr::V6(to)) => Ok(Ends::V6(from, to)),
            _ => Err("one end is IPv4 and the other IPv6".into()),
        }
    }

    /// The folded sum of the pseudo-header (RFC 793, RFC 8200 8.1).
    fn pseudo_sum(&self, protocol: u8, length: usize) -> u32 {
        let addresses = match self {
            Ends::V4(a, b) => [a.octets().to_vec(), b.octets().to_vec()].concat(),
            Ends::V6(a, b) => [a.octets().to_vec(), b.octets().to_vec()].concat(),
        };
        sum(&addresses) + u32::from(protocol) + length as u32
    }
}

/// Hexadecimal digits to bytes.
pub fn from_hex(digits: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = digits
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).ok_or_else(|| format!("'{c}' is no hexadecimal digit")))
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err("the number of hexadecimal digits is odd".into());
    }
    Ok(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// A TCP SYN without options.
pub fn tcp_syn(link: &Link, ends: Ends, from: u16, to: u16) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
    // Sequence 1, no acknowledgement, five words, SYN, window 64240, checksum, no urgent data.
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0]);
    finish(link, ends, TCP, segment, 16)
}

/// A UDP datagram without data.
pub fn udp(link: &Link, ends: Ends, from: u16, to: u16) -> Vec<u8> {
    let mut datagram = [from.to_be_bytes(), to.to_be_bytes()].concat();
    datagram.extend([0, 8, 0, 0]);
    finish(link, ends, UDP, datagram, 6)
}

/// An ICMP or ICMPv6 echo request, identifier 1, sequence 1.
pub fn ping(link: &Link, ends: Ends) -> Vec<u8> {
    let (kind, protocol) = match ends {
        Ends::V4(..) => (8, ICMP),
        Ends::V6(..) => (128, ICMPV6),
    };
    finish(link, ends, protocol, vec![kind, 0, 0, 0, 0, 1, 0, 1], 2)
}

/// Puts the checksum at `at` and the headers in front.
fn finish(link: &Link, ends: Ends, protocol: u8, mut transport: Vec<u8>, at: usize) -> Vec<u8> {
    // ICMP alone is summed without a pseudo-header (RFC 792).
    let pseudo = if protocol == ICMP { 0 } else { ends.pseudo_sum(protocol, transport.len()) };
    let checksum = fold(pseudo + sum(&transport));
    transport.splice(at..at + 2, checksum.to_be_bytes());
    let mut frame = [link.destination, link.source].concat();
    if let Some(vlan) = link.vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    match ends {
        Ends::V4(from, to) => {
            let length = (20 + transport.len()) as u16;
            let mut header = vec![0x45, 0];
            header.extend(length.to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            header.extend([from.octets(), to.octets()].concat());
            let checksum = fold(sum(&header));
            header.splice(10..12, checksum.to_be_bytes());
            frame.extend([0x08, 0x00]);
            frame.extend(header);
        }
        Ends::V6(from, to) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((transport.len() as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([from.octets(), to.octets()].concat());
        }
    }
    frame.extend(transport);
    frame
}

/// The sum of 16-bit words (RFC 1071), not folded.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).copied().map_or(0, u32::from)).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2], vlan: None };

    fn v4() -> Ends {
        Ends::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2))
    }

    #[test]
    fn checksums_of_made_frames_add_up() {
        let frame = tcp_syn(&LINK, v4(), 40000, 80);
        assert_eq!(frame.len(), 14 + 20 + 20);
        assert_eq!(fold(sum(&frame[14..34])), 0);
        assert_eq!(fold(sum(&frame[34..]) + v4().pseudo_sum(TCP, 20)), 0);
        let v6 = Ends::of("2001:db8::1".parse().expect("v6"), "2001:db8::2".parse().expect("v6")).expect("one family");
        let frame = ping(&Link { vlan: Some(10), ..LINK }, v6);
        assert_eq!((frame.len(), &frame[12..18]), (18 + 40 + 8, &[0x81, 0, 0, 10, 0x86, 0xdd][..]));
        assert_eq!(fold(sum(&frame[58..]) + v6.pseudo_sum(ICMPV6, 8)), 0);
        assert_eq!(udp(&LINK, v4(), 1, 2).len(), 14 + 20 + 8);
    }

    #[test]
    fn digits_are_read_with_or_without_separators() {
        assert_eq!(from_hex("02:00 0aFF").expect("digits"), [2, 0, 10, 255]);
        assert!(from_hex("0g").expect_err("no digit").contains("'g'"));
        assert!(from_hex("012").expect_err("odd").contains("odd"));
    }
}
