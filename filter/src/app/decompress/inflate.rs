//! Deflate (RFC 1951), undone as its bytes come.
//!
//! What comes out is written behind what came before, in one buffer, which is the window that copies are taken from: nothing
//! is written twice, and the window of a body that was put aside for a while is at hand again before it is needed. Crates
//! for this keep the window apart, or do not say how much had come out when an error is met; what a browser would show of
//! such a body counts.
//!
//! What is no deflate is refused where zlib refuses it, and what came out until then is the same. Cost is in proportion to
//! what goes in and what comes out.

mod bits;
mod codes;
mod copy;

use bits::{Bits, needed, number};
use codes::{Codes, END, INVALID, LITERAL, OTHER};
use copy::copy;

/// Bytes that copies reach back.
const REACH: usize = 32 << 10;
/// Bytes that come out at a time.
const STEP: usize = 16 << 10;
/// Bytes that one step may write behind its end: the longest copy, and what is written without need.
const BEHIND: usize = 320;
/// Bytes of the buffer at most.
const BUFFER: usize = REACH + 2 * STEP + BEHIND;
/// Bytes that are worth it to have the window at hand.
const WARM: usize = 256;
/// Bytes of a line of the processor's caches.
const LINE: usize = 64;
/// Order of the lengths of codes for lengths (RFC 1951, 3.2.7).
const ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// What is undone, and how far it is.
#[derive(Debug)]
pub struct Inflate {
    bits: Bits,
    at: Place,
    /// The block at hand is the last.
    last: bool,
    codes: Codes,
    /// The codes are those of fixed blocks.
    fixed: bool,
    lengths: Lengths,
    /// What came out last, and room for more.
    window: Vec<u8>,
    /// Bytes of it.
    made: usize,
    /// The processor shifts by any number of bits in one step.
    #[cfg(target_arch = "x86_64")]
    shifts: Option<pulp::x86::V3>,
}

/// Lengths of codes that are being read.
#[derive(Debug)]
struct Lengths {
    literals: usize,
    distances: usize,
    /// Of the codes for lengths.
    codes: usize,
    read: usize,
    list: [u8; 320],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Block,
    StoredLength,
    Stored(usize),
    Counts,
    LengthCodes,
    Lengths,
    Data,
    Over,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// All bytes were used.
    All,
    /// The sink takes no more.
    Stopped,
    /// The end was reached.
    End,
    /// This is no deflate.
    Error,
}

/// Why decoding pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// More bytes are needed.
    Input,
    /// A step is full.
    Full,
    End,
    Error,
}

impl Inflate {
    /// Nothing has come.
    pub fn new() -> Inflate {
        let lengths = Lengths { literals: 0, distances: 0, codes: 0, read: 0, list: [0; 320] };
        Inflate {
            bits: Bits::default(),
            at: Place::Block,
            last: false,
            codes: Codes::new(),
            fixed: false,
            lengths,
            window: Vec::new(),
            made: 0,
            #[cfg(target_arch = "x86_64")]
            shifts: pulp::x86::V3::try_new(),
        }
    }

    /// Begins anew, with another stream.
    pub fn reset(&mut self) {
        (self.bits, self.at, self.last, self.made) = (Bits::default(), Place::Block, false, 0);
    }

    /// Takes bytes; `sink` is given what comes out, and says whether it takes more. How it went, and how many of the bytes
    /// belong to the stream.
    pub fn write(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> (Went, usize) {
        let mut rest = bytes;
        if bytes.len() >= WARM {
            self.warm();
        }
        loop {
            self.make_room();
            let from = self.made;
            let pause = self.step(&mut rest, from + STEP);
            let used = bytes.len() - rest.len();
            let fresh = self.window.get(from..self.made).unwrap_or_default();
            if !fresh.is_empty() && !sink(fresh) {
                return (Went::Stopped, used);
            }
            match pause {
                Pause::Full => {}
                Pause::Input => return (Went::All, used),
                // Bytes that were taken ahead are not the stream's.
                Pause::End => return (Went::End, used.saturating_sub(self.bits.count as usize / 8)),
                Pause::Error => return (Went::Error, used),
            }
        }
    }

    /// Reads the window once, in order: where it lies far from the processor, copies would wait for each part of it.
    fn warm(&self) {
        let from = self.made.saturating_sub(REACH);
        let lines = self.window.get(from..self.made).unwrap_or_default().iter().step_by(LINE);
        std::hint::black_box(lines.fold(0u8, |all, &byte| all ^ byte));
    }

    /// Makes room for a step: first the buffer grows, then what nothing reaches any more makes place.
    fn make_room(&mut self) {
        let wanted = self.made + STEP + BEHIND;
        if wanted <= self.window.len() {
            return;
        }
        if wanted > BUFFER {
            let from = self.made.saturating_sub(REACH);
            self.window.copy_within(from..self.made, 0);
            self.made -= from;
        } else {
            let size = wanted.max(2 * self.window.len()).min(BUFFER);
            self.window.reserve_exact(size - self.window.len());
            self.window.resize(size, 0);
        }
    }

    /// Decodes until the output has come to `end`.
    fn step(&mut self, input: &mut &[u8], end: usize) -> Pause {
        loop {
            let went = match self.at {
                Place::Data => self.data(input, end),
                Place::Stored(left) => self.stored(left, input, end),
                Place::Over => Some(Pause::End),
                Place::Block | Place::StoredLength | Place::Counts | Place::LengthCodes | Place::Lengths => {
                    self.bits.fill(input);
                    self.head(input)
                }
            };
            if let Some(pause) = went {
                return pause;
            }
        }
    }

    /// Reads on in the head of a block.
    fn head(&mut self, input: &mut &[u8]) -> Option<Pause> {
        match self.at {
            Place::Block => {
                if self.last {
                    self.at = Place::Over;
                    return None;
                }
                let Some(head) = self.bits.take(3) else { return Some(Pause::Input) };
                self.last = head & 1 == 1;
                self.at = match head >> 1 {
                    0 => {
                        self.bits.drop(self.bits.count % 8);
                        Place::StoredLength
                    }
                    1 => {
                        if !std::mem::replace(&mut self.fixed, true) {
                            self.codes.fix();
                        }
                        Place::Data
                    }
                    2 => Place::Counts,
                    _ => return Some(Pause::Error),
                };
            }
            Place::StoredLength => {
                let Some(both) = self.bits.take(32) else { return Some(Pause::Input) };
                let (length, complement) = (both as u16, (both >> 16) as u16);
                if length != !complement {
                    return Some(Pause::Error);
                }
                self.at = Place::Stored(usize::from(length));
            }
            Place::Counts => {
                let Some(counts) = self.bits.take(14) else { return Some(Pause::Input) };
                let of = |from: u32, count: u32| (counts >> from) as usize & ((1 << count) - 1);
                let lengths = &mut self.lengths;
                (lengths.literals, lengths.distances, lengths.codes) = (of(0, 5) + 257, of(5, 5) + 1, of(10, 4) + 4);
                if lengths.literals > 286 || lengths.distances > 30 {
                    return Some(Pause::Error);
                }
                (lengths.read, lengths.list) = (0, [0; 320]);
                (self.fixed, self.at) = (false, Place::LengthCodes);
            }
            Place::LengthCodes => return self.length_codes(input),
            Place::Lengths => return self.read_lengths(input),
            Place::Stored(_) | Place::Data | Place::Over => {}
        }
        None
    }

    /// Reads the lengths of the codes for lengths.
    fn length_codes(&mut self, input: &mut &[u8]) -> Option<Pause> {
        while self.lengths.read < self.lengths.codes {
            self.bits.fill(input);
            let Some(length) = self.bits.take(3) else { return Some(Pause::Input) };
            let place = ORDER.get(self.lengths.read).map_or(0, |&place| usize::from(place));
            self.lengths.list.get_mut(place).into_iter().for_each(|slot| *slot = length as u8);
            self.lengths.read += 1;
        }
        let list = self.lengths.list;
        if !self.codes.for_lengths(list.get(..ORDER.len()).unwrap_or_default()) {
            return Some(Pause::Error);
        }
        (self.lengths.read, self.lengths.list, self.at) = (0, [0; 320], Place::Lengths);
        None
    }

    /// Reads the lengths of the codes of a block.
    fn read_lengths(&mut self, input: &mut &[u8]) -> Option<Pause> {
        let lengths = &mut self.lengths;
        let all = lengths.literals + lengths.distances;
        while lengths.read < all {
            self.bits.fill(input);
            let entry = self.codes.length(self.bits.peek(7));
            let (symbol, bits) = ((entry >> 16) as u8, entry & 15);
            let (extra, least) = match symbol {
                16 => (2, 3),
                17 => (3, 3),
                18 => (7, 11),
                _ => (0, 1),
            };
            if self.bits.count < bits + extra {
                return Some(Pause::Input);
            }
            let again = least + (self.bits.peek(bits + extra) >> bits) as usize;
            self.bits.drop(bits + extra);
            let before = lengths.read.checked_sub(1).and_then(|at| lengths.list.get(at)).copied();
            let length = match (symbol, before) {
                (16, None) => return Some(Pause::Error),
                (16, Some(before)) => before,
                (17 | 18, _) => 0,
                (length, _) => length,
            };
            if lengths.read + again > all {
                return Some(Pause::Error);
            }
            lengths.list.iter_mut().skip(lengths.read).take(again).for_each(|slot| *slot = length);
            lengths.read += again;
        }
        let (literals, distances) = lengths.list.get(..all).and_then(|l| l.split_at_checked(lengths.literals))?;
        // Without a code for its end a block has none.
        if literals.get(256) == Some(&0) || !self.codes.of_block(literals, distances) {
            return Some(Pause::Error);
        }
        self.at = Place::Data;
        None
    }

    /// Passes stored bytes on.
    fn stored(&mut self, left: usize, input: &mut &[u8], end: usize) -> Option<Pause> {
        let room = end.saturating_sub(self.made).min(left);
        let mut taken = 0;
        // Those that are held as bits come first.
        while taken < room && self.bits.count > 0 {
            let byte = self.bits.peek(8) as u8;
            self.bits.drop(8);
            self.window.get_mut(self.made + taken).into_iter().for_each(|slot| *slot = byte);
            taken += 1;
        }
        if self.bits.count == 0 {
            self.bits.held = 0;
        }
        let (now, rest) = input.split_at((room - taken).min(input.len()));
        let place = self.window.get_mut(self.made + taken..self.made + taken + now.len());
        place.into_iter().for_each(|place| place.copy_from_slice(now));
        *input = rest;
        taken += now.len();
        self.made += taken;
        self.at = if taken == left { Place::Block } else { Place::Stored(left - taken) };
        match () {
            () if taken == left => None,
            () if self.made >= end => Some(Pause::Full),
            () => Some(Pause::Input),
        }
    }

    /// Decodes the data of a block.
    fn data(&mut self, input: &mut &[u8], end: usize) -> Option<Pause> {
        #[cfg(target_arch = "x86_64")]
        let pause = match self.shifts {
            Some(shifts) => shifts.vectorize(Quickly { inflate: self, input, end }),
            None => self.quickly(input, end),
        };
        #[cfg(not(target_arch = "x86_64"))]
        let pause = self.quickly(input, end);
        if pause.is_some() || self.at != Place::Data {
            return pause;
        }
        self.carefully(input, end)
    }

    /// As long as there are eight bytes more than are needed.
    #[inline(always)]
    fn quickly(&mut self, input: &mut &[u8], end: usize) -> Option<Pause> {
        let Inflate { codes, window, .. } = self;
        let (mut bits, mut made, mut rest) = (self.bits, self.made, *input);
        let out = window.as_mut_slice();
        let mut pause = None;
        'all: while rest.len() >= 8 && made < end {
            bits.fill(&mut rest);
            let mut entry = codes.literal(bits.held);
            // Three literals need no more bits than are there.
            for _ in 0..3 {
                if entry & LITERAL == 0 {
                    break;
                }
                bits.drop(entry & 15);
                out.get_mut(made).into_iter().for_each(|slot| *slot = (entry >> 16) as u8);
                made += 1;
                entry = codes.literal(bits.held);
            }
            if entry & LITERAL != 0 {
                continue;
            }
            if bits.count < 48 {
                if rest.len() < 8 {
                    break;
                }
                bits.fill(&mut rest);
            }
            if entry & OTHER != 0 {
                entry = codes.longer_literal(entry, bits.held);
                if entry & LITERAL != 0 {
                    bits.drop(entry & 15);
                    out.get_mut(made).into_iter().for_each(|slot| *slot = (entry >> 16) as u8);
                    made += 1;
                    continue;
                }
                if entry & OTHER != 0 {
                    if entry == INVALID {
                        pause = Some(Pause::Error);
                    } else {
                        bits.drop(entry & 15);
                        self.at = Place::Block;
                    }
                    break 'all;
                }
            }
            let length = number(&mut bits, entry);
            let entry = codes.distance(bits.held);
            if entry == INVALID {
                pause = Some(Pause::Error);
                break;
            }
            let distance = number(&mut bits, entry);
            if !copy(out, made, distance, length) {
                pause = Some(Pause::Error);
                break;
            }
            made += length;
        }
        (self.bits, self.made, *input) = (bits, made, rest);
        pause
    }

    /// One after the other, as far as the bytes go.
    fn carefully(&mut self, input: &mut &[u8], end: usize) -> Option<Pause> {
        while self.made < end {
            self.bits.fill(input);
            let mut bits = self.bits;
            bits.held &= (1 << bits.count.min(63)) - 1;
            let mut entry = self.codes.literal(bits.held);
            if entry & (OTHER | LITERAL) == OTHER {
                entry = self.codes.longer_literal(entry, bits.held);
            }
            if entry & 15 > bits.count {
                return Some(Pause::Input);
            }
            if entry & LITERAL != 0 {
                self.window.get_mut(self.made).into_iter().for_each(|slot| *slot = (entry >> 16) as u8);
                self.made += 1;
                self.bits.drop(entry & 15);
                continue;
            }
            if entry == INVALID {
                return Some(if bits.count == 0 { Pause::Input } else { Pause::Error });
            }
            if entry == END | entry & 15 {
                self.bits.drop(entry & 15);
                self.at = Place::Block;
                return None;
            }
            if needed(entry) > bits.count {
                return Some(Pause::Input);
            }
            let length = number(&mut bits, entry);
            let entry = self.codes.distance(bits.held);
            if needed(entry) > bits.count {
                return Some(Pause::Input);
            }
            if entry == INVALID {
                return Some(if bits.count == 0 { Pause::Input } else { Pause::Error });
            }
            let distance = number(&mut bits, entry);
            self.bits.drop(self.bits.count - bits.count);
            if !copy(&mut self.window, self.made, distance, length) {
                return Some(Pause::Error);
            }
            self.made += length;
        }
        Some(Pause::Full)
    }
}

/// [`Inflate::quickly`] with instructions of newer processors, which shift by a number of bits that is not known before
/// in one step.
#[cfg(target_arch = "x86_64")]
struct Quickly<'i, 'b> {
    inflate: &'i mut Inflate,
    input: &'i mut &'b [u8],
    end: usize,
}

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for Quickly<'_, '_> {
    type Output = Option<Pause>;

    #[inline(always)]
    fn call(self) -> Option<Pause> {
        self.inflate.quickly(self.input, self.end)
    }
}

#[cfg(test)]
mod tests;
