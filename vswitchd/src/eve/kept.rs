//! What happened lately, for those who ask. While nobody follows and no file is written, an event is kept as it came and
//! becomes a line when it is asked for: most never are.
//!
//! Limit: the last [`KEPT`] events; older ones are forgotten.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_filter::Event;

use super::{Clocks, Line, Naming, line};
use crate::published::Names;

/// Lines kept for those who ask what happened lately.
pub const KEPT: usize = 1000;

/// An event with all that is needed to write it.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub event: Event,
    /// Counts the daemon's events.
    pub number: u64,
    /// When it was taken from the worker.
    pub clocks: Clocks,
    /// Names of its time.
    pub names: Arc<Names>,
    /// Names of the time of the rule that decided.
    pub judged_by: Arc<Names>,
}

impl Unwritten {
    /// As readers get it.
    pub fn line(&self) -> Line {
        let naming = Naming { names: &self.names, judged_by: &self.judged_by };
        line(&self.event, self.number, &self.clocks, &naming)
    }
}

#[derive(Debug)]
enum Entry {
    Line(Arc<Line>),
    Event(Unwritten),
}

/// The last events, oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept(VecDeque<Entry>);

impl Kept {
    /// Keeps a line.
    pub fn keep(&mut self, line: Arc<Line>) {
        self.push(Entry::Line(line));
    }

    /// Keeps an event that nobody reads now.
    pub fn keep_unwritten(&mut self, event: Unwritten) {
        self.push(Entry::Event(event));
    }

    fn push(&mut self, entry: Entry) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    /// The last ones, up to `count`, as lines.
    pub fn last(&mut self, count: usize) -> Vec<Arc<Line>> {
        let skip = self.0.len().saturating_sub(count);
        let written = |entry: &mut Entry| match entry {
            Entry::Line(line) => Arc::clone(line),
            Entry::Event(event) => {
                let line = Arc::new(event.line());
                *entry = Entry::Line(Arc::clone(&line));
                line
            }
        };
        self.0.iter_mut().skip(skip).map(written).collect()
    }
}
