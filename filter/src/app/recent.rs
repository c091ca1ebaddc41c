//! A table that remembers the newest entries and forgets the oldest when it is full.

use std::collections::{BTreeMap, VecDeque};

/// Keys with values, in the order in which the keys came.
#[derive(Debug)]
pub struct Recent<K, V> {
    values: BTreeMap<K, V>,
    order: VecDeque<K>,
    limit: usize,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    /// A table of at most `limit` entries.
    pub const fn new(limit: usize) -> Recent<K, V> {
        Recent { values: BTreeMap::new(), order: VecDeque::new(), limit }
    }

    /// Adds an entry, or replaces the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        if self.values.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        // Keys taken out by hand are still in the order; they count until their turn comes.
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.values.remove(&oldest);
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.values.remove(key)?;
        // The newest are asked for most: the search ends soon.
        if let Some(at) = self.order.iter().rposition(|known| known == key) {
            self.order.remove(at);
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut table = Recent::new(2);
        table.insert(1, 'a');
        table.insert(2, 'b');
        table.insert(1, 'c');
        table.insert(3, 'd');
        assert_eq!((table.get(&1), table.get(&2), table.get(&3)), (None, Some(&'b'), Some(&'d')));
        assert_eq!(table.remove(&2), Some('b'));
        table.insert(4, 'e');
        assert_eq!((table.get(&3), table.get(&4)), (Some(&'d'), Some(&'e')));
    }
}
