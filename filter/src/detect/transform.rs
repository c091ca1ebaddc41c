//! What is made of a buffer's bytes before they are looked at.
//!
//! Each transform reads one buffer and fills another, in turns; what they make is bounded by the bytes they get, by
//! 1 MiB where they decompress. A transform that finds nothing to work on leaves the bytes as they are, unless the
//! language says that they become empty.

pub mod base64;
mod decompress;
mod suffix;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use weir_ids_rules::rule::{Base64Mode, Pcre, PcreFlags, Transform};

use super::check::Room;
use super::compiled::Refusal;
use crate::inspect::pcre::Expression;

/// Transforms in their order.
#[derive(Debug)]
pub struct Transforms {
    list: Box<[Step]>,
}

#[derive(Debug)]
enum Step {
    Plain(Transform),
    /// `pcrexform`
    Group(Box<Expression>),
}

impl Transforms {
    /// Makes them ready, where a [`Transforms::try_compile`] before has shown that they can be.
    pub fn compile(list: &[Transform]) -> Transforms {
        Transforms::try_compile(list).unwrap_or(Transforms { list: Box::default() })
    }

    /// Makes them ready.
    ///
    /// # Errors
    /// Of an expression that does not compile: its place in the rule's text, and why.
    pub fn try_compile(list: &[Transform]) -> Result<Transforms, Refusal> {
        let steps: Result<Vec<Step>, Refusal> = list.iter().map(compile).collect();
        Ok(Transforms { list: steps?.into() })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Hands `look` what they make of `bytes`.
    pub fn apply(&self, bytes: &[u8], room: &mut Room, look: impl FnOnce(&[u8])) {
        if self.list.is_empty() {
            look(bytes);
            return;
        }
        let mut buffers = std::mem::take(&mut room.buffers);
        if let Some(text) = self.make(bytes, &mut buffers) {
            look(text);
        }
        room.buffers = buffers;
    }

    /// What they make of `bytes`, in one of `buffers`.
    pub fn make<'b>(&self, bytes: &[u8], buffers: &'b mut [Vec<u8>; 2]) -> Option<&'b [u8]> {
        let [from, to] = buffers;
        from.clear();
        from.extend_from_slice(bytes);
        for step in &self.list {
            to.clear();
            step.make(from, to);
            std::mem::swap(from, to);
        }
        Some(from)
    }
}

fn compile(transform: &Transform) -> Result<Step, Refusal> {
    let Transform::Pcre { pattern, at } = transform else { return Ok(Step::Plain(transform.clone())) };
    let place = *at as usize..*at as usize + pattern.len().max(1);
    let pcre = Pcre {
        pattern: pattern.clone(),
        negated: false,
        relative: false,
        flags: PcreFlags::default(),
        captures: Vec::new(),
        at: *at,
    };
    match Expression::compile(&pcre).and_then(|expression| Ok((expression, Expression::groups_of(&pcre)?))) {
        Ok((_, groups)) if groups != 1 => {
            Err((place, format!("the expression has {groups} groups; one is what it makes")))
        }
        Ok((expression, _)) => Ok(Step::Group(Box::new(expression))),
        Err(message) => Err((place, message)),
    }
}

impl Step {
    fn make(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let transform = match self {
            Step::Group(expression) => {
                let group = expression.first_group(bytes).and_then(|(first, last)| bytes.get(first..last));
                out.extend_from_slice(group.unwrap_or(bytes));
                return;
            }
            Step::Plain(transform) => transform,
        };
        match transform {
            Transform::Md5 => out.extend_from_slice(&Md5::digest(bytes)),
            Transform::Sha1 => out.extend_from_slice(&Sha1::digest(bytes)),
            Transform::Sha256 => out.extend_from_slice(&Sha256::digest(bytes)),
            Transform::CompressWhitespace => compress_whitespace(bytes, out),
            Transform::StripWhitespace => out.extend(bytes.iter().filter(|b| !is_space(**b))),
            Transform::Lowercase => out.extend(bytes.iter().map(u8::to_ascii_lowercase)),
            Transform::Uppercase => out.extend(bytes.iter().map(u8::to_ascii_uppercase)),
            Transform::DotPrefix => {
                if !bytes.is_empty() {
                    out.push(b'.');
                }
                out.extend_from_slice(bytes);
            }
            Transform::HeaderLowercase => header_lowercase(bytes, out),
            Transform::StripPseudoHeaders => {
                let lines = bytes.split_inclusive(|b| *b == b'\n');
                lines.filter(|line| line.first() != Some(&b':')).for_each(|line| out.extend_from_slice(line));
            }
            Transform::UrlDecode => url_decode(bytes, out),
            Transform::Xor(key) => out.extend(bytes.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key)),
            Transform::FromBase64 { bytes: most, offset, mode } => from_base64(bytes, *most, *offset, *mode, out),
            Transform::Gunzip { limit } => decompress::gunzip(bytes, *limit, out),
            Transform::ZlibDeflate { limit } => decompress::zlib(bytes, *limit, out),
            Transform::Domain => out.extend_from_slice(suffix::domain(bytes).unwrap_or(bytes)),
            Transform::Tld => out.extend_from_slice(suffix::tld(bytes).unwrap_or(bytes)),
            Transform::Subslice { offset, bytes: count, truncate } => {
                out.extend_from_slice(subslice(bytes, *offset, *count, *truncate).unwrap_or(&[]));
            }
            // Compiled into a step of its own.
            Transform::Pcre { .. } => out.extend_from_slice(bytes),
        }
    }
}

/// White space as C's `isspace` has it.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Of white space in a row the first byte stays.
fn compress_whitespace(bytes: &[u8], out: &mut Vec<u8>) {
    let mut after_space = false;
    for byte in bytes {
        let space = is_space(*byte);
        if !space || !after_space {
            out.push(*byte);
        }
        after_space = space;
    }
}

fn header_lowercase(bytes: &[u8], out: &mut Vec<u8>) {
    let mut in_value = false;
    for byte in bytes {
        out.push(if in_value { *byte } else { byte.to_ascii_lowercase() });
        in_value = match byte {
            b':' => true,
            b'\n' => false,
            _ => in_value,
        };
    }
}

/// `%41` and `+`; what is not well formed stays.
fn url_decode(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        let digit = |b: u8| char::from(b).to_digit(16);
        let decoded = match (byte, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low) as u8),
            _ => None,
        };
        match decoded {
            Some(decoded) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or(&[]);
            }
            None => {
                out.push(if *byte == b'+' { b' ' } else { *byte });
                rest = after;
            }
        }
    }
}

/// What is not base64 stays as it is.
fn from_base64(bytes: &[u8], most: Option<u32>, offset: u32, mode: Base64Mode, out: &mut Vec<u8>) {
    if let Some(text) = bytes.get(offset as usize..) {
        base64::decode(text, most, mode, out);
    }
    if out.is_empty() {
        out.extend_from_slice(bytes);
    }
}

/// `None` where the slice reaches out of the bytes and may not be cut.
fn subslice(bytes: &[u8], offset: i32, count: Option<i32>, truncate: bool) -> Option<&[u8]> {
    let length = i64::try_from(bytes.len()).ok()?;
    let offset = i64::from(offset);
    if offset.abs() > length && !truncate {
        return None;
    }
    let start = if offset >= 0 { offset.min(length) } else { length + offset.max(-length) };
    let wanted = match count.map(i64::from) {
        None => length,
        Some(count) if count < 0 => length + count,
        Some(count) => start + count,
    };
    if !(0..=length).contains(&wanted) && !truncate {
        return None;
    }
    let end = wanted.clamp(0, length);
    bytes.get(usize::try_from(start.min(end)).ok()?..usize::try_from(start.max(end)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(transform: Transform, bytes: &[u8], expected: &[u8]) {
        let transforms = Transforms::compile(&[transform]);
        let mut seen = None;
        transforms.apply(bytes, &mut Room::default(), |text| seen = Some(text.to_vec()));
        assert_eq!(seen.unwrap(), expected);
    }

    #[test]
    fn each_transform_makes_what_its_name_says() {
        check(Transform::CompressWhitespace, b"a \t b\r\n c", b"a b\rc");
        check(Transform::StripWhitespace, b" a b\x0b", b"ab");
        check(Transform::DotPrefix, b"a.b", b".a.b");
        check(Transform::DotPrefix, b"", b"");
        check(Transform::HeaderLowercase, b"Ab: Cd\r\nEF:G\n", b"ab: Cd\r\nef:G\n");
        check(Transform::StripPseudoHeaders, b":m: x\r\na: b\r\n:n", b"a: b\r\n");
        check(Transform::UrlDecode, b"a+b%41%4%zz%", b"a bA%4%zz%");
        check(Transform::Xor(vec![1, 2]), b"\x01\x02\x03", b"\x00\x00\x02");
        check(Transform::Pcre { pattern: "b(c+)".into(), at: 0 }, b"abccd", b"cc");
        check(Transform::Pcre { pattern: "x(c+)".into(), at: 0 }, b"abccd", b"abccd");
        check(Transform::Domain, b"www.shop.example.co.uk", b"example.co.uk");
        check(Transform::Tld, b"www.example.co.uk", b"co.uk");
        let md5 = b"\x90\x01\x50\x98\x3c\xd2\x4f\xb0\xd6\x96\x3f\x7d\x28\xe1\x7f\x72";
        check(Transform::Md5, b"abc", md5);
    }

    #[test]
    fn slices_are_cut_or_empty() {
        let slice = |offset, bytes, truncate| Transform::Subslice { offset, bytes, truncate };
        check(slice(1, Some(2), false), b"abcd", b"bc");
        check(slice(-2, None, false), b"abcd", b"cd");
        check(slice(0, Some(-1), false), b"abcd", b"abc");
        check(slice(2, Some(9), false), b"abcd", b"");
        check(slice(2, Some(9), true), b"abcd", b"cd");
        check(slice(3, Some(-3), false), b"abcd", b"bc");
        check(slice(9, None, true), b"abcd", b"");
    }
}
