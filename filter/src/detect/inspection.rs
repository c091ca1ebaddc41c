//! One flow under inspection: its application layer and what rules remember of it.

use std::sync::Arc;

use weir_ids_rules::AppProtocol;

use super::{AppFacts, Findings, Program, Shared, Sink, Step};
use crate::event::Tuple;

/// What detection remembers of one direction of a transaction.
#[derive(Debug, Default)]
pub struct TxMemory {}

/// Inspection state of one flow.
#[derive(Debug)]
pub struct Inspection {
    program: Arc<Program>,
    tuple: Tuple,
}

impl Inspection {
    /// State for a flow whose initiator sends `tuple`. `midstream`: its start was not seen. `expected`: what another
    /// flow announced of it, with the label for its parser.
    pub fn new(
        program: &Arc<Program>,
        _shared: &Shared,
        tuple: &Tuple,
        _midstream: bool,
        _expected: Option<(AppProtocol, &[u8], u8)>,
    ) -> Box<Inspection> {
        Box::new(Inspection { program: Arc::clone(program), tuple: *tuple })
    }

    /// Bytes of a stream that are to be given again before the fresh ones, where they are at hand.
    pub fn lookback(&self) -> usize {
        16 << 10
    }

    /// Inspects a step. Allocates nothing once warm where nothing matches.
    pub fn step(&mut self, _step: &Step<'_>, _shared: &mut Shared, findings: &mut Findings, _sink: &mut dyn Sink) {
        *findings = Findings::default();
    }

    /// What the flow speaks.
    pub fn app(&self) -> AppFacts {
        AppFacts::default()
    }

    /// The initiator's tuple.
    pub fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// Rules of the program in use.
    pub fn rule_count(&self) -> usize {
        self.program.rule_count()
    }
}
