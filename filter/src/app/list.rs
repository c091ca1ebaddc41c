//! The live transactions of one parser, and what was met while there was none.

use std::collections::VecDeque;

use super::{Anomaly, Mark, Transaction, Transactions};

/// Live transactions of one flow.
#[derive(Debug)]
pub struct List<T> {
    items: VecDeque<(Mark, T)>,
    next: u64,
    /// Anomalies met while it was empty, for the flow.
    stray: Vec<Anomaly>,
}

/// Anomalies of a flow without a transaction that wait to be told; more are dropped.
const STRAY: usize = 16;

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List { items: VecDeque::new(), next: 0, stray: Vec::new() }
    }
}

impl<T> List<T> {
    /// Adds one. The caller keeps to [`Settings::transactions`](super::Settings::transactions).
    pub fn push(&mut self, transaction: T) {
        let mark = Mark { number: self.next, ..Mark::default() };
        self.next += 1;
        if self.items.is_empty() {
            // Most flows have one at a time, and there may be many flows.
            self.items.reserve_exact(1);
        }
        self.items.push_back((mark, transaction));
    }

    /// Live ones.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// All, oldest first, for the parser.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.items.iter_mut().map(|(_, transaction)| transaction)
    }

    /// The newest.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.items.back_mut().map(|(_, transaction)| transaction)
    }

    /// The one of this number, where it is alive.
    pub fn numbered_mut(&mut self, number: u64) -> Option<(&mut Mark, &mut T)> {
        let at = self.items.binary_search_by_key(&number, |(mark, _)| mark.number).ok()?;
        self.items.get_mut(at).map(|(mark, transaction)| (mark, transaction))
    }

    /// So many have passed that were not kept.
    pub fn pass(&mut self, transactions: u64) {
        self.next += transactions;
    }

    /// Number of the next one.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Notes an anomaly of the newest transaction, or of the flow where there is none.
    pub fn anomaly(&mut self, anomaly: Anomaly) {
        match self.items.back_mut() {
            Some((mark, _)) => mark.note(anomaly),
            None if self.stray.len() < STRAY && !self.stray.contains(&anomaly) => self.stray.push(anomaly),
            None => {}
        }
    }

    /// All with their marks, oldest first.
    pub fn marked_mut(&mut self) -> impl DoubleEndedIterator<Item = (&mut Mark, &mut T)> {
        self.items.iter_mut().map(|(mark, transaction)| (mark, transaction))
    }
}

impl<T: Transaction> Transactions for List<T> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn get(&self, nth: usize) -> Option<(&Mark, &dyn Transaction)> {
        self.items.get(nth).map(|(mark, transaction)| (mark, transaction as &dyn Transaction))
    }

    fn get_mut(&mut self, nth: usize) -> Option<(&mut Mark, &mut dyn Transaction)> {
        self.items.get_mut(nth).map(|(mark, transaction)| (mark, transaction as &mut dyn Transaction))
    }

    fn remove(&mut self, nth: usize) {
        if self.items.len() > 1 {
            self.items.remove(nth);
        } else if nth == 0 {
            // The room serves the next flow's, which is read while it is near.
            self.items = VecDeque::new();
        }
    }
    fn take_stray(&mut self) -> Vec<Anomaly> {
        std::mem::take(&mut self.stray)
    }
}
