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

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use weir_wire::numbers::PROTOCOL_FRAGMENT;
use weir_wire::{Checksum, DropReason, Instant, L3, Offload, Packet, Pool, PortId, Segmentation, SwitchId, Vid};

/// Fragments of one datagram.
const PIECES_MAX: usize = 128;
/// Bytes held are at most this many a fragment, on average.
const BYTES_EACH: usize = 2048;
/// RFC 791, 3.2 leaves it open; Linux waits 30 s.
const TIMEOUT_V4: Duration = Duration::from_secs(30);
/// RFC 8200, 4.5.
const TIMEOUT_V6: Duration = Duration::from_secs(60);
/// Longest IP packet that is not a jumbogram.
const PACKET_MAX: usize = 65_535;

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

/// What names a datagram (RFC 791 3.2, RFC 8200 4.5), and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    switch: SwitchId,
    vid: Vid,
    port: PortId,
    addresses: [u8; 32],
    id: u32,
    /// IPv4's protocol; 0 for IPv6, where the identification alone counts.
    protocol: u8,
    v6: bool,
}

/// One fragment's place in its datagram.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Bytes before it.
    offset: usize,
    /// Where its data stand in the frame.
    data: (usize, usize),
    more: bool,
}

impl Span {
    fn end(&self) -> usize {
        self.offset + (self.data.1 - self.data.0)
    }
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

fn data<'a>(packet: &'a Packet, span: &Span) -> &'a [u8] {
    packet.bytes().get(span.data.0..span.data.1).unwrap_or(&[])
}

/// Where the fragment header of an IPv6 packet stands, and the byte that announces it.
fn fragment_header(packet: &Packet) -> Option<(usize, usize)> {
    let l3 = usize::from(packet.headers.l3);
    let (mut announced, mut at) = (l3 + 6, l3 + 40);
    for _ in 0..8 {
        let bytes = packet.bytes();
        if *bytes.get(announced)? == PROTOCOL_FRAGMENT {
            return (at + 8 <= packet.headers.end as usize).then_some((at, announced));
        }
        let size = match *bytes.get(announced)? {
            weir_wire::numbers::PROTOCOL_AH => (usize::from(*bytes.get(at + 1)?) + 2) * 4,
            _ => (usize::from(*bytes.get(at + 1)?) + 1) * 8,
        };
        (announced, at) = (at, at + size);
    }
    None
}

/// Reads a fragment; `None` where its numbers make no sense: nothing in it, not a multiple of eight bytes before the
/// end, or beyond the longest packet.
fn read(packet: &Packet, switch: SwitchId) -> Option<(Key, Span)> {
    let mut addresses = [0; 32];
    let (l3, end) = (usize::from(packet.headers.l3), packet.headers.end as usize);
    let v6 = packet.headers.l3_kind == L3::Ipv6;
    let (id, field, protocol, start, header) = if v6 {
        addresses.copy_from_slice(packet.ipv6()?.get(8..40)?);
        let (at, _) = fragment_header(packet)?;
        let &[_, _, high, low, a, b, c, d] = packet.bytes().get(at..)?.first_chunk()?;
        (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low]), 0, at + 8, at - l3 - 40)
    } else {
        let fixed = packet.ipv4()?;
        addresses.get_mut(..8)?.copy_from_slice(fixed.get(12..20)?);
        let header_len = usize::from(fixed[0] & 15) * 4;
        let id = u32::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        (id, u16::from_be_bytes([fixed[6], fixed[7]]), fixed[9], l3 + header_len, header_len)
    };
    let (offset, more) = if v6 {
        (usize::from(field & 0xfff8), field & 1 != 0)
    } else {
        (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0)
    };
    let span = Span { offset, data: (start, end), more };
    let length = end.checked_sub(start)?;
    if length == 0 || (more && length % 8 != 0) || header + span.end() > PACKET_MAX {
        return None;
    }
    let key = Key { switch, vid: packet.vid, port: packet.port, addresses, id, protocol, v6 };
    Some((key, span))
}

/// One packet of all fragments: the headers of the first, without what made it a fragment, and everybody's data.
fn assemble(key: &Key, pieces: &[(Span, Packet)], pool: &mut Pool) -> Result<Packet, DropReason> {
    let bad = DropReason::FragmentOverlap;
    let (first_span, first) = pieces.first().ok_or(bad)?;
    let l3 = usize::from(first.headers.l3);
    let header_end = if key.v6 { first_span.data.0 - 8 } else { first_span.data.0 };
    let head = first.bytes().get(..header_end).ok_or(bad)?;
    let length = head.len() + pieces.iter().map(|(span, _)| span.end() - span.offset).sum::<usize>();
    let mut buffer = pool.take(length).ok_or(DropReason::NoBuffer)?;
    let mut rest = buffer.room();
    for part in std::iter::once(head).chain(pieces.iter().map(|(span, packet)| data(packet, span))) {
        let Some((here, behind)) = rest.split_at_mut_checked(part.len()) else { break };
        here.copy_from_slice(part);
        rest = behind;
    }
    buffer.set_len(length);
    let fixed = rewrite(key, first, buffer.bytes_mut(), l3);
    let size = pieces.iter().map(|(_, p)| p.headers.end as usize - usize::from(p.headers.l3)).max().unwrap_or(0);
    let size = u16::try_from(size).unwrap_or(u16::MAX);
    let offload = Offload { checksum: Checksum::Complete, segmentation: Segmentation::Fragments { size, id: key.id } };
    let mut whole = Packet::new(buffer, first.port, offload);
    whole.vid = first.vid;
    match fixed.ok_or(bad).and_then(|()| whole.parse()) {
        Ok(()) => Ok(whole),
        Err(reason) => {
            pool.give(whole.buffer);
            Err(reason)
        }
    }
}

/// Makes the first fragment's headers those of the whole.
fn rewrite(key: &Key, first: &Packet, frame: &mut [u8], l3: usize) -> Option<()> {
    let length = frame.len().checked_sub(l3)?;
    if key.v6 {
        let (at, announced) = fragment_header(first)?;
        let next = *first.bytes().get(at)?;
        *frame.get_mut(announced)? = next;
        let payload = u16::try_from(length.checked_sub(40)?).ok()?;
        frame.get_mut(l3 + 4..l3 + 6)?.copy_from_slice(&payload.to_be_bytes());
        return Some(());
    }
    let header_len = usize::from(*frame.get(l3)? & 15) * 4;
    let header = frame.get_mut(l3..l3 + header_len)?;
    header.get_mut(2..4)?.copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    header.get_mut(6..8)?.fill(0);
    header.get_mut(10..12)?.fill(0);
    let checksum = !weir_wire::checksum::sum(header).fold();
    header.get_mut(10..12)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
