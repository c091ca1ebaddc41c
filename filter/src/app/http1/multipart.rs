//! Forms with files (multipart/form-data, RFC 7578), as their bytes come.
//!
//! Limits: the fields of a part may have [`FIELDS`] bytes; a boundary at most 70 (RFC 2046, 5.1.1), longer ones count
//! with their first [`BOUNDARY`] bytes.

/// Bytes of a part's fields; what is longer is no part.
const FIELDS: usize = 8 << 10;
/// Bytes of a boundary that are compared.
pub const BOUNDARY: usize = 256;

/// What was found in a form.
#[derive(Debug)]
pub enum Part<'b> {
    /// A file begins, of this name.
    File(&'b [u8]),
    /// Bytes of the file that began last, if its part is one.
    Bytes(&'b [u8]),
    /// The file's part ended.
    End,
    /// Bytes of a part that is no file.
    Field(&'b [u8]),
    /// That part ended.
    FieldEnd,
    /// Something odd, by its event.
    Odd(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a boundary: what stands here belongs to no part.
    Between,
    /// After a boundary, up to the end of its line.
    BoundaryLine,
    Fields,
    Data(Content),
    Over,
}

/// What stands between two boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// No part.
    Nothing,
    /// A file.
    File,
    /// A part that is none.
    Field,
}

/// A form that is being read.
#[derive(Debug)]
pub struct Multipart {
    /// "--" and the boundary.
    delimiter: Vec<u8>,
    held: Vec<u8>,
    place: Place,
    /// Something stands between the fields of the part and its end, be it the end of a line.
    has_data: bool,
}

impl Multipart {
    /// For a boundary as Content-Type names it.
    pub fn new(boundary: &[u8]) -> Multipart {
        let boundary = boundary.get(..BOUNDARY).unwrap_or(boundary);
        Multipart { delimiter: [b"--", boundary].concat(), held: Vec::new(), place: Place::Between, has_data: false }
    }

    /// Takes bytes of the form.
    pub fn feed(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Part<'_>)) {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(used) = self.step(held.get(at..).unwrap_or_default(), tell) {
            at += used;
        }
        held.drain(..at.min(held.len()));
        self.held = held;
    }

    /// Reads what stands at the start of the bytes; says how many it used. `None`: more are needed.
    fn step(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Part<'_>)) -> Option<usize> {
        match self.place {
            Place::Between => self.find(bytes, Content::Nothing, tell),
            Place::Data(content) => self.find(bytes, content, tell),
            Place::BoundaryLine => {
                if bytes.len() < 2 {
                    return None;
                }
                if bytes.starts_with(b"--") {
                    self.place = Place::Over;
                    return Some(2);
                }
                let end = memchr::memchr(b'\n', bytes)?;
                self.place = Place::Fields;
                Some(end + 1)
            }
            Place::Fields => self.fields(bytes, tell),
            Place::Over if bytes.is_empty() => None,
            Place::Over => Some(bytes.len()),
        }
    }

    /// Looks for the next boundary.
    fn find(&mut self, bytes: &[u8], content: Content, tell: &mut dyn FnMut(Part<'_>)) -> Option<usize> {
        let mut hand_on = |bytes| match content {
            Content::Nothing => {}
            Content::File => tell(Part::Bytes(bytes)),
            Content::Field => tell(Part::Field(bytes)),
        };
        let Some(at) = memchr::memmem::find(bytes, &self.delimiter) else {
            let safe = self.safe(bytes);
            if safe > 0 {
                self.has_data = true;
                hand_on(bytes.get(..safe).unwrap_or_default());
            }
            return (safe > 0).then_some(safe);
        };
        let before = bytes.get(..at).unwrap_or_default();
        let text = before.strip_suffix(b"\r\n").or_else(|| before.strip_suffix(b"\n")).unwrap_or(before);
        if !text.is_empty() {
            hand_on(text);
        }
        match content {
            Content::Nothing => {}
            Content::File => {
                if at == 0 && !self.has_data {
                    tell(Part::Odd("http.multipart_no_filedata"));
                }
                tell(Part::End);
            }
            Content::Field => tell(Part::FieldEnd),
        }
        self.place = Place::BoundaryLine;
        Some(at + self.delimiter.len())
    }

    /// Bytes with which no boundary begins, nor the end of the line before it.
    fn safe(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.delimiter.len() + 1);
        let begins = |rest: &[u8]| {
            let rest = rest.strip_prefix(b"\r").unwrap_or(rest);
            let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.delimiter.starts_with(rest)
        };
        let tail = bytes.get(from..).unwrap_or_default().iter().zip(from..);
        let mut starts = tail.filter(|(byte, _)| matches!(byte, b'\r' | b'\n' | b'-'));
        starts.find(|&(_, at)| bytes.get(at..).is_some_and(begins)).map_or(bytes.len(), |(_, at)| at)
    }

    /// Reads the fields of a part.
    fn fields(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Part<'_>)) -> Option<usize> {
        let Some((length, end)) = fields_end(bytes) else {
            if bytes.len() > FIELDS {
                tell(Part::Odd("http.multipart_generic_error"));
                self.place = Place::Between;
                return Some(bytes.len() - self.delimiter.len().min(bytes.len()));
            }
            return None;
        };
        let lines = bytes.get(..length).unwrap_or_default().split(|&byte| byte == b'\n');
        if length > 0 && lines.clone().any(is_invalid) {
            tell(Part::Odd("http.multipart_invalid_header"));
        }
        let name = lines.clone().find_map(file_name);
        if let Some(name) = name {
            // Backslashes hide what follows them and are no part of the name.
            let plain: Vec<u8> = name.iter().copied().filter(|&byte| byte != b'\\').collect();
            tell(Part::File(&plain));
        }
        self.has_data = false;
        self.place = Place::Data(if name.is_some() { Content::File } else { Content::Field });
        Some(end)
    }
}

/// Length of the fields, and where what follows them begins.
fn fields_end(bytes: &[u8]) -> Option<(usize, usize)> {
    if bytes.starts_with(b"\r\n") {
        return Some((0, 2));
    }
    if bytes.starts_with(b"\n") {
        return Some((0, 1));
    }
    memchr::memchr_iter(b'\n', bytes).find_map(|at| {
        let rest = bytes.get(at + 1..)?;
        let blank = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        (blank > 0).then_some((at, at + 1 + blank))
    })
}

/// Whether a line among the fields is none: it has no colon, or ends with it.
fn is_invalid(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    memchr::memchr(b':', line).is_none_or(|at| at + 1 == line.len())
}

/// The file's name in a Content-Disposition field of a part.
fn file_name(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
    if !name.trim_ascii().eq_ignore_ascii_case(b"content-disposition") {
        return None;
    }
    parameter(value.get(1..)?, b"filename")
}

/// A parameter of a field's value (`form-data; name="a"; filename="b"`), without its quotes.
pub fn parameter<'v>(value: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    let mut rest = value;
    while let Some(at) = memchr::memchr(b';', rest) {
        rest = rest.get(at + 1..)?.trim_ascii_start();
        let Some((head, tail)) = rest.split_at_checked(name.len()) else { continue };
        let Some(text) = tail.trim_ascii_start().strip_prefix(b"=") else { continue };
        if !head.eq_ignore_ascii_case(name) {
            continue;
        }
        let text = text.trim_ascii();
        let quoted = text.strip_prefix(b"\"").and_then(|quoted| quoted.get(..quote_end(quoted)?));
        return Some(quoted.unwrap_or_else(|| text.split(|&byte| byte == b';').next().unwrap_or(text).trim_ascii()));
    }
    None
}

/// Where the closing quote stands: the first that no backslash hides.
fn quote_end(quoted: &[u8]) -> Option<usize> {
    let mut hidden = false;
    quoted.iter().position(|&byte| {
        let ends = byte == b'"' && !hidden;
        hidden = byte == b'\\';
        ends
    })
}

/// The name that Content-Disposition of a response gives its body. As browsers are lenient with everything else, but not
/// with it: parts are parted by semicolons outside of quotes, `filename=` begins one, and quotes have to be closed.
pub fn disposition_name(value: &[u8]) -> Option<&[u8]> {
    let (mut from, mut quotes, mut before) = (0, 0, 0);
    for (at, &byte) in value.iter().enumerate() {
        quotes += usize::from(at > 0 && before != b'\\' && byte == b'"');
        let last = at + 1 == value.len();
        if quotes % 2 == 0 && at > 0 && (last || (before != b'\\' && byte == b';')) {
            let part = value.get(from..if last { at + 1 } else { at })?.trim_ascii_start();
            from = at + 1;
            let name = b"filename=";
            if part.len() > name.len() && part.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
                let text = part.get(name.len()..)?;
                let text = text.strip_prefix(b"\"").unwrap_or(text);
                return Some(text.strip_suffix(b"\"").unwrap_or(text));
            }
        }
        before = byte;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(form: &[u8], step: usize) -> Vec<(String, Vec<u8>, bool)> {
        let mut files: Vec<(String, Vec<u8>, bool)> = Vec::new();
        let mut multipart = Multipart::new(b"xyz");
        for bytes in form.chunks(step) {
            multipart.feed(bytes, &mut |part| match part {
                Part::File(name) => files.push((String::from_utf8_lossy(name).into_owned(), Vec::new(), false)),
                Part::Bytes(bytes) => files.last_mut().unwrap().1.extend_from_slice(bytes),
                Part::End => files.last_mut().unwrap().2 = true,
                Part::Field(_) | Part::FieldEnd => {}
                Part::Odd(name) => panic!("{name}"),
            });
        }
        files
    }

    #[test]
    fn files_are_found_however_the_form_is_cut() {
        let form = b"preamble\r\n--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n--xyz\r\n\
            Content-Disposition: form-data; name=\"f\"; filename=\"one.txt\"\r\nContent-Type: text/plain\r\n\r\n\
            first\r\n--xy\r\n\r\n--xyz\r\ncontent-disposition: form-data; filename=two\r\n\r\n\r\n--xyz--\r\nrest";
        let expected =
            vec![("one.txt".to_string(), b"first\r\n--xy\r\n".to_vec(), true), ("two".to_string(), Vec::new(), true)];
        for step in 1..form.len() {
            assert_eq!(files(form, step), expected, "in steps of {step}");
        }
    }

    #[test]
    fn what_is_no_field_and_files_without_data_are_told() {
        let odd = |form: &[u8], step: usize| {
            let (mut odd, mut multipart) = (Vec::new(), Multipart::new(b"xyz"));
            for bytes in form.chunks(step) {
                multipart.feed(bytes, &mut |part| {
                    if let Part::Odd(name) = part {
                        odd.push(name);
                    }
                });
            }
            odd
        };
        let file = |rest: &str| format!("--xyz\r\nContent-Disposition: form-data; filename=\"a\"\r\n{rest}");
        for (form, expected) in [
            (file("\r\n--xyz--\r\n"), vec!["http.multipart_no_filedata"]),
            (file("\r\n\r\n--xyz--\r\n"), vec![]),
            (file("\r\nx--xyz--\r\n"), vec![]),
            (file("no field\r\n\r\ndata\r\n--xyz--\r\n"), vec!["http.multipart_invalid_header"]),
            (file("X:\r\n\r\ndata\r\n--xyz--\r\n"), vec!["http.multipart_invalid_header"]),
            (file("X: \r\n\r\ndata\r\n--xyz--\r\n"), vec![]),
            ("--xyz\r\nX: y\r\n\r\n--xyz--\r\n".to_owned(), vec![]),
            ("--xyz\r\n\r\nvalue\r\n--xyz--\r\n".to_owned(), vec![]),
        ] {
            for step in 1..form.len() {
                assert_eq!(odd(form.as_bytes(), step), expected, "{form:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_response_names_its_body() {
        for (value, name) in [
            (&b"attachment; filename=a.txt"[..], Some(&b"a.txt"[..])),
            (b"filename=\"a b.txt\"", Some(b"a b.txt")),
            (b"inline;FILENAME=\"a;b\"; x=y", Some(b"a;b")),
            (br#"attachment; filename="a\"b""#, Some(br#"a\"b"#)),
            (b"attachment; filename=\"\"", Some(b"")),
            (b"attachment; x=\"filename=y\"; filename=z", Some(b"z")),
            (b"attachment; filename = a", None),
            (b"attachment; filename=\"open", None),
            (b"attachment; filename=", None),
            (b"attachment", None),
            (b"", None),
        ] {
            assert_eq!(disposition_name(value), name, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn parameters_have_quotes_or_not() {
        assert_eq!(parameter(b" attachment; filename=a.txt ; x=y", b"filename"), Some(&b"a.txt"[..]));
        assert_eq!(parameter(b"attachment;x=y;FILENAME = \"a;b\"", b"filename"), Some(&b"a;b"[..]));
        assert_eq!(parameter(b"attachment; filenamex=1", b"filename"), None);
        assert_eq!(parameter(br#"form-data; filename="a\"b.txt"; x=y"#, b"filename"), Some(&br#"a\"b.txt"#[..]));
        assert_eq!(parameter(b"form-data; filename=\"open; x=y", b"filename"), Some(&b"\"open"[..]));
    }
}
