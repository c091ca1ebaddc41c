//! Inputs from inputs: small damage of many kinds, from a seed.

/// Makes inputs out of a corpus; the same seed and corpus make the same ones.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
    longest: usize,
}

/// Numbers at which something tends to happen.
const EDGES: [u32; 12] = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_ffff];

impl Mutator {
    /// Starts from `seed`; without a corpus the inputs are noise.
    pub fn new(seed: u64, mut corpus: Vec<Vec<u8>>, longest: usize) -> Mutator {
        if corpus.is_empty() {
            corpus.push(Vec::new());
        }
        Mutator { state: seed | 1, corpus, longest }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.pick();
        for _ in 0..=self.below(6) {
            self.damage(&mut input);
        }
        input.truncate(self.longest);
        input
    }

    /// A number below `limit` (splitmix64).
    fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }

    fn pick(&mut self) -> Vec<u8> {
        let number = self.below(self.corpus.len());
        self.corpus[number].clone()
    }

    fn damage(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len());
        match self.below(9) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.below(256) as u8,
            2 => input.truncate(at),
            3 => self.write_edge(input, at),
            4 => self.insert_noise(input, at),
            5 => self.repeat(input, at),
            6 => self.remove(input, at),
            7 => self.splice(input, at),
            _ => self.insert_noise(input, input.len()),
        }
    }

    /// An interesting number of one, two or four bytes, in either byte order.
    fn write_edge(&mut self, input: &mut [u8], at: usize) {
        let edge = EDGES[self.below(EDGES.len())];
        let bytes = if self.below(2) == 0 { edge.to_be_bytes() } else { edge.to_le_bytes() };
        let length = [1, 2, 4][self.below(3)];
        let from = if self.below(2) == 0 { &bytes[4 - length..] } else { &bytes[..length] };
        for (to, byte) in input.iter_mut().skip(at).zip(from) {
            *to = *byte;
        }
    }

    fn insert_noise(&mut self, input: &mut Vec<u8>, at: usize) {
        let noise: Vec<u8> = (0..=self.below(16)).map(|_| self.below(256) as u8).collect();
        input.splice(at..at, noise);
    }

    fn repeat(&mut self, input: &mut Vec<u8>, at: usize) {
        let length = self.below(input.len() - at.min(input.len())).min(512);
        let piece = input[at..at + length].to_vec();
        for _ in 0..=self.below(8) {
            input.splice(at..at, piece.iter().copied());
        }
        input.truncate(self.longest);
    }

    fn remove(&mut self, input: &mut Vec<u8>, at: usize) {
        let end = at + self.below(input.len() - at.min(input.len()));
        input.drain(at..end);
    }

    /// The rest from another input.
    fn splice(&mut self, input: &mut Vec<u8>, at: usize) {
        let other = self.pick();
        let from = self.below(other.len());
        input.truncate(at);
        input.extend(&other[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_another_one_others() {
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, vec![b"a frame".to_vec(), b"another".to_vec()], 64);
            (0..200).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(8), inputs(8));
        assert_ne!(inputs(8), inputs(9 << 8));
        assert!(inputs(8).iter().all(|input| input.len() <= 64));
    }

    #[test]
    fn without_a_corpus_there_is_noise() {
        let mut mutator = Mutator::new(1, Vec::new(), 64);
        assert!((0..50).map(|_| mutator.next_input()).any(|input| !input.is_empty()));
    }
}
