//! Codings and containers that files travel in, and how an application undoes the beginning of one.

use std::io::Write;

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Undoes deflate as far as it goes.
fn inflate(bytes: &[u8], zlib: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 << 10);
    // An end that is missing is what is asked about.
    let _status = flate2::Decompress::new(zlib).decompress_vec(bytes, &mut out, flate2::FlushDecompress::Sync);
    out
}

pub fn ungzip(bytes: &[u8]) -> Vec<u8> {
    inflate(bytes.get(10..).unwrap_or_default(), false)
}

pub fn unzlib(bytes: &[u8]) -> Vec<u8> {
    inflate(bytes, true)
}

pub fn undeflate(bytes: &[u8]) -> Vec<u8> {
    inflate(bytes, false)
}

/// Brotli (RFC 7932, 9.2): one meta-block as it stands, then an empty last one.
pub fn brotli(bytes: &[u8]) -> Vec<u8> {
    let head = ((bytes.len() as u32 - 1) << 4 | 1 << 20).to_le_bytes();
    [&head[..3], bytes, &[3]].concat()
}

pub fn unbrotli(bytes: &[u8]) -> Vec<u8> {
    bytes.get(3..).unwrap_or_default().to_vec()
}

pub fn chunked(bytes: &[u8]) -> Vec<u8> {
    let chunks =
        bytes.chunks(13).flat_map(|chunk| [format!("{:x};e=1\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    chunks.chain(b"0\r\n\r\n".iter().copied()).collect()
}

pub fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let digits: String = bytes[..end].iter().map(|&b| char::from(b)).take_while(char::is_ascii_hexdigit).collect();
        let length = usize::from_str_radix(&digits, 16).unwrap();
        let rest = &bytes[end + 2..];
        out.extend_from_slice(&rest[..length.min(rest.len())]);
        bytes = rest.get(length + 2..).unwrap_or_default();
    }
    out
}

pub fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let word = three.iter().fold(0u32, |word, &b| word << 8 | u32::from(b)) << (8 * (3 - three.len()));
        let letter = |n| if n <= three.len() { DIGITS[(word >> (18 - 6 * n)) as usize & 63] } else { b'=' };
        (0..4).map(letter).collect::<Vec<u8>>()
    };
    let digits: Vec<u8> = bytes.chunks(3).flat_map(four).collect();
    digits.chunks(40).flat_map(|line| [line, b"\r\n"].concat()).collect()
}

pub fn unbase64(text: &[u8]) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let coded = text.iter().take_while(|&&byte| byte != b'-' && byte != b')' && byte != b'.');
    let bits: Vec<u8> = coded.filter_map(|&byte| value(byte)).collect();
    let four = |four: &[u8]| {
        let word = four.iter().fold(0u32, |word, &b| word << 6 | u32::from(b)) << (6 * (4 - four.len()));
        word.to_be_bytes()[1..four.len().max(1)].to_vec()
    };
    bits.chunks(4).flat_map(four).collect()
}

pub fn quoted(bytes: &[u8]) -> Vec<u8> {
    let coded: Vec<String> = bytes.iter().map(|byte| format!("={byte:02X}")).collect();
    let lines: Vec<String> = coded.chunks(20).map(<[String]>::concat).collect();
    [lines.join("=\r\n").as_bytes(), b"\r\n"].concat()
}

pub fn unquoted(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let escapes = text.windows(3).filter(|three| three[0] == b'=');
    escapes.filter_map(|three| Some((digit(three[1])? * 16 + digit(three[2])?) as u8)).collect()
}

pub fn uuencoded(bytes: &[u8]) -> Vec<u8> {
    let letter = |value: u32| if value == 0 { b'`' } else { b' ' + value as u8 };
    let mut out = b"begin 644 a.com\r\n".to_vec();
    for line in bytes.chunks(45) {
        out.push(letter(line.len() as u32));
        for three in line.chunks(3) {
            let word = three.iter().fold(0u32, |word, &b| word << 8 | u32::from(b)) << (8 * (3 - three.len()));
            out.extend((0..4).map(|n| letter(word >> (18 - 6 * n) & 63)));
        }
        out.extend_from_slice(b"\r\n");
    }
    [&out[..], b"`\r\nend\r\n"].concat()
}

pub fn unuuencoded(text: &[u8]) -> Vec<u8> {
    let lines = text.split(|&b| b == b'\n').skip_while(|line| !line.starts_with(b"begin ")).skip(1);
    let value = |byte: &u8| u32::from(byte.wrapping_sub(b' ') & 63);
    let line = |line: &[u8]| {
        let four = |four: &[u8]| {
            let word = four.iter().map(value).fold(0, |word, v| word << 6 | v) << (6 * (4 - four.len()));
            word.to_be_bytes()[1..].to_vec()
        };
        let bytes: Vec<u8> = line.get(1..).unwrap_or_default().chunks(4).flat_map(four).collect();
        let length = line.first().map_or(0, value) as usize;
        bytes.into_iter().take(length).collect::<Vec<u8>>()
    };
    lines.flat_map(line).collect()
}

/// A zip of one member, deflated, with its length behind it.
pub fn zip_deflated(bytes: &[u8]) -> Vec<u8> {
    let packed = deflate(bytes);
    let mut out = b"PK\x03\x04\x14\0\x08\0\x08\0".to_vec();
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(b"\x05\0\0\0a.com");
    out.extend_from_slice(&packed);
    out.extend_from_slice(b"PK\x07\x08\0\0\0\0");
    [packed.len(), bytes.len()].iter().for_each(|n| out.extend_from_slice(&(*n as u32).to_le_bytes()));
    [&out[..], b"PK\x01\x02"].concat()
}

pub fn unzip_deflated(bytes: &[u8]) -> Vec<u8> {
    undeflate(bytes.get(35..).unwrap_or_default())
}

/// A zip of one member as it stands.
pub fn zip_stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    [bytes.len(), bytes.len()].iter().for_each(|n| out.extend_from_slice(&(*n as u32).to_le_bytes()));
    out.extend_from_slice(b"\x05\0\0\0a.com");
    [&out[..], bytes, b"PK\x01\x02"].concat()
}

pub fn unzip_stored(bytes: &[u8]) -> Vec<u8> {
    bytes.get(35..).unwrap_or_default().to_vec()
}

pub fn tar(bytes: &[u8]) -> Vec<u8> {
    let mut head = [0u8; 512];
    head[..5].copy_from_slice(b"a.com");
    head[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
    head[156] = b'0';
    head[257..262].copy_from_slice(b"ustar");
    let padding = vec![0; (512 - bytes.len() % 512) % 512];
    [&head[..], bytes, &padding].concat()
}

pub fn untar(bytes: &[u8]) -> Vec<u8> {
    bytes.get(512..).unwrap_or_default().to_vec()
}
