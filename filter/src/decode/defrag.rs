//! Puts fragments together, as the receiver of the policy would (RFC 791, RFC 8200; Novak, "Target-based fragmentation
//! reassembly").
//!
//! Bounded: trackers, bytes of fragments, pieces of one datagram; what exceeds a bound is ignored with an event, and
//! the oldest tracker gives way. Fragments that wait longer than the timeout are forgotten. Time is the packets' own.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::net::IpAddr;
use std::time::Duration;

use weir_wire::Instant;

use super::{Event, View};
use crate::hosts::Hosts;

/// Which of two fragments that overlap counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// A fragment that begins before the other.
    Bsd,
    /// One that begins before the other or with it.
    Linux,
    /// One that begins before the other and ends after it.
    #[default]
    Windows,
    /// One that begins before the other and does not end before it.
    Solaris,
    /// The one that came first.
    First,
    /// The one that came last.
    Last,
}

/// Limits and choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Overlaps, by receiver.
    pub policy: Hosts<Policy>,
    /// How long fragments wait.
    pub timeout: Duration,
    /// Datagrams that wait at once.
    pub trackers: usize,
    /// Bytes of fragments held.
    pub memory: usize,
    /// Fragments of one datagram.
    pub pieces: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            policy: Hosts::default(),
            timeout: Duration::from_secs(60),
            trackers: 65_535,
            memory: 32 << 20,
            pieces: 1024,
        }
    }
}

/// One fragment.
#[derive(Debug)]
pub(super) struct Piece<'p> {
    /// Where its data belongs.
    pub offset: u32,
    /// More follow.
    pub more: bool,
    /// The datagram's number.
    pub id: u32,
    /// Headers before the data, without the fragment header.
    pub header: &'p [u8],
    /// Where in `header` the number of what follows stands.
    pub next_at: usize,
    /// What follows.
    pub next: u8,
    /// The data.
    pub data: &'p [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    protocol: u8,
    vlan: [u16; 3],
    depth: u8,
}

/// Data that counts: bytes `start..end` of the datagram, out of a fragment that spanned `whole`.
#[derive(Debug)]
struct Span {
    start: u32,
    end: u32,
    whole: (u32, u32),
    data: Vec<u8>,
}

#[derive(Debug)]
struct Tracker {
    since: Instant,
    serial: u64,
    /// In order, without overlap.
    spans: Vec<Span>,
    /// Where the datagram ends, as its last fragment says.
    end: Option<u32>,
    header: Vec<u8>,
    pieces: usize,
    bytes: usize,
}

/// Deterministic; keys are compared whole, and the table is bounded.
type Hasher = BuildHasherDefault<std::hash::DefaultHasher>;

/// Fragments that wait for others.
#[derive(Debug)]
pub struct Defrag {
    settings: Settings,
    waiting: HashMap<Key, Tracker, Hasher>,
    order: VecDeque<(Key, u64)>,
    serial: u64,
    bytes: usize,
    /// Fragments ignored at a limit.
    pub ignored: u64,
    /// Datagrams given up, by timeout or for lack of room.
    pub given_up: u64,
    /// Datagrams put together.
    pub assembled: u64,
}

/// The longest datagram.
const LONGEST: u32 = 65_535;

impl Defrag {
    /// Nothing waits.
    pub fn new(settings: Settings) -> Defrag {
        Defrag {
            settings,
            waiting: HashMap::default(),
            order: VecDeque::new(),
            serial: 0,
            bytes: 0,
            ignored: 0,
            given_up: 0,
            assembled: 0,
        }
    }

    /// Datagrams that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a fragment; the datagram that it completes. Oddities go into the view's events.
    pub(super) fn add(&mut self, view: &mut View<'_>, piece: &Piece<'_>) -> Option<Vec<u8>> {
        let tuple = view.tuple?;
        let v4 = tuple.source.is_ipv4();
        let header_room = if v4 { piece.header.len() as u32 } else { 0 };
        if piece.offset + piece.data.len() as u32 + header_room > LONGEST {
            view.events.set(if v4 { Event::Ipv4FragmentPacketTooLarge } else { Event::Ipv6FragmentPacketTooLarge });
            return None;
        }
        self.forget_old(view.time);
        let key = Key {
            source: tuple.source,
            destination: tuple.destination,
            id: piece.id,
            // IPv6 tells datagrams apart by their number alone (RFC 8200, 4.5).
            protocol: if v4 { piece.next } else { 0 },
            vlan: view.vlan,
            depth: view.depth,
        };
        if !self.has_room(&key, piece) {
            self.ignored += 1;
            view.events.set(if v4 { Event::Ipv4FragmentIgnored } else { Event::Ipv6FragmentIgnored });
            return None;
        }
        let policy = self.settings.policy.of(key.destination);
        let tracker = self.tracker(key, view.time);
        let before = tracker.bytes;
        let overlaps = tracker.insert(piece, policy);
        let (after, done) = (tracker.bytes, tracker.is_whole());
        self.bytes = self.bytes + after - before;
        if overlaps {
            view.events.set(if v4 { Event::Ipv4FragmentOverlap } else { Event::Ipv6FragmentOverlap });
        }
        if !done {
            return None;
        }
        let tracker = self.waiting.remove(&key)?;
        self.bytes -= tracker.bytes;
        self.assembled += 1;
        tracker.assemble(v4)
    }

    /// The datagram's tracker; `self` is split by hand because its other fields are wanted beside it.
    fn tracker(&mut self, key: Key, now: Instant) -> &mut Tracker {
        let Defrag { waiting, order, serial, .. } = self;
        waiting.entry(key).or_insert_with(|| {
            *serial += 1;
            order.push_back((key, *serial));
            Tracker {
                since: now,
                serial: *serial,
                spans: Vec::new(),
                end: None,
                header: Vec::new(),
                pieces: 0,
                bytes: 0,
            }
        })
    }

    fn has_room(&mut self, key: &Key, piece: &Piece<'_>) -> bool {
        if piece.data.len() > self.settings.memory {
            return false;
        }
        if self.waiting.get(key).is_some_and(|tracker| tracker.pieces >= self.settings.pieces) {
            return false;
        }
        while self.bytes + piece.data.len() > self.settings.memory
            || (self.waiting.len() >= self.settings.trackers && !self.waiting.contains_key(key))
        {
            if !self.forget_oldest() {
                return false;
            }
        }
        true
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((key, serial)) = self.order.front() {
            let live = self.waiting.get(key).filter(|tracker| tracker.serial == *serial);
            match live {
                Some(tracker) if now.since(tracker.since) <= self.settings.timeout => return,
                Some(_) => {
                    self.forget_oldest();
                }
                None => {
                    self.order.pop_front();
                }
            }
        }
    }

    fn forget_oldest(&mut self) -> bool {
        while let Some((key, serial)) = self.order.pop_front() {
            if self.waiting.get(&key).is_some_and(|tracker| tracker.serial == serial)
                && let Some(tracker) = self.waiting.remove(&key)
            {
                self.bytes -= tracker.bytes;
                self.given_up += 1;
                return true;
            }
        }
        false
    }
}

impl Policy {
    /// Whether the fragment that came later counts.
    fn later_counts(self, later: (u32, u32), earlier: (u32, u32)) -> bool {
        match self {
            Policy::Bsd => later.0 < earlier.0,
            Policy::Linux => later.0 <= earlier.0,
            Policy::Windows => later.0 < earlier.0 && later.1 > earlier.1,
            Policy::Solaris => later.0 < earlier.0 && later.1 >= earlier.1,
            Policy::First => false,
            Policy::Last => true,
        }
    }
}

impl Tracker {
    /// Takes a fragment; whether it overlaps others.
    fn insert(&mut self, piece: &Piece<'_>, policy: Policy) -> bool {
        self.pieces += 1;
        let whole = (piece.offset, piece.offset + piece.data.len() as u32);
        if piece.offset == 0 && self.header.is_empty() {
            self.header = piece.header.to_vec();
            if let Some(next) = self.header.get_mut(piece.next_at) {
                *next = piece.next;
            }
        }
        if !piece.more {
            // The first fragment that claims to be the last is believed.
            self.end.get_or_insert(whole.1);
        }
        let mut overlaps = false;
        // What of the new fragment is still to be placed begins at `from`.
        let mut from = whole.0;
        let mut kept: Vec<Span> = Vec::with_capacity(self.spans.len() + 2);
        for span in std::mem::take(&mut self.spans) {
            if span.end <= whole.0 || span.start >= whole.1 {
                if span.start >= whole.1 {
                    Self::place(&mut kept, piece, whole, &mut from, whole.1);
                }
                kept.push(span);
                continue;
            }
            overlaps = true;
            if policy.later_counts(whole, span.whole) {
                // What of the old one lies outside the new one stays.
                let (left, right) = (span.start < whole.0, span.end > whole.1);
                if left {
                    kept.push(span.slice(span.start, whole.0));
                }
                if right {
                    Self::place(&mut kept, piece, whole, &mut from, whole.1);
                    kept.push(span.slice(whole.1, span.end));
                }
            } else {
                Self::place(&mut kept, piece, whole, &mut from, span.start);
                from = from.max(span.end);
                kept.push(span);
            }
        }
        Self::place(&mut kept, piece, whole, &mut from, whole.1);
        self.bytes = kept.iter().map(|span| span.data.len()).sum();
        self.spans = kept;
        overlaps
    }

    /// Places the new fragment's bytes from `from` up to `to`.
    fn place(kept: &mut Vec<Span>, piece: &Piece<'_>, whole: (u32, u32), from: &mut u32, to: u32) {
        if *from >= to {
            return;
        }
        let range = (*from - whole.0) as usize..(to - whole.0) as usize;
        let Some(data) = piece.data.get(range) else { return };
        kept.push(Span { start: *from, end: to, whole, data: data.to_vec() });
        *from = to;
    }

    /// The first fragment and the last are here, and nothing is missing between.
    fn is_whole(&self) -> bool {
        let Some(end) = self.end else { return false };
        let mut reached = 0;
        for span in &self.spans {
            if span.start > reached {
                break;
            }
            reached = span.end;
        }
        !self.header.is_empty() && reached >= end
    }

    fn assemble(self, v4: bool) -> Option<Vec<u8>> {
        let end = self.end? as usize;
        let mut bytes = self.header;
        let header = bytes.len();
        for span in &self.spans {
            bytes.extend_from_slice(&span.data);
        }
        bytes.truncate(header + end);
        if v4 {
            let total = u16::try_from(bytes.len()).ok()?;
            bytes.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
            // No longer a fragment; the rest of the flags stays.
            let flags = bytes.get_mut(6..8)?;
            flags.copy_from_slice(&(u16::from_be_bytes([*flags.first()?, 0]) & 0x4000).to_be_bytes());
            bytes.get_mut(10..12)?.fill(0);
            let checksum = !weir_wire::checksum::sum(bytes.get(..header)?).fold();
            bytes.get_mut(10..12)?.copy_from_slice(&checksum.to_be_bytes());
        } else {
            let length = u16::try_from(bytes.len().checked_sub(40)?).ok()?;
            bytes.get_mut(4..6)?.copy_from_slice(&length.to_be_bytes());
        }
        Some(bytes)
    }
}

impl Span {
    fn slice(&self, start: u32, end: u32) -> Span {
        let range = (start - self.start) as usize..(end - self.start) as usize;
        Span { start, end, whole: self.whole, data: self.data.get(range).unwrap_or_default().to_vec() }
    }
}
