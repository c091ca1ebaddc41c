//! Rows of up to 64 entries in one vector, each grown and shrunk by one entry at a time. A row that outgrows its place
//! moves to a larger one; places that were left are used again by rows of their size.

/// The most entries of a row.
const ROW_MAX: u32 = 64;

#[derive(Debug)]
pub(super) struct Blocks<T> {
    entries: Vec<T>,
    /// Places that were left, by the power of two that is their size.
    free: [Vec<u32>; 7],
}

impl<T> Default for Blocks<T> {
    fn default() -> Blocks<T> {
        Blocks { entries: Vec::new(), free: Default::default() }
    }
}

/// The size class of a row, as a power of two. Doubling keeps the moves of a growing row few.
fn class(len: u32) -> usize {
    len.min(ROW_MAX).next_power_of_two().trailing_zeros() as usize
}

impl<T: Copy + Default> Blocks<T> {
    /// Entries that have a place, used or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub fn get(&self, at: u32) -> Option<&T> {
        self.entries.get(at as usize)
    }

    #[inline]
    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.entries.get_mut(at as usize)
    }

    /// Puts `entry` at `place` of the row of `len` entries at `base`; returns where the row is then. An empty row has
    /// no place yet.
    pub fn insert(&mut self, base: u32, len: u32, place: u32, entry: T) -> u32 {
        let fits = len > 0 && class(len) == class(len + 1);
        let to = if fits { base } else { self.take(class(len + 1)) };
        if !fits && len > 0 {
            self.entries.copy_within(base as usize..(base + place) as usize, to as usize);
        }
        let (from, behind) = ((base + place) as usize, (base + len) as usize);
        if len > 0 {
            self.entries.copy_within(from..behind, (to + place + 1) as usize);
        }
        if !fits && len > 0 {
            self.leave(base, class(len));
        }
        if let Some(slot) = self.get_mut(to + place) {
            *slot = entry;
        }
        to
    }

    /// Takes the entry at `place` out of the row of `len` entries at `base`; returns where the row is then.
    pub fn remove(&mut self, base: u32, len: u32, place: u32) -> u32 {
        self.entries.copy_within((base + place + 1) as usize..(base + len) as usize, (base + place) as usize);
        if len <= 1 {
            self.leave(base, class(len));
            return 0;
        }
        if class(len - 1) == class(len) {
            return base;
        }
        let to = self.take(class(len - 1));
        self.entries.copy_within(base as usize..(base + len - 1) as usize, to as usize);
        self.leave(base, class(len));
        to
    }

    fn take(&mut self, class: usize) -> u32 {
        if let Some(place) = self.free.get_mut(class).and_then(Vec::pop) {
            return place;
        }
        let place = self.entries.len();
        self.entries.resize(place + (1 << class), T::default());
        place as u32
    }

    fn leave(&mut self, place: u32, class: usize) {
        if let Some(free) = self.free.get_mut(class) {
            free.push(place);
        }
    }
}
