//! `asn1`: oddities of ASN.1's basic encoding (X.690), walked through without nesting: what a constructed element holds
//! comes next, what a primitive one holds is stepped over. At most [`ELEMENTS`] are looked at.

use weir_ids_rules::rule::Asn1;

/// Elements that are looked at.
const ELEMENTS: usize = 256;
/// Bytes that a number with a fraction has at most, written out in digits.
const LONGEST_REAL: u64 = 256;

const BIT_STRING: u8 = 3;
const REAL: u8 = 9;

/// Whether one of the oddities is there. `previous`: the end of the match before.
pub fn holds(asked: &Asn1, text: &[u8], previous: usize) -> bool {
    let base = if asked.relative { previous as i64 } else { 0 };
    let Ok(place) = usize::try_from(base.saturating_add(asked.offset.into())) else { return false };
    let mut rest = text.get(place..).unwrap_or(&[]);
    for _ in 0..ELEMENTS {
        let Some((header, content)) = Header::read(rest) else { return false };
        if asked.oversize.is_some_and(|limit| header.length.is_some_and(|length| length > limit.into())) {
            return true;
        }
        let (first, length) = (content.first().copied(), header.length.unwrap_or(0));
        if asked.bits && header.is_universal(BIT_STRING) && first.is_some_and(|unused| length * 8 < unused.into()) {
            return true;
        }
        let in_digits = first.is_some_and(|kind| kind & 0xc0 == 0);
        if asked.double && header.is_universal(REAL) && in_digits && length > LONGEST_REAL {
            return true;
        }
        rest = match header.constructed {
            true => content,
            false => usize::try_from(length).ok().and_then(|length| content.get(length..)).unwrap_or(&[]),
        };
    }
    false
}

/// Identifier and length of an element.
struct Header {
    class: u8,
    number: u8,
    constructed: bool,
    /// `None` where the end is marked (8.1.3.6).
    length: Option<u64>,
}

impl Header {
    /// The header at the start of the bytes, and what follows it.
    fn read(bytes: &[u8]) -> Option<(Header, &[u8])> {
        let (&first, mut rest) = bytes.split_first()?;
        let mut number = first & 0x1f;
        if number == 0x1f {
            // The number follows, seven bits a byte (8.1.2.4); none of those asked for is written so.
            let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
            rest = rest.get(end + 1..)?;
            number = 0xff;
        }
        let (&short, mut rest) = rest.split_first()?;
        let length = match short {
            0x80 => None,
            0..=0x7f => Some(u64::from(short)),
            _ => {
                let digits = rest.get(..usize::from(short & 0x7f))?;
                rest = rest.get(digits.len()..)?;
                let shifted = |sum: u64, &digit: &u8| sum.saturating_mul(256).saturating_add(digit.into());
                Some(digits.iter().fold(0u64, shifted))
            }
        };
        Some((Header { class: first >> 6, number, constructed: first & 0x20 != 0, length }, rest))
    }

    fn is_universal(&self, number: u8) -> bool {
        self.class == 0 && self.number == number && !self.constructed && self.length.is_some_and(|length| length > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oddities_are_found_where_they_are() {
        let long = Asn1 { oversize: Some(1000), ..Asn1::default() };
        let nested = b"\x30\x0a\x02\x01\x05\x04\x82\x04\x00aaaa";
        assert!(holds(&long, nested, 0));
        assert!(!holds(&Asn1 { oversize: Some(1024), ..long }, nested, 0));
        assert!(holds(&Asn1 { offset: -1, relative: true, ..long }, nested, 6));
        assert!(!holds(&Asn1 { offset: 9, ..long }, nested, 0));
        let bits = Asn1 { bits: true, ..Asn1::default() };
        assert!(holds(&bits, b"\x30\x04\x03\x02\x11\xff", 0));
        assert!(!holds(&bits, b"\x30\x04\x03\x02\x07\xff", 0));
        let double = Asn1 { double: true, ..Asn1::default() };
        assert!(holds(&double, &[b"\x09\x82\x01\x01\x03".as_slice(), &[b'1'; 256]].concat(), 0));
        assert!(!holds(&double, b"\x09\x03\x031.", 0));
        assert!(!holds(&double, b"", 0));
    }

    #[test]
    fn lengths_without_end_and_numbers_without_end_are_borne() {
        let all = Asn1 { bits: true, double: true, oversize: Some(u32::MAX), ..Asn1::default() };
        for bytes in [&[0xffu8; 4000][..], &[0x30, 0x80].repeat(2000), &[0x1f; 100], &[0x30, 0xff, 1]] {
            holds(&all, bytes, 0);
        }
    }
}
