//! The loop guard: signs that a cable, a guest that bridges, or a neighbour has made a loop, and what is done about it.
//!
//! Three signs. *A bridge speaks* (spanning tree, IEEE 802.1D or per-VLAN) behind a port where only hosts may be (BPDU
//! guard): the port is blocked. *An address flaps* between ports: told, and where it is wanted the port to which it did
//! not belong before is blocked. *A probe of our own comes back* (where probes are sent): told, and the port by which it
//! came is blocked where it is wanted; of two ports that hear each other the one with the higher number.
//!
//! A blocked port neither takes nor sends frames, but keeps its link. It opens by itself after a time, or when it is
//! told to. A port that must not be blocked (an uplink) is told of only.
//!
//! Limits: [`WATCHED`] flapping addresses a switch, the oldest makes room. A guest can send a probe that it has heard
//! back: it then blocks its own port and no other.

use weir_wire::{Instant, MacAddr, Packet, PortId, SwitchId, Vid};

use crate::coarse;

/// Addresses of a switch that are watched at a time.
pub const WATCHED: usize = 32;
/// Where probes are sent: a group of our own, which bridges that do not know it flood.
pub const PROBE_MAC: MacAddr = MacAddr([0x03, b'W', b'e', b'i', b'r', 0x01]);
/// An EtherType for local use (IEEE 802, 9.2.4), and what begins a probe behind it.
const PROBE_HEAD: [u8; 12] = *b"\x88\xb5weir-probe";
/// A probe's length: the least of an Ethernet frame.
const PROBE_LEN: usize = 60;

/// What a switch does about loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopGuard {
    /// Moves of one address between ports within [`LoopGuard::within_s`] that are told as flapping; 0: not watched.
    pub moves: u32,
    /// Seconds in which moves are counted.
    pub within_s: u32,
    /// Block the port that an address has no business on, and one that hears our probe.
    pub block: bool,
    /// Send a probe by each port so often, in seconds; 0: none.
    pub probe_s: u32,
    /// A blocked port opens after so many seconds; 0: when it is told to.
    pub recover_s: u32,
}

impl Default for LoopGuard {
    fn default() -> LoopGuard {
        LoopGuard { moves: 8, within_s: 10, block: false, probe_s: 0, recover_s: 300 }
    }
}

/// Why a port is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockCause {
    /// A bridge speaks behind it.
    Bpdu,
    /// An address flaps between it and another port.
    Flap,
    /// It hears our own probe.
    Loop,
}

impl BlockCause {
    /// A short name that does not change.
    pub const fn label(self) -> &'static str {
        match self {
            BlockCause::Bpdu => "bpdu-guard",
            BlockCause::Flap => "mac-flap",
            BlockCause::Loop => "loop",
        }
    }

    /// For people.
    pub const fn meaning(self) -> &'static str {
        match self {
            BlockCause::Bpdu => "a bridge speaks spanning tree behind it",
            BlockCause::Flap => "an address of another port flaps to it",
            BlockCause::Loop => "a probe of this switch came back by it",
        }
    }
}

/// A port that is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why.
    pub cause: BlockCause,
    /// When it opens by itself; `None`: when it is told to.
    pub until: Option<Instant>,
}

/// An address that went from one port to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    pub switch: SwitchId,
    pub vid: Vid,
    pub mac: MacAddr,
    pub from: PortId,
    pub to: PortId,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    vid: Vid,
    mac: MacAddr,
    /// Where it was when it began to move.
    home: PortId,
    since_s: u32,
    moves: u32,
}

/// Addresses of one switch that have moved lately.
#[derive(Debug, Default)]
pub(crate) struct Flaps {
    watched: Vec<Watched>,
}

impl Flaps {
    /// Takes account of a move; returns the port that the address belonged to, when this move makes it flap.
    pub fn moved(&mut self, now_s: u32, guard: &LoopGuard, moved: &Move) -> Option<PortId> {
        if guard.moves == 0 {
            return None;
        }
        let Move { vid, mac, from, .. } = *moved;
        let known = self.watched.iter_mut().find(|entry| entry.vid == vid && entry.mac == mac);
        if let Some(entry) = known {
            if now_s.saturating_sub(entry.since_s) >= guard.within_s {
                *entry = Watched { vid, mac, home: from, since_s: now_s, moves: 0 };
            }
            entry.moves = entry.moves.saturating_add(1);
            return (entry.moves == guard.moves).then_some(entry.home);
        }
        let fresh = Watched { vid, mac, home: from, since_s: now_s, moves: 1 };
        if self.watched.len() < WATCHED {
            self.watched.push(fresh);
        } else if let Some(oldest) = self.watched.iter_mut().min_by_key(|entry| entry.since_s) {
            *oldest = fresh;
        }
        (guard.moves == 1).then_some(from)
    }
}

/// When the probes of a switch are due.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probes {
    next_s: u32,
}

impl Probes {
    /// Whether they are due now; they are due again later then.
    pub fn are_due(&mut self, now: Instant, guard: &LoopGuard) -> bool {
        let due = guard.probe_s != 0 && self.next_s <= coarse(now);
        if due {
            self.next_s = coarse(now) + guard.probe_s;
        }
        due
    }

    /// When they are due next.
    pub fn next(&self, guard: &LoopGuard) -> Option<Instant> {
        (guard.probe_s != 0).then(|| Instant::from_secs(u64::from(self.next_s)))
    }
}

/// A probe that leaves by a port. `id` tells our probes from those of others.
pub(crate) fn probe(id: u64, switch: SwitchId, port: PortId, source: MacAddr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(PROBE_LEN);
    frame.extend(PROBE_MAC.0);
    frame.extend(source.0);
    frame.extend(PROBE_HEAD);
    frame.extend(id.to_be_bytes());
    frame.extend(switch.0.to_be_bytes());
    frame.extend(port.0.to_be_bytes());
    frame.resize(PROBE_LEN, 0);
    frame
}

/// The switch and the port that a probe of ours left by; `None` of any other frame. The packet must be parsed.
pub(crate) fn read_probe(id: u64, packet: &Packet) -> Option<(SwitchId, PortId)> {
    // The EtherType stands before the payload, behind any tags.
    let at = usize::from(packet.headers.l3).checked_sub(2)?;
    let body = packet.bytes().get(at..)?.strip_prefix(&PROBE_HEAD)?;
    let &[a, b, c, d, e, f, g, h, s, w, p, o] = body.first_chunk()?;
    let ours = u64::from_be_bytes([a, b, c, d, e, f, g, h]) == id;
    ours.then_some((SwitchId(u16::from_be_bytes([s, w])), PortId(u16::from_be_bytes([p, o]))))
}

/// Destinations of spanning tree: IEEE 802.1D, provider bridges (802.1ad), and per-VLAN (PVST+).
const SPANNING_TREE: [MacAddr; 3] = [
    MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]),
    MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x08]),
    MacAddr([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd]),
];

/// Whether a packet is a BPDU: sent where bridges listen, as an 802.2 frame for spanning tree (LLC 42 42 03, or SNAP 00
/// 00 0c 01 0b). The packet must be parsed.
pub(crate) fn is_bpdu(packet: &Packet) -> bool {
    if !SPANNING_TREE.contains(&packet.dst_mac()) {
        return false;
    }
    let body = packet.bytes().get(usize::from(packet.headers.l3)..).unwrap_or(&[]);
    body.starts_with(&[0x42, 0x42, 0x03]) || body.starts_with(&[0xaa, 0xaa, 0x03, 0, 0, 0x0c, 0x01, 0x0b])
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::build::{packet, tagged};
    use weir_wire::{Offload, Pool};

    fn moved(mac: u8, from: u16, to: u16) -> Move {
        let mac = MacAddr([2, 0, 0, 0, 0, mac]);
        Move { switch: SwitchId(0), vid: Vid(0), mac, from: PortId(from), to: PortId(to) }
    }

    #[test]
    fn an_address_flaps_when_it_moves_often_enough_in_the_time() {
        let (mut flaps, guard) = (Flaps::default(), LoopGuard { moves: 3, within_s: 10, ..LoopGuard::default() });
        assert_eq!(flaps.moved(0, &guard, &moved(1, 1, 2)), None);
        assert_eq!(flaps.moved(1, &guard, &moved(1, 2, 1)), None);
        assert_eq!(flaps.moved(2, &guard, &moved(2, 1, 2)), None, "another address is counted by itself");
        assert_eq!(flaps.moved(9, &guard, &moved(1, 1, 2)), Some(PortId(1)), "it was at home on port 1");
        assert_eq!(flaps.moved(9, &guard, &moved(1, 2, 1)), None, "told once in the time");
        for second in [20, 25, 30, 35, 40] {
            assert_eq!(flaps.moved(second, &guard, &moved(3, 1, 2)), None, "slow moves are migrations");
        }
        assert_eq!(flaps.moved(0, &LoopGuard { moves: 0, ..guard }, &moved(1, 1, 2)), None);
    }

    #[test]
    fn more_addresses_than_are_watched_take_no_more_room() {
        let (mut flaps, guard) = (Flaps::default(), LoopGuard { moves: 2, ..LoopGuard::default() });
        for n in 0..200 {
            flaps.moved(u32::from(n), &guard, &moved(n, 1, 2));
        }
        assert_eq!(flaps.watched.len(), WATCHED);
        assert_eq!(flaps.moved(200, &guard, &moved(199, 2, 1)), Some(PortId(1)), "the latest are the ones watched");
    }

    #[test]
    fn probes_read_back_also_behind_a_tag_and_only_ours() {
        let mut pool = Pool::default();
        let frame = probe(7, SwitchId(3), PortId(4), MacAddr([2, 0, 0, 0, 0, 9]));
        assert_eq!(frame.len(), 60);
        let read = |frame: &[u8], pool: &mut Pool| {
            let mut subject = packet(frame, PortId(1), pool).unwrap();
            assert_eq!(subject.offload, Offload::default());
            subject.parse().unwrap();
            let found = (read_probe(7, &subject), read_probe(8, &subject));
            pool.give(subject.buffer);
            found
        };
        assert_eq!(read(&frame, &mut pool), (Some((SwitchId(3), PortId(4))), None));
        assert_eq!(read(&tagged(&frame, 5, 0), &mut pool).0, Some((SwitchId(3), PortId(4))));
        for cut in 14..frame.len() {
            let whole = cut >= 36;
            assert_eq!(read(&frame[..cut], &mut pool).0.is_some(), whole, "{cut} bytes");
        }
    }

    #[test]
    fn bpdus_are_known_by_address_and_body() {
        let mut pool = Pool::default();
        let mut is = |destination: [u8; 6], body: &[u8]| {
            let frame = [&destination[..], &[2, 0, 0, 0, 0, 1, 0, 38], body, &[0; 40]].concat();
            let mut subject = packet(&frame, PortId(1), &mut pool).unwrap();
            subject.parse().unwrap();
            is_bpdu(&subject)
        };
        assert!(is([1, 0x80, 0xc2, 0, 0, 0], &[0x42, 0x42, 3, 0, 0, 2]));
        assert!(is([1, 0x80, 0xc2, 0, 0, 8], &[0x42, 0x42, 3]));
        assert!(is([1, 0, 0xc, 0xcc, 0xcc, 0xcd], &[0xaa, 0xaa, 3, 0, 0, 0xc, 1, 0xb]));
        assert!(!is([1, 0x80, 0xc2, 0, 0, 2], &[0x42, 0x42, 3]), "LACP's address");
        assert!(!is([1, 0x80, 0xc2, 0, 0, 0], &[0xff, 0xff, 3]), "not spanning tree");
    }
}
