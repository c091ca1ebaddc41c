//! Characters beyond ASCII as servers read them that know only bytes: the nearest character of Windows' code page 1252
//! (bestfit1252, published by the Unicode consortium), as far as that is one of ASCII.

/// What stands for a character with no near one, and for bytes that are no character.
const NONE: u8 = b'?';

/// Characters in a row, from the first one's number on.
const ROWS: &[(u32, &str)] = &[
    (
        0x0100,
        "AaAaAaCcCcCcCcDd?dEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi??JjKk?LlLlLl??LlNnNnNn???OoOoOo??RrRrRrSsSsSs??TtTtTtUuUuUuUuUuUuWwYy?Z?Zz???b",
    ),
    (0x0197, "I??l????OOo?????????t??TUu?????z?????????|??!"),
    (0x01cd, "AaIiOoUuUuUuUuUu?Aa????GgGgKkOoOo??j"),
    (0x0261, "g"),
    (0x02b9, "'\"?'???????^???'??`?_"),
    (0x0300, "`?^~??????????\""),
    (0x0331, "__"),
    (0x037e, ";"),
    (0x0393, "G????T??????????S??F??O???????a??de??????????p??st?f"),
    (0x04bb, "h"),
    (0x0589, ":"),
    (0x066a, "%"),
    (0x2000, "       "),
    (0x2010, "--?????="),
    (0x2032, "'??`"),
    (0x2044, "/"),
    (0x2074, "45678??????n0123456789"),
    (0x20a7, "P"),
    (0x2102, "C????E??gHHHh?IILl?N??PPQRRR??????Z???Z?K?BCeeEF?Mo"),
    (0x2212, "-??/\\*??v???8????|?????n????????????:?????~"),
    (0x2261, "=??=="),
    (0x2303, "^"),
    (0x2320, "()???????<>"),
    (0x2500, "-"),
    (0x250c, "+???+???+???+???+???????????????-???????-???????+"),
    (0x2550, "-?++++++++++++??????------+++"),
    (0x2584, "_"),
    (0x2758, "|"),
    (0x3000, " ???????<>????????????????[]"),
];

/// The byte for a character beyond U+00FF.
pub fn byte(character: u32) -> u8 {
    // Full width forms.
    if (0xff01..=0xff5e).contains(&character) {
        return u8::try_from(character - 0xfee0).unwrap_or(NONE);
    }
    let row = ROWS.partition_point(|&(first, _)| first <= character).checked_sub(1).and_then(|row| ROWS.get(row));
    row.and_then(|&(first, text)| text.as_bytes().get(usize::try_from(character - first).ok()?))
        .copied()
        .unwrap_or(NONE)
}

/// Adds bytes for the characters of UTF-8, longer forms than needed included.
pub fn narrow(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let more = match first {
            0..=0x7f => {
                out.push(first);
                continue;
            }
            0xc0..=0xdf => 1,
            0xe0..=0xef => 2,
            0xf0..=0xf4 => 3,
            _ => 0,
        };
        let tail = rest.iter().take(more).take_while(|&&byte| byte & 0xc0 == 0x80).count();
        let (tail, after) = rest.split_at_checked(tail).unwrap_or((rest, &[]));
        let lead = u32::from(first & (0x7f >> (more + 1)));
        let character = tail.iter().fold(lead, |character, &byte| character << 6 | u32::from(byte & 0x3f));
        // No character: surrogates, and what lies beyond the last one, are none from their second byte on.
        let none =
            matches!(first, 0xed if tail.first() > Some(&0x9f)) || matches!(first, 0xf4 if tail.first() > Some(&0x8f));
        if more == 0 || none {
            out.push(NONE);
            continue;
        }
        if tail.len() < more {
            // At the end each byte that is there stands for one; elsewhere they are one.
            let times = if after.is_empty() { tail.len() } else { 1 };
            out.extend(std::iter::repeat_n(NONE, times));
        } else {
            out.push(u8::try_from(character).unwrap_or_else(|_| byte(character)));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        narrow(bytes, &mut out);
        out.iter().map(|&byte| char::from(byte)).collect()
    }

    #[test]
    fn rows_are_in_order_and_apart() {
        for pair in ROWS.windows(2) {
            assert!(pair[0].0 + pair[0].1.len() as u32 <= pair[1].0, "{:x}", pair[1].0);
        }
        assert!(ROWS.iter().all(|(_, text)| text.is_ascii()));
    }

    #[test]
    fn characters_are_told_by_their_nearest() {
        let near = |character: char| char::from(byte(character as u32));
        for (character, expected) in [
            ('\u{100}', 'A'),
            ('\u{142}', 'l'),
            ('\u{2215}', '/'),
            ('\u{ff1c}', '<'),
            ('\u{ff5e}', '~'),
            ('\u{3bb}', '?'),
            ('\u{20ac}', '?'),
        ] {
            assert_eq!(near(character), expected, "{character}");
        }
    }

    #[test]
    fn broken_characters_are_replaced() {
        for (bytes, expected) in [
            (&b"\xf1.\xf1\xef\xbd\x9dabcd"[..], "?.?}abcd"),
            (b"\xf0\x90\x8d\xff", "??"),
            (b"\xe2\x82", "?"),
            (b"\xc2\xff\xf0", "??"),
            (b"\xf0\x90\x28\xbc", "?(?"),
            (b"\xc3\xa4\xc0\xaf\xe0\x80\xae", "\u{e4}/."),
            (b"\xff\xfe", "??"),
        ] {
            assert_eq!(narrowed(bytes), expected, "{bytes:x?}");
        }
    }
}
