//! Mail: SMTP, POP3 and IMAP, attachments and text in every coding.

use super::codings::*;
use super::*;

type Code = fn(&[u8]) -> Vec<u8>;

/// What follows the last empty line of headers.
fn behind_headers(bytes: &[u8]) -> &[u8] {
    let at = bytes.windows(4).rposition(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    &bytes[at..]
}

/// Mails that carry a file, and how it is read from what follows their last headers.
fn mails() -> Vec<(&'static str, Knows, Code, Code)> {
    fn part(head: &str, coded: &[u8]) -> Vec<u8> {
        let coded = coded.strip_suffix(b"\r\n").unwrap_or(coded);
        let outer = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=YY\r\n\r\n--YY\r\n";
        [outer, head.as_bytes(), b"\r\n\r\n", coded, b"\r\n--YY--\r\n"].concat()
    }
    const NAMED: &str = "Content-Type: a/b; name=a.com\r\nContent-Transfer-Encoding: ";
    vec![
        ("base64", Knows::Whole, |file| part(&format!("{NAMED}base64"), &base64(file)), unbase64),
        ("quoted-printable", Knows::Parts, |file| part(&format!("{NAMED}quoted-printable"), &quoted(file)), unquoted),
        ("7bit", Knows::Whole, |file| part(&format!("{NAMED}7bit"), file), <[u8]>::to_vec),
        ("x-uuencode", Knows::Whole, |file| part(&format!("{NAMED}x-uuencode"), &uuencoded(file)), unuuencoded),
        (
            "base64 of a gzip",
            Knows::Whole,
            |file| part(&format!("{NAMED}base64"), &base64(&gzip(file))),
            |bytes| ungzip(&unbase64(bytes)),
        ),
        (
            "base64 without a name",
            Knows::Whole,
            |file| part("Content-Transfer-Encoding: base64", &base64(file)),
            unbase64,
        ),
        (
            "base64 of all",
            Knows::Whole,
            |file| [b"Content-Transfer-Encoding: base64\r\n\r\n", &base64(file)[..]].concat(),
            unbase64,
        ),
        ("uuencoded in text", Knows::Whole, |file| [b"Subject: s\r\n\r\n", &uuencoded(file)[..]].concat(), unuuencoded),
        ("text", Knows::Parts, |file| [b"Subject: s\r\n\r\n", file, b"\r\n"].concat(), <[u8]>::to_vec),
        (
            "a mail in a mail",
            Knows::Whole,
            |file| {
                let inner = part(&format!("{NAMED}base64"), &base64(file));
                let outer =
                    b"Content-Type: multipart/mixed; boundary=ZZ\r\n\r\n--ZZ\r\nContent-Type: message/rfc822\r\n\r\n";
                [&outer[..], &inner, b"--ZZ--\r\n"].concat()
            },
            unbase64,
        ),
    ]
}

fn carrier(name: &str, port: u16, turns: Vec<Turn>, said: Vec<u8>, undo: Code) -> Carrier {
    Carrier {
        name: name.to_owned(),
        lines: match port {
            25 => |n| vec![Line { opener: A, source: 2000 + n, port: 25 }],
            110 => |n| vec![Line { opener: A, source: 2000 + n, port: 110 }],
            _ => |n| vec![Line { opener: A, source: 2000 + n, port: 143 }],
        },
        turns,
        asks: false,
        said,
        until: Until::Message,
        closes: false,
        undo: Box::new(move |bytes| undo(behind_headers(bytes))),
    }
}

fn greeted() -> Vec<Turn> {
    let mut turns = vec![turn(false, "220 mx ESMTP\r\n")];
    for (ask, answer) in [
        ("EHLO a\r\n", "250-mx\r\n250 CHUNKING\r\n"),
        ("MAIL FROM:<a@a>\r\n", "250 ok\r\n"),
        ("RCPT TO:<b@b>\r\n", "250 ok\r\n"),
    ] {
        turns.extend([turn(true, ask), turn(false, answer)]);
    }
    turns
}

#[test]
fn smtp() {
    for (name, knows, mail, undo) in mails() {
        check(knows, |file| {
            let turns = [greeted(), vec![turn(true, "DATA\r\n"), turn(false, "354 go\r\n")]].concat();
            let said = [&mail(file)[..], b".\r\n"].concat();
            Carrier { asks: true, ..carrier(&format!("SMTP, {name}"), 25, turns, said, undo) }
        });
    }
}

#[test]
fn smtp_in_chunks() {
    let (_, knows, mail, undo) = mails().remove(0);
    check(knows, |file| {
        let mail = mail(file);
        let said = [format!("BDAT {} LAST\r\n", mail.len()).as_bytes(), &mail].concat();
        Carrier { asks: true, ..carrier("SMTP, BDAT", 25, greeted(), said, undo) }
    });
}

#[test]
fn pop3() {
    for (name, knows, mail, undo) in mails() {
        for ask in ["RETR 1\r\n", "TOP 1 9999\r\n"] {
            check(knows, |file| {
                let mut turns = vec![turn(false, "+OK ready\r\n")];
                for (ask, answer) in [("USER a\r\n", "+OK\r\n"), ("PASS b\r\n", "+OK\r\n")] {
                    turns.extend([turn(true, ask), turn(false, answer)]);
                }
                turns.push(turn(true, ask));
                let said = [b"+OK\r\n", &mail(file)[..], b".\r\n"].concat();
                carrier(&format!("POP3 {ask}, {name}"), 110, turns, said, undo)
            });
            if name != "base64" {
                break;
            }
        }
    }
}

fn logged_in(fetch: &str) -> Vec<Turn> {
    vec![
        turn(false, "* OK IMAP4rev1 ready\r\n"),
        turn(true, "a1 LOGIN a b\r\n"),
        turn(false, "a1 OK done\r\n"),
        turn(true, fetch),
    ]
}

#[test]
fn imap() {
    for (name, knows, mail, undo) in mails() {
        check(knows, |file| {
            let mail = mail(file);
            let head = format!("* 1 FETCH (BODY[] {{{}}}\r\n", mail.len());
            let said = [head.as_bytes(), &mail].concat();
            carrier(&format!("IMAP, {name}"), 143, logged_in("a2 FETCH 1 BODY[]\r\n"), said, undo)
        });
    }
}

#[test]
fn imap_parts_and_uploads() {
    let parts: [(&str, Code, Code); 4] = [
        ("BODY[2]", base64, unbase64),
        ("BODY[2]", quoted, unquoted),
        ("BINARY[2]", <[u8]>::to_vec, <[u8]>::to_vec),
        ("BODY[TEXT]", uuencoded, unuuencoded),
    ];
    for (section, code, undo) in parts {
        check(Knows::Parts, |file| {
            let coded = code(file);
            let head = format!("* 1 FETCH (UID 7 BODY[1] {{2}}\r\nhi {section} {{{}}}\r\n", coded.len());
            let (from, length) = (head.len(), coded.len());
            Carrier {
                undo: Box::new(move |bytes| undo(bytes.get(from..bytes.len().min(from + length)).unwrap_or_default())),
                said: [head.as_bytes(), &coded].concat(),
                ..carrier(&format!("IMAP {section}"), 143, logged_in("a2 FETCH 1 (BODY[1] BODY[2])\r\n"), vec![], undo)
            }
        });
    }
    let (_, knows, mail, undo) = mails().remove(0);
    check(knows, |file| {
        let mail = mail(file);
        let turns =
            [logged_in(&format!("a2 APPEND box {{{}}}\r\n", mail.len())), vec![turn(false, "+ go\r\n")]].concat();
        Carrier { asks: true, ..carrier("IMAP, APPEND", 143, turns, mail, undo) }
    });
}
