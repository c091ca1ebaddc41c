//! The table against a model that looks at every prefix.

use std::collections::BTreeMap;

use super::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// An address of the upper `bits` bits.
    fn address(&mut self, bits: u32) -> u128 {
        self.wide() & mask(bits)
    }
}

fn mask(length: u32) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (128 - length) }
}

/// Prefixes by length, so that a look-up asks for one after the other, the longest first.
#[derive(Default)]
struct Model(BTreeMap<(u32, u128), u32>);

impl Model {
    fn lookup(&self, address: u128) -> Option<u32> {
        (0..=128).rev().find_map(|length| self.0.get(&(length, address & mask(length))).copied())
    }
}

/// A storm of changes on few enough prefixes that they nest, share nodes and come again.
fn storm(seed: u64, width: u32, changes: usize) {
    let mut random = Random(seed);
    let (mut table, mut model) = (Lpm::default(), Model::default());
    // Clusters: all addresses begin with one of a few words.
    let heads: Vec<u128> = (0..4).map(|_| random.address(width)).collect();
    let pick = |random: &mut Random| {
        let head = heads[(random.next() % 4) as usize];
        let kept = (random.next() % u64::from(width + 1)) as u32;
        (head & mask(kept)) | (random.address(width) & !mask(kept))
    };
    for change in 0..changes {
        let length = (random.next() % u64::from(width + 1)) as u32;
        let address = pick(&mut random) & mask(length);
        if random.next().is_multiple_of(3) {
            let known = model.0.keys().nth(random.next() as usize % model.0.len().max(1)).copied();
            let (length, address) = known.filter(|_| !random.next().is_multiple_of(4)).unwrap_or((length, address));
            assert_eq!(table.remove(address, length), model.0.remove(&(length, address)), "seed {seed}");
        } else {
            let value = change as u32;
            assert_eq!(table.insert(address, length, value), Ok(model.0.insert((length, address), value)));
        }
        assert_eq!(table.len(), model.0.len());
        for _ in 0..4 {
            let address = pick(&mut random);
            assert_eq!(table.lookup(address), model.lookup(address), "seed {seed}, change {change}: {address:#x}");
        }
    }
    for ((length, address), value) in &model.0 {
        assert_eq!(table.exact(*address, *length), Some(*value));
    }
    // Empty again, all places are free: the table takes no more than it had.
    let bytes = table.bytes();
    for (length, address) in model.0.keys() {
        assert!(table.remove(*address, *length).is_some());
    }
    assert!(table.is_empty() && table.lookup(heads[0]).is_none());
    assert_eq!((table.root.ending, table.root.going_on), (0, 0), "no node is left behind");
    for ((length, address), value) in &model.0 {
        assert_eq!(table.insert(*address, *length, *value), Ok(None));
    }
    assert!(table.bytes() <= bytes * 2, "{} and {bytes} bytes: places are used again", table.bytes());
}

#[test]
fn ipv4_prefixes_answer_as_the_model_does() {
    (0..20).for_each(|seed| storm(seed, 32, 800));
}

#[test]
fn ipv6_prefixes_answer_as_the_model_does() {
    (100..115).for_each(|seed| storm(seed, 128, 600));
}

/// The lengths of the routes of the Internet, roughly: most are /24, then /20 to /23, few others.
fn internet_length(random: &mut Random) -> u32 {
    match random.next() % 100 {
        0..=59 => 24,
        60..=71 => 22,
        72..=79 => 23,
        80..=84 => 21,
        85..=89 => 20,
        90..=95 => 16 + (random.next() % 4) as u32,
        96..=97 => 8 + (random.next() % 8) as u32,
        _ => 25 + (random.next() % 8) as u32,
    }
}

#[test]
fn a_million_routes_answer_as_the_model_does() {
    let mut random = Random(7);
    let (mut table, mut model) = (Lpm::default(), Model::default());
    while table.len() < 1_000_000 {
        let length = internet_length(&mut random);
        let address = random.address(32) & mask(length);
        let value = table.len() as u32;
        assert_eq!(table.insert(address, length, value), Ok(model.0.insert((length, address), value)));
    }
    for _ in 0..40_000 {
        let address = random.address(32);
        assert_eq!(table.lookup(address), model.lookup(address));
    }
    assert!(table.bytes() < 64 << 20, "{} bytes", table.bytes());
    // Every other one goes.
    for (number, (length, address)) in model.0.keys().copied().collect::<Vec<_>>().into_iter().enumerate() {
        if number % 2 == 0 {
            assert_eq!(table.remove(address, length), model.0.remove(&(length, address)));
        }
    }
    for _ in 0..10_000 {
        let address = random.address(32);
        assert_eq!(table.lookup(address), model.lookup(address));
    }
}

#[test]
fn the_shortest_and_the_longest_prefixes_have_their_place() {
    let mut table = Lpm::default();
    assert_eq!(table.lookup(0), None);
    assert_eq!(table.insert(0, 0, 1), Ok(None));
    assert_eq!(table.insert(u128::MAX, 128, 2), Ok(None));
    assert_eq!(table.insert(u128::MAX, 127, 3), Ok(None));
    assert_eq!(table.insert(u128::MAX, 6, 4), Ok(None));
    assert_eq!(table.lookup(5), Some(1));
    assert_eq!(table.lookup(u128::MAX), Some(2));
    assert_eq!(table.lookup(u128::MAX - 1), Some(3));
    assert_eq!(table.lookup(u128::MAX << 100), Some(4));
    assert_eq!(table.remove(u128::MAX, 128), Some(2));
    assert_eq!(table.lookup(u128::MAX), Some(3));
    assert_eq!(table.insert(0, 0, 9), Ok(Some(1)));
    assert_eq!(table.remove(0, 0), Some(9));
    assert_eq!(table.lookup(5), None);
}
