//! Base64, as strictly as the rule says (RFC 4648, RFC 2045).

use weir_ids_rules::rule::Base64Mode;

/// Adds to `out` what `text`, or its first `most` bytes, stands for. Where the text is not what the mode asks for,
/// nothing is added in the strict mode; in the others decoding ends there, and what came before counts.
pub fn decode(text: &[u8], most: Option<u32>, mode: Base64Mode, out: &mut Vec<u8>) {
    let begin = out.len();
    let text = text.get(..text.len().min(most.map_or(usize::MAX, |n| n as usize))).unwrap_or(text);
    let (mut held, mut bits, mut digits, mut padding) = (0u32, 0u32, 0usize, 0usize);
    for &byte in text {
        match (value(byte), mode) {
            (Some(value), _) if padding == 0 => {
                held = (held << 6 | value) & 0xff_ffff;
                bits += 6;
                digits += 1;
                if bits >= 8 {
                    bits -= 8;
                    out.push((held >> bits & 0xff) as u8);
                }
            }
            // Behind the padding a new text may begin in mail bodies only; here it ends.
            (Some(_), Base64Mode::Strict) => return out.truncate(begin),
            (Some(_), _) => break,
            (None, _) if byte == b'=' => padding += 1,
            (None, Base64Mode::Rfc2045) => {}
            (None, Base64Mode::Rfc4648) => break,
            (None, Base64Mode::Strict) => return out.truncate(begin),
        }
    }
    if mode == Base64Mode::Strict && !(digits + padding).is_multiple_of(4) {
        out.truncate(begin);
    }
}

fn value(byte: u8) -> Option<u32> {
    Some(
        match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        }
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, most: Option<u32>, mode: Base64Mode, expected: &str) {
        let mut out = Vec::new();
        decode(text.as_bytes(), most, mode, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn each_mode_reads_as_strictly_as_it_says() {
        use Base64Mode::{Rfc2045, Rfc4648, Strict};
        check("Zm9vYmFy", None, Rfc4648, "foobar");
        check("Zm9vYmE=", None, Rfc4648, "fooba");
        check("Zm 9v Ym Fy", None, Rfc2045, "foobar");
        check("Zm 9v Ym Fy", None, Strict, "");
        check("Zm9vYmFy", Some(4), Rfc4648, "foo");
        check("Zm9v;YmFy", None, Rfc4648, "foo");
        check("Zm9vYg", None, Strict, "");
        check("", None, Strict, "");
    }
}
