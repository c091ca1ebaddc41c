//! Cells that hold addresses, found by a keyed hash in at most two buckets of four.
//!
//! Buckets are plain numbers, four keys and then their four values: a table that was just made is zero pages that the
//! allocator has not touched, and a search compares one bucket in one go. Key 0 is a free cell.

/// Cells of a bucket.
const WAYS: usize = 4;

#[derive(Debug)]
pub(super) struct Table {
    buckets: Vec<[u64; 2 * WAYS]>,
    mask: usize,
    secret: [u64; 2],
}

/// One step of SplitMix64 each: two secrets from one seed.
fn secrets(seed: u64) -> [u64; 2] {
    [1u64, 2].map(|n| {
        let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

impl Table {
    /// A table of at least `cells` free cells.
    pub fn new(seed: u64, cells: usize) -> Table {
        let buckets = cells.next_power_of_two().max(2 * WAYS) / WAYS;
        let [a, b] = secrets(seed);
        Table { buckets: vec![[0; 2 * WAYS]; buckets], mask: buckets - 1, secret: [a, b | 1] }
    }

    pub fn cells(&self) -> usize {
        self.buckets.len() * WAYS
    }

    /// The cell that holds a key.
    #[inline]
    pub fn find(&self, key: u64) -> Option<usize> {
        for home in self.homes(key) {
            let keys = self.buckets.get(home).and_then(|bucket| bucket.first_chunk::<WAYS>())?;
            if let Some(way) = keys.iter().position(|&k| k == key) {
                return Some(home * WAYS + way);
            }
        }
        None
    }

    /// The eight cells in which a key may stand.
    pub fn places(&self, key: u64) -> impl Iterator<Item = usize> + use<> {
        self.homes(key).into_iter().flat_map(|home| home * WAYS..(home + 1) * WAYS)
    }

    #[inline]
    pub fn value(&self, cell: usize) -> u64 {
        self.buckets.get(cell / WAYS).and_then(|bucket| bucket.get(WAYS + cell % WAYS)).copied().unwrap_or(0)
    }

    pub fn is_free(&self, cell: usize) -> bool {
        self.get(cell).0 == 0
    }

    #[inline]
    pub fn set_value(&mut self, cell: usize, value: u64) {
        if let Some(place) = self.buckets.get_mut(cell / WAYS).and_then(|bucket| bucket.get_mut(WAYS + cell % WAYS)) {
            *place = value;
        }
    }

    pub fn set(&mut self, cell: usize, key: u64, value: u64) {
        if let Some(place) = self.buckets.get_mut(cell / WAYS).and_then(|bucket| bucket.get_mut(cell % WAYS)) {
            *place = key;
        }
        self.set_value(cell, value);
    }

    /// A cell's key and value.
    pub fn get(&self, cell: usize) -> (u64, u64) {
        let key = self.buckets.get(cell / WAYS).and_then(|bucket| bucket.get(cell % WAYS)).copied().unwrap_or(0);
        (key, self.value(cell))
    }

    /// The two buckets of a key, by a folded multiplication with secrets.
    #[inline]
    fn homes(&self, key: u64) -> [usize; 2] {
        let [a, b] = self.secret;
        let wide = u128::from(key ^ a) * u128::from(b);
        let hash = (wide as u64) ^ ((wide >> 64) as u64);
        [hash as usize & self.mask, (hash >> 32) as usize & self.mask]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_where_a_key_stands() {
        let places = |seed| Table::new(seed, 1 << 16).places(77).next();
        assert_eq!(places(1), places(1));
        assert_ne!(places(1), places(2));
    }

    #[test]
    fn keys_that_differ_in_one_bit_spread_over_the_buckets() {
        let table = Table::new(3, 1 << 16);
        let mut homes: Vec<usize> = (0..64).filter_map(|bit| table.places(1 << bit).next()).collect();
        homes.sort_unstable();
        homes.dedup();
        assert!(homes.len() > 60, "{} different buckets for 64 keys", homes.len());
    }

    #[test]
    fn what_is_set_is_found() {
        let mut table = Table::new(5, 64);
        let cell = table.places(9).nth(6).unwrap();
        assert!(table.is_free(cell) && table.find(9).is_none());
        table.set(cell, 9, 90);
        assert_eq!((table.find(9), table.get(cell)), (Some(cell), (9, 90)));
        table.set(cell, 0, 0);
        assert_eq!(table.find(9), None);
    }
}
