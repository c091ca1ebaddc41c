//! What frames that come next will need is asked for while others are at work.
//!
//! With many flows the state of each lies far from the processor, and one part of it tells where the next one lies. So
//! a frame is looked at some frames before its turn: first its bucket of the table is asked for, some frames on the slot
//! that stands there, then the flow, then its inspection. All this is a hint: a frame that is not as it seems (tunnels,
//! tags, fragments), or whose flow has changed meanwhile, takes longer, and nothing else.

use super::key::Key;
use super::table::{Slot, Table};

/// Frames between two steps. What is asked for comes in a few hundred nanoseconds.
const PACE: usize = 4;
/// Steps: bucket, slot, flow, inspection.
const STEPS: usize = 4;
/// Frames that are under way.
const RING: usize = STEPS * PACE;
/// So many frames ahead is worth looking.
pub const FRAMES: usize = RING - PACE + 1;
/// So few flows are at hand without being asked for.
const FEW: usize = 64;
/// Bytes of a line.
const LINE: usize = 64;

/// Asks the processor for lines of memory; does nothing where it cannot be asked.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    #[cfg(target_arch = "x86_64")]
    vectors: Option<pulp::x86::V3>,
}

impl Lines {
    fn new() -> Lines {
        Lines {
            #[cfg(target_arch = "x86_64")]
            vectors: pulp::x86::V3::try_new(),
        }
    }

    /// All of a value's lines.
    #[inline]
    pub fn ask<T>(self, value: &T) {
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = self.vectors {
            let start = std::ptr::from_ref(value).cast::<i8>();
            for offset in (0..size_of::<T>()).step_by(LINE) {
                vectors.sse._mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(start.wrapping_add(offset));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = value;
    }
}

/// The frames under way.
#[derive(Debug)]
pub struct Ahead {
    lines: Lines,
    /// The hash of each frame's key, and its slot once that is known; `None` where nothing is to be asked for.
    ring: [(Option<u64>, Option<Slot>); RING],
    next: usize,
    last: Option<Key>,
}

impl Ahead {
    /// No frame was seen.
    pub fn new() -> Ahead {
        Ahead { lines: Lines::new(), ring: [(None, None); RING], next: 0, last: None }
    }

    /// A frame was seen; those before it come nearer.
    #[inline]
    pub fn see(&mut self, frame: &[u8], flows: &Table) {
        if flows.len() < FEW {
            return;
        }
        let key = Key::glance(frame);
        // Behind another one of its flow it finds all at hand.
        let fresh = key.filter(|_| key != self.last).map(|key| flows.hash(&key));
        if let Some(hash) = fresh {
            self.last = key;
            flows.ask_bucket(hash, self.lines);
        }
        self.at(0).into_iter().for_each(|entry| *entry = (fresh, None));
        let lines = self.lines;
        if let Some((Some(hash), slot)) = self.at(1) {
            *slot = flows.ask_slot(*hash, lines);
        }
        if let Some((_, Some(slot))) = self.at(2) {
            flows.ask_flow(*slot, lines);
        }
        if let Some((_, Some(slot))) = self.at(3)
            && let Some(flow) = flows.get(*slot)
        {
            // Most datagrams of which it is known what may be heard need no more than that.
            let heard = flow.unheard.iter().all(Option::is_none);
            flow.inspection.iter().filter(|_| heard).for_each(|inspection| lines.ask(inspection.as_ref()));
            flow.session.iter().for_each(|session| lines.ask(session.as_ref()));
        }
        self.next = (self.next + 1) % RING;
    }

    /// The frame that takes this step now.
    #[inline]
    fn at(&mut self, step: usize) -> Option<&mut (Option<u64>, Option<Slot>)> {
        self.ring.get_mut((self.next + RING - step * PACE) % RING)
    }
}
