//! What the rules say of a flow's bytes: stream reassembly, pattern matching, detection.
//!
//! The engine owns one [`FlowInspect`] for each flow that still has something to match, and one [`StreamMemory`] for
//! all of them. "First data wins, enforced on the wire": a byte once inspected at a place of the stream is the only one
//! that may be delivered there; the segment that would complete a `drop` match is refused.
//!
//! A rule on a TCP stream is checked on the recent bytes of the stream, up to [`WINDOW`] bytes behind the segment and
//! the whole segment. What the rules are, and how they are judged, is [`crate::detect`]'s.

mod flow;
mod kept;
mod memory;
mod odd;
pub(crate) mod pcre;
mod program;
mod stream;
#[cfg(test)]
mod tests;
mod told;
mod urgent;

use std::sync::Arc;

use weir_wire::Instant;

use crate::content;
use crate::detect::FlowFacts;
use crate::event::{HandedFile, Signature};

pub use crate::detect::WINDOW;
pub use flow::Watched;
use flow::conclude;
pub use kept::FlowInspect;
pub use memory::StreamMemory;
pub use odd::may_be_odd;
pub use program::RuleSetProgram;
pub use told::Record;

/// Which way a packet goes in its flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the initiator ("to_server" in the rule language).
    #[default]
    Original,
    /// From the responder ("to_client").
    Reply,
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
    /// What is known of the flow, this packet counted; the bytes of its streams need not be.
    pub flow: FlowFacts,
    /// Stop inspecting a direction after this many bytes of its stream.
    pub depth: u64,
    /// The packet was held back, and was judged before that.
    pub resumed: bool,
}

/// A packet that is held back: its places in its direction's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its first.
    pub begin: u64,
    /// Behind its last.
    pub end: u64,
    /// The first place that may not be delivered.
    pub gate: u64,
    /// Until when.
    pub until: Instant,
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
    /// The content filter denies the site: refuse it, and answer as [`Findings::denial`] says.
    Deny,
    /// A file in it is infected, or met a limit: refuse it, end the flow, tell both sides.
    Infected,
    /// Hold it back, as [`Findings::hold`] says: a file's verdict is open.
    Wait,
    /// Refuse it: it contradicts bytes already inspected at its place of the stream.
    Conflict,
    /// Refuse it: its bytes cannot be held for inspection. The sender will repeat it.
    Limit,
}

impl Findings {
    /// Nothing found.
    pub fn clear(&mut self) {
        (self.judgement, self.settled) = (Judgement::Pass, false);
        self.matched.clear();
        self.members.clear();
        self.records.clear();
        self.content.clear();
        self.files.clear();
        self.stored.clear();
        self.files_refused = 0;
        (self.denial, self.hold, self.gated) = (None, None, false);
    }
}

/// What inspection found in one packet.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is to be done.
    pub judgement: Judgement,
    /// The rules that matched, in order of priority; the first of them decided when `judgement` is Drop or Reject.
    pub matched: Vec<Arc<Signature>>,
    /// Members of the events of rules that matched, as [`Event::Alert`](crate::Event::Alert) has them.
    pub members: Vec<(Arc<Signature>, Box<str>)>,
    /// What the application layer has to tell.
    pub records: Vec<Record>,
    /// The sites that content rules told of or denied.
    pub content: Vec<content::Finding>,
    /// What a denied initiator is told.
    pub denial: Option<content::Denial>,
    /// Files that are infected or met a limit.
    pub files: Vec<crate::scan::Finding>,
    /// Files that rules want stored.
    pub stored: Vec<Arc<HandedFile>>,
    /// Files that rules want stored, for which there was no room.
    pub files_refused: u64,
    /// Where the packet stands that is to be held back.
    pub hold: Option<Hold>,
    /// Something of the packet's direction has to wait.
    pub gated: bool,
    /// Nothing is left to match on this flow: its state may be given up.
    pub settled: bool,
}
