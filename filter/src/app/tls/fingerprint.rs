//! Fingerprints of hellos: JA3, JA3S (Salesforce) and JA4 (FoxIO, the part under BSD licence).

use std::fmt::Write;

use md5::{Digest, Md5};
use sha2::Sha256;

use super::hello::{Hello, extension, is_grease};

/// What carries the hello: the first letter of JA4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TLS over TCP.
    Tcp,
    /// QUIC.
    Quic,
}

fn list<T: Into<u16> + Copy>(out: &mut String, values: &[T]) {
    let mut first = true;
    for value in values.iter().map(|&value| value.into()).filter(|&value| !is_grease(value)) {
        if !std::mem::take(&mut first) {
            out.push('-');
        }
        decimal(out, value);
    }
}

/// Appends a number. A hello has some hundred of them.
fn decimal(out: &mut String, value: u16) {
    let digits = value.checked_ilog10().unwrap_or(0);
    for place in (0..=digits).rev() {
        out.push(char::from(b'0' + (value / 10_u16.pow(place) % 10) as u8));
    }
}

/// Room for the numbers of a hello.
fn room(hello: &Hello) -> String {
    let numbers = hello.ciphers.len() + hello.extensions.len() + hello.groups.len() + hello.point_formats.len();
    String::with_capacity(16 + 6 * numbers)
}

/// JA3 of a ClientHello: version, ciphers, extensions, curves, point formats.
pub fn ja3(hello: &Hello) -> String {
    let mut out = room(hello);
    decimal(&mut out, hello.legacy_version);
    out.push(',');
    list(&mut out, &hello.ciphers);
    out.push(',');
    list(&mut out, &hello.extensions);
    out.push(',');
    list(&mut out, &hello.groups);
    out.push(',');
    list(&mut out, &hello.point_formats);
    out
}

/// JA3S of a ServerHello: version, cipher, extensions.
pub fn ja3s(hello: &Hello) -> String {
    let mut out = room(hello);
    decimal(&mut out, hello.legacy_version);
    out.push(',');
    list(&mut out, &hello.ciphers);
    out.push(',');
    list(&mut out, &hello.extensions);
    out
}

/// MD5 in lower-case hexadecimal.
pub fn md5_hex(text: &[u8]) -> String {
    hex(&Md5::digest(text))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// JA4 of a ClientHello.
pub fn ja4(hello: &Hello, carrier: Carrier) -> String {
    let ciphers: Vec<u16> = hello.ciphers.iter().copied().filter(|&value| !is_grease(value)).collect();
    let extensions: Vec<u16> = hello.extensions.iter().copied().filter(|&value| !is_grease(value)).collect();
    let carrier = match carrier {
        Carrier::Tcp => 't',
        Carrier::Quic => 'q',
    };
    let name = if extensions.contains(&extension::SERVER_NAME) { 'd' } else { 'i' };
    let (first, last) = alpn_ends(hello.alpns.first().map(Vec::as_slice).unwrap_or_default());
    let mut out = String::new();
    let version = version(hello.version);
    let (suites, exts) = (ciphers.len().min(99), extensions.len().min(99));
    let _ = write!(out, "{carrier}{version}{name}{suites:02}{exts:02}{first}{last}");
    let signatures: Vec<u16> = hello.signatures.iter().copied().filter(|&value| !is_grease(value)).collect();
    let told = |&value: &u16| value != extension::SERVER_NAME && value != extension::ALPN;
    let mut part = sorted(ciphers);
    let _ = write!(out, "_{}", cut_hash(&part));
    part = sorted(extensions.into_iter().filter(told).collect());
    if !signatures.is_empty() {
        part.push('_');
        part.push_str(&joined(&signatures));
    }
    let _ = write!(out, "_{}", cut_hash(&part));
    out
}

fn version(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        0xfeff => "d1",
        0xfefd => "d2",
        0xfefc => "d3",
        _ => "00",
    }
}

/// First and last character of a protocol's name; of its hexadecimal form where one is no letter or digit.
fn alpn_ends(name: &[u8]) -> (char, char) {
    let (Some(&first), Some(&last)) = (name.first(), name.last()) else { return ('0', '0') };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return (char::from(first), char::from(last));
    }
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    (digit(first >> 4), digit(last & 0xf))
}

fn sorted(mut values: Vec<u16>) -> String {
    values.sort_unstable();
    joined(&values)
}

fn joined(values: &[u16]) -> String {
    let mut out = String::new();
    for (nth, value) in values.iter().enumerate() {
        let comma = if nth > 0 { "," } else { "" };
        let _ = write!(out, "{comma}{value:04x}");
    }
    out
}

/// Twelve digits of SHA-256; zeros for nothing.
fn cut_hash(text: &str) -> String {
    if text.is_empty() {
        return "000000000000".to_owned();
    }
    let mut digits = hex(&Sha256::digest(text.as_bytes()));
    digits.truncate(12);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            legacy_version: 771,
            version: 0x0304,
            ciphers: vec![0x0a0a, 0x1301, 0xc02b],
            extensions: vec![0x1a1a, 0, 23, 16, 13, 43],
            groups: vec![0x2a2a, 29, 23],
            point_formats: vec![0],
            signatures: vec![0x0403, 0x0804],
            alpns: vec![b"h2".to_vec()],
            ..Hello::default()
        }
    }

    #[test]
    fn grease_is_left_out() {
        assert_eq!(ja3(&hello()), "771,4865-49195,0-23-16-13-43,29-23,0");
        assert!(is_grease(0xfafa) && !is_grease(0xfa0a) && !is_grease(0x1301));
    }

    #[test]
    fn ja4_counts_and_hashes_sorted_lists() {
        let expected = format!("t13d0205h2_{}_{}", cut_hash("1301,c02b"), cut_hash("000d,0017,002b_0403,0804"));
        assert_eq!(ja4(&hello(), Carrier::Tcp), expected);
        let empty = Hello { version: 0x0303, ..Hello::default() };
        assert_eq!(ja4(&empty, Carrier::Quic), "q12i000000_000000000000_000000000000");
    }

    #[test]
    fn an_odd_protocol_name_is_shown_in_hexadecimal() {
        assert_eq!(alpn_ends(b"\xab\xcd"), ('a', 'd'));
        assert_eq!(alpn_ends(b"http/1.1"), ('h', '1'));
        assert_eq!(alpn_ends(b""), ('0', '0'));
    }
}
