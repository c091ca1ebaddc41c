//! One direction of a transaction: its first line, its fields, its body. All text lies in one buffer.

use super::body::Body;
use super::head::Flags;
use super::line::content_length;

/// A stretch of a message's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    from: u32,
    length: u32,
    built: bool,
}

/// A header field.
#[derive(Clone, Copy, Debug, Default)]
pub struct Field {
    name: Span,
    value: Span,
    /// Of the name in lower case, so that looking for a name compares few of them.
    hash: u32,
    repeated: bool,
}

/// How far a message is. The numbers are those that rules and hooks compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Progress {
    /// Nothing came yet.
    #[default]
    Start,
    /// Its first line is being read.
    Line,
    /// Its fields are being read.
    Headers,
    /// Its body is being read.
    Body,
    /// The fields after its body are being read.
    Trailer,
    /// It is complete.
    Complete,
}

/// Repetitions of fields that are put together; those beyond are ignored.
const REPETITIONS: u32 = 64;

/// Room for the text and the fields of an ordinary message, which is put aside at once.
const ROOM: (usize, usize) = (448, 8);

/// One direction of a transaction.
#[derive(Debug, Default)]
pub struct Message {
    /// Bytes as they came: the first line, then the fields.
    text: Vec<u8>,
    /// Values that stand nowhere in one piece.
    built: Vec<u8>,
    /// How far it is.
    pub progress: Progress,
    /// Its first line, without its end.
    pub line: Span,
    /// Where the fields begin in the text.
    fields_from: u32,
    fields: Vec<Field>,
    repetitions: u32,
    /// Its body.
    pub body: Body,
}

/// What became of a field that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is the first of its name.
    First,
    /// It is the second of its name.
    Second,
    /// It is another of its name.
    Again,
    /// It is another Content-Length, and says something else.
    OtherLength,
    /// There are too many.
    TooMany,
}

impl Message {
    /// The bytes of a span.
    pub fn get(&self, span: Span) -> &[u8] {
        let text = if span.built { &self.built } else { &self.text };
        let (from, length) = (span.from as usize, span.length as usize);
        text.get(from..from.saturating_add(length)).unwrap_or_default()
    }

    /// Keeps bytes apart from the text.
    pub fn build(&mut self, bytes: &[u8]) -> Span {
        let from = self.built.len();
        self.built.extend_from_slice(bytes);
        Span { from: small(from), length: small(bytes.len()), built: true }
    }

    /// Keeps the first line, forgets one that was kept before (an interim response).
    pub fn set_line(&mut self, line: &[u8]) {
        self.text.clear();
        self.text.reserve(ROOM.0.max(line.len()));
        self.text.extend_from_slice(line);
        self.fields.clear();
        self.fields.reserve(ROOM.1);
        self.line = Span { from: 0, length: small(line.len()), built: false };
        self.fields_from = small(line.len());
    }

    /// The span of a part of the first line.
    pub fn part_of_line(&self, line: &[u8], part: &[u8]) -> Span {
        let offset = (part.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
        if part.is_empty() || offset > line.len() {
            return Span::default();
        }
        Span { from: small(offset), length: small(part.len()), built: false }
    }

    /// Bytes kept.
    pub fn kept(&self) -> usize {
        self.text.len() + self.built.len()
    }

    /// Keeps bytes of the fields as they came.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    /// Adds a field whose bytes `raw` were not kept yet.
    pub fn add(&mut self, raw: &[u8], name: &[u8], value: &[u8], folded: Option<&[u8]>, limit: usize) -> Added {
        let base = self.text.len();
        self.keep(raw);
        let within = |part: &[u8]| {
            let offset = (part.as_ptr() as usize).wrapping_sub(raw.as_ptr() as usize);
            let inside = !part.is_empty() && offset <= raw.len();
            let from = if inside { base + offset } else { base };
            Span { from: small(from), length: small(part.len()), built: false }
        };
        let (name_span, value_span) = (within(name), within(value));
        let value_span = folded.map_or(value_span, |whole| self.build(whole));
        let Some(at) = self.find(name) else {
            if self.fields.len() > limit {
                return Added::TooMany;
            }
            self.fields.push(Field { name: name_span, value: value_span, hash: hash(name), repeated: false });
            return Added::First;
        };
        self.repeat(at, name, value_span)
    }

    /// Puts a repeated field together with the first of its name.
    fn repeat(&mut self, at: usize, name: &[u8], value: Span) -> Added {
        let Some(field) = self.fields.get_mut(at) else { return Added::Again };
        let added = if field.repeated { Added::Again } else { Added::Second };
        if field.repeated {
            self.repetitions += 1;
            if self.repetitions > REPETITIONS {
                return Added::Again;
            }
        }
        field.repeated = true;
        let (first, second) = (field.value, value);
        if name.eq_ignore_ascii_case(b"content-length") {
            let same = content_length(self.get(first)).is_some_and(|one| content_length(self.get(second)) == Some(one));
            return if same { added } else { Added::OtherLength };
        }
        let mut whole = Vec::with_capacity(first.length as usize + second.length as usize + 2);
        whole.extend_from_slice(self.get(first));
        whole.extend_from_slice(b", ");
        whole.extend_from_slice(self.get(second));
        let whole = self.build(&whole);
        if let Some(field) = self.fields.get_mut(at) {
            field.value = whole;
        }
        added
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let wanted = hash(name);
        let same = |field: &Field| field.hash == wanted && self.get(field.name).eq_ignore_ascii_case(name);
        self.fields.iter().position(same)
    }

    /// The value of a field.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        let field = self.fields.get(self.find(name)?)?;
        Some(self.get(field.value))
    }

    /// The value of a field whose name may have NULs in it, as some readers skip them.
    pub fn lenient_field(&self, name: &[u8]) -> Option<&[u8]> {
        self.field(name).or_else(|| {
            let same = |(field, _): &(&[u8], &[u8])| {
                field.contains(&0)
                    && field.iter().filter(|&&byte| byte != 0).map(u8::to_ascii_lowercase).eq(name.iter().copied())
            };
            self.fields().find(same).map(|(_, value)| value)
        })
    }

    /// Names and values, in the order in which they came.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.get(field.name), self.get(field.value)))
    }

    /// The nth field.
    pub fn nth(&self, nth: usize) -> Option<(&[u8], &[u8])> {
        self.fields.get(nth).map(|field| (self.get(field.name), self.get(field.value)))
    }

    /// How many fields there are.
    pub fn count(&self) -> usize {
        self.fields.len()
    }

    /// The fields as they came, with the line that ends them.
    pub fn raw_fields(&self) -> &[u8] {
        self.text.get(self.fields_from as usize..).unwrap_or_default()
    }
}

/// FNV-1a of a name in lower case.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193))
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Events of an odd field, by what they are called in a request and in a response.
pub fn oddities(flags: Flags) -> impl Iterator<Item = [&'static str; 2]> {
    let invalid = flags.bad_name || flags.space_after_name || flags.empty_name;
    let list = [
        (flags.missing_colon, ["http.request_field_missing_colon", "http.response_field_missing_colon"]),
        (flags.space_before_name, ["http.invalid_request_field_folding", "http.invalid_response_field_folding"]),
        (invalid, ["http.request_header_invalid", "http.response_header_invalid"]),
    ];
    list.into_iter().filter(|(is, _)| *is).map(|(_, names)| names)
}
