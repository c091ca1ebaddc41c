//! Detection: which rules match a packet, a stream, a transaction, and what follows from it.
//!
//! One [`Inspection`] belongs to each flow that has something to match. Its front (the live guard, or the stream engine
//! of captures) hands it packets and the in-order bytes of streams as [`Step`]s; it feeds the application parser, runs
//! the rules and tells what came of it in [`Findings`], and what people should read to a [`Sink`].
//!
//! Nothing here reads a clock: the time is that of the step's packet.

mod asks;
mod check;
mod commonness;
mod compiled;
mod compiler;
mod condition;
mod ends;
mod explain;
mod fast;
mod file_tests;
mod frames;
mod group;
mod groups;
mod growth;
mod inspection;
mod judge;
mod judge_tx;
mod lane;
mod later;
mod literal;
mod log;
mod magic;
mod marks;
mod matcher;
mod nets;
mod placed;
mod profile;
mod program;
mod prospect;
mod scratch;
pub mod sets;
mod shared;
mod shorts;
mod side;
mod tags;
#[cfg(test)]
mod tests;
pub mod threshold;
mod transactions;
mod transform;
mod variables;
mod verdict;

use std::sync::Arc;

use weir_ids_rules::AppProtocol;
use weir_ids_rules::rule::{Action, RejectTo};
use weir_wire::Instant;

use crate::app::file::File;
use crate::app::{Anomaly, Mark, Transaction};
use crate::decode::View;
use crate::event::{Signature, Tuple};
pub use crate::inspect::Direction;

pub use compiler::Compilation;
pub use explain::Explanation;
pub use group::WINDOW;
pub use inspection::{Brief, Inspection, Unheard};
pub use judge::oriented;
pub use judge_tx::TxMemory;
pub use profile::{Cost, Profile};
pub use program::{Adjustment, Program, ProgramSettings};
pub use shared::Shared;
pub use variables::Variables;

/// One thing to be inspected: a packet, bytes of a stream that became readable, or both.
#[derive(Clone, Copy, Debug)]
pub struct Step<'s> {
    /// The packet at hand: the one that brought the bytes, or (passive) the one that acknowledged them.
    pub view: &'s View<'s>,
    /// Direction of the bytes, or of the packet where there are none.
    pub way: Direction,
    /// Judge the rules on packets on this view. `false` where the view only acknowledges the bytes of the step.
    pub packet: bool,
    /// The TCP handshake is complete, or (other protocols) both sides have sent.
    pub established: bool,
    /// Bytes of the stream of direction `way`. For other protocols than TCP the payload of the view is used.
    pub stream: Option<StreamBytes<'s>>,
    /// What is known of the flow.
    pub flow: &'s FlowFacts,
    /// This is the last step of the flow.
    pub end: bool,
}

/// In-order bytes of one direction of a TCP stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamBytes<'s> {
    /// Recent bytes, contiguous: some that were given before (as many as [`Inspection::lookback`] asks for, where they
    /// are at hand), then the fresh ones.
    pub text: &'s [u8],
    /// Place of `text[0]` in the stream; the first byte of the stream is at 0.
    pub at: u64,
    /// Index in `text` of the first byte that was not given before.
    pub fresh: usize,
    /// Bytes lost directly before the fresh ones.
    pub gap: u64,
    /// The direction ends after these bytes.
    pub end: bool,
    /// Which of them rules on payloads look at.
    pub look: Look,
}

/// When rules on payloads look at a stream. The application layer reads its fresh bytes in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// At the fresh bytes.
    #[default]
    Now,
    /// Not at this step: they wait for more.
    Later,
    /// At all bytes of the text from this index on, among them those that waited.
    From(usize),
}

impl<'s> StreamBytes<'s> {
    /// As rules on payloads see it: what they have not looked at is fresh. `None` where they wait.
    pub fn looked_at(&self) -> Option<StreamBytes<'s>> {
        match self.look {
            Look::Now => Some(*self),
            Look::Later => None,
            Look::From(fresh) => Some(StreamBytes { fresh: fresh.min(self.text.len()), ..*self }),
        }
    }
}

/// What is known of a flow, for `flow.*`, `stream_size` and the like. This packet is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowFacts {
    /// When it began.
    pub start: Instant,
    /// Packets from the initiator and from the responder.
    pub packets: [u64; 2],
    /// Bytes of these, frames counted whole.
    pub bytes: [u64; 2],
    /// Bytes of the TCP streams, as sequence numbers tell.
    pub stream_bytes: [u64; 2],
    /// A packet of the flow was dropped or a rule has dropped it.
    pub dropped: bool,
    /// The flow is followed by a number that stays the same for its life (live: the engine's, captures: the hash).
    pub id: u64,
}

/// What inspection decided on one step. Cleared by [`Inspection::step`] at its start.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is to be done with the packet.
    pub verdict: Verdict,
    /// What is to be done with the flow; `None` where nothing was decided on it.
    pub flow: Option<FlowVerdict>,
    /// The rule that dropped or passed.
    pub decided_by: Option<Arc<Signature>>,
    /// The verdict is that of a rate filter in place of the rule's own.
    pub by_rate: bool,
    /// Alerts told in this step.
    pub alerts: usize,
    /// Alerts beyond the limit of one packet, which were not told.
    pub discarded: usize,
    /// The flow was met the wrong way round: who was taken for the initiator is the responder. The owner swaps its
    /// sides too.
    pub reversed: bool,
    /// Nothing is left to match on this flow: its inspection may be given up.
    pub settled: bool,
    /// A rule that refuses could not be decided within its bound on work.
    pub undecided: bool,
    /// The application parser failed in this step (`app-layer.error-policy`).
    pub app_error: bool,
    /// The flow is encrypted from here on: parsers follow it no more.
    pub bypass: bool,
    /// A rule with `bypass` matched: the flow is to be inspected no more.
    pub released: bool,
    /// Tell the stream engine to hand on all it has (a request is complete, and the answer begins).
    pub flush: bool,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No rule decided.
    #[default]
    Accept,
    /// A `pass` rule let it through.
    Pass,
    /// A `drop` rule refuses it.
    Drop,
    /// A `reject` rule refuses it and answers.
    Reject(RejectTo),
}

/// What is to be done with the rest of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowVerdict {
    /// It goes on uninspected.
    Pass,
    /// All its packets are dropped.
    Drop,
}

/// A transaction with what is remembered of it.
pub type Marked<'a> = (&'a Mark, &'a dyn Transaction);

/// An alert.
#[derive(Debug)]
pub struct Alert<'a> {
    /// The rule.
    pub signature: &'a Arc<Signature>,
    /// The action taken: the rule's, or that of its rate filter.
    pub action: Action,
    /// The action refuses the packet, and is carried out: `false` where the engine is passive.
    pub blocked: bool,
    /// What became of the packet by all rules together.
    pub verdict: Verdict,
    /// It matched in bytes of a stream, or in a transaction that a stream carried.
    pub on_stream: bool,
    /// It matched in a transaction.
    pub on_transaction: bool,
    /// The transaction shown is a guess: the flow has no other one.
    pub guessed: bool,
    /// The transaction it matched in, or that is guessed.
    pub transaction: Option<Marked<'a>>,
    /// The payload it matched in, as EVE shows it: bytes of the stream, or the packet's.
    pub payload: &'a [u8],
    /// JSON members that rules add (`"context"` of datasets), without braces; mostly empty.
    pub extra: &'a str,
}

/// What a flow speaks, as EVE tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppFacts {
    /// The protocol; `None` where it is not known yet or was not found.
    pub protocol: Option<AppProtocol>,
    /// It was looked for in vain (`"app_proto": "failed"`).
    pub failed: bool,
    /// What each direction by itself speaks, where that differs (`app_proto_ts`, `app_proto_tc`).
    pub by_way: [Option<AppProtocol>; 2],
    /// What was spoken before a change (`app_proto_orig`).
    pub original: Option<AppProtocol>,
    /// What was expected after a change (`app_proto_expected`).
    pub expected: Option<AppProtocol>,
}

/// Where something was found, for those who are told.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'s> {
    /// The step.
    pub step: &'s Step<'s>,
    /// The initiator's tuple.
    pub tuple: &'s Tuple,
    /// The application protocols of the flow.
    pub app: AppFacts,
    /// Variables of the flow (`flowbits`, `flowint`): the object "metadata".
    pub variables: Variables<'s>,
}

/// Who is told what people should read. All methods have a default that does nothing.
pub trait Sink {
    /// A rule matched and is to be told of.
    fn alert(&mut self, _scene: &Scene<'_>, _alert: &Alert<'_>) {}

    /// The application layer was fed with what the step brought, and nothing of it is judged or forgotten yet. `failed`:
    /// its parser gave up.
    fn heard(&mut self, _app: &mut crate::app::App, _way: Direction, _failed: bool) {}

    /// A packet of a session or host that a rule tagged.
    fn tagged(&mut self, _scene: &Scene<'_>) {}

    /// A transaction is complete, inspected, and to be logged: EVE writes an event for it.
    fn transaction(&mut self, _scene: &Scene<'_>, _mark: &Mark, _transaction: &dyn Transaction) {}

    /// A file of a transaction ended.
    fn file(&mut self, _scene: &Scene<'_>, _way: Direction, _of: Marked<'_>, _file: &File) {}

    /// The application layer met something that the protocol does not allow; `mark` where it belongs to a transaction.
    fn anomaly(&mut self, _scene: &Scene<'_>, _mark: Option<&Mark>, _anomaly: Anomaly) {}
}

/// A sink that hears nothing.
#[derive(Debug, Default)]
pub struct Deaf;

impl Sink for Deaf {}
