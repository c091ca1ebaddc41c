//! Bounds on rule text, so that no text costs more than its length. What goes beyond them is refused with a
//! diagnostic of [`Kind::Limit`](crate::Kind::Limit).

/// Bytes of one rule, continuation lines joined.
pub const RULE_BYTES: usize = 32 * 1024;
/// Rules in one set.
pub const RULES: usize = 200_000;
/// Options of one rule.
pub const OPTIONS: usize = 512;
/// Payload matches (`content`, `pcre`, `isdataat` ...) of one rule. Verification recurses once a match.
pub const MATCHES: usize = 128;
/// Bytes of one content.
pub const CONTENT_BYTES: usize = 4096;
/// Bytes of one regular expression.
pub const PCRE_BYTES: usize = 8 * 1024;
/// How deep address and port lists, and variables within variables, may nest.
pub const LIST_DEPTH: usize = 16;
/// Members of one address or port list, variables resolved.
pub const LIST_MEMBERS: usize = 65_536;
/// Diagnostics kept of one set; further ones are only counted.
pub const DIAGNOSTICS: usize = 100_000;
/// `offset`, `depth`, `distance`, `within` and `isdataat` reach this far.
pub const REACH: u32 = 65_535;
/// Transforms of one buffer.
pub const TRANSFORMS: usize = 16;
/// Numbers that one rule takes from buffers (`byte_extract`, `byte_math`).
pub const VARIABLES: usize = 32;
/// `distance` and `within` reach this far.
pub const RELATIVE_REACH: u32 = 1024 * 1024;
/// Groups of one regular expression that are kept.
pub const CAPTURES: usize = 8;
/// Bytes of the key of `xor`.
pub const XOR_BYTES: usize = 255;
/// Bytes that a decompressing transform makes at most.
pub const DECOMPRESSED: u32 = 1024 * 1024;
/// Names that one `flowbits` asks for.
pub const BITS_OF_OPTION: usize = 64;
