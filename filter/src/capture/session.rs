//! One TCP connection as both ends see it: sequence numbers, windows, states, and what is odd about its segments.
//!
//! The names of states and events, and the places where events are raised, are those that rules for Suricata expect.
//! A segment that does not fit is refused ([`Outcome::Refused`]): passive, its data is not a part of the stream; inline,
//! the packet is dropped. Sequence numbers wrap, so they are compared by their distance.

mod closing;
mod established;
pub mod handshake;

use weir_wire::Instant;

use super::settings::StreamSettings;
use super::stream::{Bytes, Manner};
use super::tcp::Upto;
use crate::decode::tcp::flag::{ACK, FIN, RST, SYN};
use crate::decode::{Event, Events, Tcp};
use crate::inspect::Direction;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not taken up.
    #[default]
    None,
    /// A SYN was seen.
    SynSent,
    /// A SYN/ACK was seen.
    SynRecv,
    /// The handshake is complete.
    Established,
    /// The server has sent FIN.
    FinWait1,
    /// And the client has acknowledged it.
    FinWait2,
    /// Both have sent FIN.
    TimeWait,
    /// The client had sent FIN, then the server has.
    LastAck,
    /// The client has sent FIN.
    CloseWait,
    /// Both have sent FIN at once.
    Closing,
    /// It is over.
    Closed,
}

impl State {
    /// The name that EVE gives it.
    pub fn name(self) -> &'static str {
        match self {
            State::None => "none",
            State::SynSent => "syn_sent",
            State::SynRecv => "syn_recv",
            State::Established => "established",
            State::FinWait1 => "fin_wait1",
            State::FinWait2 => "fin_wait2",
            State::TimeWait => "time_wait",
            State::LastAck => "last_ack",
            State::CloseWait => "close_wait",
            State::Closing => "closing",
            State::Closed => "closed",
        }
    }
}

/// One end of a connection: what it has sent, and what the other has acknowledged.
#[derive(Debug, Default)]
pub struct Side {
    /// Its initial sequence number.
    pub isn: u32,
    /// What it will send next.
    pub next_seq: u32,
    /// What the other has acknowledged.
    pub last_ack: u32,
    /// Up to where the other's window lets it send.
    pub next_win: u32,
    /// The other's window.
    pub window: u32,
    /// Scale of the windows that it announces.
    pub scale: u8,
    /// Its last timestamp, and when it came.
    pub stamp: Option<(u32, Instant)>,
    /// All flags that it has sent.
    pub flags: u8,
    /// It has sent a valid RST.
    pub reset: bool,
    /// Its FIN was seen.
    pub finished: bool,
    /// Its bytes.
    pub bytes: Bytes,
    /// Sequence number of place 0.
    pub base: u32,
    /// Its end was told.
    pub ended: bool,
    /// Some of its bytes were lost.
    pub gap: bool,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Session {
    /// Where it stands.
    pub state: State,
    /// Client, server.
    pub sides: [Side; 2],
    /// Its start was not seen.
    pub midstream: bool,
    /// It was taken up with a SYN/ACK.
    from_syn_ack: bool,
    /// One side only is seen.
    pub oneside: bool,
    /// Both sides have timestamps.
    timestamps: bool,
    /// The client has sent data with its SYN.
    fast_open: bool,
    /// SYN was answered by SYN.
    crossed: bool,
    /// The last ACK of the handshake was seen.
    confirmed: bool,
    /// SYNs of the client that differ from the last one, while none is answered.
    syns: Vec<handshake::Syn>,
    /// SYN/ACKs that differed, and the last of them: sequence number and scale.
    others: u8,
    other: Option<(u32, u32, u8, u16)>,
    /// Where it stood when a RST ended it.
    before_reset: State,
    /// Up to where the client's FIN is believed, where nobody is seen to answer it.
    fin_limit: Option<u32>,
    /// All flags seen.
    pub flags: u8,
}

/// A segment at hand.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'p> {
    /// Its header.
    pub tcp: &'p Tcp,
    /// Its data.
    pub data: &'p [u8],
    /// Its direction.
    pub way: Direction,
    /// When it came.
    pub time: Instant,
}

impl Segment<'_> {
    fn len(&self) -> u32 {
        self.data.len() as u32
    }

    fn end(&self) -> u32 {
        self.tcp.seq.wrapping_add(self.len())
    }

    fn has(&self, flags: u8) -> bool {
        self.tcp.flags & flags == flags
    }
}

/// What a segment is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It fits. `data`: its data belongs to the stream.
    Fits {
        /// Its data belongs to the stream.
        data: bool,
    },
    /// It says nothing (keep-alives, window updates, what comes again).
    Skipped,
    /// It does not fit.
    Refused,
}

const DATA: Outcome = Outcome::Fits { data: true };
const NO_DATA: Outcome = Outcome::Fits { data: false };

/// `a` is after `b`.
#[inline]
pub fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// `a` is after `b` or the same.
#[inline]
pub fn not_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) >= 0
}

/// Index of the sender of a direction.
#[inline]
pub fn side(way: Direction) -> usize {
    usize::from(way == Direction::Reply)
}

impl Side {
    /// The place of a sequence number; `None` where it lies before the stream's start.
    #[inline]
    pub fn place(&self, seq: u32) -> Option<u64> {
        // Relative to what comes next, so that streams longer than the number space keep their places.
        let next = self.bytes.next();
        let next_seq = self.base.wrapping_add(next as u32);
        next.checked_add_signed(i64::from(seq.wrapping_sub(next_seq) as i32))
    }

    /// Bytes that it has sent, as its sequence numbers tell.
    pub fn sent(&self) -> u64 {
        if self.flags == 0 { 0 } else { u64::from(self.next_seq.wrapping_sub(self.isn)) }
    }

    /// The place of its FIN.
    fn fin_place(&self) -> Option<u64> {
        self.place(self.next_seq.wrapping_sub(1)).filter(|_| self.finished)
    }

    /// Up to which place bytes may be read, and whether bytes before it were lost.
    pub fn readable(&mut self, upto: Upto, depth: u64, manner: &Manner) -> (u64, bool) {
        let next = self.bytes.next();
        let mut place = match upto {
            Upto::All => return (next, false),
            Upto::Everything => self.bytes.first_held().unwrap_or(next).max(next),
            Upto::Acknowledged => self.place(self.last_ack).unwrap_or(0),
        };
        if let Some(fin) = self.fin_place() {
            place = place.min(fin.max(next));
        }
        // What is missing before bytes that never came may still come, or was never to be seen (one side is captured).
        let later = self.bytes.first_held().is_some();
        let open = depth == 0 || next < depth;
        if later && place > next && open && self.bytes.give_up(place, manner) > 0 {
            self.gap = true;
            return (if upto == Upto::Everything { self.bytes.next() } else { place }, true);
        }
        if upto == Upto::Everything { (self.bytes.next(), false) } else { (place, false) }
    }

    /// What the other has acknowledged was handed on and looked at, and no end is to be told.
    #[inline]
    pub fn is_read(&self) -> bool {
        !self.reset && self.bytes.is_read(self.place(self.last_ack).unwrap_or(0))
    }

    /// Whether the direction ends at a place, and that was not told yet.
    /// A passive observer knows it once both sides have closed.
    pub fn ends_at(&self, place: u64, upto: Upto) -> bool {
        let next = self.bytes.next();
        let finished = upto != Upto::Acknowledged && self.fin_place().is_some_and(|fin| next >= fin);
        let done = finished || self.reset;
        !self.ended && place >= next && self.bytes.first_held().is_none() && (done || upto == Upto::Everything)
    }

    fn set_isn(&mut self, isn: u32) {
        self.isn = isn;
        self.base = isn.wrapping_add(1);
        self.next_seq = isn.wrapping_add(1);
        self.last_ack = self.next_seq;
    }
}

impl Session {
    /// The sender of a segment and its receiver.
    #[inline]
    fn ends(&mut self, way: Direction) -> (&mut Side, &mut Side) {
        let [client, server] = &mut self.sides;
        match way {
            Direction::Original => (client, server),
            Direction::Reply => (server, client),
        }
    }

    /// The handshake is complete, or the connection was taken up later.
    #[inline]
    pub fn is_established(&self) -> bool {
        self.state >= State::Established
    }

    /// Data came with the SYN, or may come.
    pub fn is_fast_open(&self) -> bool {
        self.fast_open
    }

    /// Bytes of memory in use.
    pub fn memory(&self) -> usize {
        self.sides.iter().map(|side| side.bytes.memory()).sum()
    }

    /// Client and server change places.
    pub fn swap(&mut self) {
        self.sides.reverse();
    }

    /// Takes a segment of a connection that is known.
    pub fn segment(&mut self, segment: &Segment<'_>, settings: &StreamSettings, events: &mut Events) -> Outcome {
        let tcp = segment.tcp;
        self.flags |= tcp.flags;
        let way = side(segment.way);
        if let Some(sender) = self.sides.get_mut(way) {
            sender.flags |= tcp.flags;
        }
        if self.follows(segment) {
            return DATA;
        }
        self.any_segment(segment, settings, events)
    }

    /// A segment, whatever it is.
    fn any_segment(&mut self, segment: &Segment<'_>, settings: &StreamSettings, events: &mut Events) -> Outcome {
        let tcp = segment.tcp;
        if self.oneside && self.sides.iter().all(|side| side.flags != 0) {
            self.oneside = false;
        }
        if tcp.ack != 0 && !segment.has(ACK) {
            events.set(Event::StreamPacketBrokenAck);
        }
        if segment.has(SYN | FIN) {
            events.set(Event::StreamFinSyn);
        }
        if self.state >= State::Established
            && !segment.has(SYN)
            && tcp.flags & (FIN | RST) == 0
            && self.says_nothing(segment, settings, events)
        {
            return Outcome::Skipped;
        }
        self.dispatch(segment, settings, events)
    }

    fn dispatch(&mut self, segment: &Segment<'_>, settings: &StreamSettings, events: &mut Events) -> Outcome {
        match self.state {
            State::None => Outcome::Skipped,
            State::SynSent => self.syn_sent(segment, settings, events),
            State::SynRecv => self.syn_recv(segment, settings, events),
            State::Established => self.established(segment, events),
            State::FinWait1
            | State::FinWait2
            | State::TimeWait
            | State::LastAck
            | State::CloseWait
            | State::Closing => self.closing(segment, events),
            State::Closed => self.closed(segment, settings, events),
        }
    }

    /// Keep-alives and bad window updates: they change nothing.
    fn says_nothing(&mut self, segment: &Segment<'_>, settings: &StreamSettings, events: &mut Events) -> bool {
        let tcp = segment.tcp;
        let inline = settings.inline;
        let (sender, receiver) = self.ends(segment.way);
        // One byte or none before what comes next, and nothing new acknowledged (RFC 9293, 3.8.4).
        let keep_alive = segment.len() <= 1
            && tcp.seq == sender.next_seq.wrapping_sub(1)
            && tcp.ack == receiver.last_ack
            && segment.has(ACK);
        if keep_alive {
            return true;
        }
        // A shrunken window on an acknowledgment of data that was never sent.
        let shrunken = segment.len() == 0
            && (u32::from(tcp.window) << sender.scale) < receiver.window
            && segment.has(ACK)
            && tcp.seq != sender.next_seq
            && after(tcp.seq, sender.next_seq)
            && after(tcp.ack, receiver.next_seq)
            && after(tcp.ack, receiver.last_ack);
        if shrunken && tcp.ack.wrapping_sub(receiver.next_seq) > receiver.window {
            events.set(Event::StreamPacketBadWindowUpdate);
            return true;
        }
        if segment.len() > 0 && not_before(sender.last_ack, segment.end()) && !inline {
            events.set(Event::StreamPacketSpuriousRetransmission);
        }
        false
    }

    /// Whether the acknowledgment lies where the other side has sent, or may have.
    fn ack_fits(&mut self, segment: &Segment<'_>, events: &mut Events) -> bool {
        if !segment.has(ACK) || self.oneside {
            return true;
        }
        let (_, receiver) = self.ends(segment.way);
        let ack = segment.tcp.ack;
        if !after(ack, receiver.last_ack) || !after(ack, receiver.next_win) {
            return true;
        }
        // Data within the window that was not seen may have been lost before us.
        if !after(ack, receiver.next_seq) {
            return true;
        }
        events.set(Event::StreamPacketInvalidAck);
        false
    }

    /// Timestamps never go back (RFC 7323, 5), but after 24 days they may stand anywhere.
    fn stamp_fits(&mut self, segment: &Segment<'_>, events: &mut Events) -> bool {
        let Some((stamp, _)) = segment.tcp.options.timestamps.filter(|_| self.timestamps) else { return true };
        const DAYS_24: u64 = 24 * 24 * 3600;
        let (sender, _) = self.ends(segment.way);
        let old = sender.stamp.is_some_and(|(last, when)| {
            stamp != 0
                && last != 0
                && (stamp.wrapping_sub(last) as i32) < 0
                && segment.time.since(when).as_secs() < DAYS_24
        });
        if old {
            events.set(Event::StreamPacketInvalidTimestamp);
        }
        !old
    }

    fn note_stamp(&mut self, segment: &Segment<'_>) {
        if let Some((stamp, _)) = segment.tcp.options.timestamps.filter(|_| self.timestamps) {
            let (sender, _) = self.ends(segment.way);
            if sender.stamp.is_none_or(|(last, _)| not_before(stamp, last)) {
                sender.stamp = Some((stamp, segment.time));
            }
        }
    }

    /// Notes what a segment that fits acknowledges and allows.
    fn note_ack(&mut self, segment: &Segment<'_>) {
        if !segment.has(ACK) {
            return;
        }
        let oneside = self.oneside;
        let (sender, receiver) = self.ends(segment.way);
        let scale = if segment.has(SYN) { 0 } else { sender.scale };
        receiver.window = u32::from(segment.tcp.window) << scale;
        if after(segment.tcp.ack, receiver.last_ack) {
            receiver.last_ack = segment.tcp.ack;
            if after(receiver.last_ack, receiver.next_seq) {
                receiver.next_seq = receiver.last_ack;
            }
        }
        if oneside {
            // Nobody answers: what was sent is taken as received.
            sender.last_ack = segment.end();
        }
        let limit = receiver.last_ack.wrapping_add(receiver.window);
        if after(limit, receiver.next_win) {
            receiver.next_win = limit;
        }
        self.note_stamp(segment);
    }

    /// Whether a RST is where the other side would believe it.
    fn reset_fits(&mut self, segment: &Segment<'_>, events: &mut Events) -> bool {
        if !self.stamp_fits(segment, events) {
            return false;
        }
        let (oneside, midstream) = (self.oneside, self.midstream);
        if !self.ack_fits(segment, events) {
            events.set(Event::StreamRstInvalidAck);
            return false;
        }
        let (sender, receiver) = self.ends(segment.way);
        let seq = segment.tcp.seq;
        // A side that was never heard has no number to compare with.
        let unknown = sender.flags & !RST == 0 || sender.next_seq == 0;
        let _ = receiver;
        oneside
            || midstream
            || unknown
            || seq == sender.next_seq
            || (seq == sender.last_ack && !after(seq, sender.next_seq))
    }

    /// Ends the connection after a valid RST.
    fn reset(&mut self, segment: &Segment<'_>) -> Outcome {
        self.note_ack(segment);
        let (sender, _) = self.ends(segment.way);
        sender.reset = true;
        if after(segment.end(), sender.next_seq) {
            sender.next_seq = segment.end();
        }
        self.before_reset = self.state;
        self.state = State::Closed;
        NO_DATA
    }

    /// What came for a connection that is over. Who goes on after its own RST did not send it, or knows that it was not
    /// believed (it may be signed where nobody else signs): the connection goes on from where it stood.
    fn closed(&mut self, segment: &Segment<'_>, settings: &StreamSettings, events: &mut Events) -> Outcome {
        if segment.has(RST) {
            return NO_DATA;
        }
        let (sender, _) = self.ends(segment.way);
        if !sender.reset {
            return if segment.has(SYN) { Outcome::Refused } else { NO_DATA };
        }
        // A side that is told of a connection it does not know refuses that, and opens its own again.
        if !segment.has(SYN) {
            events.set(Event::StreamSuspectedRstInject);
        }
        sender.reset = false;
        self.state = self.before_reset;
        self.dispatch(segment, settings, events)
    }
}
