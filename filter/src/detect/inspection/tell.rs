//! What came of a step is told: alerts with what they are about, tagged packets, transactions that are finished.

use std::sync::Arc;

use weir_wire::numbers::{PROTOCOL_TCP, PROTOCOL_UDP};

use super::Inspection;
use crate::app::{Anomaly, Mark};
use crate::decode::View;
use crate::detect::judge::oriented;
use crate::detect::variables::Variables;
use crate::detect::{Alert, AppFacts, Direction, Findings, Look, Marked, Scene, Shared, Sink, Step, StreamBytes, log};

/// Anomalies of protocol detection that a flow remembers.
const EVENTS: usize = 16;

/// Alerts on packets that show the same transaction.
const GUESSES: u32 = 4;

impl Inspection {
    /// Takes note of what protocol detection and the parsers found odd, and tells of it.
    pub(super) fn hear(&mut self, step: &Step<'_>, sink: &mut dyn Sink) {
        let mut odd = self.app.take_anomalies();
        for nth in 0..self.app.parsers() {
            if let Some(parser) = self.app.parser_mut(nth) {
                odd.append(&mut parser.take_anomalies());
            }
        }
        if !odd.is_empty() {
            self.tell_anomalies(odd, step, sink);
        }
    }

    #[cold]
    fn tell_anomalies(&mut self, odd: Vec<Anomaly>, step: &Step<'_>, sink: &mut dyn Sink) {
        let scene = self.scene(step);
        odd.iter().for_each(|&anomaly| sink.anomaly(&scene, None, anomaly));
        let room = EVENTS.saturating_sub(self.events.len());
        self.events.extend(odd.into_iter().take(room));
    }

    /// Tells of the matches.
    pub(super) fn tell(&mut self, step: &Step<'_>, shared: &mut Shared, findings: &mut Findings, sink: &mut dyn Sink) {
        if shared.told.is_empty() {
            return;
        }
        let tuple = oriented(&self.tuple, step.way);
        let program = Arc::clone(&self.program);
        // At the end of a flow the other direction is judged as well.
        let back = View { tuple: Some(oriented(&tuple, Direction::Reply)), ..*step.view };
        for told in &shared.told {
            let Some(rule) = program.rule(told.matched.rule) else { continue };
            for tag in &rule.tags {
                shared.tags.set(tag, &tuple, step.view.time, &mut self.tag);
            }
            let on_stream = told.matched.stream.is_some();
            // A datagram that a rule of its protocol names holds the newest transaction.
            let of_datagram = self.tuple.protocol == PROTOCOL_UDP && rule.protocol.is_app();
            let guessed = match told.matched.transaction {
                None if of_datagram => self.newest(),
                None if shared.guess_transaction => self.guess(step.way, on_stream),
                _ => None,
            };
            let transaction = told.matched.transaction.or(guessed);
            let transaction = transaction.and_then(|(parser, number)| self.transaction(parser, number));
            let in_transaction = told.matched.transaction.is_some();
            let payload = match &step.stream {
                // Inline the packet at hand is what completed the transaction.
                Some(stream) if on_stream || in_transaction && !shared.inline => stream_payload(stream),
                _ => step.view.payload,
            };
            let turned;
            let scene = match told.matched.way == step.way {
                true => self.scene(step),
                false => {
                    turned = Step { view: &back, way: told.matched.way, ..*step };
                    self.scene(&turned)
                }
            };
            let refuses =
                matches!(told.action, weir_ids_rules::rule::Action::Drop | weir_ids_rules::rule::Action::Reject(_));
            let extra = shared.scratch.room.alert_members(rule.signature.gid, rule.signature.sid);
            sink.alert(
                &scene,
                &Alert {
                    signature: &rule.signature,
                    action: told.action,
                    blocked: shared.inline && refuses,
                    verdict: findings.verdict,
                    on_stream: on_stream || in_transaction && self.tuple.protocol == PROTOCOL_TCP,
                    on_transaction: in_transaction,
                    guessed: guessed.is_some() && !of_datagram,
                    transaction,
                    payload,
                    extra: &extra,
                },
            );
            findings.alerts += 1;
        }
        for (number, place) in shared.told.iter().filter_map(|told| Some((told.matched.rule, told.matched.stream?))) {
            self.sides[step.way as usize].remember(number, place);
        }
    }

    fn transaction(&self, parser: usize, number: u64) -> Option<Marked<'_>> {
        let transactions = self.app.parser(parser)?.transactions();
        (0..transactions.len()).filter_map(|nth| transactions.get(nth)).find(|(mark, _)| mark.number == number)
    }

    /// The last transaction of the flow's protocol.
    fn newest(&self) -> Option<(usize, u64)> {
        let nth = self.app.parsers().checked_sub(1)?;
        let all = self.app.parser(nth)?.transactions();
        Some((nth, all.get(all.len().checked_sub(1)?)?.0.number))
    }

    /// The transaction that a match on a packet or stream may belong to: the first in its direction that is not judged
    /// to its end, where the match is on the stream or there is no other one. Each is guessed a few times only.
    fn guess(&mut self, way: Direction, on_stream: bool) -> Option<(usize, u64)> {
        let nth = self.app.parsers().checked_sub(1)?;
        let all = self.app.parser_mut(nth)?.transactions_mut();
        if all.len() != 1 && !on_stream {
            return None;
        }
        let judged = |mark: &Mark| mark.detection[way as usize].done;
        let index = (0..all.len()).find(|&n| all.get(n).is_some_and(|(mark, _)| !judged(mark))).unwrap_or(0);
        let (mark, _) = all.get_mut(index)?;
        let memory = &mut mark.detection[0];
        memory.guessed += 1;
        (memory.guessed <= GUESSES).then_some((nth, mark.number))
    }

    /// Tells of a packet of a session or host that a rule tagged.
    #[inline]
    pub(super) fn tell_tagged(&mut self, step: &Step<'_>, shared: &mut Shared, sink: &mut dyn Sink) {
        if step.packet && (self.tag.is_some() || !shared.tags.is_empty()) {
            self.tell_if_tagged(step, shared, sink);
        }
    }

    #[cold]
    fn tell_if_tagged(&mut self, step: &Step<'_>, shared: &mut Shared, sink: &mut dyn Sink) {
        let tuple = oriented(&self.tuple, step.way);
        let bytes = step.view.frame.len() as u64;
        if shared.tags.tells(&tuple, step.view.time, bytes, &mut self.tag) {
            sink.tagged(&self.scene(step));
        }
    }

    /// Logs what is finished, and forgets it.
    pub(super) fn log(&mut self, step: &Step<'_>, files_wait: bool, sink: &mut dyn Sink) {
        if self.app.parsers() == 0 {
            return;
        }
        let lines_wait = self.program.configures;
        let when = log::When { judged: self.verdict.is_some(), files_wait, lines_wait };
        let variables = Variables::new(&self.marks, &self.program);
        for nth in 0..self.app.parsers() {
            let (tuple, facts) = (self.tuple, self.app());
            let Some(parser) = self.app.parser_mut(nth) else { continue };
            let protocol = parser.protocol();
            let app = AppFacts { protocol: Some(protocol), ..facts };
            let scene = Scene { step, tuple: &tuple, app, variables };
            log::transactions(parser.transactions_mut(), &scene, when, sink);
        }
        self.app.forget_former();
    }
}

/// The bytes of a stream in which a rule has matched, as far as they are at hand.
fn stream_payload<'s>(stream: &StreamBytes<'s>) -> &'s [u8] {
    match stream.look {
        Look::From(waited) => stream.text.get(waited..).unwrap_or(stream.text),
        Look::Now | Look::Later => stream.text,
    }
}
