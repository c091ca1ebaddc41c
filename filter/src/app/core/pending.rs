//! Bytes of a direction that wait: until its protocol is known, or for more that the parser needs.
//!
//! While nobody knows what a direction speaks only its start is looked at. What comes behind that is put aside in blocks
//! that are never moved, each up to three times as long as all before it: most flows that stay unknown are long, and moving
//! their bytes to larger and larger places takes longer than all else that is done for them. Whoever wants them together
//! gathers them once.

use crate::app::probe::PROBED;

/// More than this is set aside only where as much waits already.
const AHEAD: usize = 128 << 10;

/// Bytes that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The first of them: [`PROBED`] at least where others are put aside.
    start: Vec<u8>,
    /// Those behind.
    aside: Vec<Vec<u8>>,
}

impl Pending {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.start.len() + self.aside.iter().map(Vec::len).sum::<usize>()
    }

    /// None wait.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// Bytes of memory taken.
    pub fn memory(&self) -> usize {
        self.start.capacity() + self.aside.iter().map(Vec::capacity).sum::<usize>()
    }

    /// As many of the first as tell a protocol, or all there are.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// Adds bytes of which only the start is looked at as yet.
    pub fn put_aside(&mut self, bytes: &[u8]) {
        if self.start.len() < PROBED {
            self.start.extend_from_slice(bytes);
            return;
        }
        let mut bytes = bytes;
        if let Some(last) = self.aside.last_mut() {
            let (here, behind) = bytes.split_at(bytes.len().min(last.capacity() - last.len()));
            last.extend_from_slice(here);
            bytes = behind;
        }
        if !bytes.is_empty() {
            let held = self.len();
            let mut block = Vec::with_capacity(held.saturating_mul(3).min(AHEAD).max(held).max(bytes.len()));
            block.extend_from_slice(bytes);
            self.aside.push(block);
        }
    }

    /// All of them in one piece, to be added to and to be taken from.
    pub fn whole(&mut self) -> &mut Vec<u8> {
        if !self.aside.is_empty() {
            self.start.reserve_exact(self.len() - self.start.len());
            self.aside.drain(..).for_each(|block| self.start.extend_from_slice(&block));
        }
        &mut self.start
    }

    /// All of them; none wait any more.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_comes_back_in_order_and_is_not_moved() {
        for piece in [1, 100, 1448, 4095, 4096, 70_000] {
            let (mut pending, mut all) = (Pending::default(), Vec::new());
            for number in 0..250_000 / piece {
                let bytes: Vec<u8> = (0..piece).map(|place| (number * 31 + place) as u8).collect();
                let places: Vec<*const u8> = pending.aside.iter().map(|block| block.as_ptr()).collect();
                pending.put_aside(&bytes);
                all.extend(bytes);
                assert_eq!(pending.len(), all.len());
                assert!(pending.aside.iter().zip(places).all(|(block, place)| block.as_ptr() == place));
                assert!(pending.start().len() >= PROBED.min(all.len()) && all.starts_with(pending.start()));
                assert!(pending.memory() <= (5 * all.len()).max(2 * PROBED), "{} for {}", pending.memory(), all.len());
            }
            assert!(pending.aside.len() <= 5, "{} blocks", pending.aside.len());
            assert_eq!(pending.whole(), &all, "in pieces of {piece}");
            pending.whole().extend_from_slice(b"more");
            all.extend(b"more");
            assert_eq!(pending.take(), all);
            assert!(pending.is_empty());
        }
    }
}
