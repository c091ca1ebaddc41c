//! Packets judged alone: those of no flow, and ICMP errors, which are about a flow but do not speak its protocol.

use std::net::Ipv4Addr;

use super::flow::{Flow, State};
use super::{Core, Fate, rules};
use crate::decode::View;
use crate::detect::{FlowFacts, Inspection, Step, Verdict};
use crate::eve;
use crate::event::Tuple;
use crate::inspect::Direction;

impl Core {
    /// A packet of no flow: rules on packets alone.
    #[cold]
    pub(super) fn of_none(&mut self, view: &View<'_>) -> Fate {
        let mut fate = Fate::default();
        if self.program.rule_count() == 0 {
            return fate;
        }
        let nobody = Ipv4Addr::UNSPECIFIED.into();
        let nobody = Tuple { source: nobody, destination: nobody, source_port: 0, destination_port: 0, protocol: 0 };
        let tuple = view.tuple.unwrap_or(nobody);
        self.teller.of_packet(None);
        let inspection = Inspection::new(&self.program, &mut self.shared, &tuple, false, None);
        self.judge_alone(inspection, view, (Direction::Original, false), &FlowFacts::default(), &mut fate);
        if let Some(reason) = fate.dropped {
            self.teller.dropped(view, None, Direction::Original, reason, self.findings.decided_by.as_deref());
        }
        fate
    }

    /// An ICMP error about a packet of the flow. Rules on ICMP see it, with the flow's direction and state; those on
    /// addresses alone are asked once of each direction of a flow.
    #[cold]
    pub(super) fn about(&mut self, flow: &mut Flow, view: &View<'_>, way: Direction, fate: &mut Fate) {
        let Some(tuple) = view.tuple.filter(|_| self.program.rule_count() > 0) else { return };
        let connected = flow.session.as_ref().map(|session| session.is_established());
        let established = connected.unwrap_or(flow.state == State::Established);
        self.teller.of_packet(Some(flow));
        let initiator = eve::directed(&tuple, way);
        let mut inspection = Inspection::new(&self.program, &mut self.shared, &initiator, false, None);
        if flow.facts.packets.get(way as usize).is_some_and(|&packets| packets > 1) {
            inspection.skip_ends();
        }
        self.judge_alone(inspection, view, (way, established), &flow.facts, fate);
        flow.alerted |= self.findings.alerts > 0;
        if fate.dropped.is_some() {
            self.teller.decided = self.findings.decided_by.clone();
        }
    }

    /// Judges a packet by an inspection of its own.
    fn judge_alone(
        &mut self,
        mut inspection: Box<Inspection>,
        view: &View<'_>,
        (way, established): (Direction, bool),
        flow: &FlowFacts,
        fate: &mut Fate,
    ) {
        let step = Step { view, way, packet: true, established, stream: None, flow, end: false };
        inspection.step(&step, &mut self.shared, &mut self.findings, &mut self.teller);
        if matches!(self.findings.verdict, Verdict::Drop | Verdict::Reject(_)) && self.settings.ips {
            fate.dropped = Some(rules(&self.findings));
        }
        self.teller.alerts_done(fate.dropped.is_some(), self.findings.verdict);
    }
}
