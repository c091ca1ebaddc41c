//! `config`: transactions that rules keep out of the log.

use super::Inspection;
use crate::app::Mark;
use crate::detect::{Direction, Shared};

impl Inspection {
    /// Keeps transactions out of the log where matches of a step say so.
    #[inline]
    pub(super) fn configure(&mut self, shared: &Shared) {
        if !shared.scratch.matched.is_empty() {
            self.configure_matched(shared);
        }
    }

    #[inline(never)]
    fn configure_matched(&mut self, shared: &Shared) {
        for matched in &shared.scratch.matched {
            if self.program.rule(matched.rule).is_none_or(|rule| rule.config.is_none()) {
                continue;
            }
            let Some((parser, number)) = matched.transaction.or_else(|| self.at_hand(matched.way)) else { continue };
            let Some(parser) = self.app.parser_mut(parser) else { continue };
            let all = parser.transactions_mut();
            let found = (0..all.len()).find(|&nth| all.get(nth).is_some_and(|(mark, _)| mark.number == number));
            if let Some((mark, _)) = found.and_then(|nth| all.get_mut(nth)) {
                mark.logged = true;
            }
        }
    }

    /// The transaction that a match on a packet or stream means: the first that is not judged to its end, or the last.
    fn at_hand(&self, way: Direction) -> Option<(usize, u64)> {
        let nth = self.app.parsers().checked_sub(1)?;
        let all = self.app.parser(nth)?.transactions();
        let judged = |mark: &Mark| mark.detection[way as usize].done;
        let open = (0..all.len()).find(|&n| all.get(n).is_some_and(|(mark, _)| !judged(mark)));
        let index = open.or(all.len().checked_sub(1))?;
        Some((nth, all.get(index)?.0.number))
    }
}
