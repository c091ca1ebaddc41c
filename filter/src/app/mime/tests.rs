use super::*;

/// Reads a message; what came out, as text.
fn read(message: &str, choices: &Choices) -> (Message, String) {
    let mut state = Message::default();
    let mut out = String::new();
    let mut sink = |piece: Piece<'_>| match piece {
        Piece::Open(name) => out.push_str(&format!("<{}>", String::from_utf8_lossy(name))),
        Piece::Data(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Piece::Close => out.push_str("</>"),
        Piece::Loose(name, bytes) => {
            out.push_str(&format!("({}:{})", name.split_at(4).0.escape_ascii(), String::from_utf8_lossy(bytes)))
        }
        Piece::LooseEnd(_) => {}
        Piece::Warn(warning) => out.push_str(&format!("[{warning:?}]")),
    };
    for full in message.split_inclusive('\n') {
        let text = full.trim_end_matches(['\r', '\n']);
        state.line(text.as_bytes(), full.as_bytes(), choices, &mut sink);
    }
    state.end(choices, &mut sink);
    (state, out)
}

fn pieces(message: &str) -> String {
    read(message, &Choices::default()).1
}

const PARTS: &str = "From: a <a@x>\r\nTo: \"b, c\" <b@x>, d@x\r\nSubject: one\r\n two\r\n\
    Content-Type: multipart/mixed; boundary=\"ZZ\"\r\n\r\npreamble\r\n\
    --ZZ\r\nContent-Type: text/plain\r\n\r\nsee http://host/path end\r\n\
    --ZZ\r\nContent-Disposition: attachment; filename=\"a.txt\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    aGVs\r\nbG8=\r\n--ZZ\r\nContent-Type: text/x; name=b.txt\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    a=3Db=\r\nc\r\n--ZZ\r\nContent-Disposition: attachment; filename*0=\"c.\"; filename*1=bin\r\n\r\nx\r\ny\r\n--ZZ--\r\n";

#[test]
fn parts_with_names_are_files_and_are_decoded() {
    assert_eq!(pieces(PARTS), "<a.txt>hello</><b.txt>a=bc\r\n</><c.bin>x\r\ny</>");
}

#[test]
fn headers_are_unfolded_and_addresses_split() {
    let (message, _) = read(PARTS, &Choices::default());
    assert_eq!(message.value(b"subject", 0), Some(&b"onetwo"[..]));
    let to = message.value(b"to", 0).unwrap();
    let list: Vec<_> = split_addresses(to).collect();
    assert_eq!(list, [&b"\"b, c\" <b@x>"[..], b"d@x"]);
    assert_eq!(message.attachments(), [b"a.txt".to_vec(), b"b.txt".to_vec(), b"c.bin".to_vec()]);
}

#[test]
fn what_names_no_type_is_text_with_links() {
    let plain = "Subject: x\r\n\r\nsee http://host/plain\r\n";
    let part = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee http://host/part\r\n--b--\r\n";
    let image = "Content-Type: image/png\r\n\r\nsee http://host/no\r\n";
    for (text, wanted) in [(plain, vec!["host/plain"]), (part, vec!["host/part"]), (image, vec![])] {
        let (message, _) = read(text, &Choices::default());
        let urls: Vec<_> = message.urls().iter().map(|url| String::from_utf8_lossy(url).into_owned()).collect();
        assert_eq!(urls, wanted, "{text}");
    }
}

#[test]
fn links_lose_their_beginning_unless_it_is_asked_for() {
    let (message, _) = read(PARTS, &Choices::default());
    assert_eq!(message.urls(), [b"host/path".to_vec()]);
    let (message, _) = read(PARTS, &Choices { keep_scheme: true, ..Choices::default() });
    assert_eq!(message.urls(), [b"http://host/path".to_vec()]);
}

#[test]
fn a_base64_line_may_end_within_a_group() {
    let text = "Content-Disposition: x; filename=f\r\nContent-Transfer-Encoding: BASE64\r\n\r\naG\r\nVsb\r\nG8\r\n";
    assert_eq!(pieces(text), "<f>hello</>");
}

#[test]
fn broken_codings_are_told() {
    let head = "Content-Disposition: x; filename=f\r\nContent-Transfer-Encoding: ";
    assert!(pieces(&format!("{head}base64\r\n\r\n!!!\r\n")).contains("[InvalidBase64]"));
    assert!(pieces(&format!("{head}quoted-printable\r\n\r\na=ZZb\r\n")).contains("[InvalidQuotedPrintable]"));
    assert!(pieces(&format!("{head}base64\r\n\r\n{}\r\n", "A".repeat(80))).contains("[LongCodedLine]"));
}

#[test]
fn long_things_are_told() {
    assert!(pieces(&format!("{}: x\r\n\r\n", "n".repeat(80))).contains("[LongHeaderName]"));
    assert!(pieces(&format!("a: {}\r\n\r\n", "v".repeat(2001))).contains("[LongHeaderValue]"));
    assert!(pieces(&format!("\r\n{}\r\n", "l".repeat(999))).contains("[LongLine]"));
    let name = format!("Content-Disposition: x; filename={}\r\n\r\n", "f".repeat(300));
    assert!(pieces(&name).contains("[LongFileName]"));
    let boundary = format!("Content-Type: multipart/mixed; boundary={}\r\n\r\n", "b".repeat(300));
    assert!(pieces(&boundary).contains("[LongBoundary][UnusableBoundary]"));
}

#[test]
fn a_message_in_a_message_gives_its_files() {
    let text = "Content-Type: multipart/mixed; boundary=A\r\n\r\n--A\r\nContent-Type: message/rfc822\r\n\r\n\
        Subject: inner\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n\
        --B\r\nContent-Disposition: x; filename=in\r\n\r\ndata\r\n--B--\r\n--A--\r\n";
    assert_eq!(pieces(text), "<in>data</>");
}

#[test]
fn the_hash_of_the_body_is_that_of_its_bytes() {
    let (message, _) = read("a: b\r\n\r\nabc", &Choices::default());
    let hash: [u8; 16] = Md5::digest(b"abc").into();
    assert_eq!(message.body_md5(), Some(hash));
}

#[test]
fn many_headers_and_parts_cost_bounded_memory() {
    let mut text = String::new();
    for n in 0..5000 {
        text.push_str(&format!("h{n}: {}\r\n", "x".repeat(50)));
    }
    text.push_str("\r\n");
    for n in 0..2000 {
        text.push_str(&format!("--x{n}\r\nhttp://h{n}/\r\n"));
    }
    let (message, _) = read(&text, &Choices::default());
    assert_eq!(message.headers().len(), HEADERS);
    assert!(message.urls().len() <= URLS);
}

fn loose(message: &str) -> String {
    read(message, &Choices { loose: true, ..Choices::default() }).1
}

#[test]
fn what_is_no_attachment_is_handed_on_decoded() {
    let coded = "Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n";
    assert_eq!(loose(coded), "(text:hel)(text:lo)");
    let quoted = "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db= \r\nc\r\n";
    assert_eq!(loose(quoted), "(text:a=b)(text:c\r\n)");
    let uu = "Subject: x\r\n\r\nsee\r\nbegin 644 f\r\n%:&5L;&\\\r\n`\r\nend\r\n";
    assert!(loose(uu).contains("(uuen:hello)"), "{}", loose(uu));
    assert_eq!(loose(PARTS).matches('<').count(), 6, "attachments are files as ever");
    assert_eq!(pieces(coded), "");
}

#[test]
fn an_outer_boundary_ends_the_parts_within() {
    let text = "Content-Type: multipart/mixed; boundary=A\r\n\r\n--A\r\n\
                Content-Type: multipart/mixed; boundary=B\r\n\r\nnever\r\n--A\r\n\
                Content-Type: a/b; name=f\r\n\r\nhello\r\n--A--\r\n";
    assert_eq!(pieces(text), "<f>hello</>");
}

#[test]
fn uuencoded_attachments_are_decoded() {
    let text =
        "Content-Type: a/b; name=f\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 f\r\n%:&5L;&\\\r\nend\r\n";
    assert_eq!(pieces(text), "<f>hello</>");
}

#[test]
fn pieces_of_a_long_line_are_one_line() {
    let head = b"Content-Type: a/b; name=f; boundary=B\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    let line = b"a=3Db--B=3D=3D";
    for cut in 1..line.len() - 1 {
        let mut message = Message::default();
        let (choices, mut out) = (Choices::default(), Vec::new());
        let mut sink = |piece: Piece<'_>| {
            if let Piece::Data(bytes) = piece {
                out.extend_from_slice(bytes);
            }
        };
        for full in head.split_inclusive(|&b| b == b'\n') {
            let text = full.strip_suffix(b"\r\n").unwrap();
            message.line(text, full, &choices, &mut sink);
        }
        // A line that is cut where it has no end; its second piece would be a boundary at the start of a line.
        let (first, second) = line.split_at(cut);
        message.line(first, first, &choices, &mut sink);
        message.line(second, second, &choices, &mut sink);
        message.end(&choices, &mut sink);
        assert_eq!(out, b"a=b--B==", "cut at {cut}");
    }
}

#[test]
fn parts_that_do_not_end_or_never_began_are_told_of() {
    let head = "From: a\r\nContent-Type: multipart/mixed; boundary=Q\r\n\r\n";
    let told = |body: &str| {
        let out = pieces(&format!("{head}{body}"));
        (out.contains("[OpenParts]"), out.contains("[UnusableBoundary]"))
    };
    assert_eq!(told("--Q\r\n\r\ntext\r\n--Q--\r\n"), (false, false));
    assert_eq!(told("--Q\r\n\r\ntext\r\n"), (true, false));
    assert_eq!(told("text\r\n"), (false, false), "no part began");
    assert_eq!(told("--Q--\r\ntext\r\n"), (false, true));
    let inner = "--Q\r\nContent-Type: multipart/mixed; boundary=R\r\n\r\n--R\r\n\r\ntext\r\n";
    assert_eq!(told(&format!("{inner}--R--\r\n--Q--\r\n")), (false, false));
    assert_eq!(told(&format!("{inner}--Q--\r\n")), (false, false), "the outer part ends the inner one");
    assert_eq!(told(inner), (true, false));
}
