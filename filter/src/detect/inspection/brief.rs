//! Flows of datagrams that are not inspected one by one: each datagram is a transaction of its own, and no rule may take it.
//!
//! Names are asked for in very many flows of two datagrams. All that an inspection would know of one, as long as nothing
//! is found in it and nobody is told what it speaks, is which directions have spoken and how many messages there were. So
//! no more is kept, and the inspection is made when a datagram may concern a rule, or is odd: it is then as if it had been
//! there from the start.

use std::sync::Arc;

use weir_ids_rules::AppProtocol;
use weir_wire::numbers::PROTOCOL_UDP;

use super::Inspection;
use crate::app::core::unkept;
use crate::app::{App, Context};
use crate::detect::groups::Selection;
use crate::detect::judge::oriented;
use crate::detect::judge_tx::{self, TxView};
use crate::detect::{Direction, Program, Shared};
use crate::event::Tuple;

/// What is known of such a flow.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    protocol: AppProtocol,
    /// The rules on packets, by direction.
    groups: [Selection; 2],
    /// The directions that have spoken.
    spoken: [bool; 2],
    transactions: u64,
}

impl Brief {
    /// A flow whose initiator sends `tuple`, and this first. `None` where it must be inspected.
    pub fn start(program: &Program, tuple: &Tuple, payload: &[u8], shared: &mut Shared) -> Option<Brief> {
        let asks_more = !program.frames.is_empty() || !program.follows_protocols();
        if asks_more || tuple.protocol != PROTOCOL_UDP || shared.scratch.profile.is_some() {
            return None;
        }
        let protocol = App::unkept(Direction::Original, payload, tuple, &shared.settings)?;
        let groups = [Direction::Original, Direction::Reply].map(|way| {
            let of_app = program.groups.of_app(protocol, tuple.protocol, way);
            program.groups.join(program.groups.select(|_| true, &oriented(tuple, way), way), of_app)
        });
        let mut brief = Brief { protocol, groups, spoken: [false; 2], transactions: 0 };
        brief.passes(program, (tuple, Direction::Original), payload, shared).then_some(brief)
    }

    /// Whether a datagram brings nothing; then it is counted. `tuple` is the initiator's.
    pub fn passes(
        &mut self,
        program: &Program,
        (tuple, way): (&Tuple, Direction),
        payload: &[u8],
        shared: &mut Shared,
    ) -> bool {
        let Some(message) = unkept(self.protocol, way, payload) else { return false };
        let tuple = oriented(tuple, way);
        let [asked, answered] = &mut self.spoken;
        let (spoken, groups) = match (way, self.groups) {
            (Direction::Original, [groups, _]) => (asked, groups),
            (Direction::Reply, [_, groups]) => (answered, groups),
        };
        if !*spoken && !is_plain_start(program, self.protocol, (&tuple, way), payload, shared) {
            return false;
        }
        let view = TxView { protocol: self.protocol, transaction: &message, way, parser: 0, end: false, over: false };
        let table = program.transactions.get(self.protocol, way);
        if table.is_some_and(|table| judge_tx::may_take(table, &view, &mut shared.scratch)) {
            return false;
        }
        if !program.takes_none(groups, (&tuple, way), payload, &mut shared.scratch) {
            return false;
        }
        *spoken = true;
        self.transactions += 1;
        true
    }

    /// The inspection that has seen what passed.
    #[cold]
    pub fn inspection(&self, program: &Arc<Program>, tuple: &Tuple, shared: &mut Shared) -> Box<Inspection> {
        let mut inspection = Inspection::start(program, tuple, false);
        let Shared { settings, expectations, .. } = shared;
        let context = Context { settings, tuple, expectations };
        inspection.app.resume(self.protocol, self.spoken, self.transactions, &context);
        for (side, spoken) in inspection.sides.iter_mut().zip(self.spoken) {
            side.ends_done = spoken;
        }
        inspection.established = self.spoken == [true; 2];
        inspection.speak(false);
        inspection
    }
}

/// Whether the first datagram of a direction tells the flow's protocol, which that of the initiator has done, and no rule on
/// addresses alone takes it.
#[inline(never)]
fn is_plain_start(
    program: &Program,
    protocol: AppProtocol,
    (tuple, way): (&Tuple, Direction),
    payload: &[u8],
    shared: &Shared,
) -> bool {
    // The initiator's tuple is what protocols are looked for with.
    let initiator = oriented(tuple, way);
    let tells = way == Direction::Original || App::unkept(way, payload, &initiator, &shared.settings) == Some(protocol);
    tells && !program.takes_ends(tuple)
}

impl Program {
    /// Whether a rule on addresses alone may take packets with this tuple.
    fn takes_ends(&self, tuple: &Tuple) -> bool {
        let mut rules = self.ends.iter().filter_map(|&number| self.rule(number));
        rules.any(|rule| rule.takes_protocol(tuple.protocol) && rule.takes_ends(tuple))
    }
}
