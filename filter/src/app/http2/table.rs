//! The two tables of HPACK (RFC 7541): its static headers (appendix A) and its Huffman code (appendix B).

/// The static table; index 1 stands first.
pub const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Lengths in bits of the code words of the 256 bytes and of the end. The code is canonical: words of one length are in
/// the order of their symbols, so that the lengths say all.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// Longest code word.
const LONGEST: usize = 30;

/// Symbol that ends a text; it must not occur in one.
const END: u16 = 256;

/// By length: the first code word, how many there are, and the place of their symbols in `symbols`.
struct Code {
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    place: [u32; LONGEST + 1],
    symbols: [u16; 257],
}

const fn code() -> Code {
    let mut code =
        Code { first: [0; LONGEST + 1], count: [0; LONGEST + 1], place: [0; LONGEST + 1], symbols: [0; 257] };
    let (mut length, mut word, mut place) = (1, 0u32, 0usize);
    while length <= LONGEST {
        word <<= 1;
        code.first[length] = word;
        code.place[length] = place as u32;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place] = symbol as u16;
                place += 1;
                word += 1;
                code.count[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

static CODE: Code = code();

/// Appends what coded bytes say, up to `limit` bytes. `None`: they are no code.
pub fn decode(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Option<()> {
    let (mut word, mut length, mut ones) = (0u32, 0usize, true);
    let end = out.len().saturating_add(limit);
    for bit in bytes.iter().flat_map(|&byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        word = word << 1 | bit;
        ones &= bit == 1;
        length += 1;
        let (first, count) = (*CODE.first.get(length)?, *CODE.count.get(length)?);
        let Some(nth) = word.checked_sub(first).filter(|&nth| nth < count) else { continue };
        let place = *CODE.place.get(length)?;
        let symbol = *CODE.symbols.get((place + nth) as usize)?;
        if symbol == END {
            return None;
        }
        if out.len() < end {
            out.push(symbol as u8);
        }
        (word, length, ones) = (0, 0, true);
    }
    // What is left is padding: at most seven bits, all set.
    (length < 8 && ones).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_standard_are_decoded() {
        // RFC 7541, C.4.1 and C.6.1.
        let mut out = Vec::new();
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        decode(&coded, 100, &mut out).unwrap();
        assert_eq!(out, b"www.example.com");
        out.clear();
        decode(&[0xae, 0xc3, 0x77, 0x1a, 0x4b], 100, &mut out).unwrap();
        assert_eq!(out, b"private");
    }

    #[test]
    fn bad_padding_and_the_end_are_refused() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff], 10, &mut Vec::new()), None);
        assert_eq!(decode(&[0x00], 10, &mut Vec::new()), None);
        assert_eq!(decode(&[], 10, &mut Vec::new()), Some(()));
    }
}
