//! Header fields of a message, one at a time, with all the forms that servers and browsers put up with.
//!
//! A request's lines end with LF or CRLF, a response's also with CR or LFCR. A line that begins with white space goes on
//! with the field before it. What RFC 9112 forbids is read as the most lenient reader would, and noted in [`Flags`].

/// Whose fields are read: browsers put up with more than servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A server reads a request.
    Server,
    /// A browser reads a response.
    Browser,
}

/// What is odd about a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// There is no colon: the whole line is the value.
    pub missing_colon: bool,
    /// The name is empty.
    pub empty_name: bool,
    /// The name has characters that no token has.
    pub bad_name: bool,
    /// White space stands between name and colon.
    pub space_after_name: bool,
    /// White space stands before the name.
    pub space_before_name: bool,
}

/// What stands at the start of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'b> {
    /// More bytes are needed to tell.
    More,
    /// The fields end; so many bytes say so.
    End(usize),
    /// A field of one line.
    Field {
        /// Its name, trimmed.
        name: &'b [u8],
        /// Its value, trimmed; `folded` has the rest of it.
        value: &'b [u8],
        /// The value put together from several lines, where there are several.
        folded: Option<Vec<u8>>,
        /// What is odd about it.
        flags: Flags,
        /// Bytes it takes.
        used: usize,
        /// The fields end after it; the bytes that say so are counted in `used`.
        last: bool,
    },
}

/// Lines that one field may have.
const FOLDS: usize = 128;

/// White space as C's `isspace` knows it.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// Bytes without white space at their ends.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let from = bytes.iter().position(|&byte| !is_space(byte)).unwrap_or(bytes.len());
    let to = bytes.iter().rposition(|&byte| !is_space(byte)).map_or(from, |last| last + 1);
    bytes.get(from..to).unwrap_or_default()
}

/// A character of a token (RFC 9110, 5.6.2, and a few more that no reader minds).
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut token = [false; 256];
        let mut byte = 33;
        while byte < 127 {
            token[byte] = true;
            byte += 1;
        }
        let separators = b"()<>@,;:\\\"/[]?={}";
        let mut nth = 0;
        while nth < separators.len() {
            token[separators[nth] as usize] = false;
            nth += 1;
        }
        token
    };
    TOKEN[byte as usize]
}

/// The end of a line at the start of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eol {
    More,
    None,
    Length(usize),
}

fn starts(bytes: &[u8], what: &[u8], end: bool) -> Option<bool> {
    if bytes.len() >= what.len() {
        Some(bytes.starts_with(what))
    } else if end || !what.starts_with(bytes) {
        Some(false)
    } else {
        None
    }
}

/// The first of several line ends that matches.
fn first_of(bytes: &[u8], whats: &[&[u8]], end: bool) -> Eol {
    for what in whats {
        match starts(bytes, what, end) {
            Some(true) => return Eol::Length(what.len()),
            None => return Eol::More,
            Some(false) => {}
        }
    }
    Eol::None
}

fn regular_eol(bytes: &[u8], reader: Reader, end: bool) -> Eol {
    match reader {
        Reader::Server => first_of(bytes, &[b"\r\n", b"\n"], end),
        Reader::Browser => first_of(bytes, &[b"\r\n", b"\n\r", b"\n", b"\r"], end),
    }
}

/// The empty line that ends the fields. An LF is not waited on for the CR that may belong to it: no body could begin.
fn blank_line(bytes: &[u8], reader: Reader, end: bool) -> Eol {
    if bytes == b"\n" { Eol::Length(1) } else { regular_eol(bytes, reader, end) }
}

/// Ends of lines that only some readers take for one, told by what follows them.
fn deformed_eol(bytes: &[u8], reader: Reader, end: bool) -> Eol {
    let rest = |n: usize| bytes.get(n..).unwrap_or_default();
    let ends = |rest: &[u8]| match (rest, end) {
        ([] | [b'\r'], false) => None,
        (rest, _) => Some(rest.starts_with(b"\n") || rest.starts_with(b"\r\n")),
    };
    if bytes.starts_with(b"\n\r\r\n") {
        return match ends(rest(4)) {
            Some(true) => Eol::Length(4),
            Some(false) if reader == Reader::Server => Eol::Length(2),
            Some(false) => Eol::None,
            None => Eol::More,
        };
    }
    if reader == Reader::Server || !bytes.starts_with(b"\r\n\r") {
        return Eol::None;
    }
    let blank = rest(3).iter().take_while(|byte| matches!(byte, b'\r' | b' ' | b'\t')).count();
    let length = 3 + blank + usize::from(rest(3 + blank).first() == Some(&b'\n'));
    match ends(rest(length)) {
        _ if blank == 0 => Eol::None,
        Some(false) if !rest(length).is_empty() => Eol::Length(length),
        Some(_) => Eol::None,
        None => Eol::More,
    }
}

/// One line of a value: the bytes, its end, and whether the next line goes on with it.
struct Line<'b> {
    text: &'b [u8],
    eol: usize,
    fold: bool,
    used: usize,
}

/// Reads a line of a value. `None`: more bytes are needed.
fn value_line(bytes: &[u8], reader: Reader, end: bool) -> Option<Line<'_>> {
    let stop = match reader {
        Reader::Server => memchr::memchr(b'\n', bytes)?,
        Reader::Browser => memchr::memchr2(b'\n', b'\r', bytes)?,
    };
    let mut text = bytes.get(..stop)?;
    if let Some(without) = text.strip_suffix(b"\r") {
        text = without;
    }
    let rest = bytes.get(text.len()..)?;
    let Eol::Length(regular) = regular_eol(rest, reader, end) else { return None };
    let is_fold = |after: usize| rest.get(after).map(|&byte| matches!(byte, b' ' | b'\t' | 0));
    if let (Reader::Browser, Some(true)) = (reader, is_fold(regular)) {
        return Some(Line { text, eol: regular, fold: true, used: text.len() + regular + 1 });
    }
    let eol = match deformed_eol(rest, reader, end) {
        Eol::Length(length) => length,
        Eol::None => regular,
        Eol::More => return None,
    };
    let fold = match is_fold(eol) {
        Some(fold) => fold,
        None if end => false,
        None => return None,
    };
    // A browser's fold after a deformed end of line is none: only regular ends fold there.
    let fold = fold && (reader == Reader::Server || eol == regular);
    Some(Line { text, eol, fold, used: text.len() + eol + usize::from(fold) })
}

/// Whether a folded line is rather a field of its own with white space before its name.
fn is_field(bytes: &[u8]) -> Option<bool> {
    let skip = |from: usize, is: fn(u8) -> bool| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|&&byte| is(byte)).count()
    };
    let blank = |byte| matches!(byte, b' ' | b'\t');
    let name = skip(0, blank);
    let after = skip(name, is_token);
    let colon = skip(after, blank);
    let next = bytes.get(colon)?;
    Some(after > name && *next == b':')
}

/// A value: its first line, all of its lines where there are several, and the bytes it takes.
type Value<'b> = (&'b [u8], Option<Vec<u8>>, usize);

/// A value with all its lines. `None`: more bytes are needed.
fn value(bytes: &[u8], reader: Reader, end: bool) -> Option<Value<'_>> {
    let first = value_line(bytes, reader, end)?;
    if !first.fold {
        return Some((first.text, None, first.used));
    }
    let mut whole = first.text.to_vec();
    let (mut rest, mut at) = (first.used, first.used);
    for _ in 0..FOLDS {
        let here = bytes.get(at..).unwrap_or_default();
        if reader == Reader::Browser {
            match is_field(here) {
                Some(true) => return Some((first.text, Some(whole), at)),
                Some(false) => {}
                None if end => {}
                None => return None,
            }
        }
        let fold = bytes.get(at.wrapping_sub(1)).copied().unwrap_or(b' ');
        let line = value_line(here, reader, end)?;
        at += line.used;
        if !whole.is_empty() {
            whole.push(fold);
        }
        if !line.text.is_empty() || line.eol > 1 {
            rest = at;
            whole.extend_from_slice(line.text);
        } else if bytes.get(at) == Some(&b'\n') {
            // An empty folded line and an empty line after it end the fields.
            rest = at;
        }
        if !line.fold {
            return Some((first.text, Some(whole), rest));
        }
    }
    Some((first.text, Some(whole), rest))
}

/// Where the name of a field ends: its colon, or the end of a line that no white space follows.
fn name_end(bytes: &[u8], reader: Reader) -> usize {
    let first = match reader {
        Reader::Server => memchr::memchr2(b':', b'\n', bytes),
        Reader::Browser => memchr::memchr3(b':', b'\n', b'\r', bytes),
    };
    match first {
        Some(at) if bytes.get(at) == Some(&b':') => return at,
        Some(_) => {}
        None => return 0,
    }
    let mut ended = 0u8;
    for (i, &byte) in bytes.iter().enumerate() {
        match ended {
            0 if byte == b':' => return i,
            0 if byte == b'\n' || (byte == b'\r' && reader == Reader::Browser) => ended = byte,
            0 => {}
            _ if byte == b' ' => ended = 0,
            b'\r' if byte == b'\n' => ended = byte,
            _ => return i - 1,
        }
    }
    0
}

/// Reads what stands at the start of the bytes. `end`: no more bytes follow.
pub fn next(bytes: &[u8], reader: Reader, end: bool) -> Next<'_> {
    match blank_line(bytes, reader, end) {
        Eol::More => return Next::More,
        Eol::Length(length) => return Next::End(length),
        Eol::None => {}
    }
    let stop = name_end(bytes, reader);
    let raw_name = bytes.get(..stop).unwrap_or_default();
    let has_colon = bytes.get(stop) == Some(&b':');
    let start = if has_colon {
        let after = bytes.get(stop + 1..).unwrap_or_default();
        stop + 1 + after.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    } else {
        0
    };
    let Some((line, folded, length)) = value(bytes.get(start..).unwrap_or_default(), reader, end) else {
        return Next::More;
    };
    let mut used = start + length;
    let last = match blank_line(bytes.get(used..).unwrap_or_default(), reader, end) {
        // With a byte at hand that begins the end of fields, its rest decides.
        Eol::More if used < bytes.len() => return Next::More,
        Eol::Length(eol) => {
            used += eol;
            true
        }
        Eol::More | Eol::None => false,
    };
    let name = if has_colon { trim(raw_name) } else { &[] };
    let flags = Flags {
        missing_colon: !has_colon,
        empty_name: has_colon && raw_name.is_empty(),
        bad_name: has_colon && !name.iter().all(|&byte| is_token(byte)),
        space_after_name: has_colon && raw_name.last().is_some_and(|&byte| is_space(byte)),
        space_before_name: has_colon && raw_name.first().is_some_and(|&byte| is_space(byte)),
    };
    let folded = folded.map(|whole| trim(&whole).to_vec());
    Next::Field { name, value: trim(line), folded, flags, used, last }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], reader: Reader) -> (Vec<(String, String)>, usize, bool) {
        let mut fields = Vec::new();
        let mut at = 0;
        loop {
            match next(&bytes[at..], reader, false) {
                Next::More => return (fields, at, false),
                Next::End(length) => return (fields, at + length, true),
                Next::Field { name, value, folded, used, last, .. } => {
                    let value = folded.unwrap_or_else(|| value.to_vec());
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    fields.push((text(name), text(&value)));
                    at += used;
                    if last {
                        return (fields, at, true);
                    }
                }
            }
        }
    }

    fn check(bytes: &[u8], reader: Reader, expected: &[(&str, &str)], rest: usize) {
        let (fields, used, ended) = all(bytes, reader);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!((fields, used, ended), (expected.to_vec(), bytes.len() - rest, true));
    }

    #[test]
    fn ordinary_fields() {
        for reader in [Reader::Server, Reader::Browser] {
            check(b"A: 1\r\nB:2 \r\n\r\nbody", reader, &[("A", "1"), ("B", "2")], 4);
            check(b"A: 1\nB:2\n\nbody", reader, &[("A", "1"), ("B", "2")], 4);
            check(b"\r\nbody", reader, &[], 4);
        }
    }

    #[test]
    fn lines_go_on_after_white_space() {
        for reader in [Reader::Server, Reader::Browser] {
            check(b"A: 1\r\n 2\r\n\t3\r\nB: 4\r\n\r\n", reader, &[("A", "1 2\t3"), ("B", "4")], 0);
        }
    }

    #[test]
    fn a_blank_folded_line_ends_the_fields_of_a_response() {
        check(b"A: 1\r\n \nbody", Reader::Browser, &[("A", "1")], 4);
    }

    #[test]
    fn a_folded_line_with_a_colon_is_a_field_to_browsers_only() {
        check(b"A: 1\r\n B: 2\r\n\r\n", Reader::Browser, &[("A", "1"), ("B", "2")], 0);
        check(b"A: 1\r\n B: 2\r\n\r\n", Reader::Server, &[("A", "1 B: 2")], 0);
    }

    #[test]
    fn a_lone_cr_ends_a_line_for_browsers_only() {
        check(b"A: 1\rB: 2\r\n\r\n", Reader::Browser, &[("A", "1"), ("B", "2")], 0);
        check(b"A: 1\rB: 2\r\n\r\n", Reader::Server, &[("A", "1\rB: 2")], 0);
    }

    #[test]
    fn lines_without_a_colon_are_values() {
        check(b"nonsense\r\nA: 1\r\n\r\n", Reader::Server, &[("", "nonsense"), ("A", "1")], 0);
    }

    #[test]
    fn two_lf_end_the_fields_at_once() {
        check(b"A: 1\n\n", Reader::Browser, &[("A", "1")], 0);
    }

    #[test]
    fn every_cut_gives_the_same_fields() {
        let texts: [&[u8]; 4] = [
            b"A: 1\r\n 2\r\nB: 3\r\n\r\n",
            b"A: 1\n\rB: 2\n\n",
            b"A:\r\n x\r\nnone\r\n\r\n",
            b"A: 1\r\n\r \nB: 2\r\n\r\n",
        ];
        for text in texts {
            for reader in [Reader::Server, Reader::Browser] {
                let whole = all(text, reader);
                let mut at = 0;
                let mut fields = Vec::new();
                for to in 0..=text.len() {
                    let (more, used, ended) = all(&text[at..to], reader);
                    fields.extend(more);
                    at += used;
                    if ended {
                        break;
                    }
                }
                assert_eq!((fields, at), (whole.0.clone(), whole.1), "{text:?} {reader:?}");
            }
        }
    }
}
