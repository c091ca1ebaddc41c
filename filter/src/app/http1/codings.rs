//! Which content codings a message names.

use super::body::Unknown;
use super::line::contains_nocase;
use super::message::Message;
use crate::app::decompress::Coding;

/// Codings that clients undo and this does not. Other words are taken for nothing, as clients take them.
pub const UNDONE_ELSEWHERE: &[&[u8]] =
    &[b"zstd", b"dcb", b"dcz", b"compress", b"x-compress", b"bzip2", b"x-bzip2", b"xz", b"exi"];

impl Message {
    /// Reads Content-Encoding. `layers`: codings undone at most; 0 undoes none.
    pub(super) fn set_codings(&mut self, layers: u8, note: &mut dyn FnMut(&'static str)) {
        let (mut codings, mut unknown) = (Vec::new(), Unknown::None);
        let named = self.lenient_field(b"content-encoding").unwrap_or_default();
        let words = named.split(|&byte| matches!(byte, b',' | b' ')).filter(|word| !word.is_empty());
        for (nth, word) in words.enumerate() {
            if nth >= usize::from(layers) {
                note("http.too_many_encoding_layers");
                unknown = Unknown::Some;
                break;
            }
            codings.extend(coding(word, note));
            if UNDONE_ELSEWHERE.iter().any(|known| word.eq_ignore_ascii_case(known)) {
                unknown = Unknown::Some;
            }
        }
        self.body.set_codings(&codings, unknown);
    }
}

/// The coding of a name, as browsers understand it.
fn coding(word: &[u8], note: &mut dyn FnMut(&'static str)) -> Option<Coding> {
    let clean: Vec<u8> = word.iter().filter(|&&byte| byte != 0).map(u8::to_ascii_lowercase).collect();
    let (coding, plain): (_, &[&[u8]]) = if contains_nocase(&clean, b"gzip") {
        (Some(Coding::Gzip), &[b"gzip", b"x-gzip"])
    } else if contains_nocase(&clean, b"deflate") {
        (Some(Coding::Deflate), &[b"deflate", b"x-deflate"])
    } else if clean == b"lzma" {
        (Some(Coding::Lzma), &[b"lzma"])
    } else if clean == b"br" {
        (Some(Coding::Brotli), &[b"br"])
    } else {
        // "identity" names no coding of a body (RFC 9110, 8.4.1).
        (None, &[b"inflate", b"none"])
    };
    if !plain.contains(&clean.as_slice()) {
        note("http.abnormal_ce_header");
    }
    coding
}
