//! Mail messages (RFC 5322) and their parts (RFC 2045 to 2049), line by line.
//!
//! A caller hands in the lines of a message, with and without their end. Headers of the message are kept; of the parts
//! only what says how a part is coded and named. A part with a name is a file: its decoded bytes come out as
//! [`Piece`]s. Links in texts are collected.
//!
//! Limits: [`HEADERS`] headers of [`HEADER_VALUE`] bytes each, [`DEPTH`] parts in each other, [`URLS`] links,
//! [`ATTACHMENTS`] names; beyond them a message is read on, and what does not fit is not kept. Each is told as a
//! [`Warning`] where the format itself has such a limit.

mod coding;
mod header;
pub mod log;
pub mod loose;
mod piece;
#[cfg(test)]
mod tests;
mod url;

use md5::{Digest, Md5};

use super::read::starts_with_lower;
use coding::{Base64, Coding, Uuencode};
pub use header::{parameter, split_addresses};
use loose::Loose;
pub use piece::{Piece, Sink, Warning, keep};
use url::Urls;

/// Headers kept of a message and of the part that is read.
pub const HEADERS: usize = 256;
/// Bytes of a header's value that are kept, with its continued lines.
pub const HEADER_VALUE: usize = 16 << 10;
/// Parts in each other.
pub const DEPTH: usize = 32;
/// Links kept of a message.
pub const URLS: usize = 128;
/// Names of attachments kept for the log.
pub const ATTACHMENTS: usize = 64;

/// Longest line, without its end (RFC 2045, 6.7).
const LINE: usize = 998;
/// Longest coded line (RFC 2045, 6.8).
const CODED_LINE: usize = 76;
/// Longest name of a header: a coded line with its colon.
const HEADER_NAME: usize = 75;
/// Longest boundary.
const BOUNDARY: usize = 254;
/// Longest name of an attachment.
const FILE_NAME: usize = 255;

/// How messages are read.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Parts in base64 are decoded.
    pub base64: bool,
    /// Parts in quoted-printable are decoded.
    pub quoted_printable: bool,
    /// Links are collected.
    pub urls: bool,
    /// Beginnings of links, lower case, with "://".
    pub schemes: Vec<Vec<u8>>,
    /// Links are kept with their beginning.
    pub keep_scheme: bool,
    /// The MD5 of the body is computed.
    pub body_md5: bool,
    /// A header's value that is longer is told.
    pub header_value: usize,
    /// Bytes of parts that are no attachments are handed on.
    pub loose: bool,
}

impl Default for Choices {
    fn default() -> Choices {
        Choices {
            base64: true,
            quoted_printable: true,
            urls: true,
            schemes: vec![b"http://".to_vec()],
            keep_scheme: false,
            body_md5: true,
            header_value: 2000,
            loose: false,
        }
    }
}

/// A header: name and value, the value without the breaks of its lines.
#[derive(Debug)]
pub struct Header {
    /// As written.
    pub name: Vec<u8>,
    /// Without the blanks before it.
    pub value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At the start of headers.
    #[default]
    Start,
    /// Within headers.
    Headers,
    /// Behind the empty line.
    Body,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    /// Not known to be text.
    #[default]
    No,
    /// Plain text or HTML.
    Yes,
}

#[derive(Debug, Default)]
enum BodyHash {
    #[default]
    None,
    Running(Box<Md5>),
    Done([u8; 16]),
}

/// A message that is being read.
#[derive(Debug, Default)]
pub struct Message {
    place: Place,
    /// Headers of the message, then those of the part being read.
    headers: Vec<Header>,
    /// How many of them are the message's; none before its headers are complete.
    main: usize,
    main_done: bool,
    attachments: Vec<Vec<u8>>,
    boundaries: Vec<Vec<u8>>,
    /// Boundaries that parts have begun with, the outer ones first.
    begun: usize,
    named: bool,
    coding: Coding,
    base64: Base64,
    uu: Uuencode,
    loose: Loose,
    text: Text,
    /// End of the last line of an uncoded attachment: it belongs to the boundary if one follows.
    held_end: Vec<u8>,
    urls: Urls,
    hash: BodyHash,
    work: Vec<u8>,
    /// The last piece of a line had no end: the next one begins no line.
    continues: bool,
    /// "=" and what follows it at the end of such a piece.
    escape: Vec<u8>,
}

impl Message {
    /// A body whose headers are not seen: nobody says how it is coded.
    pub fn without_header() -> Message {
        let place = Place::Body;
        Message { place, main_done: true, loose: Loose::without_header(), ..Message::default() }
    }

    /// The headers of the message. Empty before they are complete.
    pub fn headers(&self) -> &[Header] {
        self.headers.get(..self.main).unwrap_or_default()
    }

    /// The values of the headers of this name.
    pub fn values<'m>(&'m self, name: &'static [u8]) -> impl Iterator<Item = &'m [u8]> {
        self.headers().iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| &*header.value)
    }

    /// The value of the nth header of this name.
    pub fn value(&self, name: &[u8], nth: usize) -> Option<&[u8]> {
        let mut of_name = self.headers().iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        of_name.nth(nth).map(|header| &*header.value)
    }

    /// The headers of the message are complete.
    pub fn has_headers(&self) -> bool {
        self.main_done
    }

    /// Names of the attachments, in order.
    pub fn attachments(&self) -> &[Vec<u8>] {
        &self.attachments
    }

    /// Links found.
    pub fn urls(&self) -> &[Vec<u8>] {
        self.urls.found()
    }

    /// MD5 of the body, once the message is complete.
    pub fn body_md5(&self) -> Option<[u8; 16]> {
        match self.hash {
            BodyHash::Done(hash) => Some(hash),
            BodyHash::None | BodyHash::Running(_) => None,
        }
    }

    /// Reads headers or waits for a boundary: the caller should hand in whole lines.
    pub fn in_headers(&self) -> bool {
        self.place != Place::Body
    }

    /// The next line: `text` without its end, `full` with it. A piece of a line too long to wait for has no end.
    pub fn line(&mut self, text: &[u8], full: &[u8], choices: &Choices, sink: Sink<'_>) {
        if text.len() > LINE {
            sink(Piece::Warn(Warning::LongLine));
        }
        // A part may have nothing but headers, and what follows the last part looks like headers too.
        if self.place != Place::Body && self.main_done && self.is_boundary(text, choices, sink) {
            return;
        }
        match self.place {
            Place::Start | Place::Headers if text.is_empty() => self.end_headers(choices, sink),
            Place::Start | Place::Headers => self.header_line(text, choices, sink),
            Place::Body => self.body_line(text, full, choices, sink),
        }
    }

    /// No more lines follow.
    pub fn end(&mut self, choices: &Choices, sink: Sink<'_>) {
        let escape = std::mem::take(&mut self.escape);
        if !escape.is_empty() {
            self.part_line(&escape, &escape, true, choices, sink);
        }
        if self.place != Place::Body {
            self.main = if self.main_done { self.main } else { self.headers.len() };
        }
        if self.named {
            self.flush_base64(choices, sink);
            sink(Piece::Close);
            self.named = false;
        }
        if choices.loose {
            self.loose.end(sink);
        }
        if std::mem::take(&mut self.begun) > 0 {
            sink(Piece::Warn(Warning::OpenParts));
        }
        self.urls.add(b"\n", choices);
        if let BodyHash::Running(hash) = std::mem::take(&mut self.hash) {
            self.hash = BodyHash::Done(hash.finalize().into());
        }
    }

    fn header_line(&mut self, text: &[u8], choices: &Choices, sink: Sink<'_>) {
        let continued = self.place == Place::Headers && matches!(text.first(), Some(b' ' | b'\t'));
        if continued {
            let (Some(last), Some(more)) = (self.headers.last_mut(), text.get(1..)) else { return };
            let room = HEADER_VALUE.saturating_sub(last.value.len()).min(more.len());
            last.value.extend_from_slice(more.get(..room).unwrap_or_default());
            return;
        }
        let Some((name, value)) = header::split(text) else { return };
        self.place = Place::Headers;
        if name.len() > HEADER_NAME {
            sink(Piece::Warn(Warning::LongHeaderName));
        }
        if value.len() > choices.header_value {
            sink(Piece::Warn(Warning::LongHeaderValue));
        }
        if self.headers.len() < self.main.saturating_add(HEADERS) {
            let value = value.get(..HEADER_VALUE).unwrap_or(value).to_vec();
            self.headers.push(Header { name: name.to_vec(), value });
        }
    }

    /// The empty line behind headers: what they say of the body.
    fn end_headers(&mut self, choices: &Choices, sink: Sink<'_>) {
        let encapsulated = self.read_headers(sink);
        if !self.main_done {
            self.main_done = true;
            self.main = self.headers.len();
        }
        if encapsulated {
            // A message within the message: its headers follow, and are those of a part.
            self.headers.truncate(self.main);
            self.place = Place::Start;
            return;
        }
        if choices.body_md5 && matches!(self.hash, BodyHash::None) {
            self.hash = BodyHash::Running(Box::default());
        }
        self.place = Place::Body;
    }

    /// Reads the part's headers; whether the part is a message itself.
    fn read_headers(&mut self, sink: Sink<'_>) -> bool {
        let mut encapsulated = false;
        // What does not say otherwise is text (RFC 2045, 5.2).
        self.text = Text::Yes;
        let headers = std::mem::take(&mut self.headers);
        let from = if self.main_done { self.main } else { 0 };
        for header in headers.get(from..).unwrap_or_default() {
            let is = |name: &[u8]| header.name.eq_ignore_ascii_case(name);
            if is(b"content-disposition") {
                self.name_part(&header.value, b"filename", sink);
            } else if is(b"content-transfer-encoding") {
                self.coding = Coding::from_header(&header.value);
                self.base64 = Base64::default();
                self.uu = Uuencode::default();
            } else if is(b"content-type") {
                self.name_part(&header.value, b"name", sink);
                self.boundary(&header.value, sink);
                let kind = header.value.split(|&byte| byte == b';').next().unwrap_or_default();
                let text = kind.eq_ignore_ascii_case(b"text/plain") || kind.eq_ignore_ascii_case(b"text/html");
                self.text = if text { Text::Yes } else { Text::No };
                encapsulated = starts_with_lower(kind, b"message/");
            }
        }
        self.headers = headers;
        encapsulated
    }

    fn boundary(&mut self, value: &[u8], sink: Sink<'_>) {
        let Some(boundary) = parameter(value, b"boundary") else { return };
        if boundary.len() > BOUNDARY {
            sink(Piece::Warn(Warning::LongBoundary));
            sink(Piece::Warn(Warning::UnusableBoundary));
        }
        if self.boundaries.len() < DEPTH {
            self.boundaries.push([b"--", &boundary[..]].concat());
        }
    }

    fn name_part(&mut self, value: &[u8], token: &[u8], sink: Sink<'_>) {
        if self.named {
            return;
        }
        let Some(mut name) = parameter(value, token).filter(|name| !name.is_empty()) else { return };
        if name.len() > FILE_NAME {
            sink(Piece::Warn(Warning::LongFileName));
            name.truncate(FILE_NAME);
        }
        self.named = true;
        self.held_end.clear();
        sink(Piece::Open(&name));
        if self.attachments.len() < ATTACHMENTS {
            self.attachments.push(name);
        }
    }

    fn body_line(&mut self, text: &[u8], full: &[u8], choices: &Choices, sink: Sink<'_>) {
        if let BodyHash::Running(hash) = &mut self.hash {
            hash.update(full);
        }
        let has_end = full.len() > text.len();
        let continues = std::mem::replace(&mut self.continues, !has_end);
        if self.coding == Coding::QuotedPrintable && (!has_end || !self.escape.is_empty()) {
            let mut joined = std::mem::take(&mut self.escape);
            joined.extend_from_slice(full);
            let mut length = joined.len() - (full.len() - text.len());
            if !has_end {
                let last = joined.get(length.saturating_sub(2)..).and_then(|last| memchr::memchr(b'=', last));
                let cut = last.map_or(length, |at| length.saturating_sub(2) + at);
                self.escape = joined.split_off(cut);
                length = cut;
            }
            let (text, full) = (joined.get(..length).unwrap_or_default(), &joined[..]);
            return self.part_line(text, full, continues, choices, sink);
        }
        self.part_line(text, full, continues, choices, sink);
    }

    /// A line of a part, or a piece of one; `continues` where it does not begin there.
    fn part_line(&mut self, text: &[u8], full: &[u8], continues: bool, choices: &Choices, sink: Sink<'_>) {
        if !continues && self.is_boundary(text, choices, sink) {
            return;
        }
        if self.named {
            self.file_line(text, full, choices, sink);
            return;
        }
        if self.text == Text::Yes {
            self.text_line(text, full, choices, sink);
        }
        if choices.loose {
            self.loose.line(self.coding, text, full, sink);
        }
    }

    /// Whether a line is a boundary; the part before it ends. That of an outer part ends all parts within it.
    fn is_boundary(&mut self, text: &[u8], choices: &Choices, sink: Sink<'_>) -> bool {
        let Some(nth) = self.boundaries.iter().rposition(|boundary| text.starts_with(boundary)) else { return false };
        self.boundaries.truncate(nth + 1);
        let length = self.boundaries.last().map_or(0, Vec::len);
        let last = text.get(length..).is_some_and(|behind| behind.starts_with(b"--"));
        if last && self.begun <= nth {
            sink(Piece::Warn(Warning::UnusableBoundary));
        }
        self.begun = if last { nth } else { nth + 1 };
        self.end_part(last, choices, sink);
        true
    }

    fn end_part(&mut self, last: bool, choices: &Choices, sink: Sink<'_>) {
        if self.named {
            self.flush_base64(choices, sink);
            sink(Piece::Close);
        }
        if choices.loose {
            self.loose.end(sink);
        }
        if last {
            self.boundaries.pop();
        }
        self.named = false;
        self.headers.truncate(self.main);
        self.coding = Coding::Plain;
        self.place = Place::Start;
    }

    fn flush_base64(&mut self, choices: &Choices, sink: Sink<'_>) {
        if self.coding == Coding::Base64 && choices.base64 {
            self.work.clear();
            self.base64.flush(&mut self.work);
            if !self.work.is_empty() {
                sink(Piece::Data(&self.work));
            }
        }
    }

    /// A line of text that is no file: only links are of interest.
    fn text_line(&mut self, text: &[u8], full: &[u8], choices: &Choices, sink: Sink<'_>) {
        match self.coding {
            Coding::Plain | Coding::QuotedPrintable | Coding::Uuencode => self.urls.add(full, choices),
            Coding::Base64 => self.base64_line(text, choices, sink, Text::Yes),
        }
    }

    fn file_line(&mut self, text: &[u8], full: &[u8], choices: &Choices, sink: Sink<'_>) {
        match self.coding {
            Coding::Plain => {
                self.urls.add(full, choices);
                if !self.held_end.is_empty() {
                    sink(Piece::Data(&self.held_end));
                    self.held_end.clear();
                }
                sink(Piece::Data(text));
                self.held_end.extend_from_slice(full.get(text.len()..).unwrap_or_default());
            }
            Coding::Base64 => self.base64_line(text, choices, sink, Text::No),
            Coding::QuotedPrintable if choices.quoted_printable => {
                if text.len() > CODED_LINE {
                    sink(Piece::Warn(Warning::LongCodedLine));
                }
                self.work.clear();
                if !coding::quoted_printable(text, full, &mut self.work) {
                    sink(Piece::Warn(Warning::InvalidQuotedPrintable));
                }
                self.urls.add(&self.work, choices);
                sink(Piece::Data(&self.work));
            }
            Coding::QuotedPrintable => {}
            Coding::Uuencode => {
                self.work.clear();
                self.uu.line(text, &mut self.work);
                sink(Piece::Data(&self.work));
            }
        }
    }

    fn base64_line(&mut self, text: &[u8], choices: &Choices, sink: Sink<'_>, only_text: Text) {
        if !choices.base64 {
            return;
        }
        if text.len() > CODED_LINE {
            sink(Piece::Warn(Warning::LongCodedLine));
        }
        self.work.clear();
        if !self.base64.decode(text, &mut self.work) {
            sink(Piece::Warn(Warning::InvalidBase64));
        }
        self.urls.add(&self.work, choices);
        if only_text == Text::No && !self.work.is_empty() {
            sink(Piece::Data(&self.work));
        }
    }
}
