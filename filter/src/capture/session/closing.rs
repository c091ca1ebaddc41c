//! A connection that one side or both have ended.

use super::{DATA, NO_DATA, Outcome, Segment, Session, State, after, not_before};
use crate::decode::tcp::flag::{ACK, FIN, RST, SYN};
use crate::decode::{Event, Events};
use crate::inspect::Direction;

/// What a state calls the same mistakes.
struct Names {
    invalid_ack: Event,
    ack_wrong_seq: Event,
    fin_wrong_seq: Event,
}

impl Session {
    fn names(&self) -> Names {
        use Event::*;
        let (invalid_ack, ack_wrong_seq, fin_wrong_seq) = match self.state {
            State::FinWait1 => (StreamFin1InvalidAck, StreamFin1AckWrongSeq, StreamFin1FinWrongSeq),
            State::FinWait2 => (StreamFin2InvalidAck, StreamFin2AckWrongSeq, StreamFin2FinWrongSeq),
            State::CloseWait => {
                (StreamClosewaitInvalidAck, StreamClosewaitAckOutOfWindow, StreamClosewaitFinOutOfWindow)
            }
            State::Closing => (StreamClosingInvalidAck, StreamClosingAckWrongSeq, StreamClosingAckWrongSeq),
            State::LastAck => (StreamLastackInvalidAck, StreamLastackAckWrongSeq, StreamLastackAckWrongSeq),
            State::TimeWait | State::Closed | State::None | State::SynSent | State::SynRecv | State::Established => {
                (StreamTimewaitInvalidAck, StreamTimewaitAckWrongSeq, StreamTimewaitAckWrongSeq)
            }
        };
        Names { invalid_ack, ack_wrong_seq, fin_wrong_seq }
    }

    pub(super) fn closing(&mut self, segment: &Segment<'_>, events: &mut Events) -> Outcome {
        if segment.has(RST) {
            return if self.reset_fits(segment, events) { self.reset(segment) } else { Outcome::Refused };
        }
        if segment.has(SYN) {
            events.set(Event::StreamShutdownSynResend);
            return Outcome::Refused;
        }
        if !self.stamp_fits(segment, events) {
            return Outcome::Refused;
        }
        let names = self.names();
        if !self.ack_fits(segment, events) {
            events.set(names.invalid_ack);
            return Outcome::Refused;
        }
        if segment.has(FIN) {
            return self.another_fin(segment, &names, events);
        }
        if segment.has(ACK) { self.closing_ack(segment, &names, events) } else { NO_DATA }
    }

    fn another_fin(&mut self, segment: &Segment<'_>, names: &Names, events: &mut Events) -> Outcome {
        let (way, state, lenient) = (segment.way, self.state, self.midstream || self.oneside);
        let (sender, _) = self.ends(way);
        if sender.finished {
            // The same again.
            let repeated = segment.end().wrapping_add(1) == sender.next_seq || !after(segment.end(), sender.next_seq);
            self.note_ack(segment);
            return if repeated { DATA } else { Outcome::Skipped };
        }
        let seq = segment.tcp.seq;
        let fits = not_before(segment.end(), sender.next_seq) || not_before(seq, sender.last_ack);
        let limit = sender.last_ack.wrapping_add(sender.window.max(1));
        if !lenient && (!fits || (after(seq, limit) && after(seq, sender.next_seq))) {
            events.set(names.fin_wrong_seq);
            return Outcome::Refused;
        }
        sender.finished = true;
        if not_before(segment.end(), sender.next_seq) {
            sender.next_seq = segment.end().wrapping_add(1);
        }
        let acknowledges = segment.has(ACK);
        self.state = match (state, way) {
            (State::CloseWait, Direction::Reply) => State::LastAck,
            (State::FinWait1, Direction::Original) if !acknowledges => State::Closing,
            (State::FinWait1 | State::FinWait2, Direction::Original) => State::TimeWait,
            (state, _) => state,
        };
        self.note_ack(segment);
        DATA
    }

    fn closing_ack(&mut self, segment: &Segment<'_>, names: &Names, events: &mut Events) -> Outcome {
        let (way, state, lenient) = (segment.way, self.state, self.midstream || self.oneside);
        let (sender, receiver) = self.ends(way);
        let (seq, end) = (segment.tcp.seq, segment.end());
        if segment.len() > 0 && !not_before(end, sender.last_ack) && !lenient {
            if state == State::CloseWait {
                events.set(Event::StreamClosewaitPacketBeforeLastAck);
            }
            return Outcome::Refused;
        }
        let limit = if after(sender.next_win, sender.next_seq) { sender.next_win } else { sender.next_seq };
        if !lenient && after(end, limit) {
            events.set(names.ack_wrong_seq);
            return Outcome::Refused;
        }
        if segment.len() > 0 && !after(end, sender.next_seq) {
            events.set(Event::StreamPacketRetransmission);
        }
        let expected = seq == sender.next_seq || segment.len() > 0;
        let of_fin = receiver.finished && not_before(segment.tcp.ack, receiver.next_seq);
        if seq == sender.next_seq && !sender.finished {
            sender.next_seq = end;
        }
        self.state = match (state, way) {
            (State::FinWait1, Direction::Original) if expected => State::FinWait2,
            (State::Closing, _) if of_fin => State::TimeWait,
            (State::LastAck, Direction::Original) if of_fin => State::Closed,
            (State::TimeWait, Direction::Reply) if of_fin => State::Closed,
            (state, _) => state,
        };
        self.note_ack(segment);
        DATA
    }
}
