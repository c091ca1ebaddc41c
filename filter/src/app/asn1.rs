//! Reading ASN.1 (X.690) as LDAP and Kerberos write it: tags of one byte, definite lengths.

use super::read::Reader;

/// Constructed, universal: a sequence.
pub const SEQUENCE: u8 = 0x30;
/// A set.
pub const SET: u8 = 0x31;
/// A truth value.
pub const BOOLEAN: u8 = 0x01;
/// A number.
pub const INTEGER: u8 = 0x02;
/// Bytes.
pub const OCTETS: u8 = 0x04;
/// A choice from a list.
pub const ENUMERATED: u8 = 0x0a;

/// A tag with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'b> {
    /// Class, form and number.
    pub tag: u8,
    /// What it holds.
    pub content: &'b [u8],
}

/// How long the element at the start of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes, tag and length included.
    Whole(u64),
    /// Tag and length are not there yet.
    More,
    /// This form of a tag or length is not read.
    Unknown,
}

/// The length of the element that bytes begin with.
pub fn length(bytes: &[u8]) -> Length {
    match bytes {
        [] | [_] => Length::More,
        [tag, ..] if tag & 0x1f == 0x1f => Length::Unknown,
        [_, short @ 0..=0x7f, ..] => Length::Whole(2 + u64::from(*short)),
        [_, long @ 0x81..=0x84, rest @ ..] => {
            let count = usize::from(long & 0x7f);
            let Some(digits) = rest.get(..count) else { return Length::More };
            let content = digits.iter().fold(0u64, |sum, &digit| sum << 8 | u64::from(digit));
            Length::Whole(2 + count as u64 + content)
        }
        _ => Length::Unknown,
    }
}

/// The next element, taken from the front.
pub fn next<'b>(reader: &mut Reader<'b>) -> Option<Element<'b>> {
    let Length::Whole(whole) = length(reader.rest()) else { return None };
    let whole = usize::try_from(whole).ok()?;
    let head = match reader.rest().get(1)? {
        0..=0x7f => 2,
        long => 2 + usize::from(long & 0x7f),
    };
    let bytes = reader.take(whole)?;
    Some(Element { tag: *bytes.first()?, content: bytes.get(head..)? })
}

/// The next element's content, where it has this tag; otherwise nothing is taken.
pub fn expect<'b>(reader: &mut Reader<'b>, tag: u8) -> Option<&'b [u8]> {
    let mut ahead = *reader;
    let element = next(&mut ahead).filter(|element| element.tag == tag)?;
    *reader = ahead;
    Some(element.content)
}

/// The elements in a content.
pub fn elements(content: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut reader = Reader::new(content);
    std::iter::from_fn(move || next(&mut reader))
}

/// The content of the first element with this tag.
pub fn find(content: &[u8], tag: u8) -> Option<&[u8]> {
    elements(content).find(|element| element.tag == tag).map(|element| element.content)
}

/// A number of at most eight bytes.
pub fn integer(content: &[u8]) -> Option<i64> {
    let (&first, _) = content.split_first()?;
    if content.len() > 8 {
        return None;
    }
    let start = if first & 0x80 == 0 { 0i64 } else { -1 };
    Some(content.iter().fold(start, |sum, &digit| sum << 8 | i64::from(digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_before_the_content_is_there() {
        assert_eq!(length(b"\x30\x03"), Length::Whole(5));
        assert_eq!(length(b"\x30\x82\x01\x00"), Length::Whole(260));
        assert_eq!(length(b"\x30\x82\x01"), Length::More);
        assert_eq!(length(b"\x30\x80"), Length::Unknown);
        assert_eq!(length(b"\x3f\x81\x01"), Length::Unknown);
    }

    #[test]
    fn elements_end_where_they_say() {
        let mut reader = Reader::new(b"\x02\x01\x05\x04\x02ab\x04\x09x");
        assert_eq!(expect(&mut reader, OCTETS), None);
        assert_eq!(expect(&mut reader, INTEGER).and_then(integer), Some(5));
        assert_eq!(next(&mut reader), Some(Element { tag: OCTETS, content: b"ab" }));
        assert_eq!(next(&mut reader), None);
    }

    #[test]
    fn numbers_have_a_sign() {
        assert_eq!(integer(&[0xff]), Some(-1));
        assert_eq!(integer(&[0, 0xff]), Some(255));
        assert_eq!(integer(&[]), None);
    }
}
