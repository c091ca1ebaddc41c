//! Undoing base64 (RFC 2045, 6.8), quoted-printable (6.7) and uuencode (POSIX, `uuencode`).

/// How a part is coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is: 7bit, 8bit, binary, and what nobody knows.
    #[default]
    Plain,
    /// Four letters for three bytes.
    Base64,
    /// "=3D" for one byte.
    QuotedPrintable,
    /// Lines between "begin" and "end" that say their length.
    Uuencode,
}

impl Coding {
    /// As the header `Content-Transfer-Encoding` says.
    pub(super) fn from_header(value: &[u8]) -> Coding {
        let value = value.trim_ascii();
        if value.eq_ignore_ascii_case(b"base64") {
            Coding::Base64
        } else if value.eq_ignore_ascii_case(b"quoted-printable") {
            Coding::QuotedPrintable
        } else if UUENCODE.iter().any(|name| value.eq_ignore_ascii_case(name)) {
            Coding::Uuencode
        } else {
            Coding::Plain
        }
    }
}

/// What mail programs call uuencode.
const UUENCODE: [&[u8]; 4] = [b"x-uuencode", b"uuencode", b"x-uue", b"uue"];

/// Base64 that comes in lines; a group of four may be cut by the end of a line.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    bits: u32,
    letters: u8,
}

impl Base64 {
    /// Whether a byte may stand in base64.
    pub(super) const fn is_letter(byte: u8) -> bool {
        matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=')
    }

    /// Decodes a line. Other letters are skipped, as the RFC wants; a padding ends a group. `false`: a letter stood
    /// there that is neither base64 nor a blank.
    pub(super) fn decode(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let mut clean = true;
        for &byte in line {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    self.flush(out);
                    continue;
                }
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                _ => {
                    clean = false;
                    continue;
                }
            };
            self.bits = (self.bits << 6) | u32::from(value);
            self.letters += 1;
            if self.letters == 4 {
                let [_, a, b, c] = self.bits.to_be_bytes();
                out.extend_from_slice(&[a, b, c]);
                self.letters = 0;
                self.bits = 0;
            }
        }
        clean
    }

    /// Ends a group that is not complete: the bytes that it holds for certain.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let [_, a, b, _] = (self.bits << (6 * u32::from(4 - self.letters.min(4)))).to_be_bytes();
        match self.letters {
            2 => out.push(a),
            3 => out.extend_from_slice(&[a, b]),
            _ => {}
        }
        self.letters = 0;
        self.bits = 0;
    }
}

/// Decodes a line of quoted-printable with its end. `false`: a "=" is not followed by two hexadecimal digits.
pub(super) fn quoted_printable(text: &[u8], full: &[u8], out: &mut Vec<u8>) -> bool {
    let mut clean = true;
    // Blanks at the end of a line were added on the way (RFC 2045, 6.7, rule 3).
    let text_end = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
    let mut rest = text.get(..text_end).unwrap_or(text);
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (before, coded) = rest.split_at(at);
        out.extend_from_slice(before);
        match coded {
            // A "=" at the end joins the line with the next one.
            [_] => return clean,
            [_, high, low, behind @ ..] => {
                match (digit(*high), digit(*low)) {
                    (Some(high), Some(low)) => out.push(high << 4 | low),
                    _ => clean = false,
                }
                rest = behind;
            }
            _ => {
                clean = false;
                rest = &[];
            }
        }
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(full.get(text.len()..).unwrap_or_default());
    clean
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Uuencoded bytes within lines of something else.
#[derive(Debug, Default)]
pub(super) struct Uuencode {
    within: bool,
}

impl Uuencode {
    /// Between "begin" and "end".
    pub(super) fn is_within(&self) -> bool {
        self.within
    }

    /// Decodes a line, where it is one of those between "begin 644 name" and "end". What a line lacks of its length counts
    /// as blanks, which some mail programs cut off.
    pub(super) fn line(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if !self.within {
            self.within = is_beginning(text);
            return;
        }
        let Some((&length, coded)) = text.split_first().filter(|_| text != b"end") else {
            self.within = !text.is_empty() && text != b"end";
            return;
        };
        let value = |byte: u8| u32::from(byte.wrapping_sub(b' ') & 63);
        let from = out.len();
        let length = value(length) as usize;
        for nth in 0..length.div_ceil(3) {
            let letter = |at: usize| value(coded.get(4 * nth + at).copied().unwrap_or(b' '));
            let [_, a, b, c] = (letter(0) << 18 | letter(1) << 12 | letter(2) << 6 | letter(3)).to_be_bytes();
            out.extend_from_slice(&[a, b, c]);
        }
        out.truncate(from + length);
    }
}

/// "begin", three or four octal digits, a name.
fn is_beginning(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"begin ") else { return false };
    let digits = rest.iter().take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    (3..=4).contains(&digits) && rest.get(digits) == Some(&b' ')
}
