//! What the rules say of a flow's bytes: stream reassembly, pattern matching, detection.
//!
//! The engine owns one [`FlowInspect`] for each flow that still has something to match, and one [`StreamMemory`] for
//! all of them. "First data wins, enforced on the wire": a byte once inspected at a place of the stream is the only one
//! that may be delivered there; the segment that would complete a `drop` match is refused.

use std::sync::Arc;

use weir_ids_rules::{Diagnostic, RuleSet};
use weir_wire::{Instant, Packet};

use crate::event::{Signature, Tuple};

/// A rule set (text of the rule language) compiled for detection. Made once per text, shared by policies.
#[derive(Debug, Default)]
pub struct RuleSetProgram {}

impl RuleSetProgram {
    /// Compiles rules for detection. A rule that cannot be compiled (an expression that is no expression) is left out
    /// and has a diagnostic; the others are used.
    pub fn compile(rules: &RuleSet) -> (RuleSetProgram, Vec<Diagnostic>) {
        let _ = rules;
        (RuleSetProgram::default(), Vec::new())
    }
}

/// Which way a packet goes in its flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the initiator ("to_server" in the rule language).
    #[default]
    Original,
    /// From the responder ("to_client").
    Reply,
}

/// The bytes of stream data held for all flows of one engine, and their bounds.
#[derive(Debug)]
pub struct StreamMemory {
    /// Held at present.
    pub used: usize,
    /// Bound for all flows.
    pub limit: usize,
    /// Bound for one direction of one flow.
    pub per_direction: usize,
}

/// What the engine knows of the packet that is to be inspected.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Time of the turn.
    pub now: Instant,
    /// Its way in the flow.
    pub direction: Direction,
    /// The TCP handshake is complete, or (UDP, ICMP) both sides have sent.
    pub established: bool,
    /// Stop inspecting a direction after this many bytes of its stream.
    pub depth: u64,
}

/// What is to be done with the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judgement {
    /// Forward it.
    #[default]
    Pass,
    /// A `drop` rule matched: refuse it and end the flow.
    Drop,
    /// A `reject` rule matched: refuse it, end the flow, tell both sides.
    Reject,
    /// Refuse it: it contradicts bytes already inspected at its place of the stream.
    Conflict,
    /// Refuse it: its bytes cannot be held for inspection. The sender will repeat it.
    Limit,
}

/// What inspection found in one packet.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is to be done.
    pub judgement: Judgement,
    /// The rules that matched, in order of priority; the first of them decided when `judgement` is Drop or Reject.
    pub matched: Vec<Arc<Signature>>,
    /// Nothing is left to match on this flow: its state may be given up.
    pub settled: bool,
}

/// Inspection state of one flow.
#[derive(Debug)]
pub struct FlowInspect {}

impl FlowInspect {
    /// State for a flow whose initiator sends `tuple`; `None` where no rule of `program` can ever match it (the flow
    /// is settled from the start). `midstream`: the flow's start was not seen.
    pub fn new(program: &Arc<RuleSetProgram>, tuple: &Tuple, midstream: bool) -> Option<Box<FlowInspect>> {
        let _ = (program, tuple, midstream);
        None
    }

    /// Inspects one packet; fills `findings`, which the caller has cleared. Allocates nothing once warm where nothing
    /// matches.
    pub fn inspect(&mut self, seen: Seen, packet: &Packet, memory: &mut StreamMemory, findings: &mut Findings) {
        let _ = (seen, packet, memory, findings);
    }

    /// Takes a new policy's program: the matcher's state belongs to the old one and is dropped, the stream's position
    /// and the bytes held stay. Returns `false` where nothing of the new program can match (the flow is settled).
    pub fn replace_program(&mut self, program: &Arc<RuleSetProgram>) -> bool {
        let _ = program;
        false
    }

    /// Gives the bytes held back to `memory`; called when the flow ends.
    pub fn release(&mut self, memory: &mut StreamMemory) {
        let _ = memory;
    }
}
