//! Generic receive offload (GRO): segments of one TCP connection that leave by the same port together become one
//! super-segment, where the port takes such. The reverse of [`segment`](crate::segment).
//!
//! The rules are those of Linux (`tcp_gro_receive`, `inet_gro_receive`): equal link and IP headers but for lengths,
//! identification and checksums; equal ports, acknowledgement, window, flags and options; sequence numbers that follow
//! each other; segments of one size, of which the last may be shorter; PSH and FIN at the end only; checksums that are
//! right. So a change of ECN's bits, of TTL or of timestamps stands between two super-segments, never within one, and
//! cutting gives the same frames again. The one exception is theirs too: datagrams that may not be fragmented and all
//! have the same identification, which says nothing then (RFC 6864, 4.1), are numbered where they are cut.
//!
//! Packets of one connection keep their order. Of several connections whose segments come in turns each has its
//! super-segment, which stands where its first segment stood. Nothing waits for anything: what is joined is what was
//! handed over together. Limits: 64 KiB with the IP header, [`FRAMES_MAX`] segments.

use crate::buffer::SUPER_MAX;
use crate::checksum::{self, fill_partial, pseudo, sum};
use crate::numbers::*;
use crate::segment::{FRAMES_MAX, fill_ipv4};
use crate::{Capabilities, Checksum, Fragment, Headers, L3, Offload, Origin, Packet, Pool, Segmentation};

/// Longest IP packet.
const IP_MAX: usize = 65535;
/// Connections whose segments are joined at a time; a power of two.
const OPEN: usize = 16;
/// Flags of segments that may be joined.
const FLAGS: u8 = TCP_ACK | TCP_ECE | TCP_PSH | TCP_FIN;
/// Flags that only the last one may have.
const LAST: u8 = TCP_PSH | TCP_FIN;

/// What was joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Frames that became part of another one.
    pub frames: u64,
    /// Super-segments that were made.
    pub supers: u64,
}

/// A packet that others may be joined to.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// Its place, counted from one; 0 is none.
    place: u32,
    /// Bytes of data of each segment, once a second one was looked at.
    size: u16,
    /// Segments that it consists of.
    count: u16,
    /// All of them have the same identification.
    fixed_id: bool,
}

/// Joins what may be joined of parsed packets that leave by a port which takes `capabilities` and IP packets of up to
/// `mtu` bytes. Packets that are not whole have their rest at `origin`.
pub fn join(
    packets: &mut Vec<Packet>,
    capabilities: Capabilities,
    mtu: u32,
    origin: &dyn Origin,
    pool: &mut Pool,
) -> Joined {
    let mut open = [Open::default(); OPEN];
    let (mut joined, mut kept) = (Joined::default(), 0);
    for at in 0..packets.len() {
        let Some((before, [packet, ..])) = packets.split_at_mut_checked(at) else { break };
        if packet.headers.protocol == PROTOCOL_TCP {
            let slot = &mut open[packet.hash as usize % OPEN];
            let head = before.get_mut((slot.place as usize).wrapping_sub(1)).filter(|head| head.hash == packet.hash);
            // Most packets have nobody to be joined to, and are not looked at.
            if let Some(head) = head
                && packet.hash != 0
                && is_joinable(packet, capabilities, mtu)
                && slot.begins(head, capabilities, mtu)
                && slot.follows(head, packet)
                && slot.append(head, packet, origin, pool)
            {
                joined.frames += 1;
                joined.supers += u64::from(slot.count == 2);
                if packet.headers.tcp_flags & LAST != 0 || data_len(packet) < usize::from(slot.size) {
                    slot.close(before);
                }
                continue;
            }
            // The order of a connection stands; without a hash it may be any.
            let ended = if packet.hash == 0 { &mut open[..] } else { std::slice::from_mut(slot) };
            ended.iter_mut().for_each(|slot| slot.close(before));
            open[packet.hash as usize % OPEN] = Open { place: kept as u32 + 1, size: 0, count: 1, fixed_id: false };
        }
        if kept != at {
            packets.swap(kept, at);
        }
        kept += 1;
    }
    open.iter_mut().for_each(|slot| slot.close(packets));
    packets.drain(kept..).for_each(|packet| pool.give(packet.buffer));
    joined
}

fn data_len(packet: &Packet) -> usize {
    (packet.headers.end as usize).saturating_sub(usize::from(packet.headers.payload))
}

/// Whether a packet may be part of a super-segment by what it is.
#[inline]
fn is_joinable(packet: &Packet, capabilities: Capabilities, mtu: u32) -> bool {
    let Headers { l3_kind, fragment, tcp_flags, l3, l4, payload, end, .. } = packet.headers;
    let network = end as usize - usize::from(l3).min(end as usize);
    // Neither IP options nor extension headers.
    let (takes, ip_len) = match l3_kind {
        L3::Ipv4 => (capabilities.tso4, 20),
        L3::Ipv6 => (capabilities.tso6, 40),
        L3::Arp | L3::Other => (false, 0),
    };
    takes
        && fragment == Fragment::No
        && packet.offload.segmentation == Segmentation::None
        && tcp_flags & !FLAGS == 0
        && tcp_flags & TCP_ACK != 0
        && end > u32::from(payload)
        && l4.checked_sub(l3) == Some(ip_len)
        && network <= (mtu as usize).min(IP_MAX)
        // Padding would not come back.
        && packet.len() == end as usize
        && match packet.offload.checksum {
            Checksum::Partial { start, offset } => start == l4 && offset == TCP_CHECKSUM_AT,
            Checksum::Complete | Checksum::Verified => true,
        }
}

impl Open {
    /// Whether others can be joined to `head`.
    fn begins(&mut self, head: &Packet, capabilities: Capabilities, mtu: u32) -> bool {
        if self.count > 1 {
            return true;
        }
        self.size = data_len(head) as u16;
        head.headers.tcp_flags & LAST == 0 && is_joinable(head, capabilities, mtu)
    }

    /// Whether `packet` continues the connection of `head`, as a segment of the same kind.
    #[inline]
    fn follows(&self, head: &Packet, packet: &Packet) -> bool {
        let (a, b) = (&head.headers, &packet.headers);
        let size = data_len(packet);
        head.hash == packet.hash
            && (a.l3_kind, a.l3, a.l4, a.payload) == (b.l3_kind, b.l3, b.l4, b.payload)
            && size <= usize::from(self.size)
            && usize::from(self.count) < FRAMES_MAX
            && (a.end as usize).saturating_sub(usize::from(a.l3)) + size <= IP_MAX
            && self.headers_follow(head, packet).unwrap_or(false)
    }

    /// The same of the bytes of both headers.
    fn headers_follow(&self, head: &Packet, packet: &Packet) -> Option<bool> {
        let Headers { l3_kind, l3, l4, payload, .. } = packet.headers;
        let (a, b) = (head.bytes().get(..usize::from(payload))?, packet.bytes().get(..usize::from(payload))?);
        let ((a_ip, a_tcp), (b_ip, b_tcp)) = (a.split_at_checked(l4.into())?, b.split_at_checked(l4.into())?);
        let ((tcp_a, a_options), (tcp_b, b_options)) =
            (a_tcp.split_first_chunk::<20>()?, b_tcp.split_first_chunk::<20>()?);
        let seq = |tcp: &[u8; 20]| u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        if seq(tcp_b) != seq(tcp_a).wrapping_add(u32::from(self.size) * u32::from(self.count)) {
            return Some(false);
        }
        // Flags but PSH and FIN; the checksum is not compared.
        let same_tcp = tcp_a[..4] == tcp_b[..4]
            && tcp_a[8..13] == tcp_b[8..13]
            && (tcp_a[13] ^ tcp_b[13]) & !LAST == 0
            && tcp_a[14..16] == tcp_b[14..16]
            && tcp_a[18..] == tcp_b[18..]
            && a_options == b_options;
        let ((a_link, a_ip), (b_link, b_ip)) = (a_ip.split_at_checked(l3.into())?, b_ip.split_at_checked(l3.into())?);
        let same_ip = match l3_kind {
            L3::Ipv4 => self.ipv4_follows(a_ip.first_chunk()?, b_ip.first_chunk()?),
            // All but the length.
            L3::Ipv6 => a_ip.get(..4)? == b_ip.get(..4)? && a_ip.get(6..)? == b_ip.get(6..)?,
            L3::Arp | L3::Other => false,
        };
        Some(same_tcp && same_ip && a_link == b_link)
    }

    /// Equal but for length, identification and checksum.
    fn ipv4_follows(&self, a: &[u8; 20], b: &[u8; 20]) -> bool {
        let id = |ip: &[u8; 20]| u16::from_be_bytes([ip[4], ip[5]]);
        let counts = id(b) == id(a).wrapping_add(self.count) && !self.fixed_id;
        let is_fixed = id(a) == id(b) && a[6] & 0x40 != 0 && (self.count == 1 || self.fixed_id);
        a[..2] == b[..2] && a[6..10] == b[6..10] && a[12..] == b[12..] && (counts || is_fixed)
    }

    /// Adds the data of `packet`, which follows, to `head`. `false` where a checksum is wrong or there is no room; both are
    /// then as they were, `head` whole perhaps.
    fn append(&mut self, head: &mut Packet, packet: &Packet, origin: &dyn Origin, pool: &mut Pool) -> bool {
        let size = data_len(packet);
        let ready = make_room(head, size, pool) && (self.count > 1 || begin(head, origin, pool));
        if !ready || !copy_data(head, packet, size, origin) {
            return false;
        }
        let ids_stand = |packet: &Packet| packet.ipv4().map(|ip| [ip[4], ip[5]]);
        self.fixed_id |= packet.headers.l3_kind == L3::Ipv4 && ids_stand(head) == ids_stand(packet);
        head.buffer.extend(size);
        head.headers.end += size as u32;
        let last = packet.headers.tcp_flags & LAST;
        head.headers.tcp_flags |= last;
        if let Some(flags) = head.buffer.bytes_mut().get_mut(usize::from(head.headers.l4) + 13) {
            *flags |= last;
        }
        self.count += 1;
        true
    }

    /// Nothing is joined to it any more: where something was, its headers become those of a super-segment.
    #[inline]
    fn close(&mut self, packets: &mut [Packet]) {
        let Open { place, size, count, .. } = std::mem::take(self);
        if count > 1
            && let Some(packet) = packets.get_mut((place as usize).wrapping_sub(1))
        {
            finish(packet, size);
        }
    }
}

/// Makes room for `size` bytes behind a packet, and for its own rest.
fn make_room(head: &mut Packet, size: usize, pool: &mut Pool) -> bool {
    let wanted = head.rest.len as usize + size;
    if head.buffer.tail().len() >= wanted {
        return true;
    }
    // More is likely to follow.
    let Some(mut larger) = pool.take(SUPER_MAX) else { return false };
    let fits = larger.fill(head.bytes()) && larger.tail().len() >= wanted;
    if fits {
        std::mem::swap(&mut head.buffer, &mut larger);
    }
    pool.give(larger);
    fits
}

/// Makes the first packet of a super-segment whole and looks at its checksum. There is room for its rest.
fn begin(head: &mut Packet, origin: &dyn Origin, pool: &mut Pool) -> bool {
    if !head.is_whole() && !origin.fill(head, pool) || !checksum::verify_l4(head) {
        return false;
    }
    if head.offload.checksum == Checksum::Complete {
        head.offload.checksum = Checksum::Verified;
    }
    true
}

/// Copies the data of `packet` behind `head`, where nothing counts as part of it yet. `false` where they cannot be had, or
/// where the checksum is wrong.
fn copy_data(head: &mut Packet, packet: &Packet, size: usize, origin: &dyn Origin) -> bool {
    let copied = (|| {
        let (header, here) = packet.bytes().split_at_checked(packet.headers.payload.into())?;
        let to = head.buffer.tail().get_mut(..size)?;
        let (first, rest) = to.split_at_mut_checked(here.len())?;
        first.copy_from_slice(here);
        if !rest.is_empty() && !origin.copy_rest(packet, rest) {
            return None;
        }
        if packet.offload.checksum != Checksum::Complete {
            return Some(true);
        }
        // The header ends at an even place, so that what follows can be summed by itself.
        let header = header.get(packet.headers.l4.into()..)?;
        let pseudo = pseudo(packet.bytes(), &packet.headers, (header.len() + size) as u32)?;
        Some(pseudo.and(sum(header)).and(sum(to)).is_valid())
    })();
    copied.unwrap_or(false)
}

/// Lengths, checksums and marks of a super-segment.
fn finish(packet: &mut Packet, size: u16) {
    let headers = packet.headers;
    let Headers { l3, l4, end, l3_kind, .. } = headers;
    let frame = packet.buffer.bytes_mut();
    let written = (|| {
        let (header, _) = frame.get_mut(l3.into()..)?.split_at_mut_checked((l4 - l3).into())?;
        let length = end - u32::from(l3);
        let segmentation = if l3_kind == L3::Ipv4 {
            header.get_mut(2..4)?.copy_from_slice(&(length as u16).to_be_bytes());
            fill_ipv4(header)?;
            Segmentation::Tcp4 { size, ecn: false }
        } else {
            header.get_mut(4..6)?.copy_from_slice(&((length - 40) as u16).to_be_bytes());
            Segmentation::Tcp6 { size, ecn: false }
        };
        Some((segmentation, fill_partial(frame, &headers)?))
    })();
    // What was joined has all of these headers.
    if let Some((segmentation, offset)) = written {
        packet.offload = Offload { checksum: Checksum::Partial { start: l4, offset }, segmentation };
    }
}
