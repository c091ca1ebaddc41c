//! What stops 4 and 6 would make of a packet, in words, without changing anything.

use std::net::IpAddr;

use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};
use weir_wire::{Instant, Packet, PortId, SwitchId};

use super::policy::pair;
use super::{Engine, Place};
use crate::content::{Watch, Who};
use crate::flow::Flow;
use crate::flow::key::{self, Belongs};
use crate::flow::tcp::{Advance, Segment};
use crate::inspect::Direction;
use crate::policy::{Decision, Subject};
use crate::spec::Action;

impl Engine {
    /// One line for each thing that stops 4 and 6 would decide on a parsed packet that goes to `to`. Allocates; not for
    /// the path of packets.
    pub fn trace(&self, now: Instant, packet: &Packet, switch: SwitchId, to: PortId) -> Vec<String> {
        let mut lines = Vec::new();
        match key::belongs(packet, switch) {
            Belongs::Flow { key, from_low, opens } => {
                let hash = self.table.hash(&key);
                match self.look_up(&key, hash, from_low) {
                    Place::Known { slot, direction, .. } => {
                        self.trace_known(now, packet, self.table.at(slot), direction, to, &mut lines);
                    }
                    _ if !opens => lines.push("flow: none, and a reply cannot open one: drop icmp-unrelated".into()),
                    _ => self.trace_new(now, packet, switch, to, &mut lines),
                }
            }
            Belongs::Error { key, quoted_from_low, .. } => {
                match self.look_up(&key, self.table.hash(&key), quoted_from_low) {
                    Place::Known { slot, .. } => {
                        let flow = self.table.at(slot);
                        lines.push(format!("flow: ICMP error about a packet of flow {}", flow.number));
                        lines.push(self.verdict(flow.decision));
                    }
                    _ => lines.push("flow: ICMP error about no known flow: drop icmp-unrelated".into()),
                }
            }
            Belongs::BrokenError => {
                lines.push("flow: ICMP error that quotes nothing usable: drop icmp-unrelated".into())
            }
            Belongs::None => {
                lines.push("flow: none; the rules judge each packet".into());
                lines.push(self.verdict(self.policy.judge(&Subject::of_packet(packet, switch, to))));
            }
        }
        lines
    }

    fn trace_known(
        &self,
        now: Instant,
        packet: &Packet,
        flow: &Flow,
        direction: Direction,
        to: PortId,
        lines: &mut Vec<String>,
    ) {
        let idle = now.since(flow.last).as_secs();
        let way = if direction == Direction::Original { "original" } else { "reply" };
        lines.push(format!(
            "flow: {} in state {}, {way} direction, last packet {idle} s ago",
            flow.number,
            flow.state()
        ));
        if flow.blocked {
            return lines.push("flow: ended by a verdict: drop flow-blocked".into());
        }
        if let Some(segment) = Segment::of(packet).filter(|_| flow.key.is_tcp()) {
            lines.push(match flow.tcp.advance(direction, &segment) {
                Ok(Advance::To(next)) => format!("tcp: {:?} -> {:?}", flow.tcp.state(), next.state()),
                Ok(Advance::Beside(_)) => "tcp: none of the connection, passes to be challenged by the receiver".into(),
                Ok(Advance::Reopen | Advance::Reaccept(_)) => "tcp: another connection between the same ends".into(),
                Err(reason) => format!("tcp: {:?}: drop {}", flow.tcp.state(), reason.label()),
            });
        }
        let pair = pair(direction, packet.port, to);
        if flow.epoch == self.policy.epoch() && flow.ports == pair {
            lines.push(format!("policy {}: verdict kept in the flow", flow.epoch.0));
            return lines.push(self.verdict(flow.decision));
        }
        let tuple = flow.key.tuple(flow.initiator_is_low);
        let subject = Subject::of_flow(packet, flow.key.switch(), tuple, direction).between(pair);
        lines.push(format!("policy {}: the flow is judged again", self.policy.epoch().0));
        self.judged(&subject, lines);
    }

    fn trace_new(&self, now: Instant, packet: &Packet, switch: SwitchId, to: PortId, lines: &mut Vec<String>) {
        lines.push("flow: none yet".into());
        if let Some(segment) = Segment::of(packet).filter(|segment| !segment.is_open()) {
            if !self.takes_up(now, switch) || segment.flags == 0 {
                return lines.push("tcp: the start of its connection was not seen: drop tcp-midstream".into());
            }
            lines.push("tcp: its connection is picked up without its start".into());
        }
        let subject = Subject::of_packet(packet, switch, to);
        let decision = self.judged(&subject, lines);
        if !decision.refuses() {
            self.trace_opening(now, packet, &subject, decision, lines);
        }
    }

    /// The rules that hand it on, the one that decides, and what a candidate would say.
    fn judged(&self, subject: &Subject, lines: &mut Vec<String>) -> Decision {
        let hands_on = |rule| lines.push(format!("policy: rule \"{}\" hands it on", self.policy.rule_name(rule)));
        self.policy.passed(subject, hands_on);
        let decision = self.policy.judge(subject);
        lines.push(self.verdict(decision));
        if let Some(shadow) = &self.shadow {
            let policy = shadow.policy();
            let other = policy.judge(subject);
            let word = if other.refuses() { "refuses" } else { "allows" };
            lines.push(format!("shadow: the candidate's rule \"{}\" {word}", policy.rule_name(other.rule)));
        }
        decision
    }

    /// What a first packet meets that the policy allows, in the order of [`open`](super::open), and who looks at its
    /// flow beside the rules.
    fn trace_opening(
        &self,
        now: Instant,
        packet: &Packet,
        subject: &Subject,
        decision: Decision,
        lines: &mut Vec<String>,
    ) {
        let Some(tuple) = subject.tuple else { return };
        let (switch, from) = (subject.switch, subject.from);
        if self.is_blocked(now, switch, from, tuple.source) {
            return lines.push("quota: its source was found scanning or flooding: drop source-blocked".into());
        }
        if let Some(proxy) = self.policy.accounts().proxy(subject.to).filter(|_| tuple.protocol == PROTOCOL_TCP) {
            let [_, toward] = self.quotas.half_open(subject.to);
            let is_on = proxy.half_open == 0 || toward >= proxy.half_open;
            let state = if is_on { "does the handshake in its place" } else { "stands by" };
            lines.push(format!("quota: the SYN proxy before port {} {state}", subject.to.0));
        }
        lines.extend(self.accounts_of(now, from));
        if self.flows_per_port > 0 && self.table.opened_by(from) >= self.flows_per_port {
            lines.push(format!("quota: port {} has its share of {} flows open", from.0, self.flows_per_port));
        }
        if self.table.is_full() {
            lines.push("quota: the flow table is full: one of the port that has most makes room".into());
        }
        if decision.is_trusted() || !matches!(packet.headers.protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
            return;
        }
        let who = Who { switch, port: from, address: tuple.source };
        if self.watches(who, tuple.destination) {
            lines.push("content: the sites that it names are judged".into());
        }
        let scan = self.policy.scan();
        if scan.database.is_some() && tuple.protocol == PROTOCOL_TCP && scan.concerns(switch, [from, subject.to]) {
            lines.push("virus: its files are searched".into());
        }
    }

    fn watches(&self, who: Who, destination: IpAddr) -> bool {
        let content = self.policy.content();
        !content.is_idle() && Watch::new(content, who, destination).is_some()
    }

    fn verdict(&self, decision: Decision) -> String {
        let name = self.policy.rule_name(decision.rule);
        match decision.action {
            Action::Allow => match decision.program.and_then(|at| self.policy.programs().get(usize::from(at))) {
                Some((set, _)) => format!("policy: rule \"{name}\" allows, inspected with \"{set}\""),
                None if decision.is_trusted() => {
                    format!("policy: rule \"{name}\" allows and trusts: nothing looks into it")
                }
                None => format!("policy: rule \"{name}\" allows, not inspected"),
            },
            Action::Drop => format!("policy: rule \"{name}\" drops"),
            Action::Reject => format!("policy: rule \"{name}\" rejects"),
        }
    }
}
