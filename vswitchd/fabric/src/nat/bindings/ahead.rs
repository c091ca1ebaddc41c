//! What a burst will need of the bindings, read or asked for before it is needed: the processor waits for many of its cache
//! misses at the same time, since nothing here rests on what is read. Nothing is changed.

use super::{BINDINGS_MAX, Bindings};

/// As many bindings as a core has at hand anyway.
const IN_CACHE: usize = 2048;

impl Bindings {
    /// Has what look-ups with these hashes will need brought: the index, then the bindings.
    #[inline]
    pub fn touch(&self, hashes: impl Iterator<Item = u64> + Clone) {
        hashes.clone().for_each(|hash| self.index.touch(hash));
        let bindings = hashes.fold(0, |seen, hash| {
            let place = self.index.candidate(hash).unwrap_or(0) as usize / 2;
            seen ^ self.first_word(place)
        });
        std::hint::black_box(bindings);
    }

    /// Reads the bindings at these places; nothing where all of them together are few.
    #[inline]
    pub fn touch_places(&self, places: impl Iterator<Item = u32>) {
        if self.all.len() > IN_CACHE {
            std::hint::black_box(places.fold(0, |seen, place| seen ^ self.first_word(place as usize)));
        }
    }

    /// A word of a binding.
    #[inline]
    fn first_word(&self, place: usize) -> u64 {
        self.all.get(place).map_or(0, |binding| u64::from(binding.is_taken()))
    }

    /// Asks for what adding this many bindings will need of the index: their own places, by the hashes of their look-ups, and
    /// those of the bindings that make room for them.
    pub fn touch_room(&self, hashes: impl Iterator<Item = u64>, count: usize) {
        hashes.for_each(|hash| self.index.touch_both(hash));
        let over = (self.len() + count).saturating_sub(BINDINGS_MAX).min(count);
        let next = self.hashes.iter().skip(self.hand + 1).take(over).flatten();
        next.for_each(|&hash| self.index.touch(hash));
    }
}
