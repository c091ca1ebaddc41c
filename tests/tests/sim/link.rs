//! The link between a host and its port: what the cable does to frames, and what the card leaves to be finished.

use std::ops::Range;

use weir_wire::build::{fragments, tagged};
use weir_wire::numbers::TCP_SYN;
use weir_wire::{Capabilities, Offload, Packet, Pool, PortId, Segmentation, TcpFields, checksum, segment};

use crate::chance::Chance;

/// A cable's faults, in so many of a thousand frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplication: u64,
    /// Frames that wait a while and are overtaken.
    pub reorder: u64,
    /// Frames that come again much later.
    pub replay: u64,
    /// Frames of which a copy with other content comes first or later, checksums right.
    pub forgery: u64,
}

/// How a host hangs on its port.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The VLAN of a trunk port that the host lives in: frames on the cable bear its tag.
    pub tag: Option<u16>,
    /// The card leaves checksums to be finished, and TCP segments that are longer than this to be cut.
    pub offload: Option<u16>,
    /// The cable cuts TCP segments into pieces of up to so many bytes.
    pub recut: Option<u16>,
    /// The cable cuts IP packets into fragments of so many bytes; those of IPv4 alone, since smoltcp does not put IPv6
    /// fragments together.
    pub fragment: Option<usize>,
    /// What the port takes unfinished on the way to the host.
    pub capabilities: Capabilities,
    /// Largest IP packet on the way to the host.
    pub mtu: u32,
    pub faults: Faults,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            tag: None,
            offload: None,
            recut: None,
            fragment: None,
            capabilities: Capabilities::default(),
            mtu: 1500,
            faults: Faults::default(),
        }
    }
}

/// A frame on a cable.
#[derive(Clone, Debug)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub offload: Offload,
}

/// A mark for cutting into segments of `size`, where the packet is TCP and longer than that.
fn super_segment(packet: &Packet, size: u16) -> Option<Segmentation> {
    if packet.tcp().is_none() || packet.payload().len() <= usize::from(size) {
        return None;
    }
    let ecn = false;
    Some(if packet.ipv4().is_some() { Segmentation::Tcp4 { size, ecn } } else { Segmentation::Tcp6 { size, ecn } })
}

/// A mark for cutting into segments of chance's size, `most` at most, and as many as can be cut at all.
fn any_cut(packet: &Packet, most: u16, chance: &mut Chance) -> Option<Segmentation> {
    let least = packet.payload().len().div_ceil(segment::FRAMES_MAX) as u16;
    super_segment(packet, (1 + chance.below(u64::from(most)) as u16).max(least))
}

impl Link {
    /// What a frame that the host's stack has made looks like when the port reads it.
    pub fn leave_host(&self, frame: &[u8], chance: &mut Chance, pool: &mut Pool) -> Vec<Frame> {
        let mut pieces = vec![frame.to_vec()];
        if let Some(size) = self.fragment
            && frame.get(12..14) == Some(&[8, 0])
        {
            pieces = fragments(frame, size, chance.any() as u32);
        }
        if let Some(tag) = self.tag {
            pieces.iter_mut().for_each(|piece| *piece = tagged(piece, tag, 0));
        }
        pieces.iter().flat_map(|piece| self.leave_card(piece, chance, pool)).collect()
    }

    fn leave_card(&self, frame: &[u8], chance: &mut Chance, pool: &mut Pool) -> Vec<Frame> {
        let whole = || vec![Frame { bytes: frame.to_vec(), offload: Offload::default() }];
        let Some(buffer) = pool.copy(frame) else { return Vec::new() };
        let mut packet = Packet::new(buffer, PortId(0), Offload::default());
        if packet.parse().is_err() {
            pool.give(packet.buffer);
            return whole();
        }
        let mut out = vec![];
        if let Some(mark) = self.recut.and_then(|most| any_cut(&packet, most, chance)) {
            // What the cable cuts arrives as any frame does.
            checksum::make_partial(&mut packet);
            packet.offload.segmentation = mark;
            segment::complete(packet, Capabilities::default(), 65_535, pool, &mut out).expect("a segment can be cut");
            out.iter_mut().for_each(|packet| packet.offload = Offload::default());
        } else {
            if let Some(size) = self.offload
                && checksum::make_partial(&mut packet)
            {
                packet.offload.segmentation = super_segment(&packet, size).unwrap_or_default();
            }
            out.push(packet);
        }
        let frames = |packet: Packet| {
            let frame = Frame { bytes: packet.bytes().to_vec(), offload: packet.offload };
            pool.give(packet.buffer);
            frame
        };
        out.into_iter().map(frames).collect()
    }

    /// What arrives at the host's stack of a packet that the fabric put out.
    pub fn reach_host(&self, packet: Packet, pool: &mut Pool) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if segment::complete(packet, self.capabilities, self.mtu, pool, &mut out).is_err() {
            return Vec::new();
        }
        let finish = |mut packet: Packet| {
            assert!(checksum::finish_partial(&mut packet), "a mark outside the frame: {packet:?}");
            // A host hears the frames of its own VLAN alone.
            let is_heard = packet.headers.tag.map(|tag| tag.vid.0) == self.tag;
            let mut bytes = packet.bytes().to_vec();
            if self.tag.is_some() && is_heard {
                bytes.drain(12..16);
            }
            pool.give(packet.buffer);
            is_heard.then_some(bytes)
        };
        out.into_iter().filter_map(finish).collect()
    }
}

/// Someone on the cable who sends other bytes for the same places of a stream.
#[derive(Clone, Debug, Default)]
pub struct Forger {
    /// What stands in the stream instead, from its first byte on; letters where it ends.
    pub text: Vec<u8>,
    /// Segments that begin here are forged.
    pub places: Range<usize>,
    /// The sequence number of the stream's first byte, once its SYN was seen.
    start: Option<u32>,
}

impl Forger {
    pub fn new(text: Vec<u8>, places: Range<usize>) -> Forger {
        Forger { text, places, start: None }
    }

    /// The same TCP segment with the forger's content, its checksum right; `None` for other frames. SYNs are noted.
    pub fn forge(&mut self, frame: &Frame, chance: &mut Chance, pool: &mut Pool) -> Option<Frame> {
        let mut packet = Packet::new(pool.copy(&frame.bytes)?, PortId(0), frame.offload);
        let fields = packet.parse().ok().and_then(|()| packet.tcp());
        if let Some(syn) = fields.filter(|fields| fields.has(TCP_SYN)) {
            self.start = Some(syn.seq.wrapping_add(1));
        }
        let length = packet.payload().len();
        let place = |(fields, start): (TcpFields, u32)| fields.seq.wrapping_sub(start) as usize;
        let at = fields.zip(self.start).map(place).filter(|at| length > 0 && self.places.contains(at));
        let forged = at.map(|at| {
            let mut lies = chance.letters(length);
            let known = self.text.get(at..).unwrap_or(&[]);
            lies.iter_mut().zip(known).for_each(|(to, from)| *to = *from);
            let payload = usize::from(packet.headers.payload);
            packet.buffer.bytes_mut()[payload..payload + length].copy_from_slice(&lies);
            packet.offload = Offload::default();
            checksum::make_partial(&mut packet);
            checksum::finish_partial(&mut packet);
            Frame { bytes: packet.bytes().to_vec(), offload: Offload::default() }
        });
        pool.give(packet.buffer);
        forged
    }
}
