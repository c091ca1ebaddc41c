//! Parts of a message that nobody calls attachments: text, bodies without a name, and what stands uuencoded in them.
//!
//! For rules and people they are no files; a virus in them is one all the same, since every mail program shows or saves
//! them. Their bytes, codings undone, are handed on under one of the names below. A part that is fetched without the
//! header that names its coding (IMAP) is undone in every coding that its lines allow.

use super::coding::{self, Base64, Coding, Uuencode};
use super::{Piece, Sink};

/// The bytes of a part, the coding that its header names undone.
pub const TEXT: &[u8] = b"text of a mail";
/// What stood uuencoded in it.
pub const UUENCODED: &[u8] = b"uuencoded in a mail";
/// A part whose coding nobody named, as base64.
pub const BASE64: &[u8] = b"base64 in a mail";
/// The same as quoted-printable.
pub const QUOTED: &[u8] = b"quoted-printable in a mail";

/// Which codings may be undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Known {
    /// That of the header.
    #[default]
    Named,
    /// Nobody said; no line has come.
    Nothing,
    /// Nobody said, and the lines so far may be base64, or not.
    Guessed { base64: bool },
}

/// The part that is read.
#[derive(Debug, Default)]
pub(super) struct Loose {
    pub known: Known,
    base64: Base64,
    uu: Uuencode,
    /// The end of the last line as it stands: it belongs to the boundary if one follows.
    held_end: Vec<u8>,
    work: Vec<u8>,
}

impl Loose {
    /// A part of which no header was seen.
    pub fn without_header() -> Loose {
        Loose { known: Known::Nothing, ..Loose::default() }
    }

    /// A line of the body.
    pub fn line(&mut self, coding: Coding, text: &[u8], full: &[u8], sink: Sink<'_>) {
        let coding = if self.known == Known::Named { coding } else { Coding::Plain };
        self.work.clear();
        match coding {
            Coding::Plain | Coding::Uuencode => {
                self.work.append(&mut self.held_end);
                self.work.extend_from_slice(text);
                self.held_end.extend_from_slice(full.get(text.len()..).unwrap_or_default());
            }
            Coding::Base64 => {
                // What is no letter of it is skipped: parts that are attachments are told of.
                self.base64.decode(text, &mut self.work);
            }
            Coding::QuotedPrintable => {
                coding::quoted_printable(text, full, &mut self.work);
            }
        }
        give(TEXT, &self.work, sink);
        if coding == Coding::Plain {
            self.guess(text, full, sink);
        }
        if matches!(coding, Coding::Plain | Coding::Uuencode) {
            self.uuencoded(text, sink);
        }
    }

    fn uuencoded(&mut self, text: &[u8], sink: Sink<'_>) {
        self.work.clear();
        let was = self.uu.is_within();
        self.uu.line(text, &mut self.work);
        give(UUENCODED, &self.work, sink);
        if was && !self.uu.is_within() {
            sink(Piece::LooseEnd(UUENCODED));
        }
    }

    fn guess(&mut self, text: &[u8], full: &[u8], sink: Sink<'_>) {
        if self.known == Known::Nothing && !text.is_empty() {
            // Padding stands at the end alone.
            let letters = text.iter().rposition(|&byte| byte != b'=').map_or(0, |at| at + 1);
            let base64 = text.iter().take(letters).all(|&byte| Base64::is_letter(byte) && byte != b'=');
            self.known = Known::Guessed { base64 };
        }
        let Known::Guessed { base64 } = self.known else { return };
        self.work.clear();
        if base64 {
            self.base64.decode(text, &mut self.work);
            give(BASE64, &self.work, sink);
        } else {
            coding::quoted_printable(text, full, &mut self.work);
            give(QUOTED, &self.work, sink);
        }
    }

    /// The part is complete.
    pub fn end(&mut self, sink: Sink<'_>) {
        self.work.clear();
        self.base64.flush(&mut self.work);
        give(if self.known == Known::Named { TEXT } else { BASE64 }, &self.work, sink);
        [TEXT, UUENCODED, BASE64, QUOTED].into_iter().for_each(|name| sink(Piece::LooseEnd(name)));
        *self = Loose::default();
    }
}

fn give(name: &'static [u8], bytes: &[u8], sink: Sink<'_>) {
    if !bytes.is_empty() {
        sink(Piece::Loose(name, bytes));
    }
}
