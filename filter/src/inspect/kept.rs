//! What is kept of a flow under inspection: all of it, or next to nothing as long as it asks for names.
//!
//! Names are asked for in very many flows of two datagrams, which are remembered for half a minute after that. While nobody
//! reads what flows speak, and no rule may take what was said, all that is known of such a flow is what it speaks, which
//! ends have spoken and how often ([`Brief`]). It is followed from the datagram on that may concern a rule, is odd, or tells
//! somebody something, as if it had been followed from its start.

use std::sync::Arc;

use weir_ids_rules::AppProtocol;
use weir_wire::numbers::PROTOCOL_UDP;
use weir_wire::{Instant, Packet};

use super::flow::{Followed, Watched};
use super::program::RuleSetProgram;
use super::{Direction, Findings, Seen, StreamMemory};
use crate::detect::{Brief, FlowFacts, Inspection};
use crate::event::Tuple;

/// Inspection state of one flow.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "what is followed is met with each packet, and not to be far away")]
pub enum FlowInspect {
    /// It is followed.
    Followed(Followed),
    /// It may turn out to ask for names.
    Named(Named),
}

/// A flow of datagrams of which nothing was said yet, or nothing but names.
#[derive(Debug)]
pub struct Named {
    program: Arc<RuleSetProgram>,
    /// The initiator's.
    tuple: Tuple,
    brief: Option<Brief>,
}

impl Named {
    /// Whether a packet brings nothing.
    fn passes(&mut self, seen: &Seen, packet: &Packet, memory: &mut StreamMemory) -> bool {
        let tells = memory.tells();
        let program = self.program.program();
        if tells.transactions || seen.resumed || memory.shared.tags_hosts() {
            return false;
        }
        if program.watches_oddities() && !memory.oddities(seen.now, packet.bytes()).0.is_empty() {
            return false;
        }
        let (payload, shared) = (packet.payload(), &mut memory.shared);
        match &mut self.brief {
            Some(brief) => brief.passes(program, (&self.tuple, seen.direction), payload, shared),
            None if seen.direction == Direction::Original => {
                let brief = Brief::start(program, &self.tuple, payload, shared);
                self.brief = brief.filter(Brief::has_transactions);
                self.brief.is_some()
            }
            None => false,
        }
    }

    /// The same flow followed, as if it had been from its start.
    fn followed(&self, memory: &mut StreamMemory) -> Followed {
        let program = self.program.program();
        let inspection = match &self.brief {
            Some(brief) => brief.inspection(program, &self.tuple, &mut memory.shared),
            None => Inspection::start(program, &self.tuple, false),
        };
        Followed::with(inspection, &self.tuple, false, (None, None))
    }
}

impl FlowInspect {
    /// State for a flow whose initiator sends `tuple`; `None` where no rule of `program` can ever match it (the flow
    /// is settled from the start). `midstream`: the flow's start was not seen.
    pub fn new(program: &Arc<RuleSetProgram>, tuple: &Tuple, midstream: bool) -> Option<Box<FlowInspect>> {
        FlowInspect::watched(program, tuple, midstream, (None, None))
    }

    /// As [`FlowInspect::new`], for a flow whose sites are judged or whose files are searched too.
    pub fn watched(
        program: &Arc<RuleSetProgram>,
        tuple: &Tuple,
        midstream: bool,
        (watch, scan): Watched,
    ) -> Option<Box<FlowInspect>> {
        let is_watched = watch.is_some() || scan.is_some();
        if !is_watched && !program.program().concerns(tuple) {
            return None;
        }
        if tuple.protocol == PROTOCOL_UDP && !midstream && !is_watched {
            let program = Arc::clone(program);
            return Some(Box::new(FlowInspect::Named(Named { program, tuple: *tuple, brief: None })));
        }
        let inspection = Inspection::start(program.program(), tuple, midstream);
        Some(Box::new(FlowInspect::Followed(Followed::with(inspection, tuple, midstream, (watch, scan)))))
    }

    /// Inspects one packet; fills `findings`, which the caller has cleared. Allocates nothing once warm where nothing
    /// matches.
    #[inline]
    pub fn inspect(&mut self, seen: Seen, packet: &Packet, memory: &mut StreamMemory, findings: &mut Findings) {
        match self {
            FlowInspect::Followed(followed) => followed.inspect(seen, packet, memory, findings),
            FlowInspect::Named(named) => {
                if named.passes(&seen, packet, memory) {
                    memory.work = memory.shared.work();
                    return;
                }
                self.follow(memory, |followed, memory| followed.inspect(seen, packet, memory, findings));
            }
        }
    }

    /// The flow is followed from here on, if it was not; what is done with it.
    fn follow<T>(&mut self, memory: &mut StreamMemory, act: impl FnOnce(&mut Followed, &mut StreamMemory) -> T) -> T {
        match self {
            FlowInspect::Followed(followed) => act(followed, memory),
            FlowInspect::Named(named) => {
                let mut followed = named.followed(memory);
                let done = act(&mut followed, memory);
                *self = FlowInspect::Followed(followed);
                done
            }
        }
    }

    #[inline]
    fn is(&self) -> Option<&Followed> {
        match self {
            FlowInspect::Followed(followed) => Some(followed),
            FlowInspect::Named(_) => None,
        }
    }

    fn is_mut(&mut self) -> Option<&mut Followed> {
        match self {
            FlowInspect::Followed(followed) => Some(followed),
            FlowInspect::Named(_) => None,
        }
    }

    /// The directions (initiator's, responder's) whose plain segments need not be shown to it: their streams have been
    /// inspected to the depth, and neither side waits to hear that its bytes have arrived.
    #[inline]
    pub fn is_through(&self) -> [bool; 2] {
        self.is().map_or([false; 2], Followed::is_through)
    }

    /// Reads what a packet that goes this way will need. The result means nothing.
    #[inline]
    pub fn touch(&self, way: Direction) -> u64 {
        self.is().map_or(0, |followed| followed.touch(way))
    }

    /// Takes a new policy's program: what the rules remember belongs to the old one and is dropped, the stream's
    /// position and the bytes held stay, and the recent ones are searched by the new rules too. Returns `false` where
    /// nothing of the new program can match (the flow is settled).
    pub fn replace_program(
        &mut self,
        program: &Arc<RuleSetProgram>,
        watched: Watched,
        memory: &mut StreamMemory,
    ) -> bool {
        self.follow(memory, |followed, _| followed.replace_program(program, watched))
    }

    /// Takes the content filter of a new policy; what the flow named before stays judged. `None`: nothing of its sites
    /// is asked any more.
    pub fn set_watch(&mut self, watched: Watched, memory: &mut StreamMemory) {
        if watched.0.is_some() || watched.1.is_some() || self.is().is_some() {
            self.follow(memory, |followed, _| followed.set_watch(watched));
        }
    }

    /// What the flow speaks, where that is known.
    pub fn speaks(&self) -> Option<AppProtocol> {
        match self {
            FlowInspect::Followed(followed) => followed.speaks(),
            FlowInspect::Named(named) => named.brief.as_ref().and_then(Brief::speaks),
        }
    }

    /// The flow may have been announced in another one.
    pub fn expect(&mut self, memory: &mut StreamMemory, now: Instant) {
        match self {
            FlowInspect::Followed(followed) => followed.expect(memory, now),
            FlowInspect::Named(_) if memory.announced.is_empty() => {}
            FlowInspect::Named(_) => self.follow(memory, |followed, memory| followed.expect(memory, now)),
        }
    }

    /// The flow ends: what waits for more is judged as it is, and told of. `flow` is what is known of it.
    pub fn finish(&mut self, now: Instant, flow: FlowFacts, memory: &mut StreamMemory, findings: &mut Findings) {
        if let Some(followed) = self.is_mut() {
            followed.finish(now, flow, memory, findings);
        }
    }

    /// Gives the bytes held back to `memory`; called when the flow ends.
    pub fn release(&mut self, memory: &mut StreamMemory) {
        if let Some(followed) = self.is_mut() {
            followed.release(memory);
        }
    }

    /// The connection is over, its flow is remembered for a while yet: gives back what both sides have acknowledged.
    pub fn give_back(&mut self, memory: &mut StreamMemory) {
        if let Some(followed) = self.is_mut() {
            followed.give_back(memory);
        }
    }

    /// The content filter waits for the names of sites, or the virus check for files.
    pub fn is_watched(&self) -> bool {
        self.is().is_some_and(Followed::is_watched)
    }

    /// The content filter waits for the names of sites.
    pub fn names_sites(&self) -> bool {
        self.is().is_some_and(Followed::names_sites)
    }

    /// What is held back of the flow may be asked about again.
    pub fn has_news(&self, now: Instant) -> bool {
        self.is().is_none_or(|followed| followed.has_news(now))
    }
}
