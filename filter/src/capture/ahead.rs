//! What frames that come next will need is asked for while others are at work.
//!
//! With many flows the state of each lies far from the processor, and one part of it tells where the next one lies. So
//! a frame is looked at some frames before its turn: first its bucket of the table is asked for, some frames on the slot
//! that stands there, then the flow, then its inspection, at last the bytes that wait for it and the room for those that
//! it brings. All this is a hint: a frame that is not as it seems (tunnels, tags, fragments), or whose flow has changed
//! meanwhile, takes longer, and nothing else.

use super::key::Key;
use super::table::{Slot, Table};
use crate::inspect::Direction;
use crate::prefetch::Lines;

/// Frames between two steps. What is asked for comes in a few hundred nanoseconds.
const PACE: usize = 4;
/// Steps: bucket, slot, flow, inspection, bytes.
const STEPS: usize = 5;
/// Frames that are under way.
const RING: usize = STEPS * PACE;
/// So many frames ahead is worth looking.
pub const FRAMES: usize = RING - PACE + 1;
/// So few flows are at hand without being asked for.
const FEW: usize = 64;
/// Bytes of headers that nearly all frames have.
const HEADERS: usize = 54;

/// A frame under way.
#[derive(Clone, Copy, Debug, Default)]
struct Coming {
    /// The hash of its key; `None` where nothing is to be asked for.
    hash: Option<u64>,
    /// Its slot, once that is known.
    slot: Option<Slot>,
    /// Its source is the low end.
    from_low: bool,
    /// Bytes that it brings, roughly.
    bytes: usize,
}

/// The frames under way.
#[derive(Debug)]
pub struct Ahead {
    lines: Lines,
    ring: [Coming; RING],
    next: usize,
    last: Option<Key>,
}

impl Ahead {
    /// No frame was seen.
    pub fn new() -> Ahead {
        Ahead { lines: Lines::default(), ring: [Coming::default(); RING], next: 0, last: None }
    }

    /// A frame was seen; those before it come nearer.
    #[inline]
    pub fn see(&mut self, frame: &[u8], flows: &Table) {
        if flows.len() < FEW {
            return;
        }
        let mut coming = Coming::default();
        // Behind another one of its flow it finds all at hand.
        if let Some((key, from_low)) = Key::glance(frame).filter(|&(key, _)| Some(key) != self.last) {
            let hash = flows.hash(&key);
            coming = Coming { hash: Some(hash), slot: None, from_low, bytes: frame.len().saturating_sub(HEADERS) };
            self.last = Some(key);
            flows.ask_bucket(hash, self.lines);
        }
        self.at(0).into_iter().for_each(|entry| *entry = coming);
        let lines = self.lines;
        if let Some(Coming { hash: Some(hash), slot, .. }) = self.at(1) {
            *slot = flows.ask_slot(*hash, lines);
        }
        if let Some(Coming { slot: Some(slot), .. }) = self.at(2) {
            flows.ask_flow(*slot, lines);
        }
        if let Some(Coming { slot: Some(slot), .. }) = self.at(3)
            && let Some(flow) = flows.get(*slot)
        {
            // Most datagrams of which it is known what may be heard need no more than that; so do packets of connections
            // that nobody listens to.
            let heard = !flow.settled && flow.unheard.iter().all(Option::is_none);
            flow.inspection.iter().filter(|_| heard).for_each(|inspection| lines.ask(inspection.as_ref()));
            flow.session.iter().for_each(|session| lines.ask(session.as_ref()));
        }
        if let Some(&mut Coming { slot: Some(slot), from_low, bytes, .. }) = self.at(4)
            && let Some(flow) = flows.get(slot).filter(|flow| !flow.settled)
            && let (Some(session), Some(inspection)) = (&flow.session, &flow.inspection)
        {
            let [there, back] = match flow.way(from_low) {
                Direction::Original => [bytes, 0],
                Direction::Reply => [0, bytes],
            };
            for (side, more) in session.sides.iter().zip([there, back]) {
                side.bytes.ask(lines, more);
            }
            inspection.layer().parser(0).into_iter().for_each(|parser| lines.ask(parser));
        }
        self.next = (self.next + 1) % RING;
    }

    /// The frame that takes this step now.
    #[inline]
    fn at(&mut self, step: usize) -> Option<&mut Coming> {
        self.ring.get_mut((self.next + RING - step * PACE) % RING)
    }
}
