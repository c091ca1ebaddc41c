//! Fragments wait here until their datagram is whole; then they go on as one packet.
//!
//! Nothing of a datagram leaves before all of it was seen, so what is inspected is what the receiver puts together,
//! whatever its own rules for overlaps are: a datagram with an overlap is dropped whole (RFC 5722 and RFC 8200 4.5 for
//! IPv6; for IPv4 no sender makes one). An exact repetition of a fragment is dropped alone. Fragments of one datagram
//! must come in by one port.
//!
//! Limits: fragments and their bytes in all, [`PIECES_MAX`] fragments of a datagram, 30 s for IPv4 and 60 s for IPv6;
//! as many fragments again may have been given up and wait for the next tick to count them.
//! When room is needed, the oldest datagram of the port that holds most is given up, so one guest cannot take the place
//! of another. After a bad fragment the rest of its datagram is refused until its time is over.

mod assemble;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weir_wire::{DropReason, Instant, Packet, Pool, PortId, SwitchId};

use assemble::{Key, Span, assemble, data, read};

/// Fragments of one datagram.
const PIECES_MAX: usize = 128;
/// Bytes held are at most this many a fragment, on average.
const BYTES_EACH: usize = 2048;
/// RFC 791, 3.2 leaves it open; Linux waits 30 s.
const TIMEOUT_V4: Duration = Duration::from_secs(30);
/// RFC 8200, 4.5.
const TIMEOUT_V6: Duration = Duration::from_secs(60);
/// What becomes of a fragment.
#[derive(Debug)]
pub enum Taken {
    /// It waits.
    Held,
    /// It was the last one; this is the datagram, parsed.
    Whole(Packet),
    /// It ends here.
    Refused(Packet, DropReason),
}

#[derive(Debug)]
struct Datagram {
    /// In order of their offsets.
    pieces: Vec<(Span, Packet)>,
    /// Bytes that have come.
    covered: usize,
    /// Bytes in all, once the last fragment has come.
    total: Option<usize>,
    /// Refuses what still comes.
    broken: bool,
    /// Tells it from a datagram of the same name that stood here before.
    number: u64,
}

/// All fragments that wait.
#[derive(Debug)]
pub struct Fragments {
    datagrams: BTreeMap<Key, Datagram>,
    /// Datagrams in order of their first fragments.
    order: VecDeque<(Instant, u64, Key)>,
    /// Fragments to be counted as dropped.
    given_up: Vec<(Packet, DropReason)>,
    /// Fragments held, by port.
    shares: BTreeMap<PortId, usize>,
    pieces: usize,
    bytes: usize,
    limit: usize,
    numbers: u64,
}

impl Fragments {
    /// Room for `limit` fragments.
    pub fn new(limit: usize) -> Fragments {
        Fragments {
            datagrams: BTreeMap::new(),
            order: VecDeque::new(),
            given_up: Vec::new(),
            shares: BTreeMap::new(),
            pieces: 0,
            bytes: 0,
            limit,
            numbers: 0,
        }
    }

    /// Fragments that wait, for their datagram or for being counted as dropped.
    pub fn held(&self) -> usize {
        self.pieces + self.given_up.len()
    }

    /// Takes a fragment, which must be parsed.
    pub fn take(&mut self, now: Instant, packet: Packet, switch: SwitchId, pool: &mut Pool) -> Taken {
        let Some((key, span)) = read(&packet, switch) else {
            return Taken::Refused(packet, DropReason::FragmentOverlap);
        };
        // Its name may be that of a datagram whose time is over, which no tick has found yet.
        self.expire(now);
        if !self.make_room(packet.port, packet.len()) {
            return Taken::Refused(packet, DropReason::FragmentLimit);
        }
        let numbers = &mut self.numbers;
        let order = &mut self.order;
        let datagram = self.datagrams.entry(key).or_insert_with(|| {
            *numbers += 1;
            order.push_back((now.after(if key.v6 { TIMEOUT_V6 } else { TIMEOUT_V4 }), *numbers, key));
            Datagram { pieces: Vec::new(), covered: 0, total: None, broken: false, number: *numbers }
        });
        match datagram.place(&packet, span) {
            Fit::At(at) => {
                self.pieces += 1;
                self.bytes += packet.len();
                *self.shares.entry(key.port).or_default() += 1;
                datagram.covered += span.end() - span.offset;
                datagram.pieces.insert(at, (span, packet));
                if datagram.total != Some(datagram.covered) { Taken::Held } else { self.finish(&key, pool) }
            }
            Fit::Repeats => Taken::Refused(packet, DropReason::FragmentOverlap),
            Fit::No(reason) => {
                self.break_up(&key, reason);
                Taken::Refused(packet, reason)
            }
        }
    }

    /// Puts a datagram together that has come whole.
    fn finish(&mut self, key: &Key, pool: &mut Pool) -> Taken {
        let Some(datagram) = self.datagrams.remove(key) else { return Taken::Held };
        let pieces = datagram.pieces;
        self.account(key.port, &pieces);
        let whole = assemble(key, &pieces, pool);
        let mut packets = pieces.into_iter().map(|(_, packet)| packet);
        match whole {
            Ok(packet) => {
                packets.for_each(|piece| pool.give(piece.buffer));
                Taken::Whole(packet)
            }
            Err(reason) => {
                let last = packets.next_back();
                self.given_up.extend(packets.map(|packet| (packet, reason)));
                last.map_or(Taken::Held, |last| Taken::Refused(last, reason))
            }
        }
    }

    /// Gives up a datagram's fragments, and remembers it to refuse the others.
    fn break_up(&mut self, key: &Key, reason: DropReason) {
        let Some(datagram) = self.datagrams.get_mut(key) else { return };
        datagram.broken = true;
        let pieces = std::mem::take(&mut datagram.pieces);
        self.account(key.port, &pieces);
        self.given_up.extend(pieces.into_iter().map(|(_, packet)| (packet, reason)));
    }

    /// Takes fragments off the accounts.
    fn account(&mut self, port: PortId, pieces: &[(Span, Packet)]) {
        self.pieces -= pieces.len();
        self.bytes -= pieces.iter().map(|(_, packet)| packet.len()).sum::<usize>();
        if let Some(share) = self.shares.get_mut(&port) {
            *share -= pieces.len();
            if *share == 0 {
                self.shares.remove(&port);
            }
        }
    }

    /// Room for one more fragment: the oldest datagrams of the port that holds most make it.
    fn make_room(&mut self, port: PortId, bytes: usize) -> bool {
        if self.given_up.len() >= self.limit {
            return false;
        }
        if self.order.len() > 2 * self.limit + 64 {
            // Most of these became whole meanwhile.
            let datagrams = &self.datagrams;
            self.order.retain(|(_, number, key)| datagrams.get(key).is_some_and(|d| d.number == *number));
        }
        let limit_bytes = self.limit.saturating_mul(BYTES_EACH);
        while self.pieces >= self.limit || self.bytes + bytes > limit_bytes {
            let heaviest = self.shares.iter().max_by_key(|&(_, &n)| n).map_or(port, |(&heaviest, _)| heaviest);
            let Some(at) = self.order.iter().position(|(_, _, key)| key.port == heaviest) else { return false };
            let Some((_, number, key)) = self.order.remove(at) else { return false };
            self.give_up(&key, number, DropReason::FragmentLimit);
        }
        while self.datagrams.len() >= self.limit {
            let Some((_, number, key)) = self.order.pop_front() else { return false };
            self.give_up(&key, number, DropReason::FragmentLimit);
        }
        true
    }

    /// Forgets the datagram of this name and number.
    fn give_up(&mut self, key: &Key, number: u64, reason: DropReason) {
        if self.datagrams.get(key).is_some_and(|datagram| datagram.number == number) {
            self.break_up(key, reason);
            self.datagrams.remove(key);
        }
    }

    /// Gives up the datagrams whose time is over.
    pub fn expire(&mut self, now: Instant) {
        // IPv4's and IPv6's times differ, so one may wait behind the other, 30 s at most.
        while let Some(&(until, number, key)) = self.order.front()
            && until <= now
        {
            self.order.pop_front();
            self.give_up(&key, number, DropReason::FragmentTimeout);
        }
    }

    /// When [`Fragments::expire`] has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        self.order.front().map(|&(until, ..)| until)
    }

    /// Hands over the fragments that were given up.
    pub fn given_up(&mut self, each: impl FnMut((Packet, DropReason))) {
        self.given_up.drain(..).for_each(each);
    }
}

/// Whether a fragment fits its datagram.
enum Fit {
    /// At this place among the others.
    At(usize),
    /// It came before, byte for byte.
    Repeats,
    /// It does not, and the datagram is given up.
    No(DropReason),
}

impl Datagram {
    fn place(&mut self, packet: &Packet, span: Span) -> Fit {
        if self.broken {
            return Fit::No(DropReason::FragmentOverlap);
        }
        let at = self.pieces.partition_point(|(piece, _)| piece.offset < span.offset);
        if let Some((piece, other)) = self.pieces.get(at)
            && (piece.offset, piece.end(), piece.more) == (span.offset, span.end(), span.more)
            && data(other, piece) == data(packet, &span)
        {
            return Fit::Repeats;
        }
        let overlaps_before =
            at.checked_sub(1).and_then(|b| self.pieces.get(b)).is_some_and(|(p, _)| p.end() > span.offset);
        let overlaps_after = self.pieces.get(at).is_some_and(|(p, _)| p.offset < span.end());
        let beyond = self.total.is_some_and(|total| span.end() > total || !span.more);
        let short = !span.more && self.pieces.last().is_some_and(|(p, _)| p.end() > span.end());
        if overlaps_before || overlaps_after || beyond || short {
            return Fit::No(DropReason::FragmentOverlap);
        }
        if self.pieces.len() >= PIECES_MAX {
            return Fit::No(DropReason::FragmentLimit);
        }
        if !span.more {
            self.total = Some(span.end());
        }
        Fit::At(at)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
