//! `filestore`: which files rules want stored, and the memory of those that may yet be.
//!
//! A file's first bytes are kept from its beginning, because the rule that wants it may match at its end. What all flows
//! keep together is bounded by [`Shared::keep_limit`]; a flow that finds no room keeps none of its files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_ids_rules::rule::{FileStore, FlowDirection};

use super::Inspection;
use crate::app::file::Files;
use crate::detect::{Direction, Shared};

/// What one flow keeps. What it has taken is given back when it is dropped.
#[derive(Debug)]
pub struct Keeping {
    room: Arc<AtomicUsize>,
    bytes: usize,
    /// A rule wants all files of the flow.
    all: bool,
}

impl Keeping {
    fn new(room: &Arc<AtomicUsize>) -> Box<Keeping> {
        Box::new(Keeping { room: Arc::clone(room), bytes: 0, all: false })
    }

    /// The flow keeps so many bytes. `false` where all flows would keep more than `limit`: it may keep none.
    fn charge(&mut self, bytes: usize, limit: usize) -> bool {
        let others = self.room.fetch_sub(self.bytes, Ordering::Relaxed).saturating_sub(self.bytes);
        let fits = others.saturating_add(bytes) <= limit;
        self.bytes = if fits { bytes } else { 0 };
        self.room.fetch_add(self.bytes, Ordering::Relaxed);
        fits
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.room.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The directions whose files a match concerns.
fn ways(store: FileStore, matched: Direction) -> &'static [Direction] {
    const BOTH: &[Direction] = &[Direction::Original, Direction::Reply];
    const REQUEST: &[Direction] = &[Direction::Original];
    const ANSWER: &[Direction] = &[Direction::Reply];
    match (store.both, store.side, matched) {
        (true, ..) => BOTH,
        (false, Some(FlowDirection::ToServer), _) | (false, None, Direction::Original) => REQUEST,
        (false, Some(FlowDirection::ToClient), _) | (false, None, Direction::Reply) => ANSWER,
    }
}

impl Inspection {
    /// Marks the files that the matches of a step want stored.
    #[inline]
    pub(super) fn store(&mut self, shared: &mut Shared) {
        if shared.settings.keep_files > 0 && !shared.scratch.matched.is_empty() {
            self.store_files(shared);
        }
    }

    #[inline(never)]
    fn store_files(&mut self, shared: &mut Shared) {
        for matched in &shared.scratch.matched {
            let Some(store) = self.program.rule(matched.rule).and_then(|rule| rule.store) else { continue };
            let Some((parser, number)) = matched.transaction else { continue };
            if store.of_flow {
                self.keeping.get_or_insert_with(|| Keeping::new(&shared.kept)).all = true;
            }
            let Some(parser) = self.app.parser_mut(parser) else { continue };
            let all = parser.transactions_mut();
            let found = (0..all.len()).find(|&nth| all.get(nth).is_some_and(|(mark, _)| mark.number == number));
            let Some((_, transaction)) = found.and_then(|nth| all.get_mut(nth)) else { continue };
            for &way in ways(store, matched.way) {
                let files = transaction.files_mut(way);
                files.into_iter().flat_map(|files| &mut files.list).for_each(|file| file.store(&mut shared.stored));
            }
        }
    }

    /// Takes account of what the flow keeps of its files; gives it up where there is no room.
    #[inline]
    pub(super) fn keep(&mut self, shared: &mut Shared) {
        if shared.settings.keep_files > 0 {
            self.keep_files(shared);
        }
    }

    #[inline(never)]
    fn keep_files(&mut self, shared: &mut Shared) {
        let all = shared.store_all || self.keeping.as_ref().is_some_and(|keeping| keeping.all);
        let mut bytes = 0;
        self.each_files(|files| {
            files.list.iter_mut().filter(|_| all).for_each(|file| file.store(&mut shared.stored));
            bytes += files.list.iter().filter_map(|file| file.kept()).map(<[u8]>::len).sum::<usize>();
        });
        if bytes == 0 && self.keeping.is_none() {
            return;
        }
        let keeping = self.keeping.get_or_insert_with(|| Keeping::new(&shared.kept));
        if !keeping.charge(bytes, shared.keep_limit) {
            shared.keeps_refused += 1;
            self.each_files(|files| files.list.iter_mut().for_each(|file| file.give_up_kept()));
        }
    }

    fn each_files(&mut self, mut look: impl FnMut(&mut Files)) {
        for nth in 0..self.app.parsers() {
            let Some(parser) = self.app.parser_mut(nth) else { continue };
            let all = parser.transactions_mut();
            for index in 0..all.len() {
                let Some((_, transaction)) = all.get_mut(index) else { continue };
                for way in [Direction::Original, Direction::Reply] {
                    transaction.files_mut(way).into_iter().for_each(&mut look);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flows_keep_together_stays_within_the_limit_and_comes_back() {
        let room = Arc::default();
        let (mut one, mut two) = (Keeping::new(&room), Keeping::new(&room));
        assert!(one.charge(60, 100) && !two.charge(50, 100));
        assert!(two.charge(40, 100) && one.charge(50, 100));
        assert_eq!(room.load(Ordering::Relaxed), 90);
        drop(one);
        assert_eq!(room.load(Ordering::Relaxed), 40);
        drop(two);
        assert_eq!(room.load(Ordering::Relaxed), 0);
    }
}
