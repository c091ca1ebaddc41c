//! What rules have set in a flow, for those who are told.

use std::fmt;

use super::marks::FlowMarks;
use super::program::Program;
use crate::json::Json;

/// Flow bits that are set, and counters. Read only where something is told, which most steps do not.
#[derive(Clone, Copy)]
pub struct Variables<'f> {
    marks: &'f FlowMarks,
    program: &'f Program,
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("marks", self.marks).finish_non_exhaustive()
    }
}

impl<'f> Variables<'f> {
    /// Those of a flow that is inspected by this program.
    pub fn new(marks: &'f FlowMarks, program: &'f Program) -> Variables<'f> {
        Variables { marks, program }
    }

    fn bits(self) -> impl Iterator<Item = &'f str> {
        self.marks.set_bits().filter_map(move |bit| Some(self.program.bits.get(bit as usize)?.as_ref()))
    }

    fn counters(self) -> impl Iterator<Item = (&'f str, u32)> {
        let named = move |(n, value)| Some((self.program.counters.get(n as usize)?.as_ref(), value));
        self.marks.counters().filter_map(named)
    }

    /// There are none.
    pub fn is_empty(self) -> bool {
        self.marks.is_empty() || (self.bits().next().is_none() && self.counters().next().is_none())
    }

    /// Writes the members of "metadata" that show them.
    pub fn tell(self, json: &mut Json<'_>) {
        if self.bits().next().is_some() {
            json.array("flowbits", |json| {
                self.bits().for_each(|bit| {
                    json.item_bytes(bit.as_bytes());
                });
            });
        }
        if self.counters().next().is_some() {
            json.nested("flowints", |json| {
                self.counters().for_each(|(name, value)| {
                    json.number(name, value);
                });
            });
        }
    }
}
