//! Packets beside the flows: ICMP errors, which belong to a flow but are none of it, and packets that have no flow.

use weir_wire::DropReason;
use weir_wire::checksum::verify_l4;

use super::Engine;
use super::pass::{Passing, Refusal};
use super::policy::pair;
use crate::flow::key::{self, Belongs};
use crate::inspect::Direction;
use crate::policy::{Dscp, Subject};
use crate::spec::Action;

impl Engine {
    /// An ICMP error about a packet that went the way `quoted` in a known flow: it goes the other way. It may come from
    /// a router that is not the flow's end, so its port is judged, but nothing of it is kept.
    pub(super) fn error(&mut self, p: &mut Passing<'_, '_>, slot: u32, quoted: Direction) -> Result<(), Refusal> {
        let flow = self.table.at(slot);
        if flow.blocked {
            return Err(Refusal::of(slot, DropReason::FlowBlocked));
        }
        if let Belongs::Error { seq: Some(seq), .. } = key::belongs(p.packet, p.switch)
            && !flow.tcp.can_be_quoted(quoted, self.quoted_number(slot, quoted, seq))
        {
            return Err(Refusal::of(slot, DropReason::IcmpUnrelated));
        }
        if !verify_l4(p.packet) {
            return Err(Refusal::of(slot, DropReason::BadL4Checksum));
        }
        let direction = quoted.reversed();
        let subject = Subject::of_flow(p.packet, p.switch, flow.key.tuple(flow.initiator_is_low), direction);
        let (ports, current) = (flow.ports, (flow.epoch == self.policy.epoch()).then_some(flow.decision));
        let (policy, from) = (&self.policy, p.packet.port);
        let judged = p.exits.choose(|to| {
            let pair = pair(direction, from, to);
            match current {
                Some(decision) if pair == ports => decision,
                _ => policy.judge(&subject.between(pair)),
            }
        });
        match judged {
            Ok(decision) => {
                if quoted == Direction::Original {
                    self.suspect_errs(p.now, slot);
                }
                self.content_alone(p, decision)
            }
            Err(decision) => Err(Refusal { why: decision.why(), slot: Some(slot), wait: None }),
        }
    }

    /// A packet without a flow: the rules alone judge it, each time.
    pub(super) fn alone(&mut self, p: &mut Passing<'_, '_>) -> Result<(), Refusal> {
        let subject = Subject::of_packet(p.packet, p.switch, crate::flow::UNKNOWN_PORT);
        let candidate = self.shadow_word(&subject, Direction::Original, &p.exits);
        let judged = self.judge(subject, Direction::Original, &mut p.exits);
        let (Ok(decision) | Err(decision)) = judged;
        if let Some(candidate) = candidate {
            self.note_shadow(p, (&subject, Direction::Original), (decision, candidate), 1);
        }
        self.count_packet(p.now, decision.rule, p.packet.len());
        if judged.is_ok() {
            self.mark = decision.dscp.map(Dscp::value);
            if decision.log {
                self.teller.allow(p.now, p.packet, (p.switch, 0), p.exits.sole(), decision.rule);
            }
            return self.content_alone(p, decision);
        }
        if decision.action == Action::Reject {
            self.replies.refuse(p.now, p.packet, p.pool);
        }
        Err(Refusal { why: decision.why(), slot: None, wait: None })
    }
}
