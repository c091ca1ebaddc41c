//! Searching for one content.

use std::sync::OnceLock;

use memchr::{memchr, memchr2, memmem};

/// A content made ready to be searched for.
#[derive(Debug)]
pub struct Literal {
    /// The bytes; in lower case where `caseless`.
    bytes: Box<[u8]>,
    caseless: bool,
    /// The search in the right case, made when it is first needed: most contents never are.
    finder: OnceLock<Box<memmem::Finder<'static>>>,
    /// Index of the byte that is likely to be the rarest in traffic.
    rare: usize,
}

impl Literal {
    pub fn new(bytes: &[u8], caseless: bool) -> Literal {
        let has_letters = bytes.iter().any(u8::is_ascii_alphabetic);
        let caseless = caseless && has_letters;
        let bytes = if caseless { bytes.to_ascii_lowercase() } else { bytes.to_vec() };
        let rare = (0..bytes.len()).min_by_key(|&i| bytes.get(i).map_or(0, |&b| frequency(b))).unwrap_or(0);
        Literal { bytes: bytes.into(), caseless, finder: OnceLock::new(), rare }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the content stands at the start of `text`.
    #[inline]
    fn starts(&self, text: &[u8]) -> bool {
        match text.get(..self.bytes.len()) {
            Some(head) if self.caseless => head.eq_ignore_ascii_case(&self.bytes),
            Some(head) => head == &*self.bytes,
            None => false,
        }
    }

    /// Whether `text` ends in the content.
    pub fn ends(&self, text: &[u8]) -> bool {
        text.len().checked_sub(self.bytes.len()).and_then(|at| text.get(at..)).is_some_and(|tail| self.starts(tail))
    }

    /// The first place in `text` where the content stands.
    pub fn find(&self, text: &[u8]) -> Option<usize> {
        if !self.caseless {
            let finder = || Box::new(memmem::Finder::new(&self.bytes).into_owned());
            return self.finder.get_or_init(finder).find(text);
        }
        let last = text.len().checked_sub(self.bytes.len())?;
        let rare = *self.bytes.get(self.rare)?;
        let mut from = 0;
        while from <= last {
            // The rare byte of a match at `at` stands at `at + rare`.
            let area = text.get(from + self.rare..=last + self.rare)?;
            let upper = rare.to_ascii_uppercase();
            let hit = if upper == rare { memchr(rare, area) } else { memchr2(rare, upper, area) };
            let at = from + hit?;
            if self.starts(text.get(at..)?) {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }
}

/// How common a byte is in traffic, roughly: letters and filling bytes are common, punctuation is not.
pub fn frequency(byte: u8) -> u8 {
    match byte {
        b' ' | b'e' | b't' | b'a' | 0 => 255,
        b'o' | b'n' | b'i' | b's' | b'r' | b'h' => 240,
        b'\r' | b'\n' | 0xff => 220,
        b'a'..=b'z' => 200,
        b'0'..=b'9' | b'/' | b'.' => 180,
        b'A'..=b'Z' | b'-' | b':' | b'=' => 150,
        0x80.. => 40,
        _ => 80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_agrees_with_a_naive_one() {
        let mut seed = 3u32;
        let mut random = move |n: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 9) % n
        };
        for _ in 0..5000 {
            let text: Vec<u8> = (0..random(24)).map(|_| b"aAbB."[random(5) as usize]).collect();
            let content: Vec<u8> = (0..=random(3)).map(|_| b"aAbB."[random(5) as usize]).collect();
            let caseless = random(2) == 0;
            let same = |w: &[u8]| if caseless { w.eq_ignore_ascii_case(&content) } else { w == content };
            let naive = text.windows(content.len()).position(same);
            let literal = Literal::new(&content, caseless);
            assert_eq!(literal.find(&text), naive, "{text:?} {content:?} {caseless}");
            let ends = text.len() >= content.len() && same(&text[text.len() - content.len()..]);
            assert_eq!(literal.ends(&text), ends);
        }
    }
}
