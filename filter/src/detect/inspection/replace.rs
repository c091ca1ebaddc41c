//! A flow under new rules: what it remembers of the old ones, renumbered.

use std::sync::Arc;

use super::{Direction, Inspection, Program, Side, oriented};

impl Inspection {
    /// Takes a new program. Flow bits and counters stay, by name; a rule of the new program that is one of the old one,
    /// by `gid` and `sid`, does not match a second time what it has matched. What was found but not decided is searched
    /// anew; the application layer goes on.
    pub fn replace_program(&mut self, program: &Arc<Program>) {
        let old = Arc::clone(&self.program);
        let renumber = |rule: u32| program.number_of(old.rule(rule)?);
        for nth in 0..self.app.parsers() {
            let Some(parser) = self.app.parser_mut(nth) else { continue };
            let all = parser.transactions_mut();
            for index in 0..all.len() {
                if let Some((mark, _)) = all.get_mut(index) {
                    mark.detection.iter_mut().for_each(|memory| memory.renumber(&renumber));
                }
            }
        }
        self.known = self.known.iter().filter_map(|&(rule, way)| Some((renumber(rule)?, way))).collect();
        for way in [Direction::Original, Direction::Reply] {
            let mut fresh = Side::new(program, &oriented(&self.tuple, way), way);
            let old = &mut self.sides[way as usize];
            fresh.take_over(old, &renumber);
            fresh.speaks(program, (&oriented(&self.tuple, way), way), &self.spoken);
            *old = fresh;
        }
        let place = |names: &[Box<str>], name: Option<&Box<str>>| {
            let name = name?;
            names.iter().position(|known| known == name).map(|at| at as u32)
        };
        self.marks = self.marks.renumber(
            |bit| place(&program.bits, old.bits.get(bit as usize)),
            |counter| place(&program.counters, old.counters.get(counter as usize)),
        );
        self.program = Arc::clone(program);
        self.verdict = None;
    }
}
