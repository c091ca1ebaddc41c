//! The content filter's answers: how a denied initiator is told, in packets.

use weir_wire::DropReason;
use weir_wire::numbers::TCP_FIN;

use super::Engine;
use super::pass::{Passing, Refusal};
use crate::content::{Answer, answers};
use crate::inspect::Direction;

impl Engine {
    /// Refuses a packet that names a denied site, tells both sides, and ends the flow. A question to the DNS is refused
    /// alone: others of the same flow may be answered.
    pub(super) fn deny(&mut self, p: &mut Passing<'_, '_>, slot: u32, direction: Direction) -> Refusal {
        let denial = self.findings.denial.take();
        let is_tcp = self.table.at(slot).key.is_tcp();
        let mut ends = true;
        match denial.as_ref().map_or(Answer::Silence, |denial| denial.answer) {
            // What was asked became known by its answer.
            Answer::Page if direction == Direction::Reply => self.reset_both(p, slot, direction),
            Answer::Page => {
                let page = denial.as_ref().map_or(&b""[..], |denial| &denial.page);
                self.replies.say_last(p.now, p.packet, page, p.pool);
                self.reset_other(p, slot, direction);
                self.table.at_mut(slot).shown_out = true;
            }
            Answer::Reset => self.reset_both(p, slot, direction),
            // Over TCP a name server's answer cannot be put into the stream without its length; a reset says enough.
            Answer::Nxdomain | Answer::Sinkhole if is_tcp => self.reset_both(p, slot, direction),
            answer @ (Answer::Nxdomain | Answer::Sinkhole) => {
                ends = false;
                let sinkhole = (answer == Answer::Sinkhole).then(|| self.policy.content().sinkhole());
                let asked = self.table.at(slot).ports[0];
                match (direction, p.packet.payload()) {
                    (Direction::Original, query) => {
                        if let Some(answer) = answers::name_answer(query, sinkhole) {
                            self.replies.answer(p.now, p.packet, &answer, p.pool);
                        }
                    }
                    (Direction::Reply, answer) => {
                        if let Some(answer) = answers::other_answer(answer, sinkhole) {
                            self.replies.instead(p.now, asked, (p.packet, &answer), p.pool);
                        }
                    }
                }
            }
            Answer::Silence => {}
        }
        if ends {
            self.block(p.now, slot);
        }
        Refusal::of(slot, DropReason::Content)
    }

    /// A segment of a flow that a verdict ended. Who was shown a page closes its side and waits for the other's word.
    pub(super) fn after_end(&mut self, p: &mut Passing<'_, '_>, slot: u32) -> Refusal {
        if p.packet.tcp().is_some_and(|tcp| tcp.has(TCP_FIN)) {
            self.replies.refuse(p.now, p.packet, p.pool);
        }
        Refusal::of(slot, DropReason::FlowBlocked)
    }
}
