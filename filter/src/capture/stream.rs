//! One direction's bytes, in order.
//!
//! Places are counted from the byte after the SYN. Bytes that follow one another are in `text`, the rest waits in
//! `held`. Passive: bytes are handed on when the receiver has acknowledged them, and until then a later copy may
//! replace an earlier one, as the receiver's system would do ([`Overlap`]). Inline: bytes are handed on at once and the
//! first copy counts. What was handed on stays for a while, so that patterns can be found across segments.
//!
//! Bounds: bytes held per direction, segments held, depth. Cost is linear in the bytes, times the logarithm of the
//! segments held.

use std::collections::{BTreeMap, VecDeque};

use super::settings::Overlap;
use crate::prefetch::Lines;

/// Segments held beyond holes, at most.
const HELD_SEGMENTS: usize = 2048;
/// Bytes taken out as urgent, remembered until they are passed.
const VOIDS: usize = 64;

/// One direction's bytes.
#[derive(Debug, Default)]
pub struct Bytes {
    /// In order; ends at place `next`.
    text: Vec<u8>,
    /// Place after the last byte of `text`.
    next: u64,
    /// How many bytes at the end of `text` are not handed on.
    fresh: usize,
    /// Bytes handed on, or lost: the place, in the receiver's stream, of the first fresh byte.
    at: u64,
    /// Segments that make up the fresh bytes, by place; passive only.
    spans: VecDeque<(u64, u64)>,
    /// Beyond a hole, by place, without overlap.
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    /// Of the bytes handed on, those that rules on payloads have not looked at: the last ones.
    waiting: usize,
    /// Lost before the first fresh byte.
    gap: u64,
    /// Places of urgent bytes that are no part of the stream.
    voids: Vec<u64>,
    /// Most segments held at once (`tcp.ts_max_regions`).
    pub regions: u16,
}

#[derive(Debug)]
struct Held {
    whole: (u64, u64),
    data: Vec<u8>,
}

/// How bytes are taken.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The first copy counts.
    pub inline: bool,
    /// Whose copy counts, passive.
    pub overlap: Overlap,
    /// Bytes of the direction that are taken; 0 is no limit.
    pub depth: u64,
    /// Bytes held beyond holes.
    pub held: usize,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// It repeats bytes with others in their place.
    pub conflicts: bool,
    /// All of it lies before what was handed on.
    pub old: bool,
    /// The depth is reached.
    pub depth: bool,
    /// There was no room.
    pub no_room: bool,
}

/// What rules on payloads made of bytes that were handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// They looked at them, and at all before.
    Looked,
    /// They wait for more.
    Wait,
}

/// Bytes to be inspected.
#[derive(Clone, Copy, Debug)]
pub struct Ready<'b> {
    /// Some handed on before, then fresh ones.
    pub text: &'b [u8],
    /// Place of `text[0]`.
    pub at: u64,
    /// Index of the first fresh one.
    pub fresh: usize,
    /// Lost before them.
    pub gap: u64,
}

impl Overlap {
    /// Whether a segment that came later counts against an earlier one.
    fn later_counts(self, later: (u64, u64), earlier: (u64, u64)) -> bool {
        let begins_with = later.0 == earlier.0;
        match self {
            Overlap::Bsd => later.0 < earlier.0,
            Overlap::Linux => later.0 < earlier.0 || (begins_with && later.1 > earlier.1),
            Overlap::OldLinux => later.0 < earlier.0 || (begins_with && later.1 >= earlier.1),
            Overlap::Solaris => later.1 > earlier.1 || (later.1 == earlier.1 && later.0 <= earlier.0),
            Overlap::First => false,
            Overlap::Last => true,
        }
    }
}

impl Bytes {
    /// Place after the last byte that follows all before it.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Place of the first byte that was not handed on.
    pub fn given(&self) -> u64 {
        self.at
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> usize {
        self.text.capacity() + self.held_bytes
    }

    /// Takes a segment whose first byte has this place.
    pub fn take(&mut self, place: u64, data: &[u8], manner: &Manner) -> Placed {
        let mut placed = Placed::default();
        let mut data = data;
        if data.is_empty() {
            return placed;
        }
        if manner.depth > 0 && place + data.len() as u64 > manner.depth {
            placed.depth = true;
            data = data.get(..manner.depth.saturating_sub(place) as usize).unwrap_or_default();
            if data.is_empty() {
                return placed;
            }
        }
        self.regions = self.regions.max(1);
        let end = place + data.len() as u64;
        if place == self.next && self.held.is_empty() {
            self.append((place, end), data, manner);
            return placed;
        }
        let given = self.next - self.fresh as u64;
        placed.old = end <= given;
        if place < self.next {
            placed.conflicts |= self.against_text((place, end), data, manner);
        }
        if end <= self.next {
            return placed;
        }
        let start = place.max(self.next);
        let rest = data.get((start - place) as usize..).unwrap_or_default();
        // What follows at once is not held but read.
        if start > self.next && (self.held_bytes + rest.len() > manner.held || self.held.len() >= HELD_SEGMENTS) {
            placed.no_room = true;
            return placed;
        }
        placed.conflicts |= self.against_held((place, end), start, rest, manner);
        self.regions = self.regions.max(self.held.len().min(usize::from(u16::MAX - 1)) as u16 + 1);
        self.join(manner);
        placed
    }

    /// Takes a segment that nobody wants to look at, with all before it: as if it had been handed on. `false` where it
    /// is not the next one.
    pub fn pass(&mut self, place: u64, length: usize) -> bool {
        if place != self.next || !self.held.is_empty() || !self.voids.is_empty() {
            return false;
        }
        self.regions = self.regions.max(1);
        self.at += self.gap + self.fresh as u64 + length as u64;
        (self.gap, self.fresh) = (0, 0);
        self.next += length as u64;
        self.text = Vec::new();
        self.waiting = 0;
        self.spans.clear();
        true
    }

    /// Asks for the bytes that are not handed on, and for the room of so many more.
    #[inline]
    pub fn ask(&self, lines: Lines, more: usize) {
        lines.ask_bytes(&self.text, self.text.len() - self.fresh, more);
    }

    /// All that came was handed on, and nothing waits for more.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.fresh == 0 && self.gap == 0 && self.waiting == 0 && self.held.is_empty()
    }

    /// Nothing up to a place waits to be handed on, and nothing that was handed on waits for more.
    #[inline]
    pub fn is_read(&self, upto: u64) -> bool {
        let unread = self.fresh > 0 && upto > self.next - self.fresh as u64;
        !unread && self.gap == 0 && self.waiting == 0 && self.held.is_empty()
    }

    /// Marks a byte as urgent: it is left out when its turn comes. `false` where there is no room to remember it.
    pub fn leave_out(&mut self, place: u64) -> bool {
        if place < self.next || self.voids.contains(&place) {
            return true;
        }
        if self.voids.len() >= VOIDS {
            return false;
        }
        self.voids.push(place);
        true
    }

    fn append(&mut self, whole: (u64, u64), data: &[u8], manner: &Manner) {
        let before = self.text.len();
        if self.voids.is_empty() {
            self.text.extend_from_slice(data);
        } else {
            let start = self.next;
            let voids = std::mem::take(&mut self.voids);
            let kept = data.iter().enumerate().filter(|(i, _)| !voids.contains(&(start + *i as u64)));
            self.text.extend(kept.map(|(_, &byte)| byte));
            self.voids = voids;
            self.voids.retain(|&place| place >= start + data.len() as u64);
        }
        self.next += data.len() as u64;
        self.fresh += self.text.len() - before;
        if !manner.inline {
            self.spans.push_back(whole);
        }
    }

    /// Settles a segment against bytes in order; whether they differ.
    fn against_text(&mut self, whole: (u64, u64), data: &[u8], manner: &Manner) -> bool {
        // Where urgent bytes were taken out, places and indices part; then the copies are not compared.
        let from = self.next.saturating_sub(self.text.len() as u64);
        let start = whole.0.max(from);
        let end = whole.1.min(self.next);
        if start >= end {
            return false;
        }
        let index = |place: u64| (place - from) as usize;
        let new = data.get((start - whole.0) as usize..(end - whole.0) as usize).unwrap_or_default();
        let differs = self.text.get(index(start)..index(end)) != Some(new);
        if !differs || manner.inline {
            return differs;
        }
        for &(first, last) in &self.spans {
            let (a, b) = (first.max(start), last.min(end));
            if a < b && manner.overlap.later_counts(whole, (first, last)) {
                let new = data.get((a - whole.0) as usize..(b - whole.0) as usize);
                if let (Some(old), Some(new)) = (self.text.get_mut(index(a)..index(b)), new) {
                    old.copy_from_slice(new);
                }
            }
        }
        differs
    }

    /// Settles a segment against what is held, and holds what counts of it; whether copies differ.
    fn against_held(&mut self, whole: (u64, u64), start: u64, data: &[u8], manner: &Manner) -> bool {
        let end = start + data.len() as u64;
        let part = |from: u64, to: u64| data.get((from - start) as usize..(to - start) as usize).unwrap_or_default();
        let first = self.held.range(..start).next_back().map(|(&place, _)| place).unwrap_or(start);
        let met: Vec<u64> = self
            .held
            .range(first..end)
            .filter(|(place, held)| *place + held.data.len() as u64 > start)
            .map(|(&place, _)| place)
            .collect();
        let mut differs = false;
        let mut from = start;
        for place in met {
            let Some(held) = self.held.get(&place) else { continue };
            let held_end = place + held.data.len() as u64;
            let (a, b) = (place.max(start), held_end.min(end));
            let old = held.data.get((a - place) as usize..(b - place) as usize);
            differs |= old != Some(part(a, b));
            if !manner.inline && manner.overlap.later_counts(whole, held.whole) {
                self.cut(place, a, b);
            } else {
                self.hold(whole, from, part(from, a.max(from)));
                from = from.max(b);
            }
        }
        self.hold(whole, from, part(from.min(end), end));
        differs
    }

    fn hold(&mut self, whole: (u64, u64), place: u64, data: &[u8]) {
        if !data.is_empty() {
            self.held_bytes += data.len();
            self.held.insert(place, Held { whole, data: data.to_vec() });
        }
    }

    /// Takes the places `a..b` out of a held segment.
    fn cut(&mut self, place: u64, a: u64, b: u64) {
        let Some(held) = self.held.remove(&place) else { return };
        self.held_bytes -= held.data.len();
        self.hold(held.whole, place, held.data.get(..(a - place) as usize).unwrap_or_default());
        self.hold(held.whole, b, held.data.get((b - place) as usize..).unwrap_or_default());
    }

    /// Moves what is held and now follows into the text.
    fn join(&mut self, manner: &Manner) {
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let (place, held) = entry.remove_entry();
            self.held_bytes -= held.data.len();
            let data = held.data.get((self.next - place) as usize..).unwrap_or_default();
            if !data.is_empty() {
                self.append(held.whole, data, manner);
            }
        }
    }

    /// Gives up a hole before `place`: what lies before it and was not seen is lost. The bytes lost.
    pub fn give_up(&mut self, place: u64, manner: &Manner) -> u64 {
        if place <= self.next || self.fresh > 0 {
            return 0;
        }
        let to = self.held.keys().next().copied().unwrap_or(place).min(place);
        let lost = to.saturating_sub(self.next);
        if lost > 0 {
            self.gap += lost;
            self.next = to;
            self.waiting = 0;
            self.text.clear();
            self.join(manner);
        }
        lost
    }

    /// The first place held beyond a hole.
    pub fn first_held(&self) -> Option<u64> {
        self.held.keys().next().copied()
    }

    /// Bytes up to a place, for inspection, with as many before them as there are up to `lookback`. `None` where there
    /// is nothing fresh.
    pub fn ready(&self, upto: u64, lookback: usize) -> Option<Ready<'_>> {
        let beyond = self.next.saturating_sub(upto).min(self.fresh as u64) as usize;
        let end = self.text.len() - beyond;
        let start = self.text.len() - self.fresh;
        if start >= end && self.gap == 0 {
            return None;
        }
        let from = start.saturating_sub(lookback);
        let text = self.text.get(from..end)?;
        Some(Ready { text, at: self.at + self.gap - (start - from) as u64, fresh: start - from, gap: self.gap })
    }

    /// Bytes handed on that rules on payloads have not looked at.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The last bytes handed on, up to `lookback`, and nothing fresh.
    pub fn known(&self, lookback: usize) -> Ready<'_> {
        let end = self.text.len() - self.fresh;
        let from = end.saturating_sub(lookback);
        let text = self.text.get(from..end).unwrap_or_default();
        Ready { text, at: self.at.saturating_sub(text.len() as u64), fresh: text.len(), gap: 0 }
    }

    /// No more is expected: gives back the room of what was handed on, unless rules have yet to look at some of it.
    pub fn release(&mut self) {
        if self.fresh == 0 && self.waiting == 0 && self.held.is_empty() {
            self.text = Vec::new();
            self.spans = VecDeque::new();
        }
    }

    /// What [`Bytes::ready`] gave was inspected.
    pub fn handed_on(&mut self, upto: u64, lookback: usize, rules: Rules) {
        let beyond = self.next.saturating_sub(upto).min(self.fresh as u64) as usize;
        let given = self.fresh - beyond;
        self.waiting = match rules {
            Rules::Looked => 0,
            Rules::Wait => self.waiting + given,
        };
        let lookback = lookback.max(self.waiting);
        self.at += self.gap + given as u64;
        self.gap = 0;
        self.fresh = beyond;
        let place = self.next - beyond as u64;
        while self.spans.front().is_some_and(|&(_, end)| end <= place) {
            self.spans.pop_front();
        }
        // Moved rarely, so that each byte is moved once as a rule.
        let handed = self.text.len() - self.fresh;
        if handed > lookback.saturating_mul(2) + 4096 {
            self.text.drain(..handed - lookback);
        }
    }
}
