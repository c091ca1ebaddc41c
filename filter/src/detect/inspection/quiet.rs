//! Packets that bring nothing: those without payload, most of which acknowledge, and those whose bytes can only concern rules
//! on packets, none of which is worth judging.

use weir_wire::numbers::PROTOCOL_TCP;

use super::{Direction, Inspection, Program, Shared, Spoken};
use crate::decode::View;
use crate::detect::check::Outcome;
use crate::detect::groups::Selection;
use crate::detect::judge::oriented;
use crate::detect::scratch::Scratch;
use crate::event::Tuple;

/// Of a flow's datagrams that go one way, what any rule may take: what these groups find in the payload. Nothing else of
/// them is heard, until the flow's inspection is shown another packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unheard(Selection);

impl Unheard {
    /// Whether a rule is worth judging on this payload. Nothing is noted of flows that are tagged themselves.
    #[inline]
    pub fn may_take(self, payload: &[u8], shared: &mut Shared, program: &Program) -> bool {
        shared.scratch.room.work += 1 + payload.len() as u64 / 64;
        program.groups.may_take(self.0, payload)
    }
}

impl Inspection {
    /// Reads what a step that goes this way will need. The result means nothing.
    #[inline]
    pub fn touch(&self, way: Direction) -> u64 {
        let side = &self.sides[way as usize];
        let judged = side.judged.map_or(0, |(revision, _)| revision) ^ side.turn ^ side.payload_hits.len() as u64;
        judged ^ self.app.touch(way) ^ self.events.len() as u64 ^ u64::from(self.established)
    }

    /// Whether a packet that is shown without bytes of a stream, and goes this way, brings nothing: it has no oddities,
    /// what rules ask of transactions was judged with the last packet that went this way, and no rule on packets may
    /// take it. Then a step would change nothing.
    pub fn passes_over(&self, view: &View<'_>, (way, established): (Direction, bool), shared: &mut Shared) -> bool {
        if !view.events.is_empty() || !shared.tags.is_empty() || !self.is_quiet(way, established) {
            return false;
        }
        let side = &self.sides[way as usize];
        if view.payload.is_empty() && view.tcp.is_some() {
            return !side.asks_bare;
        }
        let searched = view.loose && side.wants_stream;
        !(self.hears(way) || searched || side.may_take(&self.program, view.payload, &mut shared.scratch.room))
    }

    /// What may yet concern anybody of datagrams that go this way; `None` where they must be shown.
    pub fn unheard(&self, way: Direction, established: bool) -> Option<Unheard> {
        let side = &self.sides[way as usize];
        let always = side.sealed && side.wants_packets;
        if always || !self.is_quiet(way, established) || self.hears(way) {
            return None;
        }
        Some(Unheard(if side.wants_packets { side.selection } else { Selection::default() }))
    }

    /// Whether nothing has come since the last packet that went this way was judged that could be judged with one.
    fn is_quiet(&self, way: Direction, established: bool) -> bool {
        let side = &self.sides[way as usize];
        side.ends_done
            && !self.found[way as usize]
            && self.events.is_empty()
            && self.tag.is_none()
            && (self.established || !established)
            && side.judged == Some((self.app.revision(), side.payload_hits.len()))
    }

    /// Side by side with a packet, what it carries may be heard, framed or look for its rules anew.
    fn hears(&self, way: Direction) -> bool {
        let heard = self.tuple.protocol != PROTOCOL_TCP && self.app.hears_datagrams(way);
        let sealing = matches!(self.spoken, Spoken::Sealed(_)) && self.sides.iter().any(|side| !side.sealed);
        heard || sealing || self.verdict.is_some() || self.framer.is_some()
    }
}

impl Program {
    /// Whether no rule on packets of these groups takes this payload, in a packet that goes this way. `tuple` is the
    /// initiator's.
    pub(in crate::detect) fn takes_none(
        &self,
        groups: Selection,
        (tuple, way): (&Tuple, Direction),
        payload: &[u8],
        scratch: &mut Scratch,
    ) -> bool {
        scratch.room.work += 1 + payload.len() as u64 / 64;
        scratch.round.begin(self.rule_count());
        let mut always = false;
        for lane in self.groups.of(groups).map(|group| group.of_packet(payload.len())) {
            always |= !lane.always.is_empty();
            lane.find(payload, 0, &[0], |rule, _| scratch.round.add(rule));
        }
        !always && (scratch.round.get(0).is_none() || self.takes_no_candidate((tuple, way), payload, scratch))
    }

    /// Whether none of the candidates takes this payload. What a check would change is left to the packet's turn.
    #[inline(never)]
    fn takes_no_candidate(&self, (tuple, way): (&Tuple, Direction), payload: &[u8], scratch: &mut Scratch) -> bool {
        let Scratch { round, room, .. } = scratch;
        let candidates = (0..).map_while(|nth| round.get(nth)).filter_map(|candidate| self.rule(candidate.rule));
        let tuple = oriented(tuple, way);
        let mut may_take = candidates.filter(|rule| rule.takes_direction(way) && rule.takes_ends(&tuple));
        may_take.all(|rule| {
            let check = rule.payload.as_ref().filter(|check| !check.changes_sets());
            check.is_some_and(|check| check.run(payload, room) == Outcome::NoMatch)
        })
    }
}
