//! Flows of datagrams that are not inspected one by one: each datagram is a transaction of its own, or says nothing that is
//! known, and no rule may take it.
//!
//! Names are asked for in very many flows of two datagrams. All that an inspection would know of one, as long as nothing
//! is found in it and nobody is told what it speaks, is which directions have spoken and how many messages there were. The
//! same holds where what is spoken is not known. So no more is kept, and the inspection is made when a datagram may concern
//! a rule, or is odd: it is then as if it had been there from the start.

use std::sync::Arc;

use weir_ids_rules::AppProtocol;
use weir_wire::numbers::PROTOCOL_UDP;

use super::{Found, Inspection};
use crate::app::core::unkept;
use crate::app::{App, Context};
use crate::detect::groups::Selection;
use crate::detect::judge::oriented;
use crate::detect::judge_tx::{self, TxView};
use crate::detect::nets::Between;
use crate::detect::{Direction, Program, Shared};
use crate::event::Tuple;

/// What is known of such a flow.
#[derive(Clone, Copy, Debug)]
pub struct Brief {
    /// What is spoken; `Failed` where that is nothing known.
    told: Found,
    /// From where to where the initiator's packets go.
    between: Between,
    /// The rules on packets, by direction.
    groups: [Selection; 2],
    /// The directions that have spoken.
    spoken: [bool; 2],
    datagrams: u64,
}

impl Brief {
    /// A flow whose initiator sends `tuple`, and this first. `None` where it must be inspected.
    pub fn start(program: &Program, tuple: &Tuple, payload: &[u8], shared: &mut Shared) -> Option<Brief> {
        let asks_more = !program.frames.is_empty() || !program.follows_protocols();
        if asks_more || tuple.protocol != PROTOCOL_UDP || shared.scratch.profile.is_some() {
            return None;
        }
        let told = App::unkept(Direction::Original, payload, tuple, &shared.settings)?;
        let between = program.nets.between(tuple);
        let groups = [(Direction::Original, between), (Direction::Reply, between.turned())].map(|(way, between)| {
            let tuple = oriented(tuple, way);
            // Of few datagrams a search for too much costs less than asking whom the rules concern.
            let few = told != Found::Failed;
            let concerns = |number| few || program.rule(number).is_some_and(|rule| rule.takes_ends(&tuple));
            let of_app = told.protocol().and_then(|app| program.groups.of_app(app, tuple.protocol, way, between));
            program.groups.join(program.groups.select(concerns, (&tuple, between), way), of_app)
        });
        let mut brief = Brief { told, between, groups, spoken: [false; 2], datagrams: 0 };
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
        let [asked, answered] = &mut self.spoken;
        let (spoken, groups, between) = match (way, self.groups) {
            (Direction::Original, [groups, _]) => (asked, groups, self.between),
            (Direction::Reply, [_, groups]) => (answered, groups, self.between.turned()),
        };
        if !*spoken && !is_plain_start(program, self.told, (tuple, way, between), payload, shared)
            || self.told != Found::Failed && !is_plain_message(program, self.told, (way, between), payload, shared)
            || !program.takes_none(groups, (tuple, way), payload, &mut shared.scratch)
        {
            return false;
        }
        *spoken = true;
        self.datagrams += 1;
        true
    }

    /// What is spoken, where that is known.
    pub fn speaks(&self) -> Option<AppProtocol> {
        self.told.protocol()
    }

    /// Messages are spoken, which are transactions.
    pub fn has_transactions(&self) -> bool {
        self.told != Found::Failed
    }

    /// The inspection that has seen what passed.
    #[cold]
    pub fn inspection(&self, program: &Arc<Program>, tuple: &Tuple, shared: &mut Shared) -> Box<Inspection> {
        let mut inspection = Inspection::start(program, tuple, false);
        let Shared { settings, expectations, .. } = shared;
        let context = Context { settings, tuple, expectations };
        inspection.app.resume(self.told, self.spoken, self.datagrams, &context);
        for (side, spoken) in inspection.sides.iter_mut().zip(self.spoken) {
            side.ends_done = spoken;
        }
        inspection.established = self.spoken == [true; 2];
        inspection.speak(false);
        inspection
    }
}

/// Whether a message is not odd, and no rule on transactions may take it.
fn is_plain_message(
    program: &Program,
    told: Found,
    (way, between): (Direction, Between),
    payload: &[u8],
    shared: &mut Shared,
) -> bool {
    let Some(protocol) = told.protocol() else { return false };
    let Some(message) = unkept(protocol, way, payload) else { return false };
    let view = TxView { protocol, transaction: &message, way, parser: 0, end: false, over: false };
    let table = program.transactions.get(protocol, way, between);
    !table.is_some_and(|table| judge_tx::may_take(table, &view, &mut shared.scratch))
}

/// Whether the first datagram of a direction tells the same as that of the initiator, who sends `tuple`, and no rule on
/// addresses alone takes it.
#[inline(never)]
fn is_plain_start(
    program: &Program,
    told: Found,
    (tuple, way, between): (&Tuple, Direction, Between),
    payload: &[u8],
    shared: &Shared,
) -> bool {
    let tells = way == Direction::Original || App::unkept(way, payload, tuple, &shared.settings) == Some(told);
    tells && !program.takes_ends(&oriented(tuple, way), between)
}

impl Program {
    /// Whether a rule on addresses alone may take packets with this tuple.
    fn takes_ends(&self, tuple: &Tuple, between: Between) -> bool {
        let listed = self.ends.between(between, tuple.protocol);
        let mut rules = listed.iter().filter_map(|&number| self.rule(number));
        rules.any(|rule| rule.takes_protocol(tuple.protocol) && rule.takes_ends(tuple))
    }
}
