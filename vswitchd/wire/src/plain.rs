//! The frames that most traffic consists of, parsed in one go: no tag, IPv4 without options or IPv6 without extension
//! headers, a whole datagram, TCP or UDP.
//!
//! What is accepted here is what [`parse`](crate::parse) accepts, with the same headers found (a test holds the two
//! together); what is refused may still be good, and is for `parse` to judge. So nothing here has a reason for refusing.
//! Lengths are proven against the whole frame, also where only its first bytes are at hand: headers must stand in those.

use crate::checksum::sum_fixed;
use crate::numbers::*;
use crate::packet::{Fragment, Headers, L3};
use crate::{Offload, parse};

const IPV4_AT: usize = 14;
/// Where the transport header stands behind Ethernet and IPv4.
const V4_L4: usize = 34;
/// The same for IPv6.
const V6_L4: usize = 54;

/// Writes the headers of a frame of `whole` bytes that begins with `frame` where they are to stand. `None` says nothing about
/// the frame, and the headers mean nothing.
#[inline]
pub(crate) fn headers(frame: &[u8], whole: usize, offload: Offload, to: &mut Headers) -> Option<()> {
    let ethernet: &[u8; IPV4_AT + 1] = frame.first_chunk()?;
    match *ethernet {
        [.., 0x08, 0x00, 0x45] => ipv4(frame, whole, to)?,
        [.., 0x86, 0xdd, version] if version >> 4 == 6 => ipv6(frame, whole, to)?,
        _ => return None,
    }
    if offload == Offload::default() { Some(()) } else { parse::marks(offload, to).ok() }
}

/// What the headers of a packet say, for those that follow it to be held against: packets of one flow differ in little.
/// Of IPv4 only.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Addresses of the link, EtherType, version, length of the header, service.
    link: [u8; 16],
    /// Place of the fragment, TTL, protocol.
    kind: [u8; 4],
    /// Addresses and ports.
    ends: [u8; 12],
    headers: Headers,
}

impl Template {
    /// Of a packet that [`headers`] has accepted.
    #[inline]
    pub(crate) fn new(frame: &[u8], headers: &Headers) -> Option<Template> {
        let head: &[u8; V4_L4 + 4] = frame.first_chunk().filter(|_| headers.l3_kind == L3::Ipv4)?;
        let (link, rest) = head.split_first_chunk()?;
        let (kind, rest) = rest.get(4..)?.split_first_chunk()?;
        Some(Template { link: *link, kind: *kind, ends: *rest.get(2..)?.first_chunk()?, headers: *headers })
    }

    /// Writes the headers of a frame of `whole` bytes without marks, where they differ from these in lengths, TCP's own
    /// fields, identification and checksums only; what [`headers`] would find. `None` says nothing about the frame.
    #[inline]
    pub(crate) fn apply(&self, frame: &[u8], whole: usize, to: &mut Headers) -> Option<()> {
        let head: &[u8; V4_L4 + 8] = frame.first_chunk()?;
        let (link, rest) = head.split_first_chunk::<16>()?;
        let (kind, rest) = rest.get(4..)?.split_first_chunk::<4>()?;
        let ends: &[u8; 12] = rest.get(2..)?.first_chunk()?;
        if *link != self.link || *kind != self.kind || *ends != self.ends {
            return None;
        }
        let ip: &[u8; 20] = head.get(IPV4_AT..)?.first_chunk()?;
        let end = IPV4_AT + usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if end > whole || !sum_fixed(ip).is_valid() {
            return None;
        }
        let (tcp_flags, payload) = transport(frame, V4_L4, ip[9], end)?;
        *to = Headers { tcp_flags, payload, end: end as u32, ..self.headers };
        Some(())
    }
}

#[inline]
fn ipv4(frame: &[u8], whole: usize, to: &mut Headers) -> Option<()> {
    let head: &[u8; V4_L4 + 8] = frame.first_chunk()?;
    let ip: &[u8; 20] = head.get(IPV4_AT..)?.first_chunk()?;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let end = IPV4_AT + total;
    // More fragments, or an offset.
    let pieces = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff;
    if end > whole || pieces != 0 || !sum_fixed(ip).is_valid() {
        return None;
    }
    let (tcp_flags, payload) = transport(frame, V4_L4, ip[9], end)?;
    *to = Headers {
        l3_kind: L3::Ipv4,
        fragment: Fragment::No,
        protocol: ip[9],
        tcp_flags,
        ether_type: ETHERTYPE_IPV4,
        tag: None,
        l3: IPV4_AT as u16,
        l4: V4_L4 as u16,
        payload,
        end: end as u32,
    };
    Some(())
}

#[inline]
fn ipv6(frame: &[u8], whole: usize, to: &mut Headers) -> Option<()> {
    let head: &[u8; V6_L4 + 8] = frame.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([head[18], head[19]]));
    let end = V6_L4 + length;
    if end > whole {
        return None;
    }
    let (tcp_flags, payload) = transport(frame, V6_L4, head[20], end)?;
    *to = Headers {
        l3_kind: L3::Ipv6,
        fragment: Fragment::No,
        protocol: head[20],
        tcp_flags,
        ether_type: ETHERTYPE_IPV6,
        tag: None,
        l3: IPV4_AT as u16,
        l4: V6_L4 as u16,
        payload,
        end: end as u32,
    };
    Some(())
}

/// TCP's flags (0 for UDP), and where the data begin.
#[inline]
fn transport(frame: &[u8], at: usize, protocol: u8, end: usize) -> Option<(u8, u16)> {
    let segment = frame.get(at..)?;
    match protocol {
        PROTOCOL_UDP => {
            let header: &[u8; 8] = segment.first_chunk()?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            (length >= 8 && at + length <= end).then_some((0, at as u16 + 8))
        }
        PROTOCOL_TCP => {
            let header: &[u8; 20] = segment.first_chunk()?;
            let length = usize::from(header[12] >> 4) * 4;
            let fits = length >= 20 && at + length <= end && length <= segment.len();
            fits.then_some((header[13], (at + length) as u16))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TcpFields;
    use crate::build::frames::{Ends, tagged, tcp, udp};

    fn parsed(frame: &[u8], whole: usize) -> Option<Headers> {
        let mut to = Headers::default();
        super::headers(frame, whole, Offload::default(), &mut to).map(|()| to)
    }

    fn applied(template: &Template, frame: &[u8], whole: usize) -> Option<Headers> {
        let mut to = Headers::default();
        template.apply(frame, whole, &mut to).map(|()| to)
    }

    fn frames() -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for ends in [Ends::ipv4(1, 2), Ends::ipv6(1, 2)] {
            all.push(udp(ends, (5, 6), b"data"));
            all.push(udp(ends, (5, 6), &[7; 1400]));
            all.push(tcp(ends, TcpFields { flags: 0x18, ..TcpFields::default() }, &[1, 1, 1, 1], &[1; 700]));
        }
        all
    }

    #[test]
    fn the_common_frames_are_accepted_with_the_headers_of_the_full_pass() {
        for frame in frames() {
            let found = parsed(&frame, frame.len());
            assert_eq!(found, parse::plain(&frame));
            assert!(found.is_some());
            // The first bytes suffice where the rest is only spoken of.
            let head = frame.get(..128).unwrap_or(&frame);
            assert_eq!(parsed(head, frame.len()), found);
        }
        assert_eq!(parsed(&tagged(&frames()[0], 7, 0), 1000), None);
    }

    #[test]
    fn a_frame_like_the_one_before_has_the_headers_of_the_full_pass_and_any_other_is_left_alone() {
        let (mut alike, mut unlike) = (0, 0);
        for frame in frames() {
            let Some(found) = parsed(&frame, frame.len()) else { panic!() };
            let Some(template) = Template::new(&frame, &found) else {
                assert_eq!(found.l3_kind, L3::Ipv6);
                continue;
            };
            assert_eq!(applied(&template, &frame, frame.len()), Some(found));
            for at in 0..frame.len().min(80) {
                for value in [0, 1, 4, 5, 6, 0x0f, 0x45, 0x46, 0x50, 0x60, 0x7f, 0x80, 0xf0, 0xff] {
                    let mut changed = frame.clone();
                    changed[at] = value;
                    match applied(&template, &changed, changed.len()) {
                        Some(found) => {
                            assert_eq!(Some(found), parse::plain(&changed), "byte {at} is {value}");
                            let same = |range: std::ops::Range<usize>| changed.get(range.clone()) == frame.get(range);
                            assert!(same(0..14) && same(26..38) && same(23..24), "byte {at} is {value}");
                            alike += 1;
                        }
                        None => unlike += 1,
                    }
                }
            }
            for len in 0..frame.len() {
                let found = applied(&template, &frame[..len], len);
                assert!(found.is_none() || found == parse::plain(&frame[..len]), "cut to {len}");
            }
        }
        assert!(alike > 100 && unlike > 100, "{alike} {unlike}");
    }

    #[test]
    fn nothing_is_accepted_that_the_full_pass_refuses() {
        let mut accepted = 0;
        for frame in frames() {
            for at in 0..frame.len().min(80) {
                for value in [0, 1, 4, 5, 6, 0x0f, 0x45, 0x46, 0x50, 0x60, 0x7f, 0x80, 0xf0, 0xff] {
                    let mut changed = frame.clone();
                    changed[at] = value;
                    if let Some(found) = parsed(&changed, changed.len()) {
                        assert_eq!(Some(found), parse::plain(&changed), "byte {at} is {value}");
                        accepted += 1;
                    }
                }
            }
            for len in 0..frame.len() {
                let cut = &frame[..len];
                let found = parsed(cut, len);
                assert!(found.is_none() || found == parse::plain(cut), "cut to {len}");
            }
        }
        assert!(accepted > 100);
    }
}
