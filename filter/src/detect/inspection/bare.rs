//! Packets without payload: most acknowledge, and bring nothing to judge that was not judged before.

use super::{Direction, Inspection, Shared};
use crate::decode::View;

impl Inspection {
    /// Whether a packet that goes this way brings nothing: it has neither payload nor oddities, no rule asks for such
    /// packets, and what rules ask of transactions was judged with the last packet that went this way.
    pub fn passes_bare(&self, view: &View<'_>, (way, established): (Direction, bool), shared: &Shared) -> bool {
        if !view.payload.is_empty() || !view.events.is_empty() || view.tcp.is_none() {
            return false;
        }
        let side = &self.sides[way as usize];
        side.ends_done
            && !side.asks_bare
            && !self.found[way as usize]
            && self.events.is_empty()
            && self.tag.is_none()
            && shared.tags.is_empty()
            && (self.established || !established)
            && side.judged == Some((self.app.revision(), side.payload_hits.len()))
    }
}
