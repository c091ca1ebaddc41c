//! Which content codings a message names.

use super::line::contains_nocase;
use super::message::Message;
use crate::app::decompress::Coding;

impl Message {
    /// Reads Content-Encoding. `layers`: codings undone at most; 0 undoes none.
    pub(super) fn set_codings(&mut self, layers: u8, note: &mut dyn FnMut(&'static str)) {
        let mut codings = Vec::new();
        let named = self.lenient_field(b"content-encoding").unwrap_or_default();
        let words = named.split(|&byte| matches!(byte, b',' | b' ')).filter(|word| !word.is_empty());
        for (nth, word) in words.enumerate() {
            if nth >= usize::from(layers) {
                note("http.too_many_encoding_layers");
                break;
            }
            codings.extend(coding(word, note));
        }
        self.body.set_codings(&codings);
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
        (None, &[b"inflate", b"none", b"identity"])
    };
    if !plain.contains(&clean.as_slice()) {
        note("http.abnormal_ce_header");
    }
    coding
}
