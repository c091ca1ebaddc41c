//! The first lines of messages, and the numbers in their fields.

use super::head::{is_space, trim};

/// A request's method, as far as it matters to the grammar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Not one of the registered ones.
    #[default]
    Unknown,
    /// HEAD: its answer has no body.
    Head,
    /// POST: its body is a file, or a form with files.
    Post,
    /// PUT: its body is a file.
    Put,
    /// CONNECT: what follows is a tunnel.
    Connect,
    /// Any other known method.
    Known,
}

/// Methods that tell a request line from the bytes of a body.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"DELETE",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"VERSION-CONTROL",
    b"CHECKOUT",
    b"UNCHECKOUT",
    b"CHECKIN",
    b"UPDATE",
    b"LABEL",
    b"REPORT",
    b"MKWORKSPACE",
    b"MKACTIVITY",
    b"BASELINE-CONTROL",
    b"MERGE",
    b"INVALID",
];

/// The method of this name.
pub fn method(name: &[u8]) -> Method {
    match name {
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"CONNECT" => Method::Connect,
        name if METHODS.contains(&name) => Method::Known,
        _ => Method::Unknown,
    }
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// It cannot be read, or is none of those below.
    #[default]
    Invalid,
    /// HTTP/0.9
    V09,
    /// HTTP/1.0
    V10,
    /// HTTP/1.1
    V11,
}

/// Reads a version, with white space and zeros where nobody minds them.
pub fn version(bytes: &[u8]) -> Version {
    let bytes = bytes.trim_ascii_start();
    let Some((http, rest)) = bytes.split_at_checked(4) else { return Version::Invalid };
    let Some(rest) = rest.trim_ascii_start().strip_prefix(b"/") else { return Version::Invalid };
    if !http.eq_ignore_ascii_case(b"http") {
        return Version::Invalid;
    }
    let zeros = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'0').count();
    match rest.get(zeros..).unwrap_or_default().trim_ascii_end() {
        b".9" => Version::V09,
        b"1.0" => Version::V10,
        b"1.1" => Version::V11,
        _ => Version::Invalid,
    }
}

/// A request line, taken apart.
#[derive(Debug, Default)]
pub struct RequestLine<'b> {
    /// Everything up to the first white space.
    pub method: &'b [u8],
    /// The target.
    pub uri: &'b [u8],
    /// What follows the target.
    pub protocol: &'b [u8],
    /// White space stands before the method.
    pub leading_space: bool,
    /// Another character than a space stands after the method.
    pub odd_method_end: bool,
    /// Another character than a space stands within or after the target.
    pub odd_uri_end: bool,
}

/// Takes a request line apart; its end is cut off already.
pub fn request_line(line: &[u8]) -> RequestLine<'_> {
    let blank = line.iter().take_while(|&&byte| is_space(byte)).count();
    let rest = line.get(blank..).unwrap_or_default();
    let length = rest.iter().take_while(|&&byte| !is_space(byte)).count();
    let (method, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    let gap = rest.iter().take_while(|&&byte| is_space(byte)).count();
    let (space, rest) = rest.split_at_checked(gap).unwrap_or((rest, &[]));
    let mut parts = RequestLine {
        method,
        leading_space: blank > 0,
        odd_method_end: space.iter().any(|&byte| byte != b' '),
        ..RequestLine::default()
    };
    let rest = trim(rest);
    (parts.uri, parts.protocol) = split_last(rest, |byte| byte == b' ');
    if parts.uri.iter().any(|&byte| is_space(byte) && byte != b' ') {
        parts.odd_uri_end = true;
        if parts.uri.len() == rest.len() {
            (parts.uri, parts.protocol) = split_last(rest, is_space);
        }
    }
    parts
}

/// Splits at the last byte of a kind; all is the first part where there is none.
fn split_last(bytes: &[u8], is: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    match bytes.iter().rposition(|&byte| is(byte)) {
        Some(at) => (trim(bytes.get(..at).unwrap_or_default()), trim(bytes.get(at + 1..).unwrap_or_default())),
        None => (bytes, &[]),
    }
}

/// A response line, taken apart.
#[derive(Debug, Default)]
pub struct ResponseLine<'b> {
    /// "HTTP/1.1" and the like.
    pub protocol: &'b [u8],
    /// The status as it stands there.
    pub status: &'b [u8],
    /// The reason.
    pub message: &'b [u8],
}

/// Takes a response line apart; its end is cut off already.
pub fn response_line(line: &[u8]) -> ResponseLine<'_> {
    let word = |bytes: &'_ [u8]| bytes.iter().take_while(|&&byte| !is_space(byte)).count();
    let blank = |bytes: &'_ [u8]| bytes.iter().take_while(|&&byte| is_space(byte)).count();
    let start = line.iter().take_while(|&&byte| is_space(byte) || byte == 0).count();
    let rest = line.get(start..).unwrap_or_default();
    let (protocol, rest) = rest.split_at_checked(word(rest)).unwrap_or((rest, &[]));
    let rest = rest.get(blank(rest)..).unwrap_or_default();
    let (status, rest) = rest.split_at_checked(word(rest)).unwrap_or((rest, &[]));
    ResponseLine { protocol, status, message: rest.get(blank(rest)..).unwrap_or_default() }
}

/// Whether a line is not even as much of a response line as browsers ask for: it is the body then.
pub fn is_body(line: &[u8]) -> bool {
    let start = line.iter().take_while(|&&byte| is_space(byte) || byte == 0).count();
    !line.get(start..start + 4).is_some_and(|word| word.eq_ignore_ascii_case(b"http"))
}

/// A status of three digits.
pub fn status(bytes: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(bytes.trim_ascii()).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|status| (100..=999).contains(status))
}

/// A line without its end.
pub fn chomp(line: &[u8]) -> &[u8] {
    let length = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    line.get(..length).unwrap_or_default()
}

/// Whether a line before a message can be skipped: it is empty.
pub fn is_ignorable(line: &[u8]) -> bool {
    matches!(line, b"\r" | b"\n" | b"\r\n")
}

/// A length in decimal digits; what stands before and after them does not matter.
pub fn content_length(value: &[u8]) -> Option<u64> {
    let start = value.iter().position(u8::is_ascii_digit)?;
    let mut digits = value.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit());
    digits.try_fold(0u64, |sum, &byte| sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')))
}

/// What a line with the length of a chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkLength {
    /// The length; `extension` where more follows it.
    Length {
        /// Bytes of the chunk.
        length: u64,
        /// A chunk extension stands there.
        extension: bool,
    },
    /// Nothing: the next line may.
    Empty,
    /// No length.
    Invalid,
}

/// The length of a chunk, in hexadecimal digits.
pub fn chunk_length(line: &[u8]) -> ChunkLength {
    let skip = line.iter().take_while(|&&byte| is_chunk_blank(byte)).count();
    let rest = line.get(skip..).unwrap_or_default();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let rest = rest.get(rest.iter().take_while(|&byte| blank(byte)).count()..).unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, after) = rest.split_at_checked(digits).unwrap_or((rest, &[]));
    let after = after.get(after.iter().take_while(|&byte| blank(byte)).count()..).unwrap_or_default();
    if number.is_empty() {
        return if after.is_empty() { ChunkLength::Empty } else { ChunkLength::Invalid };
    }
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0);
    let length = number.iter().try_fold(0u64, |sum, &byte| sum.checked_mul(16)?.checked_add(u64::from(digit(byte))));
    match length {
        Some(length) if length <= i32::MAX as u64 => ChunkLength::Length { length, extension: after.contains(&b';') },
        Some(_) | None => ChunkLength::Invalid,
    }
}

/// Bytes that may stand before the length of a chunk.
fn is_chunk_blank(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0x0b | 0x0c)
}

/// Whether a line says nothing at all about a chunk.
pub fn is_chunk_blank_line(line: &[u8]) -> bool {
    line.iter().all(|&byte| is_chunk_blank(byte))
}

/// Whether bytes without a line's end may still become the length of a chunk.
pub fn may_be_chunk_length(bytes: &[u8]) -> bool {
    let skip = bytes.iter().take_while(|&&byte| is_chunk_blank(byte)).count();
    let rest = bytes.get(skip..).unwrap_or_default();
    rest.first().is_none_or(u8::is_ascii_hexdigit) && rest.len() < 64
        || matches!(chunk_length(rest), ChunkLength::Length { .. })
}

/// Whether bytes begin with others, in any case.
pub fn starts_with_nocase(bytes: &[u8], what: &[u8]) -> bool {
    bytes.get(..what.len()).is_some_and(|start| start.eq_ignore_ascii_case(what))
}

/// Whether bytes contain others, in any case.
pub fn contains_nocase(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len().max(1)).any(|window| window.eq_ignore_ascii_case(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let line = request_line(b"GET /a b?c=d HTTP/1.1");
        assert_eq!((line.method, line.uri, line.protocol), (&b"GET"[..], &b"/a b?c=d"[..], &b"HTTP/1.1"[..]));
        let line = request_line(b"GET\t/a");
        assert_eq!((line.uri, line.protocol, line.odd_method_end), (&b"/a"[..], &b""[..], true));
        let line = request_line(b"  GET\t/a\tHTTP/1.0");
        assert_eq!((line.uri, line.protocol, line.leading_space), (&b"/a"[..], &b"HTTP/1.0"[..], true));
    }

    #[test]
    fn response_lines() {
        let line = response_line(b"HTTP/1.1 200 All is well");
        assert_eq!((line.protocol, line.status, line.message), (&b"HTTP/1.1"[..], &b"200"[..], &b"All is well"[..]));
        assert!(is_body(b"<html>"));
        assert!(!is_body(b" hTTp whatever"));
    }

    #[test]
    fn versions() {
        assert_eq!(version(b"HTTP/1.1"), Version::V11);
        assert_eq!(version(b"http / 01.0"), Version::V10);
        assert_eq!(version(b"HTTP/1.2"), Version::Invalid);
        assert_eq!(version(b"HTTP/1.1x"), Version::Invalid);
    }

    #[test]
    fn numbers() {
        assert_eq!(content_length(b" 12 "), Some(12));
        assert_eq!(content_length(b"x12y"), Some(12));
        assert_eq!(content_length(b"99999999999999999999999"), None);
        assert_eq!(chunk_length(b"1a\r\n"), ChunkLength::Length { length: 26, extension: false });
        assert_eq!(chunk_length(b"\r\n 5 ;x=y\r\n"), ChunkLength::Length { length: 5, extension: true });
        assert_eq!(chunk_length(b"zz\r\n"), ChunkLength::Invalid);
        assert_eq!(status(b"200"), Some(200));
        assert_eq!(status(b"20x"), None);
    }
}
