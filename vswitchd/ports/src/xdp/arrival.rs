//! What an AF_XDP socket brings in becomes packets.
//!
//! Of a long frame the first bytes are copied; the rest stays in its chunk until the end of the turn, and goes from there
//! straight to where it is sent, unless somebody wants to see it. What the kernel hands over has no marks: where the
//! checksum field holds what a sender leaves there that has it finished by its device, the frame is taken whole and
//! finished.

use std::iter;

use weir_wire::checksum::{complete_unmarked, pseudo_ipv4, pseudo_ipv6};
use weir_wire::{Buffer, DropReason, Offload, Packet, Pool, PortId, Rest};

use super::XdpPort;
use super::attachment::Attachment;
use super::hold::Hold;
use super::socket::{Copying, Received};
use crate::departure::L2_MAX;
use crate::vhost_user::held::Held;

impl XdpPort {
    /// Copies frames in; of those longer than `hold_over` the first bytes only.
    pub(super) fn take_in(
        &mut self,
        hold_over: usize,
        id: PortId,
        pool: &mut Pool,
        burst: &mut Vec<Packet>,
        room: usize,
    ) -> usize {
        self.give_back();
        let longest = self.departure.mtu() as usize + L2_MAX;
        let Hold::Attached(Attachment { sockets, way, .. }) = &mut self.hold else { return 0 };
        let (count, before) = (sockets.len(), burst.len());
        for step in 0..count {
            let queue = (self.next + step) % count;
            let Some(socket) = sockets.get_mut(queue) else { break };
            // Frames that are dropped take their share of the room too, so that a turn ends.
            let share = room.saturating_sub(burst.len() - before);
            let mut any = false;
            socket.begin_receive();
            for _ in 0..share {
                let taken = match socket.receive(pool, longest, hold_over) {
                    Received::Frame(buffer) => Ok(packet_of(buffer, id, way.copying)),
                    Received::Head(buffer, rest, chunk) => {
                        let len = rest.len as u32;
                        let slot = self.heads.hold(queue as u16, chunk, iter::once(rest), len);
                        let packet = Packet { rest: Rest { len, slot }, ..Packet::new(buffer, id, Offload::default()) };
                        finished(packet, &self.heads, pool, way.copying)
                    }
                    Received::Refused(reason) => Err(reason),
                    Received::Nothing => break,
                };
                any = true;
                match taken {
                    Ok(packet) => {
                        self.counters.rx_packets += 1;
                        self.counters.rx_bytes += packet.len() as u64;
                        burst.push(packet);
                    }
                    Err(reason) => self.counters.rx_dropped.count(reason),
                }
            }
            if any {
                socket.end_receive();
            }
        }
        self.next = (self.next + 1) % count.max(1);
        burst.len() - before
    }

    /// Gives the chunks back that received frames were left in.
    pub(super) fn give_back(&mut self) {
        if self.heads.is_empty() {
            return;
        }
        if let Hold::Attached(Attachment { sockets, .. }) = &mut self.hold {
            for &(queue, chunk) in self.heads.chains() {
                if let Some(socket) = sockets.get_mut(usize::from(queue)) {
                    socket.give_chunk(chunk);
                }
            }
            sockets.iter_mut().for_each(|socket| socket.end_receive());
        }
        self.heads.clear();
    }
}

/// Wraps a frame in a packet. Only a card's own memory is known to hold frames that were on a wire, and so are complete.
fn packet_of(buffer: Buffer, id: PortId, copying: Copying) -> Packet {
    let mut packet = Packet::new(buffer, id, Offload::default());
    // A frame that does not parse is refused by the fabric, with its reason.
    if copying == Copying::Copy && may_be_unfinished(packet.bytes()) && packet.parse().is_ok() {
        complete_unmarked(&mut packet);
    }
    packet
}

/// A packet whose rest stands in its chunk, made whole where it may have to be finished.
fn finished(mut packet: Packet, heads: &Held, pool: &mut Pool, copying: Copying) -> Result<Packet, DropReason> {
    if copying == Copying::Copy && may_be_unfinished(packet.bytes()) {
        if !heads.fill(&mut packet, pool) {
            pool.give(packet.buffer);
            return Err(DropReason::NoBuffer);
        }
        if packet.parse().is_ok() {
            complete_unmarked(&mut packet);
        }
    }
    Ok(packet)
}

/// Whether the transport checksum of a frame may have been left to be finished; `false` only where it surely was not. Looks
/// at no more than the headers.
#[inline]
fn may_be_unfinished(frame: &[u8]) -> bool {
    ipv4(frame).or_else(|| ipv6(frame)).unwrap_or(true)
}

/// Of IPv4 without options in an untagged frame; `None` for others.
#[inline]
fn ipv4(frame: &[u8]) -> Option<bool> {
    let head: &[u8; 34] = frame.first_chunk()?;
    if head[12..15] != [8, 0, 0x45] {
        return None;
    }
    // Fragments are cut from what was finished.
    if head[20] & 0x3f | head[21] != 0 {
        return Some(false);
    }
    let length = u32::from(u16::from_be_bytes([head[16], head[17]])).checked_sub(20)?;
    let (source, destination) = (head[26..30].first_chunk()?, head[30..34].first_chunk()?);
    Some(is_left(frame, 34, head[23], || pseudo_ipv4(*source, *destination, head[23], length).fold()))
}

/// Of IPv6 without extension headers in an untagged frame; `None` for others.
#[inline]
fn ipv6(frame: &[u8]) -> Option<bool> {
    let head: &[u8; 54] = frame.first_chunk()?;
    if head[12..14] != [0x86, 0xdd] || !matches!(head[20], TCP | UDP) {
        return None;
    }
    let length = u32::from(u16::from_be_bytes([head[18], head[19]]));
    let (source, destination) = (head[22..38].first_chunk()?, head[38..54].first_chunk()?);
    Some(is_left(frame, 54, head[20], || pseudo_ipv6(source, destination, head[20], length).fold()))
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Whether the checksum field of the header at `at` holds the sum of the pseudo-header.
#[inline]
fn is_left(frame: &[u8], at: usize, protocol: u8, pseudo: impl FnOnce() -> u16) -> bool {
    let field = match protocol {
        TCP => at + 16,
        UDP => at + 6,
        _ => return false,
    };
    frame.get(field..).and_then(<[u8]>::first_chunk).is_some_and(|&stands| u16::from_be_bytes(stands) == pseudo())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::checksum::make_partial;

    /// A packet of UDP or TCP with a wrong checksum.
    fn packet(pool: &mut Pool, version: u8, protocol: u8, data: usize) -> Packet {
        let (ip, transport) = (if version == 4 { 20 } else { 40 }, if protocol == TCP { 20 } else { 8 });
        let mut frame = vec![0xa5; 14 + ip + transport + data];
        let length = ((transport + data) as u16).to_be_bytes();
        let l4 = 14 + ip;
        if version == 4 {
            let total = ((ip + transport + data) as u16).to_be_bytes();
            frame[12..34].copy_from_slice(&[
                8, 0, 0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
            ]);
        } else {
            frame[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], protocol, 64]);
        }
        if protocol == UDP {
            frame[l4 + 4..l4 + 6].copy_from_slice(&length);
        } else {
            frame[l4 + 12..l4 + 14].copy_from_slice(&[0x50, 0x10]);
        }
        let mut packet = Packet::new(pool.copy(&frame).unwrap(), PortId(0), Offload::default());
        if version == 4 {
            let sum = weir_wire::checksum::sum(&frame[14..34]).fold();
            packet.buffer.bytes_mut()[24..26].copy_from_slice(&(!sum).to_be_bytes());
        }
        packet.parse().unwrap();
        packet
    }

    #[test]
    fn what_a_sender_left_to_be_finished_is_seen_by_the_first_bytes_alone() {
        let mut pool = Pool::default();
        for (version, protocol) in [(4, TCP), (4, UDP), (6, TCP), (6, UDP)] {
            let mut left = packet(&mut pool, version, protocol, 1000);
            assert!(!may_be_unfinished(&left.bytes()[..128]), "{version} {protocol}");
            assert!(make_partial(&mut left));
            assert!(may_be_unfinished(&left.bytes()[..128]), "{version} {protocol}");
            let len = left.len() as u16;
            left.buffer.bytes_mut()[17] ^= 1;
            assert!(version == 6 || !may_be_unfinished(left.bytes()), "another length than {len}");
        }
    }

    #[test]
    fn what_is_not_plain_is_looked_at_more_closely() {
        let mut pool = Pool::default();
        let mut tagged = packet(&mut pool, 4, UDP, 100);
        tagged.buffer.bytes_mut()[12] = 0x81;
        assert!(may_be_unfinished(tagged.bytes()));
        let mut options = packet(&mut pool, 4, UDP, 100);
        options.buffer.bytes_mut()[14] = 0x46;
        assert!(may_be_unfinished(options.bytes()));
        let mut fragment = packet(&mut pool, 4, UDP, 100);
        assert!(make_partial(&mut fragment));
        fragment.buffer.bytes_mut()[20] = 0x20;
        assert!(!may_be_unfinished(fragment.bytes()));
        assert!(may_be_unfinished(&[0; 10]));
    }
}
