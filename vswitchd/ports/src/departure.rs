//! The last step before a port sends: what the port cannot take is finished, what it cannot carry is refused.
//!
//! Every port may send through here, so that counting is the same for all: one packet of the fabric counts once, as
//! sent or as one drop, however many frames it was cut into.

use weir_wire::join::join;
use weir_wire::segment::complete;
use weir_wire::{Capabilities, DropReason, Nowhere, Packet, Pool, Segmentation};

use crate::{Counters, FromPort, Port};

/// Ethernet header and two VLAN tags: what a frame may have beside the L3 packet that the MTU speaks of.
pub(crate) const L2_MAX: usize = 14 + 8;

/// What one port takes, and room to finish what it does not.
#[derive(Debug)]
pub(crate) struct Departure {
    capabilities: Capabilities,
    mtu: u32,
    /// Segments that are sent together are joined, where super-segments are taken.
    gro: bool,
    pieces: Vec<Packet>,
}

impl Departure {
    pub(crate) fn new(capabilities: Capabilities, mtu: u32) -> Departure {
        Departure { capabilities, mtu, gro: false, pieces: Vec::new() }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    pub(crate) fn mtu(&self) -> u32 {
        self.mtu
    }

    pub(crate) fn set_mtu(&mut self, mtu: u32) {
        self.mtu = mtu;
    }

    pub(crate) fn set_capabilities(&mut self, capabilities: Capabilities) {
        self.capabilities = capabilities;
    }

    pub(crate) fn set_gro(&mut self, on: bool) {
        self.gro = on;
    }

    /// "on", where segments that are sent together are joined, or why they are not.
    pub(crate) fn describe_gro(&self) -> String {
        match (self.gro, self.capabilities.tso4, self.capabilities.tso6) {
            (false, ..) => "off",
            (true, true, true) => "on",
            (true, true, false) => "IPv4",
            (true, false, true) => "IPv6",
            (true, false, false) => "on, but the other side takes no super-segments",
        }
        .to_owned()
    }

    /// Joins segments of one connection that are sent together. Packets that are not whole have their rest at `origin`.
    #[inline]
    pub(crate) fn join(
        &self,
        origin: Option<&dyn Port>,
        pool: &mut Pool,
        packets: &mut Vec<Packet>,
        counters: &mut Counters,
    ) {
        let Capabilities { checksum, tso4, tso6, .. } = self.capabilities;
        if packets.len() < 2 || !self.gro || !checksum || !(tso4 || tso6) {
            return;
        }
        let joined = match origin {
            Some(origin) => join(packets, self.capabilities, self.mtu, &FromPort(origin), pool),
            None => join(packets, self.capabilities, self.mtu, &Nowhere, pool),
        };
        counters.tx_joined += joined.frames;
        counters.tx_supers += joined.supers;
    }

    /// A packet leaves by this port as it is.
    #[inline]
    pub(crate) fn takes(&self, packet: &Packet) -> bool {
        self.capabilities.accepts(packet.offload) && !self.is_too_long(packet)
    }

    /// Sends `packets` through `put`, which says why a frame could not be sent. Empties `packets`; all buffers go
    /// back to `pool`. One that is not whole finds no buffer here to be sent from.
    pub(crate) fn send(
        &mut self,
        pool: &mut Pool,
        packets: &mut Vec<Packet>,
        counters: &mut Counters,
        mut put: impl FnMut(&Packet) -> Result<(), DropReason>,
    ) {
        self.send_parts(pool, packets, counters, |packet| {
            if packet.is_whole() { put(packet) } else { Err(DropReason::NoBuffer) }
        });
    }

    /// The same for a `put` that finds the rest of a packet itself.
    pub(crate) fn send_parts(
        &mut self,
        pool: &mut Pool,
        packets: &mut Vec<Packet>,
        counters: &mut Counters,
        mut put: impl FnMut(&Packet) -> Result<(), DropReason>,
    ) {
        for packet in packets.drain(..) {
            let bytes = packet.len() as u64;
            let sent = if self.is_too_long(&packet) {
                pool.give(packet.buffer);
                Err(DropReason::TxTooLong)
            } else if self.capabilities.accepts(packet.offload) {
                let sent = put(&packet);
                pool.give(packet.buffer);
                sent.map(|()| 1)
            } else if packet.is_whole() {
                self.send_finished(packet, pool, &mut put)
            } else {
                pool.give(packet.buffer);
                Err(DropReason::NoBuffer)
            };
            match sent {
                Ok(frames) => {
                    counters.tx_packets += 1;
                    counters.tx_bytes += bytes;
                    counters.tx_cut += frames - 1;
                }
                Err(reason) => counters.tx_dropped.count(reason),
            }
        }
    }

    /// Finishes a packet and sends what it becomes; returns how many frames that were. The rest is not sent where one
    /// cannot be: the receiver lacks a part of the packet in any case.
    fn send_finished(
        &mut self,
        packet: Packet,
        pool: &mut Pool,
        put: &mut impl FnMut(&Packet) -> Result<(), DropReason>,
    ) -> Result<u64, DropReason> {
        complete(packet, self.capabilities, self.mtu, pool, &mut self.pieces)?;
        let frames = self.pieces.len() as u64;
        let sent = self.pieces.iter().try_for_each(put);
        self.pieces.drain(..).for_each(|piece| pool.give(piece.buffer));
        sent.map(|()| frames.max(1))
    }

    /// An ordinary frame whose L3 packet, or whatever stands behind its Ethernet header, exceeds the MTU.
    #[inline]
    fn is_too_long(&self, packet: &Packet) -> bool {
        if packet.offload.segmentation != Segmentation::None {
            return false;
        }
        let network = (packet.headers.end as usize).saturating_sub(usize::from(packet.headers.l3));
        network > self.mtu as usize && packet.headers.l3 > 0 || packet.len() > self.mtu as usize + L2_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::{Checksum, Offload, PortId};

    const BARE: Capabilities = Capabilities { checksum: false, tso4: false, tso6: false, ecn: false, uso: false };

    /// UDP over IPv4 with `data` bytes behind the headers and a partial checksum.
    fn udp(pool: &mut Pool, data: usize, segmentation: Segmentation) -> Packet {
        let mut frame = vec![0xa5; 42 + data];
        frame[12..14].copy_from_slice(&[8, 0]);
        let total = (28 + data) as u16;
        let ip = [0x45, 0, (total >> 8) as u8, total as u8, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        frame[14..34].copy_from_slice(&ip);
        let sum = !ip.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
        let sum = !((!sum & 0xffff) + (!sum >> 16)) as u16;
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        let length = (8 + data) as u16;
        frame[34..42].copy_from_slice(&[0, 1, 0, 2, (length >> 8) as u8, length as u8, 0, 0]);
        let checksum = Checksum::Partial { start: 34, offset: 6 };
        let mut packet = Packet::new(pool.copy(&frame).unwrap(), PortId(0), Offload { checksum, segmentation });
        packet.parse().unwrap();
        packet
    }

    fn send(capabilities: Capabilities, packet: Packet, pool: &mut Pool, room: usize) -> (Counters, Vec<usize>) {
        let (mut counters, mut lengths) = (Counters::default(), Vec::new());
        Departure::new(capabilities, 1500).send(pool, &mut vec![packet], &mut counters, |piece| {
            if lengths.len() == room {
                return Err(DropReason::TxFull);
            }
            lengths.push(piece.len());
            Ok(())
        });
        assert_eq!(pool.outstanding(), 0);
        (counters, lengths)
    }

    #[test]
    fn a_super_segment_counts_once_and_its_pieces_apart() {
        let mut pool = Pool::default();
        let packet = udp(&mut pool, 2500, Segmentation::Udp { size: 1000 });
        let (counters, lengths) = send(BARE, packet, &mut pool, 9);
        assert_eq!(lengths, [1042, 1042, 542]);
        assert_eq!((counters.tx_packets, counters.tx_bytes, counters.tx_cut), (1, 2542, 2));
    }

    #[test]
    fn what_the_port_takes_passes_as_it_is() {
        let mut pool = Pool::default();
        let packet = udp(&mut pool, 2500, Segmentation::Udp { size: 1000 });
        let (counters, lengths) = send(Capabilities::ALL, packet, &mut pool, 9);
        assert_eq!((lengths, counters.tx_packets, counters.tx_cut), (vec![2542], 1, 0));
    }

    #[test]
    fn a_packet_that_was_sent_in_part_is_one_drop() {
        let mut pool = Pool::default();
        let packet = udp(&mut pool, 2500, Segmentation::Udp { size: 1000 });
        let (counters, lengths) = send(BARE, packet, &mut pool, 1);
        assert_eq!(lengths.len(), 1);
        assert_eq!((counters.tx_packets, counters.tx_dropped.total()), (0, 1));
        assert_eq!(counters.tx_dropped.get(DropReason::TxFull), 1);
    }

    #[test]
    fn frames_beyond_the_mtu_are_refused() {
        for (data, sent) in [(1472, 1), (1473, 0)] {
            let mut pool = Pool::default();
            let packet = udp(&mut pool, data, Segmentation::None);
            let (counters, _) = send(Capabilities::ALL, packet, &mut pool, 9);
            assert_eq!((counters.tx_packets, counters.tx_dropped.get(DropReason::TxTooLong)), (sent, 1 - sent));
        }
    }
}
