//! Mirrors: copies of what ports take in and send out, for an analyser.
//!
//! A mirror looks at frames as they come in, before anything is decided, and as they leave, after everything was. It
//! takes those of its ports, switches and VLANs that its filter ([`filter`]) takes, one of so many, cut to a length,
//! and gives them to a port, to a file, or to an address by ERSPAN ([`erspan`]).
//!
//! It takes nothing from the traffic it looks at: copies are made of the buffers that are left over ([`RESERVE`]) and
//! leave behind everything else of their burst; what finds no room is counted and not made. A copy counts as copied for
//! the port whose frame it is, and as sent, delivered (to a file or the host) or dropped.
//!
//! Limits: [`MIRRORS`] mirrors, [`COPIES`] copies of one burst.

pub mod erspan;
pub mod filter;

use weir_filter::{Cleared, Why};
use weir_wire::build::packet as parsed;
use weir_wire::{
    DropReason, Headers, Instant, InterfaceId, MacAddr, Offload, Origin, Packet, Pool, PortId, Segmentation, Vid,
    checksum,
};

use crate::Fabric;
use crate::bridge::Bridge;
use crate::egress::Egress;
use crate::stages::Walk;
use erspan::{About, Erspan};
use filter::Filter;

/// Mirrors at most.
pub const MIRRORS: usize = 32;
/// Copies made of one burst at most, by all mirrors.
pub const COPIES: usize = 512;
/// Buffers that copies leave to the traffic: with more in use than this, none is made.
pub const RESERVE: usize = 8192;
/// Bytes of copies that wait for files and the host at most.
pub const WAITING: usize = 8 << 20;
/// The longest frame that ERSPAN carries; what is longer (a super-segment) is cut.
const ERSPAN_MAX: usize = 9000;

/// Which frames of a port a mirror looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The port.
    pub port: PortId,
    /// What comes in by it.
    pub inward: bool,
    /// What leaves by it.
    pub outward: bool,
}

/// Where copies go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// To a port, as they are.
    Port(PortId),
    /// To whoever takes them with [`Fabric::drain_mirrored`](crate::Fabric::drain_mirrored) and knows them by this
    /// number: a file.
    Handed(u64),
    /// The same, wrapped: the host sends them.
    HandedErspan(u64, Erspan),
    /// By a router, from one of its interfaces.
    Erspan(InterfaceId, Erspan),
}

/// A mirror as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    /// Its name: counters go on while it stays.
    pub name: String,
    /// What it looks at.
    pub sources: Vec<Source>,
    /// VLANs it looks at; all where there are none.
    pub vids: Vec<Vid>,
    /// What it takes.
    pub filter: Filter,
    /// One of so many of those; 0 and 1: all.
    pub one_of: u32,
    /// Bytes of a frame; 0: all.
    pub snap: u32,
    /// Where to.
    pub sink: Sink,
}

/// What a mirror has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorStats {
    /// Frames its filter took, before sampling.
    pub matched: u64,
    /// Copies that went on their way, and their bytes.
    pub mirrored: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Copies that were not made for want of room, or could not be sent.
    pub dropped: u64,
}

/// Copies that wait for files and the host, in one piece of memory.
#[derive(Debug, Default)]
pub struct Handed {
    /// The bytes of all, one after the other.
    pub bytes: Vec<u8>,
    /// Where each stands.
    pub copies: Vec<HandedCopy>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedCopy {
    /// Whom it is for, by the number that the mirror was given.
    pub outlet: u64,
    /// When.
    pub time: Instant,
    /// First byte.
    pub start: usize,
    /// Bytes.
    pub length: usize,
    /// The whole frame's length.
    pub whole: usize,
}

#[derive(Debug)]
struct Mirror {
    config: MirrorConfig,
    stats: MirrorStats,
    sequence: u32,
}

/// A copy on its way to its sink.
#[derive(Debug)]
struct Copied {
    mirror: usize,
    packet: Packet,
    whole: usize,
    is_outward: bool,
}

/// All mirrors.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    all: Vec<Mirror>,
    /// Ports that are looked at as they send, and how much was queued for each when the burst began.
    outward: Vec<(PortId, usize)>,
    looks_inward: bool,
    copies: Vec<Copied>,
    handed: Handed,
}

impl Mirrors {
    /// Takes other mirrors; those that stay go on counting.
    pub fn set(&mut self, wanted: Vec<MirrorConfig>) {
        let mut old = std::mem::take(&mut self.all);
        for config in wanted.into_iter().take(MIRRORS) {
            let known = old.iter().position(|mirror| mirror.config.name == config.name);
            let (stats, sequence) =
                known.map(|at| old.swap_remove(at)).map_or_else(Default::default, |old| (old.stats, old.sequence));
            self.all.push(Mirror { config, stats, sequence });
        }
        self.look_at_sources();
    }

    fn look_at_sources(&mut self) {
        let sources = || self.all.iter().flat_map(|mirror| &mirror.config.sources);
        self.looks_inward = sources().any(|source| source.inward);
        self.outward = sources().filter(|source| source.outward).map(|source| (source.port, 0)).collect();
        self.outward.sort_unstable();
        self.outward.dedup();
    }

    /// Takes in others, which go on counting.
    pub fn adopt(&mut self, other: Mirrors) {
        let room = MIRRORS.saturating_sub(self.all.len());
        self.all.extend(other.all.into_iter().take(room));
        self.look_at_sources();
    }

    /// Itself, taken out for a burst, where there is a mirror.
    #[inline]
    pub fn begin_turn(&mut self) -> Option<Mirrors> {
        if self.all.is_empty() { None } else { Some(std::mem::take(self)) }
    }

    pub fn stats(&self) -> Vec<(String, MirrorStats)> {
        self.all.iter().map(|mirror| (mirror.config.name.clone(), mirror.stats)).collect()
    }

    /// Copies that were handed over found no room on their way.
    pub fn lose(&mut self, handed: &Handed) {
        for copied in &handed.copies {
            let is_it = |mirror: &&mut Mirror| match mirror.config.sink {
                Sink::Handed(outlet) | Sink::HandedErspan(outlet, _) => outlet == copied.outlet,
                Sink::Port(_) | Sink::Erspan(..) => false,
            };
            if let Some(mirror) = self.all.iter_mut().find(is_it) {
                mirror.stats.dropped += 1;
                mirror.stats.mirrored = mirror.stats.mirrored.saturating_sub(1);
            }
        }
    }

    pub fn drain(&mut self) -> Option<Handed> {
        if self.handed.copies.is_empty() { None } else { Some(std::mem::take(&mut self.handed)) }
    }

    /// A burst begins: looks at what comes in.
    pub fn begin(
        &mut self,
        bridge: &Bridge,
        burst: &mut [Packet],
        origin: &dyn Origin,
        pool: &mut Pool,
        out: &mut Egress,
    ) {
        for (port, queued) in &mut self.outward {
            *queued = out.queue(*port).map_or(0, |queue| queue.len());
        }
        if !self.looks_inward {
            return;
        }
        for packet in burst {
            let looked_at = |mirror: &Mirror| {
                mirror.config.sources.iter().any(|source| source.inward && source.port == packet.port)
            };
            if !self.all.iter().any(looked_at) {
                continue;
            }
            // What is not whole would be mirrored in part; where there is no room for it, it is not.
            if !packet.is_whole() && !origin.fill(packet, pool) {
                continue;
            }
            if packet.parse().is_err() {
                // A frame that no header can be read of is mirrored where nothing is asked of it.
                packet.headers = Headers::default();
            }
            packet.vid = bridge.port(packet.port).and_then(|port| port.classify(packet)).unwrap_or(Vid(0));
            self.look(packet, packet.port, false, pool);
        }
    }

    /// The burst is over: looks at what leaves.
    pub fn end(&mut self, origin: &dyn Origin, pool: &mut Pool, out: &mut Egress) {
        for at in 0..self.outward.len() {
            let Some(&(port, queued)) = self.outward.get(at) else { return };
            let Some(queue) = out.queue(port) else { continue };
            for packet in queue.get_mut(queued..).unwrap_or(&mut []) {
                if packet.is_whole() || origin.fill(packet, pool) {
                    self.look(packet, port, true, pool);
                }
            }
        }
    }

    /// Makes the copies that are wanted of a frame.
    fn look(&mut self, packet: &Packet, port: PortId, is_outward: bool, pool: &mut Pool) {
        for (at, mirror) in self.all.iter_mut().enumerate() {
            let config = &mirror.config;
            let is_source =
                |source: &Source| source.port == port && if is_outward { source.outward } else { source.inward };
            if !config.sources.iter().any(is_source)
                || !(config.vids.is_empty() || config.vids.contains(&packet.vid))
                || !config.filter.takes(packet)
            {
                continue;
            }
            mirror.stats.matched += 1;
            if config.one_of > 1 && mirror.stats.matched % u64::from(config.one_of) != 1 {
                continue;
            }
            let room = self.copies.len() < COPIES && pool.outstanding() < RESERVE;
            match room.then(|| copy(packet, config, pool)).flatten() {
                Some(copied) => {
                    let whole = packet.len();
                    self.copies.push(Copied { mirror: at, packet: copied, whole, is_outward });
                }
                None => mirror.stats.dropped += 1,
            }
        }
    }

    fn hand_over(&mut self, outlet: u64, whole: usize, time: Instant, bytes: &[u8]) -> bool {
        if self.handed.bytes.len() + bytes.len() > WAITING {
            return false;
        }
        let start = self.handed.bytes.len();
        self.handed.bytes.extend_from_slice(bytes);
        let length = bytes.len();
        self.handed.copies.push(HandedCopy { outlet, time, start, length, whole: whole.max(length) });
        true
    }
}

/// A copy as long as its mirror wants it, and finished as far as its sink does not do so.
fn copy(packet: &Packet, config: &MirrorConfig, pool: &mut Pool) -> Option<Packet> {
    let most = match config.sink {
        Sink::Port(_) | Sink::Handed(_) => packet.len(),
        Sink::HandedErspan(..) | Sink::Erspan(..) => ERSPAN_MAX,
    };
    let snap = if config.snap == 0 { most } else { most.min(config.snap as usize) };
    if snap < packet.bytes().len() {
        let buffer = pool.copy(packet.bytes().get(..snap)?)?;
        let mut cut = Packet::new(buffer, packet.port, Offload::default());
        cut.vid = packet.vid;
        return Some(cut);
    }
    let mut whole = packet.duplicate(pool)?;
    if !matches!(config.sink, Sink::Port(_)) {
        // A checksum that is left to be completed would look broken to whoever reads the copy.
        checksum::finish_partial(&mut whole);
        whole.offload.segmentation = Segmentation::None;
    } else if whole.headers.l3 == 0 {
        whole.offload = Offload::default();
    }
    Some(whole)
}

impl Fabric {
    /// What each mirror has counted, by name.
    pub fn mirrors(&self) -> Vec<(String, MirrorStats)> {
        self.mirrors.stats()
    }

    /// Copies for files and the host, where there are any. Cheap: asked once a turn.
    pub fn drain_mirrored(&mut self) -> Option<Handed> {
        self.mirrors.drain()
    }

    /// Takes back the account of copies that could not be taken.
    pub fn lose_mirrored(&mut self, handed: &Handed) {
        self.mirrors.lose(handed);
    }

    /// Looks at what leaves, and sends the copies of a burst on their way.
    pub(crate) fn end_mirrors(
        &mut self,
        now: Instant,
        mut mirrors: Mirrors,
        origin: &dyn Origin,
        pool: &mut Pool,
        out: &mut Egress,
    ) {
        mirrors.end(origin, pool, out);
        let mut walk = self.walk(now, pool, out);
        walk.send_mirrored(&mut mirrors);
        walk.send_originated();
        self.mirrors = mirrors;
    }
}

impl Walk<'_> {
    /// Sends the copies of a burst on their way, behind everything else of it.
    pub(crate) fn send_mirrored(&mut self, mirrors: &mut Mirrors) {
        let copies = std::mem::take(&mut mirrors.copies);
        for copied in copies {
            self.counters(copied.packet.port).copied += 1;
            let Some(mirror) = mirrors.all.get_mut(copied.mirror) else {
                self.end(copied.packet, Why::reason(DropReason::MirrorLimit));
                continue;
            };
            mirror.sequence = mirror.sequence.wrapping_add(1);
            let length = copied.packet.len() as u64;
            let about = About {
                time: self.now,
                vid: copied.packet.vid,
                is_outward: copied.is_outward,
                is_cut: copied.whole > copied.packet.len(),
                sequence: mirror.sequence,
            };
            let at = copied.mirror;
            let sent = match mirror.config.sink.clone() {
                Sink::Port(to) => self.mirror_to(to, copied.packet),
                Sink::Handed(outlet) => {
                    let fits = mirrors.hand_over(outlet, copied.whole, self.now, copied.packet.bytes());
                    self.finish_handed(copied.packet, fits)
                }
                Sink::HandedErspan(outlet, erspan) => {
                    let wrapped = erspan.wrap(copied.packet.bytes(), about);
                    let fits = mirrors.hand_over(outlet, 0, self.now, &wrapped);
                    self.finish_handed(copied.packet, fits)
                }
                Sink::Erspan(interface, erspan) => {
                    let wrapped = erspan.wrap(copied.packet.bytes(), about);
                    self.mirror_by(interface, copied.packet, &wrapped)
                }
            };
            if let Some(mirror) = mirrors.all.get_mut(at) {
                mirror.stats.mirrored += u64::from(sent);
                mirror.stats.bytes += if sent { length } else { 0 };
                mirror.stats.dropped += u64::from(!sent);
            }
        }
    }

    fn mirror_to(&mut self, to: PortId, packet: Packet) -> bool {
        if self.bridge.port(to).is_none_or(|port| port.barred().is_some()) {
            self.end(packet, Why::reason(DropReason::MirrorLimit));
            return false;
        }
        let bytes = packet.len() as u64;
        match self.out.push(to, Cleared::originate(packet)) {
            Ok(()) => {
                let counters = self.counters(to);
                counters.sent += 1;
                counters.sent_bytes += bytes;
                true
            }
            Err(packet) => {
                self.end(packet, Why::reason(DropReason::MirrorLimit));
                false
            }
        }
    }

    fn finish_handed(&mut self, packet: Packet, fits: bool) -> bool {
        if fits {
            self.taken(packet);
        } else {
            self.end(packet, Why::reason(DropReason::MirrorLimit));
        }
        fits
    }

    /// Sends a wrapped copy by a router; the copy itself has served.
    fn mirror_by(&mut self, interface: InterfaceId, copied: Packet, wrapped: &[u8]) -> bool {
        let Some(mac) = self.routers.interface(interface).map(|interface| interface.config.mac) else {
            self.end(copied, Why::reason(DropReason::MirrorLimit));
            return false;
        };
        let frame = [&mac.0[..], &MacAddr::ZERO.0, &[8, 0], wrapped].concat();
        let Some(packet) = parsed(&frame, copied.port, self.pool) else {
            self.end(copied, Why::reason(DropReason::MirrorLimit));
            return false;
        };
        // The wrapped one goes on in place of the copy.
        self.pool.give(copied.buffer);
        self.route_own_from(interface, Cleared::originate(packet))
    }
}
