//! Numbers that stand in a buffer: `byte_test`, `byte_extract`, `byte_math`, and what `byte_jump` reads.

use weir_ids_rules::rule::{ByteExtract, ByteMath, ByteOperator, ByteOrder, ByteTest, MathOperator, Number, Value};

use super::VALUES;

/// A buffer to read numbers from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'t> {
    pub text: &'t [u8],
    /// The end of the match before.
    pub previous: usize,
    /// Numbers taken before.
    pub values: &'t [u64; VALUES],
    /// DCE/RPC's least significant byte comes first.
    pub little: bool,
}

/// Whether a number is written as digits.
pub fn is_text(number: Number) -> bool {
    match number {
        Number::Binary(_) => false,
        Number::Hex | Number::Decimal | Number::Octal => true,
    }
}

/// The bits of `mask`, shifted down to its lowest one.
pub fn masked(value: u64, mask: Option<u32>) -> u64 {
    match mask {
        Some(mask) if mask != 0 => (value & u64::from(mask)) >> mask.trailing_zeros(),
        Some(_) | None => value,
    }
}

impl Source<'_> {
    fn value(&self, value: Value) -> u64 {
        match value {
            Value::Number(n) => u64::try_from(n).unwrap_or(0),
            Value::Variable(index) => self.values.get(usize::from(index)).copied().unwrap_or(0),
        }
    }

    fn offset(&self, value: Value) -> i64 {
        match value {
            Value::Number(n) => n,
            Value::Variable(_) => i64::try_from(self.value(value)).unwrap_or(i64::MAX),
        }
    }

    /// Where a number starts; `None` before the text or behind it.
    pub fn start(&self, offset: i64, relative: bool) -> Option<usize> {
        let base = if relative { self.previous } else { 0 };
        let start = usize::try_from((base as i64).checked_add(offset)?).ok()?;
        (start <= self.text.len()).then_some(start)
    }

    /// The number of `length` bytes at `start`, and how many bytes it takes. As text, 0 bytes are as many as there are
    /// digits.
    pub fn read(&self, start: usize, length: usize, number: Number) -> Option<(u64, usize)> {
        let rest = self.text.get(start..)?;
        let (order, radix) = match number {
            Number::Binary(order) => (order, 0),
            Number::Hex => (ByteOrder::Big, 16),
            Number::Decimal => (ByteOrder::Big, 10),
            Number::Octal => (ByteOrder::Big, 8),
        };
        if radix > 0 {
            let text = if length == 0 { rest.get(..rest.len().min(LONGEST_TEXT))? } else { rest.get(..length)? };
            let (value, used) = parse_text(text, radix)?;
            return Some((value, if length == 0 { used } else { length }));
        }
        let bytes = rest.get(..length).filter(|bytes| (1..=8).contains(&bytes.len()))?;
        let little = match order {
            ByteOrder::Big => false,
            ByteOrder::Little => true,
            ByteOrder::Dce => self.little,
        };
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let value = if little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) };
        Some((value, length))
    }

    /// Whether a `byte_test` holds.
    pub fn test(&self, test: &ByteTest) -> bool {
        let read = || {
            let start = self.start(self.offset(test.offset), test.relative)?;
            self.read(start, usize::try_from(self.value(test.bytes)).ok()?, test.number)
        };
        let Some((value, _)) = read() else { return false };
        let (left, right) = (masked(value, test.bitmask), self.value(test.value));
        let holds = match test.operator {
            ByteOperator::Less => left < right,
            ByteOperator::Greater => left > right,
            ByteOperator::Equal => left == right,
            ByteOperator::LessOrEqual => left <= right,
            ByteOperator::GreaterOrEqual => left >= right,
            ByteOperator::And => left & right != 0,
            ByteOperator::Xor => left ^ right != 0,
        };
        holds != test.negated
    }

    /// The number that a `byte_extract` takes, and its end.
    pub fn extract(&self, extract: &ByteExtract) -> Option<(u64, usize)> {
        let start = self.start(extract.offset.into(), extract.relative)?;
        let (value, used) = self.read(start, extract.bytes.into(), extract.number)?;
        let mut value = value.wrapping_mul(extract.multiplier.into());
        if let Some(align) = extract.align.map(u64::from).filter(|&align| align > 0) {
            value = value.wrapping_add(align - 1) / align * align;
        }
        Some((value, start + used))
    }

    /// What a `byte_math` computes, and the end of the number it reads.
    pub fn math(&self, math: &ByteMath) -> Option<(u64, usize)> {
        let start = self.start(math.offset.into(), math.relative)?;
        let length = usize::try_from(self.value(math.bytes)).ok()?;
        let (left, used) = self.read(start, length, math.number)?;
        let right = self.value(math.value);
        let result = match math.operator {
            MathOperator::Add => left.wrapping_add(right),
            MathOperator::Subtract => left.wrapping_sub(right),
            MathOperator::Multiply => left.wrapping_mul(right),
            MathOperator::Divide => left.checked_div(right)?,
            MathOperator::ShiftLeft => u32::try_from(right).ok().and_then(|by| left.checked_shl(by)).unwrap_or(0),
            MathOperator::ShiftRight => u32::try_from(right).ok().and_then(|by| left.checked_shr(by)).unwrap_or(0),
        };
        Some((masked(result, math.bitmask), start + used))
    }
}

/// Bytes looked at of a number of unknown length.
const LONGEST_TEXT: usize = 24;

/// A number at the start of `text`, behind white space; it ends at the first byte that is no digit.
fn parse_text(text: &[u8], radix: u32) -> Option<(u64, usize)> {
    let blank = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let rest = text.get(blank..)?;
    let prefixed = radix == 16 && rest.get(..2).is_some_and(|two| two.eq_ignore_ascii_case(b"0x"));
    let skipped = if prefixed { 2 } else { usize::from(rest.first() == Some(&b'+')) };
    let mut value = 0u64;
    let mut digits = 0;
    for byte in rest.get(skipped..)? {
        let Some(digit) = char::from(*byte).to_digit(radix) else { break };
        value = value.saturating_mul(radix.into()).saturating_add(digit.into());
        digits += 1;
    }
    (digits > 0).then_some((value, blank + skipped + digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source<'t>(text: &'t [u8], values: &'t [u64; VALUES]) -> Source<'t> {
        Source { text, previous: 0, values, little: false }
    }

    #[test]
    fn numbers_are_read_in_every_form() {
        let none = [0; VALUES];
        let read = |text: &[u8], length, number| source(text, &none).read(0, length, number);
        assert_eq!(read(b"\x01\x02", 2, Number::Binary(ByteOrder::Big)), Some((0x102, 2)));
        assert_eq!(read(b"\x01\x02", 2, Number::Binary(ByteOrder::Little)), Some((0x201, 2)));
        assert_eq!(read(b"\x01", 2, Number::Binary(ByteOrder::Big)), None);
        assert_eq!(read(b"123x", 4, Number::Decimal), Some((123, 4)));
        assert_eq!(read(b" 0xfg", 0, Number::Hex), Some((15, 4)));
        assert_eq!(read(b"78", 2, Number::Octal), Some((7, 2)));
        assert_eq!(read(b"x", 1, Number::Decimal), None);
        assert_eq!(read(&[b'9'; 30], 0, Number::Decimal), Some((u64::MAX, 24)));
    }

    #[test]
    fn masks_shift_down_to_their_lowest_bit() {
        assert_eq!(masked(0xabcd, Some(0x0ff0)), 0xbc);
        assert_eq!(masked(0xabcd, None), 0xabcd);
    }
}
