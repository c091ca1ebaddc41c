//! Matches that read numbers, or decode, at a place of the buffer.

use super::condition::Bounds;
use super::matches::{Match, Value};

/// Which end of a number comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteOrder {
    /// The most significant byte.
    #[default]
    Big,
    /// The least significant byte.
    Little,
    /// As the DCE/RPC header says.
    Dce,
}

/// How a number is written in the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// As an integer of so many bytes.
    Binary(ByteOrder),
    /// `string,hex`: as digits.
    Hex,
    /// `string,dec`
    Decimal,
    /// `string,oct`
    Octal,
}

/// How `byte_test` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOperator {
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `=`
    Equal,
    /// `<=`
    LessOrEqual,
    /// `>=`
    GreaterOrEqual,
    /// `&`: some bit in common.
    And,
    /// `^`: some bit differs.
    Xor,
}

/// `byte_test`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteTest {
    /// Bytes of the number, 1 to 8, up to 23 as text.
    pub bytes: Value,
    /// `!`: the comparison must not hold.
    pub negated: bool,
    /// The comparison.
    pub operator: ByteOperator,
    /// What is compared with.
    pub value: Value,
    /// Where the number stands.
    pub offset: Value,
    /// Counted from the end of the match before.
    pub relative: bool,
    /// How the number is written.
    pub number: Number,
    /// `bitmask`: these bits only, shifted down to the lowest of them.
    pub bitmask: Option<u32>,
}

/// `byte_jump`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteJump {
    /// Bytes of the number; 0 reads none.
    pub bytes: Value,
    /// Where the number stands.
    pub offset: Value,
    /// Counted from the end of the match before.
    pub relative: bool,
    /// How the number is written.
    pub number: Number,
    /// `bitmask`
    pub bitmask: Option<u32>,
    /// The number is multiplied by this.
    pub multiplier: u32,
    /// `align`: rounded up to a multiple of 4.
    pub align: bool,
    /// `from_beginning`: the jump starts at the buffer's start, not behind the number.
    pub from_beginning: bool,
    /// `from_end`: it starts at the buffer's end.
    pub from_end: bool,
    /// `post_offset`: added at the end.
    pub post_offset: Value,
}

/// `byte_extract`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteExtract {
    /// Bytes of the number.
    pub bytes: u8,
    /// Where the number stands.
    pub offset: i32,
    /// Counted from the end of the match before.
    pub relative: bool,
    /// How the number is written.
    pub number: Number,
    /// The variable that keeps it.
    pub variable: u8,
    /// It is multiplied by this.
    pub multiplier: u32,
    /// Rounded up to a multiple of this (2 or 4).
    pub align: Option<u8>,
}

/// What `byte_math` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MathOperator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
}

/// `byte_math`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteMath {
    /// Bytes of the number.
    pub bytes: Value,
    /// Where the number stands.
    pub offset: i32,
    /// Counted from the end of the match before.
    pub relative: bool,
    /// How the number is written.
    pub number: Number,
    /// `bitmask`
    pub bitmask: Option<u32>,
    /// The computation.
    pub operator: MathOperator,
    /// Its right side.
    pub value: Value,
    /// The variable that keeps the result.
    pub variable: u8,
}

/// How strictly base64 is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Base64Mode {
    /// RFC 4648: stops at the first byte that is not base64.
    #[default]
    Rfc4648,
    /// RFC 2045: passes over bytes that are not base64.
    Rfc2045,
    /// The whole text must be base64.
    Strict,
}

/// `base64_decode`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64Decode {
    /// Bytes of the text decoded at most; all where absent.
    pub bytes: Option<u32>,
    /// Where the text starts.
    pub offset: u32,
    /// Counted from the end of the match before.
    pub relative: bool,
    /// What `base64_data` asks of the result.
    pub matches: Vec<Match>,
}

/// `asn1`: oddities of ASN.1 in the payload; one of them is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asn1 {
    /// `bitstring_overflow`: a string of bits says that more of its last byte are unused than it has.
    pub bits: bool,
    /// `double_overflow`: a number with a fraction is longer than any can be.
    pub double: bool,
    /// `oversize_length`: an element says that it is longer than this.
    pub oversize: Option<u32>,
    /// Where the elements begin: counted from the start, or from the end of the match before (`relative_offset`).
    pub offset: i32,
    /// The offset is relative.
    pub relative: bool,
}

/// `entropy`: bits of information per byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entropy {
    /// Bytes looked at; all where absent.
    pub bytes: Option<u32>,
    /// The first of them.
    pub offset: u32,
    /// The entropy in millionths of a bit.
    pub micro_bits: Bounds,
}
