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

mod segment;
mod sight;

use weir_wire::DropReason;
use weir_wire::numbers::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

use crate::inspect::Direction;
pub use segment::Segment;
use segment::{NO_SCALE, SCALE_MAX};
use sight::Sight;

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
    /// Sequence number behind its SYN; 0 where that was not seen. (A SYN that ends there is a stranger when it comes
    /// again.)
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

    /// This is the SYN that it opened with.
    fn is_opened_by(&self, syn: &Segment) -> bool {
        self.first == syn.seq.wrapping_add(1) && self.first != 0
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
    sight: Sight,
    peers: [Peer; 2],
    offer: Option<Offer>,
    doubtful_reset: bool,
}

/// How a segment moves its connection on.
#[derive(Clone, Copy, Debug)]
pub enum Advance {
    /// To this state.
    To(Tcp),
    /// To this state, and the segment is none of the connection: its receiver answers it with a challenge. It carries
    /// no data, and nothing may be learned from its numbers.
    Beside(Tcp),
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
        if self.state == State::Established && segment.flags == TCP_ACK && self.sight == Sight::Full {
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

    /// [`Tcp::advance`] for the segments that most are: data or an acknowledgment, in the window of an established
    /// connection. Takes its numbers at once. `false` changes nothing and is for `advance` to judge.
    #[inline]
    pub fn carry(&mut self, direction: Direction, segment: &Segment) -> bool {
        if self.state != State::Established || self.doubtful_reset || segment.flags != TCP_ACK {
            return false;
        }
        match self.sight {
            Sight::Full => {}
            Sight::Partial => return true,
            Sight::Stale => return false,
        }
        let (sender, receiver) = self.both(direction);
        let oldest = receiver.end.wrapping_sub(sender.max_window.max(OLD_ACK));
        let known = sender.flags & receiver.flags & SEEN != 0;
        if !known || !self.in_window(direction, segment) || !le(segment.ack, receiver.end) || !le(oldest, segment.ack) {
            return false;
        }
        self.note_ack(direction, segment);
        let (sender, _) = self.sides(direction);
        sender.end = later(sender.end, segment.end());
        true
    }

    /// RFC 9293, 3.10.7.3 and its sender's side.
    fn in_syn_sent(&self, direction: Direction, segment: &Segment) -> Result<Advance, DropReason> {
        let (sender, receiver) = self.both(direction);
        let mut next = *self;
        match (direction, segment.flags) {
            // Sent again, with or without the data it had (RFC 7413, 4.1.3.1).
            (Direction::Original, TCP_SYN) if sender.is_opened_by(segment) => {}
            (Direction::Original, TCP_SYN) => return Ok(Advance::Reopen),
            (Direction::Original, flags) if flags & TCP_RST != 0 => {
                // Either the initiator gives up, or it answers the challenge of a responder that remembers an older
                // connection (RFC 9293, 3.5.1); then its SYN comes again.
                if segment.seq == sender.end {
                    next.state = State::Closed;
                } else if receiver.has(ACKED) && segment.seq == receiver.max_ack {
                    return Ok(Advance::Beside(next));
                } else {
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
                return Ok(Advance::Beside(next));
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
        if self.state != State::SynSent && !sender.is_opened_by(segment) {
            return Err(DropReason::TcpState);
        }
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
            _ if le(segment.end(), sender.end) && le(segment.ack, receiver.end) => {
                next.doubtful_reset = false;
                Ok(Advance::To(next))
            }
            _ => Err(DropReason::TcpState),
        }
    }

    #[inline]
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
        let mut next = *self;
        if self.both(direction).0.is_opened_by(segment) {
            return Ok(Advance::To(next));
        }
        if segment.data != 0 {
            return Err(DropReason::TcpState);
        }
        let Segment { seq, window, scale, .. } = *segment;
        next.offer = Some(Offer { direction, seq, window, scale });
        Ok(Advance::Beside(next))
    }

    fn reset(&self, direction: Direction, segment: &Segment) -> Result<Advance, DropReason> {
        let (sender, receiver) = self.both(direction);
        if self.sight != Sight::Full {
            // Nobody can say whether its number is right: it is believed when nothing follows it.
            return Ok(Advance::Beside(Tcp { doubtful_reset: true, ..*self }));
        }
        let lenient = !sender.has(SEEN) || !receiver.has(SEEN);
        if !lenient && !self.in_window(direction, segment) {
            return Err(DropReason::TcpWindow);
        }
        let believed = lenient || !receiver.has(ACKED) || segment.seq == receiver.max_ack || segment.seq == sender.end;
        let mut next = *self;
        if believed {
            next.state = State::Closed;
            return Ok(Advance::To(next));
        }
        next.doubtful_reset = true;
        Ok(Advance::Beside(next))
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
        if self.sight != Sight::Full {
            let mut next = *self;
            next.begin_again(direction, segment);
            next.track(direction, segment);
            next.doubtful_reset = false;
            return Ok(Advance::To(next));
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
mod tests;
