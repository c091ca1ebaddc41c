//! A connection that carries data.

use super::{DATA, NO_DATA, Outcome, Segment, Session, State, after, not_before};
use crate::decode::tcp::flag::{ACK, FIN, RST, SYN};
use crate::decode::{Event, Events};
use crate::inspect::Direction;

impl Session {
    pub(super) fn established(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        if segment.has(RST) {
            return if self.reset_fits(segment, events) { self.reset(segment) } else { Outcome::Refused };
        }
        if segment.has(SYN | ACK) {
            return self.syn_ack_late(segment, events);
        }
        if segment.has(SYN) {
            let event = match segment.way {
                Direction::Reply => Event::StreamEstablishedSynToclient,
                Direction::Original if segment.tcp.seq != self.sides[0].isn => Event::StreamEstablishedSynResendDiffSeq,
                Direction::Original => Event::StreamEstablishedSynResend,
            };
            events.set(event);
            return Outcome::Refused;
        }
        if !self.stamp_fits(segment, events) {
            return Outcome::Refused;
        }
        if segment.has(FIN) {
            return self.first_fin(segment, events);
        }
        if segment.has(ACK) { self.data(segment, events) } else { NO_DATA }
    }

    fn syn_ack_late(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        let [client, server] = &self.sides;
        let event = if segment.way == Direction::Original {
            Event::StreamEstablishedSynAckToserver
        } else if segment.tcp.ack != client.isn.wrapping_add(1) && !self.fast_open {
            Event::StreamEstablishedSynAckResendWithDifferentAck
        } else if segment.tcp.seq != server.isn {
            Event::StreamEstablishedSynAckResendWithDiffSeq
        } else if self.confirmed {
            Event::StreamEstablishedSynAckResend
        } else {
            return NO_DATA;
        };
        events.set(event);
        Outcome::Refused
    }

    fn data(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        if !self.ack_fits(segment, events) {
            events.set(Event::StreamEstablishedInvalidAck);
            return Outcome::Refused;
        }
        let lenient = self.midstream || self.oneside;
        let (sender, _) = self.ends(segment.way);
        let (seq, end) = (segment.tcp.seq, segment.end());
        if !not_before(end, sender.last_ack) {
            if segment.len() > 0 && !lenient {
                events.set(Event::StreamEstablishedPacketBeforeLastAck);
                return Outcome::Refused;
            }
            // An old acknowledgment, or a side that was met in its middle.
            return if lenient { self.fits(segment) } else { Outcome::Skipped };
        }
        if after(end, sender.next_win) && !lenient && segment.len() > 0 && sender.window > 0 {
            events.set(Event::StreamEstablishedPacketOutOfWindow);
            return Outcome::Refused;
        }
        if segment.len() > 0 && before_or_at(end, sender.next_seq) {
            events.set(Event::StreamPacketRetransmission);
        }
        if seq == sender.next_seq
            || (!not_before(seq, sender.next_seq) && after(end, sender.next_seq))
            || after(sender.last_ack, sender.next_seq)
        {
            sender.next_seq = end;
        }
        self.fits(segment)
    }

    fn fits(&mut self, segment: &Segment<'_>) -> Outcome {
        self.note_ack(segment);
        DATA
    }

    /// The first FIN: the client's leads to CLOSE_WAIT, the server's to FIN_WAIT1.
    fn first_fin(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        if !self.ack_fits(segment, events) {
            events.set(Event::StreamFinInvalidAck);
            return Outcome::Refused;
        }
        let lenient = self.midstream || self.oneside;
        let beyond = self.oneside && self.fin_limit.is_some_and(|limit| after(segment.tcp.seq, limit));
        let (sender, _) = self.ends(segment.way);
        let seq = segment.tcp.seq;
        let limit = sender.last_ack.wrapping_add(sender.window.max(1));
        let outside = !not_before(seq, sender.last_ack) && !not_before(segment.end(), sender.next_seq);
        if beyond || !lenient && (outside || after(seq, limit) && after(seq, sender.next_seq)) {
            events.set(Event::StreamFinOutOfWindow);
            return Outcome::Refused;
        }
        self.fin(segment);
        self.note_ack(segment);
        DATA
    }

    /// Notes a FIN that was believed, while data may flow the other way.
    pub(super) fn fin(&mut self, segment: &Segment<'_>) {
        self.state = match segment.way {
            Direction::Original => State::CloseWait,
            Direction::Reply => State::FinWait1,
        };
        let (sender, _) = self.ends(segment.way);
        sender.finished = true;
        if not_before(segment.end(), sender.next_seq) {
            sender.next_seq = segment.end().wrapping_add(1);
        }
    }
}

/// `a` lies before `b` or at it.
fn before_or_at(a: u32, b: u32) -> bool {
    !after(a, b)
}
