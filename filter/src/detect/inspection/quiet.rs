//! Packets that bring nothing: those without payload, most of which acknowledge, and those whose bytes can only concern rules
//! on packets, none of which is worth judging.

use weir_wire::numbers::PROTOCOL_TCP;

use super::{Direction, Inspection, Shared, Spoken};
use crate::decode::View;

impl Inspection {
    /// Whether a packet that is shown without bytes of a stream, and goes this way, brings nothing: it has no oddities,
    /// what rules ask of transactions was judged with the last packet that went this way, and no rule on packets may
    /// take it. Then a step would change nothing.
    pub fn passes_over(&self, view: &View<'_>, (way, established): (Direction, bool), shared: &mut Shared) -> bool {
        let side = &self.sides[way as usize];
        let known = view.events.is_empty()
            && side.ends_done
            && !self.found[way as usize]
            && self.events.is_empty()
            && self.tag.is_none()
            && shared.tags.is_empty()
            && (self.established || !established)
            && side.judged == Some((self.app.revision(), side.payload_hits.len()));
        if !known {
            return false;
        }
        if view.payload.is_empty() && view.tcp.is_some() {
            return !side.asks_bare;
        }
        // Side by side with the packet, what it carries may be heard, framed or look for its rules anew.
        let heard = self.tuple.protocol != PROTOCOL_TCP && self.app.hears_datagrams(way);
        let sealing = self.spoken == Spoken::Sealed && self.sides.iter().any(|side| !side.sealed);
        let judged = heard || sealing || self.verdict.is_some() || self.framer.is_some();
        let searched = view.loose && side.wants_stream;
        !(judged || searched || side.may_take(&self.program, view.payload, &mut shared.scratch.room))
    }
}
