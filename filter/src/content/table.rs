//! A large set of keys in little room: sorted 64-bit digests, each with a mark.
//!
//! A key takes 12 bytes. Two keys have the same digest once in 2^64 pairs, so a list of half a million names takes one
//! foreign name for its own about once in 3·10^13 different names asked.

/// What a list says of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The entry's category, as a number of its list; 0 where it has none.
    pub category: u8,
    /// How bad it is said to be, 0 to 127; 127 where the list gives no scores.
    pub score: u8,
}

impl Mark {
    /// Of an entry of a list without categories and scores.
    pub const PLAIN: Mark = Mark { category: 0, score: 127 };
}

/// A digest in the making: one byte after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// The digest of nothing, of keys of this kind.
    pub const fn new(kind: u8) -> Digest {
        Digest(0xcbf2_9ce4_8422_2325 ^ ((kind as u64) << 56))
    }

    /// With one byte more (FNV-1a).
    #[inline]
    pub const fn push(self, byte: u8) -> Digest {
        Digest((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// With these bytes.
    pub fn extend(self, bytes: &[u8]) -> Digest {
        bytes.iter().fold(self, |digest, &byte| digest.push(byte))
    }

    /// The key: its bits mixed, so that short names fill the whole range.
    pub const fn key(self) -> u64 {
        let a = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let b = (a ^ (a >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        b ^ (b >> 32)
    }
}

/// Keys with their marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    keys: Box<[u64]>,
    marks: Box<[Mark]>,
}

impl Table {
    /// Of these keys; of a key that is there twice the higher score counts.
    pub fn new(mut entries: Vec<(u64, Mark)>) -> Table {
        entries.sort_unstable_by_key(|&(key, mark)| (key, u8::MAX - mark.score));
        entries.dedup_by_key(|&mut (key, _)| key);
        Table { keys: entries.iter().map(|e| e.0).collect(), marks: entries.iter().map(|e| e.1).collect() }
    }

    /// What is said of a key.
    pub fn get(&self, key: u64) -> Option<Mark> {
        let at = self.keys.binary_search(&key).ok()?;
        self.marks.get(at).copied()
    }

    /// Keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// No keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes it takes.
    pub fn memory(&self) -> usize {
        self.keys.len() * (size_of::<u64>() + size_of::<Mark>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        let key = |n: u32| Digest::new(0).extend(format!("name-{n}.example").as_bytes()).key();
        let table = Table::new((0..100_000).map(|n| (key(n), Mark::PLAIN)).collect());
        assert_eq!(table.len(), 100_000);
        assert!((0..100_000).all(|n| table.get(key(n)) == Some(Mark::PLAIN)));
        assert!((100_000..300_000).all(|n| table.get(key(n)).is_none()));
        assert!(table.memory() <= 1_200_000);
    }

    #[test]
    fn the_higher_score_counts() {
        let mark = |score| Mark { category: 1, score };
        let table = Table::new(vec![(5, mark(3)), (5, mark(90)), (5, mark(10))]);
        assert_eq!((table.len(), table.get(5)), (1, Some(mark(90))));
    }
}
