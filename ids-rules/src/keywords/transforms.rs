//! Transforms: what is made of a buffer before it is looked at.

use super::numbers::size;
use super::{no_value, number, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::limits;
use crate::parser::Draft;
use crate::rule::{Base64Mode, Transform};

fn plain(draft: &mut Draft, option: RuleOption<'_>, transform: Transform) -> Result<(), Fault> {
    no_value(option)?;
    draft.add_transform(transform, option.name.range())
}

macro_rules! plain_transforms {
    ($($name:ident $transform:ident),+ $(,)?) => {$(
        pub(super) fn $name(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
            plain(draft, option, Transform::$transform)
        }
    )+};
}

plain_transforms! {
    to_md5 Md5, to_sha1 Sha1, to_sha256 Sha256, compress_whitespace CompressWhitespace,
    strip_whitespace StripWhitespace, to_lowercase Lowercase, to_uppercase Uppercase, dotprefix DotPrefix,
    header_lowercase HeaderLowercase, strip_pseudo_headers StripPseudoHeaders, url_decode UrlDecode, domain Domain,
    tld Tld,
}

/// `xor:"0d0ac8ff"`
pub(super) fn xor(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let digits = value.unquote()?.text;
    let pairs = digits.as_bytes().chunks(2);
    let key: Option<Vec<u8>> = pairs
        .map(|pair| match pair {
            [high, low] => {
                let digit = |b: u8| char::from(b).to_digit(16);
                Some((digit(*high)? << 4 | digit(*low)?) as u8)
            }
            _ => None,
        })
        .collect();
    match key.filter(|key| !key.is_empty() && key.len() <= limits::XOR_BYTES) {
        Some(key) => draft.add_transform(Transform::Xor(key), option.name.range()),
        None => {
            let message = format!("the key is 1 to {} bytes in hexadecimal", limits::XOR_BYTES);
            Err(Fault::new(Kind::Value, value.range(), message))
        }
    }
}

/// `pcrexform:"expression"`
pub(super) fn pcrexform(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    if !value.text.starts_with('"') {
        return Err(Fault::new(Kind::Value, value.range(), "the expression is not in quotes"));
    }
    let inner = value.unquote()?;
    if inner.text.is_empty() || inner.text.len() > limits::PCRE_BYTES {
        return Err(Fault::new(Kind::Value, value.range(), "the expression is empty or too long"));
    }
    let transform = Transform::Pcre { pattern: super::pcre::unescape(inner.text), at: inner.at as u32 };
    draft.add_transform(transform, option.name.range())
}

/// `from_base64[: bytes N][, offset N][, mode MODE]`
pub(super) fn from_base64(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let (mut bytes, mut offset, mut mode) = (None, None, None);
    for (key, value, word) in pairs(option) {
        let once = |known: bool| {
            if known { Err(Draft::conflict(word.range(), format!("'{key}' is given twice"))) } else { Ok(()) }
        };
        match key {
            "bytes" => {
                once(bytes.is_some())?;
                bytes = Some(number(value, 1, limits::REACH.into())? as u32);
            }
            "offset" => {
                once(offset.is_some())?;
                offset = Some(number(value, 0, limits::REACH.into())? as u32);
            }
            "mode" => {
                once(mode.is_some())?;
                mode = Some(match value.text.to_ascii_lowercase().as_str() {
                    "rfc4648" => Base64Mode::Rfc4648,
                    "rfc2045" => Base64Mode::Rfc2045,
                    "strict" => Base64Mode::Strict,
                    _ => return Err(Fault::new(Kind::Value, value.range(), "the mode is rfc4648, rfc2045 or strict")),
                });
            }
            _ => return Err(Fault::new(Kind::Value, word.range(), "one of bytes, offset, mode")),
        }
    }
    let transform = Transform::FromBase64 { bytes, offset: offset.unwrap_or(0), mode: mode.unwrap_or_default() };
    draft.add_transform(transform, option.name.range())
}

/// Words of the form `key value` between commas.
fn pairs<'t>(option: RuleOption<'t>) -> impl Iterator<Item = (&'t str, Piece<'t>, Piece<'t>)> {
    let words = option.value.into_iter().flat_map(|value| value.split(',')).map(Piece::trim);
    words.filter(|word| !word.text.is_empty()).map(|word| {
        let (key, rest) = word.text.split_once(char::is_whitespace).unwrap_or((word.text, ""));
        (key, Piece::new(rest, word.at + word.text.len() - rest.len()).trim(), word)
    })
}

/// The `max-size` of a decompression.
fn max_size(option: RuleOption<'_>) -> Result<u32, Fault> {
    let mut limit = limits::DECOMPRESSED;
    for (key, value, word) in pairs(option) {
        if key != "max-size" {
            return Err(Fault::new(Kind::Value, word.range(), "one of: max-size"));
        }
        limit = size(value, limits::DECOMPRESSED.into())? as u32;
        if limit == 0 {
            return Err(Fault::new(Kind::Value, value.range(), "a size of 0 makes nothing"));
        }
    }
    Ok(limit)
}

pub(super) fn gunzip(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let transform = Transform::Gunzip { limit: max_size(option)? };
    draft.add_transform(transform, option.name.range())
}

pub(super) fn zlib_deflate(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let transform = Transform::ZlibDeflate { limit: max_size(option)? };
    draft.add_transform(transform, option.name.range())
}

/// `subslice: OFFSET[, BYTES][, truncate]`
pub(super) fn subslice(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let reach = i64::from(limits::REACH);
    let mut words = value.split(',').map(Piece::trim);
    let offset = number(words.next().unwrap_or(value), -reach, reach)? as i32;
    let (mut bytes, mut truncate) = (None, false);
    for word in words {
        match word.text {
            "truncate" if !truncate => truncate = true,
            _ if bytes.is_none() && !truncate => bytes = Some(number(word, -reach, reach)? as i32),
            _ => return Err(Fault::new(Kind::Value, word.range(), "'subslice' takes OFFSET, BYTES and truncate")),
        }
    }
    draft.add_transform(Transform::Subslice { offset, bytes, truncate }, option.name.range())
}
