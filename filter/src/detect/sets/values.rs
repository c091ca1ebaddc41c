//! The values of one set: what its file holds, shared by all copies, and what rules have changed since.
//!
//! Bytes are counted with a charge for each value; a set holds at most its limit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_ids_rules::rule::DataSetKind;

use super::Entry;

/// Bytes counted for a value beside its own.
const OVERHEAD: usize = 64;

type Values = BTreeMap<Box<[u8]>, Entry>;

/// One set.
#[derive(Clone, Debug)]
pub struct Set {
    pub kind: DataSetKind,
    /// The file that it is written to.
    pub save: Option<Box<str>>,
    /// Bytes of all values at most (`memcap`).
    pub limit: usize,
    /// What the file holds.
    base: Arc<Values>,
    /// What rules have put in; none of it is in the file.
    added: Values,
    /// What rules have taken out of what the file holds.
    removed: BTreeSet<Box<[u8]>>,
    bytes: usize,
}

impl Set {
    /// An empty set without a limit of its own.
    pub fn new(kind: DataSetKind) -> Set {
        Set {
            kind,
            save: None,
            limit: usize::MAX,
            base: Arc::default(),
            added: Values::new(),
            removed: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is known of a value.
    pub fn get(&self, value: &[u8]) -> Option<&Entry> {
        if let Some(entry) = self.added.get(value) {
            return Some(entry);
        }
        self.base.get(value).filter(|_| self.removed.is_empty() || !self.removed.contains(value))
    }

    /// All values.
    pub fn keys(&self) -> impl Iterator<Item = &Box<[u8]>> {
        self.base.keys().filter(|value| !self.removed.contains(*value)).chain(self.added.keys())
    }

    /// Takes up what a file holds, as long as there is `room`; returns the bytes taken and how many values found none.
    pub fn fill(&mut self, values: Vec<(Vec<u8>, Entry)>, room: usize) -> (usize, u64) {
        let room = room.min(self.limit.saturating_sub(self.bytes));
        let (mut taken, mut refused) = (0, 0);
        let base = Arc::make_mut(&mut self.base);
        for (value, entry) in values {
            let cost = cost(&value, &entry);
            if base.contains_key(value.as_slice()) {
                continue;
            }
            if taken + cost > room {
                refused += 1;
                continue;
            }
            taken += cost;
            base.insert(value.into(), entry);
        }
        self.bytes += taken;
        (taken, refused)
    }

    /// Puts a value in that is not there; the bytes it takes, or `None` where there is no room.
    pub fn add(&mut self, value: Vec<u8>, room: usize) -> Option<usize> {
        let cost = self.base.get(value.as_slice()).map_or_else(|| cost(&value, &Entry::default()), |e| cost(&value, e));
        if cost > room.min(self.limit.saturating_sub(self.bytes)) {
            return None;
        }
        self.bytes += cost;
        // What had been taken out of the file's values is there again.
        if !self.removed.remove(value.as_slice()) {
            self.added.insert(value.into(), Entry::default());
        }
        Some(cost)
    }

    /// Takes a value out; the bytes it took, or `None` where it is not there.
    pub fn remove(&mut self, value: Vec<u8>) -> Option<usize> {
        let cost = cost(&value, self.get(&value)?);
        if self.added.remove(value.as_slice()).is_none() {
            self.removed.insert(value.into());
        }
        self.bytes = self.bytes.saturating_sub(cost);
        Some(cost)
    }

    /// Takes up what rules have changed in `old`, the set of the same name under the rules before.
    pub fn take_over(&mut self, old: Set) {
        for value in old.removed {
            self.remove(value.into());
        }
        for (value, _) in old.added {
            if self.get(&value).is_none() {
                let room = usize::MAX;
                let _ = self.add(value.into(), room);
            }
        }
    }
}

/// Bytes that a value takes.
fn cost(value: &[u8], entry: &Entry) -> usize {
    OVERHEAD + value.len() + entry.context.as_ref().map_or(0, |context| context.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(values: &[&str]) -> Set {
        let mut set = Set::new(DataSetKind::Text);
        let values =
            values.iter().map(|value| (value.as_bytes().to_vec(), Entry { score: 7, context: None })).collect();
        set.fill(values, usize::MAX);
        set
    }

    fn all(set: &Set) -> Vec<String> {
        set.keys().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn a_copy_shares_what_the_file_holds() {
        let mut set = of_file(&["a", "b"]);
        let before = set.clone();
        assert!(Arc::ptr_eq(&set.base, &before.base));
        assert!(set.remove(b"a".to_vec()).is_some() && set.remove(b"a".to_vec()).is_none());
        assert!(set.add(b"c".to_vec(), usize::MAX).is_some());
        assert_eq!(
            (all(&set), all(&before)),
            (vec!["b".to_owned(), "c".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        assert!(Arc::ptr_eq(&set.base, &before.base));
    }

    #[test]
    fn what_rules_changed_outlives_new_rules() {
        let mut old = of_file(&["a", "b"]);
        old.remove(b"a".to_vec());
        old.add(b"c".to_vec(), usize::MAX);
        let mut new = of_file(&["a", "d"]);
        new.take_over(old);
        assert_eq!(all(&new), ["d", "c"]);
        assert_eq!(new.bytes(), of_file(&["c", "d"]).bytes());
    }

    #[test]
    fn the_limit_of_a_set_holds_for_file_and_rules() {
        let mut set = Set::new(DataSetKind::Text);
        set.limit = 2 * (OVERHEAD + 1);
        let values = ["a", "b", "c"].map(|v| (v.as_bytes().to_vec(), Entry::default())).to_vec();
        assert_eq!(set.fill(values, usize::MAX), (set.limit, 1));
        assert_eq!(set.add(b"d".to_vec(), usize::MAX), None);
        set.remove(b"a".to_vec());
        assert!(set.add(b"d".to_vec(), usize::MAX).is_some());
        assert_eq!(set.bytes(), set.limit);
    }
}
