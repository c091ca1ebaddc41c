//! One body signature: fixed bytes with gaps, as ClamAV's `.ndb` and `.ldb` write them in hexadecimal digits.
//!
//! Understood: bytes, `??`, `a?`, `?a`, gaps `{n}`, `{n-m}`, `{-m}`, `*` (any gap), and choices of equal length
//! `(aa|bb)`. Each stretch between `*` is a [`Piece`]; a piece is found by its last fixed bytes and then compared
//! backwards, so that it is known with its last byte and needs only the recent bytes.
//!
//! Limits: a piece spans at most [`SPAN`] bytes and ends with at least [`TAIL`] fixed ones; a signature has at most
//! [`PIECES`] pieces. What is beyond is refused with its reason.

/// Bytes that a piece may span: those that a scanner keeps.
pub const SPAN: usize = 2048;
/// Fixed bytes that a piece must end with.
pub const TAIL: usize = 2;
/// Fixed bytes of the end that are searched for.
const SEARCHED: usize = 24;
/// Pieces of a signature.
const PIECES: usize = 16;

/// One byte, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    /// Equal under a mask.
    Byte { value: u8, mask: u8 },
    /// Any byte, at least and at most so often.
    Gap { least: usize, most: usize },
    /// One of these, all of one length.
    Choice(Vec<Vec<u8>>),
}

/// A stretch without unbounded gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    elements: Vec<Element>,
    /// The bytes that are searched for: the last of it.
    pub tail: Vec<u8>,
    /// Bytes from its start to its end, at least and at most.
    pub span: (usize, usize),
    nocase: bool,
}

/// Reads a signature's pieces.
///
/// # Errors
/// What is not understood, in a few words that can be counted.
pub fn parse(text: &str, nocase: bool) -> Result<Vec<Piece>, &'static str> {
    let mut pieces = Vec::new();
    for part in text.split('*') {
        if pieces.len() >= PIECES {
            return Err("more than 16 parts");
        }
        pieces.push(piece(part, nocase)?);
    }
    Ok(pieces)
}

fn piece(text: &str, nocase: bool) -> Result<Piece, &'static str> {
    let mut elements = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match first {
            b'{' => {
                let end = after.iter().position(|&b| b == b'}').ok_or("an open gap")?;
                elements.push(gap(after.get(..end).unwrap_or_default())?);
                rest = after.get(end + 1..).unwrap_or_default();
            }
            b'(' => {
                let end = after.iter().position(|&b| b == b')').ok_or("an open choice")?;
                elements.push(choice(after.get(..end).unwrap_or_default(), nocase)?);
                rest = after.get(end + 1..).unwrap_or_default();
            }
            b'[' => return Err("[n-m] gaps"),
            b'!' => return Err("negated choices"),
            _ => {
                let (&second, after) = after.split_first().ok_or("half a byte")?;
                elements.push(byte(first, second, nocase)?);
                rest = after;
            }
        }
    }
    let fixed = elements.iter().rev().map_while(|element| match element {
        Element::Byte { value, mask: 0xff } => Some(*value),
        Element::Byte { .. } | Element::Gap { .. } | Element::Choice(_) => None,
    });
    let mut tail: Vec<u8> = fixed.take(SEARCHED).collect();
    tail.reverse();
    if tail.len() < TAIL {
        return Err("a part that does not end with two fixed bytes");
    }
    let sizes = elements.iter().map(|element| match element {
        Element::Byte { .. } => (1, 1),
        Element::Gap { least, most } => (*least, *most),
        Element::Choice(list) => list.first().map_or((0, 0), |one| (one.len(), one.len())),
    });
    let span = sizes.fold((0usize, 0usize), |sum, size| (sum.0.saturating_add(size.0), sum.1.saturating_add(size.1)));
    if span.1 > SPAN { Err("a part of more than 2048 bytes") } else { Ok(Piece { elements, tail, span, nocase }) }
}

fn byte(high: u8, low: u8, nocase: bool) -> Result<Element, &'static str> {
    let nibble = |digit: u8| match digit {
        b'?' => Ok((0, 0)),
        digit => char::from(digit).to_digit(16).map(|value| (value as u8, 0xf)).ok_or("a character that is no digit"),
    };
    let ((high, high_mask), (low, low_mask)) = (nibble(high)?, nibble(low)?);
    let (value, mask) = (high << 4 | low, high_mask << 4 | low_mask);
    if mask == 0 {
        return Ok(Element::Gap { least: 1, most: 1 });
    }
    let value = if nocase && mask == 0xff { value.to_ascii_lowercase() } else { value };
    Ok(Element::Byte { value, mask })
}

fn gap(text: &[u8]) -> Result<Element, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "an ill-formed gap")?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| "an ill-formed gap");
    let (least, most) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some(("", most)) => (0, number(most)?),
        Some((_, "")) => return Err("gaps without an end"),
        Some((least, most)) => (number(least)?, number(most)?),
    };
    if least > most { Err("an ill-formed gap") } else { Ok(Element::Gap { least, most }) }
}

fn choice(text: &[u8], nocase: bool) -> Result<Element, &'static str> {
    let mut list: Vec<Vec<u8>> = Vec::new();
    for one in text.split(|&b| b == b'|') {
        let bytes = super::database::hex(one).ok_or("choices that are no bytes")?;
        list.push(if nocase { bytes.to_ascii_lowercase() } else { bytes });
    }
    let length = list.first().map_or(0, Vec::len);
    if length == 0 || list.iter().any(|one| one.len() != length) {
        return Err("choices of several lengths");
    }
    Ok(Element::Choice(list))
}

impl Piece {
    /// A piece of these bytes.
    pub fn literal(bytes: &[u8]) -> Piece {
        let elements = bytes.iter().map(|&value| Element::Byte { value, mask: 0xff }).collect();
        let tail = bytes.get(bytes.len().saturating_sub(SEARCHED)..).unwrap_or_default().to_vec();
        Piece { elements, tail, span: (bytes.len(), bytes.len()), nocase: false }
    }

    /// The places in `recent`, whose end the tail was found at, where the piece may begin; counts the steps taken. Gives
    /// the last of them, for which the piece is the shortest, that is not before `least` and fits `begins`.
    pub fn begins(&self, recent: &[u8], fits: impl Fn(usize) -> bool, work: &mut u64) -> Option<usize> {
        let mut ends = vec![recent.len()];
        for element in self.elements.iter().rev() {
            *work += ends.len() as u64;
            let mut next = Vec::with_capacity(ends.len());
            for &end in &ends {
                match element {
                    Element::Byte { value, mask } => {
                        let here = end.checked_sub(1).and_then(|at| recent.get(at).map(|&byte| (at, byte)));
                        let Some((at, byte)) = here else { continue };
                        let byte = if self.nocase { byte.to_ascii_lowercase() } else { byte };
                        if byte & mask == value & mask {
                            next.push(at);
                        }
                    }
                    Element::Gap { least, most } => {
                        // Ends fall, so what follows the last one pushed is all that is new.
                        let high = end.checked_sub(*least);
                        let Some(high) = high else { continue };
                        let low = end.saturating_sub(*most);
                        let from = next.last().map_or(high, |&last: &usize| high.min(last.saturating_sub(1)));
                        if next.last() == Some(&0) || from < low {
                            continue;
                        }
                        next.extend((low..=from).rev());
                        *work += (from - low) as u64;
                    }
                    Element::Choice(list) => {
                        let length = list.first().map_or(0, Vec::len);
                        let Some(at) = end.checked_sub(length) else { continue };
                        let here = recent.get(at..end).unwrap_or_default();
                        let same =
                            |one: &Vec<u8>| if self.nocase { one.eq_ignore_ascii_case(here) } else { one == here };
                        *work += list.len() as u64;
                        if list.iter().any(same) {
                            next.push(at);
                        }
                    }
                }
            }
            ends = next;
            if ends.is_empty() {
                return None;
            }
        }
        ends.into_iter().find(|&at| fits(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(signature: &str, text: &[u8]) -> Option<usize> {
        let pieces = parse(signature, false).unwrap();
        pieces[0].begins(text, |_| true, &mut 0)
    }

    #[test]
    fn bytes_nibbles_gaps_and_choices_are_compared() {
        assert_eq!(found("616263", b"xxabc"), Some(2));
        assert_eq!(found("61??63ff", b"abc\xff"), Some(0));
        assert_eq!(found("6?62?36364", b"abccd"), Some(0));
        assert_eq!(found("61{2-4}6263", b"a..bc"), Some(0));
        assert_eq!(found("61{2-4}6263", b"a....bc"), Some(0));
        assert_eq!(found("61{2-4}6263", b"a.bc"), None);
        assert_eq!(found("61{2-4}6263", b"a.....bc"), None);
        assert_eq!(found("61{-2}62{1-3}6364", b"abxxcd"), Some(0));
        assert_eq!(found("(6162|7879)6364", b"xycd"), Some(0));
        assert_eq!(found("(6162|7879)6364", b"azcd"), None);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, why) in [
            ("61", "a part that does not end with two fixed bytes"),
            ("6162??", "a part that does not end with two fixed bytes"),
            ("6162{5-}6364", "gaps without an end"),
            ("!(61|62)6364", "negated choices"),
            ("(61|6263)6465", "choices of several lengths"),
            ("61{9000}6263", "a part of more than 2048 bytes"),
            ("616", "half a byte"),
            ("zz6162", "a character that is no digit"),
        ] {
            assert_eq!(parse(text, false), Err(why), "{text}");
        }
    }

    #[test]
    fn many_gaps_take_no_more_steps_than_places() {
        let signature = format!("{}6162", "61{0-100}".repeat(18));
        let pieces = parse(&signature, false).unwrap();
        let mut work = 0;
        let text = [&[b'a'; 2046][..], b"ab"].concat();
        assert!(pieces[0].begins(&text, |_| true, &mut work).is_some());
        assert!(work < 100_000, "{work}");
    }
}
