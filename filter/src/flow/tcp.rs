//! A TCP connection as somebody in the middle sees it: its state, and the window each side may send in.
//!
//! The states follow RFC 9293; the window bounds follow van Rooij's "Real Stateful TCP Packet Filtering in IP Filter"
//! (2001): a segment must begin below what its receiver has offered, must not end further back than the receiver's
//! window, must not acknowledge what was never sent, and not what was acknowledged long ago. Resets count only where
//! the receiver would believe them (RFC 5961); a reset elsewhere in the window goes through, since the receiver answers
//! it with a challenge, but ends nothing here. Bounds are lenient until both sides were seen, and for connections whose
//! handshake was not seen (the window scale is not known then).
//!
//! [`Tcp::advance`] computes the next state and leaves the old one alone, so a segment that is refused later for
//! another reason has changed nothing. Sequence arithmetic wraps.

use weir_wire::numbers::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use weir_wire::{DropReason, Packet};

use crate::inspect::Direction;

/// RFC 7323, 2.3: larger shifts count as this one.
const SCALE_MAX: u8 = 14;
/// No window scale option.
const NO_SCALE: u8 = u8::MAX;
/// Acknowledgments may be this old even where the window is smaller: reordering of pure acknowledgments.
const OLD_ACK: u32 = 66_000;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The initiator's SYN was seen.
    #[default]
    SynSent,
    /// Both sides have sent a SYN (RFC 9293, 3.5, figure 7).
    SynSentBoth,
    /// The responder has accepted.
    SynReceived,
    /// The handshake is complete.
    Established,
    /// One side or both have sent FIN.
    Closing,
    /// Both FINs are acknowledged.
    TimeWait,
    /// A reset ended it.
    Closed,
}

/// What one side has sent and may send.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// Sequence number behind its SYN; unknown (0) where the handshake was not seen.
    first: u32,
    /// Sequence number behind the last byte sent.
    end: u32,
    /// Bound of what it may send: highest acknowledgment plus window of the other side.
    max_end: u32,
    /// The largest window it has offered.
    max_window: u32,
    /// The highest acknowledgment it has sent.
    max_ack: u32,
    scale: u8,
    flags: u8,
}

/// It has sent something.
const SEEN: u8 = 1;
/// It has acknowledged something: `max_ack` counts.
const ACKED: u8 = 2;
/// It has sent FIN, which `end` includes.
const FIN: u8 = 4;
/// Its FIN was acknowledged.
const FIN_ACKED: u8 = 8;

impl Peer {
    fn opened_by(syn: &Segment) -> Peer {
        let max_window = u32::from(syn.window).max(1);
        let first = syn.seq.wrapping_add(1);
        Peer { first, end: syn.end(), max_end: syn.end(), max_window, max_ack: 0, scale: syn.scale, flags: SEEN }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// With data in the SYN (RFC 7413) the other side may acknowledge the SYN alone or any part of the data.
    fn is_syn_acknowledged_by(&self, ack: u32) -> bool {
        le(self.first, ack) && le(ack, self.end)
    }
}

/// A SYN that came while a connection stood. The receiver challenges it; where it accepts instead, the connection
/// starts again from here.
#[derive(Clone, Copy, Debug)]
struct Offer {
    direction: Direction,
    seq: u32,
    window: u16,
    scale: u8,
}

/// A connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp {
    state: State,
    peers: [Peer; 2],
    offer: Option<Offer>,
    doubtful_reset: bool,
}

/// What the tracker needs of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// SYN, ACK, FIN, RST.
    pub flags: u8,
    /// Window as it stands in the header.
    pub window: u16,
    /// Bytes of data, without SYN and FIN.
    pub data: u32,
    /// Window scale offered; of SYNs only.
    scale: u8,
}

/// How a segment moves its connection on.
#[derive(Clone, Copy, Debug)]
pub enum Advance {
    /// To this state.
    To(Tcp),
    /// The segment opens another connection between the same ends, and its sender is the initiator.
    Reopen,
    /// The segment accepts another connection between the same ends, opened by a SYN that went through as a challenge;
    /// its sender is the responder.
    Reaccept(Tcp),
}

/// How long a silent connection is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The handshake is not complete.
    Handshake,
    /// It is.
    Established,
    /// It is about to end, or has ended.
    Closing,
}

/// `a` is at or before `b` in sequence space.
#[inline]
fn le(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) >= 0
}

#[inline]
fn later(a: u32, b: u32) -> u32 {
    if le(a, b) { b } else { a }
}

impl Segment {
    /// The numbers of a parsed packet; `None` where it is not TCP.
    #[inline]
    pub fn of(packet: &Packet) -> Option<Segment> {
        let tcp = packet.tcp()?;
        let flags = tcp.flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST);
        let data = packet.headers.end.saturating_sub(u32::from(packet.headers.payload));
        let scale = if flags & TCP_SYN != 0 { window_scale(packet.tcp_options()) } else { NO_SCALE };
        Some(Segment { seq: tcp.seq, ack: tcp.ack, flags, window: tcp.window, data, scale })
    }

    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence number behind the segment; SYN and FIN take one each.
    #[inline]
    fn end(&self) -> u32 {
        let control = u32::from(self.has(TCP_SYN)) + u32::from(self.has(TCP_FIN));
        self.seq.wrapping_add(self.data).wrapping_add(control)
    }

    /// The combinations a host sends. Everything else is a scan, or wants to be read differently by different hosts.
    #[inline]
    fn is_valid(&self) -> bool {
        match self.flags {
            TCP_ACK | TCP_SYN | TCP_RST => true,
            flags => flags == TCP_SYN | TCP_ACK || flags == TCP_RST | TCP_ACK || flags == TCP_FIN | TCP_ACK,
        }
    }

    /// Opens a connection.
    pub fn is_open(&self) -> bool {
        self.flags == TCP_SYN
    }
}

/// RFC 7323, 2.2: kind 3, length 3.
fn window_scale(mut options: &[u8]) -> u8 {
    loop {
        options = match options {
            [3, 3, shift, ..] => return (*shift).min(SCALE_MAX),
            [1, rest @ ..] => rest,
            [2..=u8::MAX, length @ 2..=u8::MAX, ..] => options.get(usize::from(*length)..).unwrap_or(&[]),
            _ => return NO_SCALE,
        }
    }
}

impl Tcp {
    /// A connection that `syn` opens.
    pub fn open(syn: &Segment) -> Tcp {
        let mut tcp = Tcp::default();
        tcp.peers[0] = Peer::opened_by(syn);
        tcp
    }

    /// A connection whose start was not seen, from any of its segments but resets and SYNs.
    ///
    /// # Errors
    /// [`DropReason::TcpMidstream`] where the segment cannot be one of an established connection.
    pub fn pick_up(direction: Direction, segment: &Segment) -> Result<Tcp, DropReason> {
        if !segment.is_valid() || segment.flags & (TCP_SYN | TCP_RST) != 0 {
            return Err(DropReason::TcpMidstream);
        }
        let mut tcp = Tcp { state: State::Established, ..Tcp::default() };
        let window = u32::from(segment.window) << SCALE_MAX;
        let (here, there) = tcp.sides(direction);
        *here = Peer { end: segment.seq, max_end: segment.end(), max_window: window, scale: SCALE_MAX, ..*here };
        *there = Peer { end: segment.ack, max_end: segment.ack, scale: SCALE_MAX, ..*there };
        tcp.track(direction, segment);
        Ok(tcp)
    }

    /// Some of its memory, to have it in the caches. Means nothing.
    #[inline]
    pub fn first_word(&self) -> u32 {
        self.peers[0].first
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How long it is remembered.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::SynSent | State::SynSentBoth | State::SynReceived => Phase::Handshake,
            State::Established if self.doubtful_reset => Phase::Closing,
            State::Established => Phase::Established,
            State::Closing | State::TimeWait | State::Closed => Phase::Closing,
        }
    }

    /// The handshake was completed at some time.
    pub fn is_established(&self) -> bool {
        !matches!(self.state, State::SynSent | State::SynSentBoth | State::SynReceived)
    }

    /// Whether a sequence number that an ICMP error quotes can be of a segment under way (RFC 5927, 4.1): sent, and not
    /// acknowledged long ago.
    pub fn can_be_quoted(&self, direction: Direction, seq: u32) -> bool {
        let (sender, receiver) = self.both(direction);
        !sender.has(SEEN) || (le(seq, sender.end) && le(sender.end.wrapping_sub(receiver.max_window.max(OLD_ACK)), seq))
    }

    /// Numbers for a reset toward both sides: for the segment sent in `direction`, its sequence number (what the
    /// receiver expects next) and its acknowledgment.
    pub fn reset_numbers(&self, direction: Direction) -> (u32, u32) {
        let (sender, receiver) = self.both(direction);
        (if receiver.has(ACKED) { receiver.max_ack } else { sender.end }, receiver.end)
    }

    fn both(&self, direction: Direction) -> (&Peer, &Peer) {
        let [a, b] = &self.peers;
        if direction == Direction::Original { (a, b) } else { (b, a) }
    }

    fn sides(&mut self, direction: Direction) -> (&mut Peer, &mut Peer) {
        let [a, b] = &mut self.peers;
        if direction == Direction::Original { (a, b) } else { (b, a) }
    }

    /// What a segment does to the connection.
    ///
    /// # Errors
    /// [`DropReason::TcpState`] for a segment that has no place in this state, [`DropReason::TcpWindow`] for one outside
    /// of the window.
    #[inline]
    pub fn advance(&self, direction: Direction, segment: &Segment) -> Result<Advance, DropReason> {
        if !segment.is_valid() {
            return Err(DropReason::TcpState);
        }
        if self.state == State::Established && segment.flags == TCP_ACK {
            return self.moved(direction, segment);
        }
        match self.state {
            State::SynSent => self.in_syn_sent(direction, segment),
            State::TimeWait | State::Closed if segment.is_open() => Ok(Advance::Reopen),
            _ if segment.has(TCP_RST) => self.reset(direction, segment),
            _ if segment.flags == TCP_SYN => self.repeated_syn(direction, segment),
            _ if segment.has(TCP_SYN) => self.accept(direction, segment),
            _ => self.moved(direction, segment),
        }
    }

    /// RFC 9293, 3.10.7.3 and its sender's side.
    fn in_syn_sent(&self, direction: Direction, segment: &Segment) -> Result<Advance, DropReason> {
        let (sender, receiver) = self.both(direction);
        let mut next = *self;
        match (direction, segment.flags) {
            (Direction::Original, TCP_SYN) if segment.end() == sender.end => {}
            (Direction::Original, TCP_SYN) => return Ok(Advance::Reopen),
            (Direction::Original, flags) if flags & TCP_RST != 0 => {
                // Either the initiator gives up, or it answers the challenge of a responder that remembers an older
                // connection (RFC 9293, 3.5.1); then its SYN comes again.
                if segment.seq == sender.end {
                    next.state = State::Closed;
                } else if !(receiver.has(ACKED) && segment.seq == receiver.max_ack) {
                    return Err(DropReason::TcpWindow);
                }
            }
            (Direction::Reply, TCP_SYN) => {
                next.both_syns(direction, segment);
                next.state = State::SynSentBoth;
            }
            (Direction::Reply, flags) if flags == TCP_SYN | TCP_ACK => return self.accept(direction, segment),
            (Direction::Reply, flags) if flags == TCP_RST | TCP_ACK => {
                if !receiver.is_syn_acknowledged_by(segment.ack) {
                    return Err(DropReason::TcpWindow);
                }
                next.state = State::Closed;
            }
            (Direction::Reply, TCP_ACK) if segment.data == 0 => {
                let responder = next.sides(direction).0;
                responder.max_ack = segment.ack;
                responder.flags |= ACKED;
            }
            _ => return Err(DropReason::TcpState),
        }
        Ok(Advance::To(next))
    }

    /// Takes a SYN's numbers for its sender, after that of the other side.
    fn both_syns(&mut self, direction: Direction, segment: &Segment) {
        let (sender, receiver) = self.sides(direction);
        *sender = Peer::opened_by(segment);
        sender.max_end = later(sender.end, sender.first.wrapping_add(receiver.max_window));
        receiver.max_end = later(receiver.max_end, receiver.end.wrapping_add(sender.max_window));
        if sender.scale == NO_SCALE || receiver.scale == NO_SCALE {
            (sender.scale, receiver.scale) = (0, 0);
        }
    }

    /// A SYN with ACK.
    fn accept(&self, direction: Direction, segment: &Segment) -> Result<Advance, DropReason> {
        if let Some(offer) = self.offer
            && offer.direction != direction
            && segment.ack == offer.seq.wrapping_add(1)
        {
            let Offer { seq, window, scale, .. } = offer;
            let syn = Segment { seq, ack: 0, flags: TCP_SYN, window, data: 0, scale };
            return match Tcp::open(&syn).in_syn_sent(Direction::Reply, segment)? {
                Advance::To(tcp) => Ok(Advance::Reaccept(tcp)),
                other => Ok(other),
            };
        }
        let (sender, receiver) = self.both(direction);
        let mut next = *self;
        match self.state {
            State::SynSent => {
                if !receiver.is_syn_acknowledged_by(segment.ack) {
                    return Err(DropReason::TcpState);
                }
                next.both_syns(direction, segment);
                next.note_ack(direction, segment);
                next.state = State::SynReceived;
                Ok(Advance::To(next))
            }
            State::SynSentBoth => self.moved(direction, segment),
            // Sent again: it must be the same.
            _ if sender.has(SEEN) && le(segment.end(), sender.end) && segment.ack == sender.max_ack => {
                next.doubtful_reset = false;
                Ok(Advance::To(next))
            }
            _ => Err(DropReason::TcpState),
        }
    }

    fn note_ack(&mut self, direction: Direction, segment: &Segment) {
        let (sender, receiver) = self.sides(direction);
        // The window of a SYN is never scaled (RFC 7323, 2.2).
        let scale = if segment.has(TCP_SYN) || sender.scale > SCALE_MAX { 0 } else { sender.scale };
        let window = u32::from(segment.window) << scale;
        sender.max_window = sender.max_window.max(window);
        if !segment.has(TCP_ACK) {
            return;
        }
        sender.max_ack = if sender.has(ACKED) { later(sender.max_ack, segment.ack) } else { segment.ack };
        sender.flags |= ACKED;
        // A window of zero is probed with one byte (RFC 9293, 3.8.6.1).
        receiver.max_end = later(receiver.max_end, segment.ack.wrapping_add(window.max(1)));
        if receiver.has(FIN) && segment.ack == receiver.end {
            receiver.flags |= FIN_ACKED;
        }
    }

    /// A SYN while the connection stands: the SYN once more, or one that the receiver will challenge (RFC 5961, 4).
    fn repeated_syn(&self, direction: Direction, segment: &Segment) -> Result<Advance, DropReason> {
        let (sender, _) = self.both(direction);
        let mut next = *self;
        let repeated = !self.is_established() && segment.end() == sender.end;
        if !repeated {
            if segment.data != 0 {
                return Err(DropReason::TcpState);
            }
            let Segment { seq, window, scale, .. } = *segment;
            next.offer = Some(Offer { direction, seq, window, scale });
        }
        Ok(Advance::To(next))
    }

    fn reset(&self, direction: Direction, segment: &Segment) -> Result<Advance, DropReason> {
        let (sender, receiver) = self.both(direction);
        let lenient = !sender.has(SEEN) || !receiver.has(SEEN);
        if !lenient && !self.in_window(direction, segment) {
            return Err(DropReason::TcpWindow);
        }
        let believed = lenient || !receiver.has(ACKED) || segment.seq == receiver.max_ack || segment.seq == sender.end;
        let mut next = *self;
        if believed {
            next.state = State::Closed;
        } else {
            next.doubtful_reset = true;
        }
        Ok(Advance::To(next))
    }

    /// The bounds of the sequence number alone.
    #[inline]
    fn in_window(&self, direction: Direction, segment: &Segment) -> bool {
        let (sender, receiver) = self.both(direction);
        le(segment.seq, sender.max_end) && le(sender.end.wrapping_sub(receiver.max_window), segment.end())
    }

    /// Data, acknowledgments and FINs.
    #[inline]
    fn moved(&self, direction: Direction, segment: &Segment) -> Result<Advance, DropReason> {
        let (sender, receiver) = self.both(direction);
        if !self.is_established() && !le(receiver.first, segment.ack) {
            return Err(DropReason::TcpWindow);
        }
        if sender.has(SEEN) && receiver.has(SEEN) {
            let oldest = receiver.end.wrapping_sub(sender.max_window.max(OLD_ACK));
            if !self.in_window(direction, segment) || !le(segment.ack, receiver.end) || !le(oldest, segment.ack) {
                return Err(DropReason::TcpWindow);
            }
        }
        let mut next = *self;
        next.track(direction, segment);
        next.doubtful_reset = false;
        Ok(Advance::To(next))
    }

    /// Takes a segment's numbers, which were checked.
    fn track(&mut self, direction: Direction, segment: &Segment) {
        self.note_ack(direction, segment);
        let midstream = !self.peers[0].has(SEEN) || !self.peers[1].has(SEEN);
        let (sender, receiver) = self.sides(direction);
        sender.end = later(sender.end, segment.end());
        sender.flags |= SEEN;
        if !receiver.has(SEEN) {
            receiver.end = later(receiver.end, segment.ack);
        }
        if midstream {
            sender.max_end = later(sender.max_end, sender.end);
        }
        if segment.has(TCP_FIN) {
            sender.flags |= FIN;
        }
        self.move_state();
    }

    fn move_state(&mut self) {
        let [a, b] = &self.peers;
        self.state = match self.state {
            State::Closed => State::Closed,
            _ if a.has(FIN_ACKED) && b.has(FIN_ACKED) => State::TimeWait,
            _ if a.has(FIN) || b.has(FIN) => State::Closing,
            State::SynReceived if a.has(ACKED) => State::Established,
            State::SynSentBoth if a.has(ACKED) && b.has(ACKED) => State::Established,
            same => same,
        };
    }
}

#[cfg(test)]
mod tests {
    use Direction::{Original, Reply};
    use State::*;

    use super::*;

    const S: u8 = TCP_SYN;
    const A: u8 = TCP_ACK;
    const F: u8 = TCP_FIN;
    const R: u8 = TCP_RST;
    const SA: u8 = TCP_SYN | TCP_ACK;
    const FA: u8 = TCP_FIN | TCP_ACK;
    const RA: u8 = TCP_RST | TCP_ACK;

    /// One segment of a story: who, flags, seq, ack, bytes; and what becomes of it.
    type Step = (Direction, u8, u32, u32, u32, Result<State, DropReason>);

    fn seg(flags: u8, seq: u32, ack: u32, data: u32) -> Segment {
        Segment { seq, ack, flags, window: 1000, data, scale: NO_SCALE }
    }

    /// Plays a story after the initiator's SYN with sequence number 100; returns the connection.
    #[track_caller]
    fn play(steps: &[Step]) -> Tcp {
        let mut tcp = Tcp::open(&seg(S, 100, 0, 0));
        for (number, &(direction, flags, seq, ack, data, expected)) in steps.iter().enumerate() {
            let found = match tcp.advance(direction, &seg(flags, seq, ack, data)) {
                Ok(Advance::To(next)) => {
                    tcp = next;
                    Ok(tcp.state())
                }
                Ok(other) => panic!("step {number}: {other:?}"),
                Err(reason) => Err(reason),
            };
            assert_eq!(found, expected, "step {number}");
        }
        tcp
    }

    const OPEN: [Step; 2] = [(Reply, SA, 500, 101, 0, Ok(SynReceived)), (Original, A, 101, 501, 0, Ok(Established))];

    /// The same after the handshake.
    #[track_caller]
    fn play_open(steps: &[Step]) -> Tcp {
        play(&[&OPEN, steps].concat())
    }

    const STATE: Result<State, DropReason> = Err(DropReason::TcpState);
    const WINDOW: Result<State, DropReason> = Err(DropReason::TcpWindow);

    #[test]
    fn a_connection_from_syn_to_time_wait() {
        play_open(&[
            (Original, A, 101, 501, 10, Ok(Established)),
            (Reply, A, 501, 111, 20, Ok(Established)),
            (Original, FA, 111, 521, 0, Ok(Closing)),
            (Reply, A, 521, 112, 5, Ok(Closing)),
            (Original, A, 112, 526, 0, Ok(Closing)),
            (Reply, FA, 526, 112, 0, Ok(Closing)),
            (Original, A, 112, 527, 0, Ok(TimeWait)),
            // The last acknowledgment was lost.
            (Reply, FA, 526, 112, 0, Ok(TimeWait)),
        ]);
        // Both at once.
        play_open(&[
            (Original, FA, 101, 501, 0, Ok(Closing)),
            (Reply, FA, 501, 101, 0, Ok(Closing)),
            (Original, A, 102, 502, 0, Ok(Closing)),
            (Reply, A, 502, 102, 0, Ok(TimeWait)),
        ]);
    }

    #[test]
    fn handshake_segments_that_come_again_change_nothing() {
        play(&[
            (Original, S, 100, 0, 0, Ok(SynSent)),
            (Reply, SA, 500, 101, 0, Ok(SynReceived)),
            (Original, S, 100, 0, 0, Ok(SynReceived)),
            (Reply, SA, 500, 101, 0, Ok(SynReceived)),
            (Original, A, 101, 501, 0, Ok(Established)),
            (Reply, SA, 500, 101, 0, Ok(Established)),
        ]);
    }

    #[test]
    fn flags_that_no_host_sends_are_refused() {
        for flags in [0, F, S | F, S | R, S | F | A, F | R, S | A | R, F | A | R] {
            play(&[(Original, flags, 100, 0, 0, STATE)]);
            play_open(&[(Original, flags, 101, 501, 0, STATE)]);
        }
    }

    #[test]
    fn nothing_but_an_answer_follows_a_syn() {
        play(&[
            (Original, A, 101, 0, 10, STATE),
            (Original, FA, 101, 0, 0, STATE),
            (Reply, A, 500, 101, 10, STATE),
            (Reply, FA, 500, 101, 0, STATE),
            (Reply, SA, 500, 99, 0, STATE),
            (Reply, SA, 500, 102, 0, STATE),
            (Original, SA, 100, 501, 0, STATE),
            (Reply, R, 0, 0, 0, STATE),
            (Reply, RA, 0, 77, 0, WINDOW),
            (Reply, RA, 0, 101, 0, Ok(Closed)),
        ]);
    }

    #[test]
    fn simultaneous_open() {
        play(&[
            (Reply, S, 500, 0, 0, Ok(SynSentBoth)),
            (Original, SA, 100, 501, 0, Ok(SynSentBoth)),
            (Reply, SA, 500, 101, 0, Ok(Established)),
            (Original, A, 101, 501, 10, Ok(Established)),
        ]);
        play(&[
            (Reply, S, 500, 0, 0, Ok(SynSentBoth)),
            (Reply, SA, 500, 99, 0, WINDOW),
            (Original, S, 100, 0, 0, Ok(SynSentBoth)),
            (Reply, RA, 501, 101, 0, Ok(Closed)),
        ]);
    }

    #[test]
    fn half_open_connection_is_challenged_and_reset() {
        // The responder remembers an older connection: it challenges, is reset, and then accepts.
        play(&[
            (Reply, A, 7000, 3000, 0, Ok(SynSent)),
            (Original, R, 2999, 0, 0, WINDOW),
            (Original, R, 3000, 0, 0, Ok(SynSent)),
            (Original, S, 100, 0, 0, Ok(SynSent)),
            (Reply, SA, 500, 101, 0, Ok(SynReceived)),
            (Original, A, 101, 501, 0, Ok(Established)),
        ]);
    }

    #[test]
    fn the_window_bounds_what_passes() {
        play_open(&[
            // 1000 bytes were offered, from 101 and from 501 on.
            (Original, A, 1101, 501, 10, Ok(Established)),
            (Original, A, 1102, 501, 10, WINDOW),
            (Reply, A, 501, 101, 10, Ok(Established)),
            // What was never sent cannot be acknowledged.
            (Reply, A, 511, 1112, 0, WINDOW),
            (Reply, A, 511, 1111, 0, Ok(Established)),
            // One window back is a retransmission, further is nothing that the receiver could use.
            (Original, A, 111, 511, 0, Ok(Established)),
            (Original, A, 110, 511, 0, WINDOW),
            // Old acknowledgments pass, very old ones do not.
            (Original, A, 1111, 501, 0, Ok(Established)),
            (Original, A, 1111, 511u32.wrapping_sub(OLD_ACK + 1), 0, WINDOW),
        ]);
    }

    #[test]
    fn the_final_acknowledgment_must_be_of_the_syn() {
        play(&[
            (Reply, SA, 500, 101, 0, Ok(SynReceived)),
            (Original, A, 101, 499, 0, WINDOW),
            (Original, A, 101, 502, 0, WINDOW),
            (Original, A, 101, 501, 0, Ok(Established)),
        ]);
    }

    #[test]
    fn window_scale_counts_only_when_both_offer_it() {
        let open = |theirs: u8| {
            let syn = Segment { scale: 7, ..seg(S, 100, 0, 0) };
            let accept = Segment { scale: theirs, ..seg(SA, 500, 101, 0) };
            let mut tcp = Tcp::open(&syn);
            for (direction, segment) in [(Reply, accept), (Original, seg(A, 101, 501, 0))] {
                let Ok(Advance::To(next)) = tcp.advance(direction, &segment) else { panic!() };
                tcp = next;
            }
            // The initiator's window is 1000 or 1000 << 7.
            tcp.advance(Reply, &seg(A, 501 + 1001, 101, 0)).is_ok()
        };
        assert!(open(2));
        assert!(!open(NO_SCALE));
        assert_eq!(window_scale(&[2, 4, 5, 180, 1, 3, 3, 7]), 7);
        assert_eq!(window_scale(&[3, 3, 99]), SCALE_MAX);
        for cut in [&[3, 3][..], &[8, 0, 3, 3, 7], &[8, 99, 3, 3, 7], &[0, 3, 3, 7], &[3]] {
            assert_eq!(window_scale(cut), NO_SCALE, "{cut:?}");
        }
    }

    #[test]
    fn a_reset_counts_only_where_the_receiver_believes_it() {
        let talk: Step = (Original, A, 101, 501, 10, Ok(Established));
        let answer: Step = (Reply, A, 501, 106, 10, Ok(Established));
        play_open(&[talk, answer, (Original, R, 5000, 0, 0, WINDOW)]);
        // Anywhere in the window: it goes through to be challenged, and ends nothing.
        let doubtful = play_open(&[talk, answer, (Original, R, 200, 0, 0, Ok(Established))]);
        assert_eq!(doubtful.phase(), Phase::Closing);
        let goes_on = play_open(&[
            talk,
            answer,
            (Original, R, 200, 0, 0, Ok(Established)),
            (Reply, A, 511, 111, 0, Ok(Established)),
        ]);
        assert_eq!(goes_on.phase(), Phase::Established);
        // What was acknowledged last, and what was sent last.
        play_open(&[talk, answer, (Original, R, 106, 0, 0, Ok(Closed))]);
        play_open(&[talk, answer, (Original, RA, 111, 511, 0, Ok(Closed))]);
    }

    #[test]
    fn ports_are_used_again_after_the_end() {
        let tcp = play_open(&[(Original, RA, 101, 501, 0, Ok(Closed))]);
        assert!(matches!(tcp.advance(Original, &seg(S, 9000, 0, 0)), Ok(Advance::Reopen)));
        assert!(matches!(tcp.advance(Reply, &seg(S, 9000, 0, 0)), Ok(Advance::Reopen)));
        let waiting = play(&[]);
        assert!(matches!(waiting.advance(Original, &seg(S, 9000, 0, 0)), Ok(Advance::Reopen)));
    }

    #[test]
    fn a_syn_while_the_connection_stands_is_left_to_the_receiver() {
        let challenged = play_open(&[
            (Original, S, 9000, 0, 0, Ok(Established)),
            (Original, S, 9000, 0, 4, STATE),
            (Reply, A, 501, 101, 0, Ok(Established)),
            (Reply, SA, 700, 8000, 0, STATE),
        ]);
        // The receiver has forgotten the connection and accepts.
        let Ok(Advance::Reaccept(tcp)) = challenged.advance(Reply, &seg(SA, 700, 9001, 0)) else { panic!() };
        assert_eq!(tcp.state(), SynReceived);
        assert!(matches!(tcp.advance(Original, &seg(A, 9001, 701, 0)), Ok(Advance::To(t)) if t.state() == Established));
    }

    #[test]
    fn data_in_the_syn() {
        let mut tcp = Tcp::open(&seg(S, 100, 0, 50));
        assert!(tcp.advance(Reply, &seg(SA, 500, 152, 0)).is_err());
        for ack in [101, 120, 151] {
            let Ok(Advance::To(next)) = Tcp::open(&seg(S, 100, 0, 50)).advance(Reply, &seg(SA, 500, ack, 0)) else {
                panic!("{ack}")
            };
            assert_eq!(next.state(), SynReceived);
            tcp = next;
        }
        // The responder may send before the handshake is complete.
        assert!(matches!(tcp.advance(Reply, &seg(A, 501, 151, 30)), Ok(Advance::To(_))));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let start = u32::MAX - 4;
        let mut tcp = Tcp::open(&seg(S, start, 0, 0));
        let mut step =
            |direction, flags, seq: u32, ack: u32, data| match tcp.advance(direction, &seg(flags, seq, ack, data)) {
                Ok(Advance::To(next)) => {
                    tcp = next;
                    Ok(tcp.state())
                }
                other => Err(other.err()),
            };
        let first = start.wrapping_add(1);
        assert_eq!(step(Reply, SA, u32::MAX, first, 0), Ok(SynReceived));
        assert_eq!(step(Original, A, first, 0, 10), Ok(Established));
        assert_eq!(step(Reply, A, 0, first.wrapping_add(10), 10), Ok(Established));
        assert_eq!(step(Original, FA, first.wrapping_add(10), 10, 0), Ok(Closing));
        assert!(step(Original, A, first.wrapping_add(2000), 10, 0).is_err());
    }

    #[test]
    fn a_connection_picked_up_is_lenient_until_both_sides_were_seen() {
        let mut tcp = Tcp::pick_up(Original, &seg(A, 5000, 9000, 100)).unwrap();
        assert_eq!(tcp.state(), Established);
        let Ok(Advance::To(next)) = tcp.advance(Reply, &seg(A, 9500, 5100, 10)) else { panic!() };
        tcp = next;
        assert!(matches!(tcp.advance(Original, &seg(A, 5100, 9510, 10)), Ok(Advance::To(_))));
        // 1000 << 14 is what may be offered at most.
        assert_eq!(tcp.advance(Original, &seg(A, 5100 + (1001 << 14), 9510, 10)).err(), Some(DropReason::TcpWindow));
        for flags in [S, SA, R, RA, 0, F] {
            assert_eq!(Tcp::pick_up(Original, &seg(flags, 1, 1, 0)).err(), Some(DropReason::TcpMidstream));
        }
    }

    #[test]
    fn quoted_sequence_numbers_must_be_under_way() {
        let tcp = play_open(&[(Original, A, 101, 501, 500, Ok(Established))]);
        assert!(tcp.can_be_quoted(Original, 101) && tcp.can_be_quoted(Original, 601));
        assert!(!tcp.can_be_quoted(Original, 602));
        assert!(!tcp.can_be_quoted(Original, 601u32.wrapping_sub(OLD_ACK + 1)));
    }
}
