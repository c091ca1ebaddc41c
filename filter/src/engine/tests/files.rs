//! The virus check in the path: no carrier brings an infected file to its end, however it is coded and cut.

use std::io::Write;
use std::sync::Arc;

use super::*;
use crate::scan::{self, Database};

const ASK: bool = true;
const TELL: bool = false;
const INFECTED: Fate = Err(DropReason::Virus);

/// The test file of anti-virus programs, put together so that this source is none.
fn eicar() -> Vec<u8> {
    [&b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR"[..], b"-STANDARD-ANTIVIRUS", b"-TEST-FILE!$H+H*"].concat()
}

fn checking(limits: scan::Limits) -> Spec {
    let database = Database::read([("own.ndb", "Own.Marker:0:*:6f776e2d??61726b6572\n")].into_iter());
    let policy = scan::Policy { database: Some(Arc::new(database)), limits, ..scan::Policy::default() };
    Spec { scan: Arc::new(policy), ..spec(Action::Allow, vec![]) }
}

/// A connection, its handshake done, and where its two sides stand.
struct Talk {
    world: World,
    port: u16,
    source: u16,
    at: [u32; 2],
}

impl Talk {
    fn new(spec: &Spec, port: u16) -> Talk {
        Talk::in_world(World::new(spec), 1000, port)
    }

    fn in_world(mut world: World, source: u16, port: u16) -> Talk {
        world.handshake(A, source, B, port).unwrap();
        Talk { world, port, source, at: [101, 501] }
    }

    /// One side says something in pieces of this size, and the other acknowledges each.
    fn say(&mut self, asks: bool, text: &[u8], size: usize) -> Fate {
        for piece in text.chunks(size.max(1)) {
            let [client, server] = self.at;
            let (source, port) = (self.source, self.port);
            let to_server = |seq, ack, data| seg(A4, source, B4, port, TCP_ACK, seq, ack, data);
            let to_client = |seq, ack, data| seg(B4, port, A4, source, TCP_ACK, seq, ack, data);
            if asks {
                self.world.send(&to_server(client, server, piece), A, B)?;
                self.at[0] += piece.len() as u32;
                self.world.send(&to_client(server, self.at[0], b""), B, A)?;
            } else {
                self.world.send(&to_client(server, client, piece), B, A)?;
                self.at[1] += piece.len() as u32;
                self.world.send(&to_server(client, self.at[1], b""), A, B)?;
            }
        }
        Ok(())
    }

    /// The server ends its side.
    fn end(&mut self) -> Fate {
        let [client, server] = self.at;
        self.world.send(&seg(B4, self.port, A4, self.source, TCP_ACK | TCP_FIN, server, client, b""), B, A)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn chunked(bytes: &[u8]) -> Vec<u8> {
    let chunks =
        bytes.chunks(13).flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    chunks.chain(b"0\r\n\r\n".iter().copied()).collect()
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let word = three.iter().fold(0u32, |word, &b| word << 8 | u32::from(b)) << (8 * (3 - three.len()));
        (0..4)
            .map(move |n| if n <= three.len() { DIGITS[(word >> (18 - 6 * n)) as usize & 63] } else { b'=' })
            .collect::<Vec<u8>>()
    };
    let digits: Vec<u8> = bytes.chunks(3).flat_map(four).collect();
    digits.chunks(76).flat_map(|line| [line, b"\r\n"].concat()).collect()
}

fn quoted(bytes: &[u8]) -> Vec<u8> {
    let coded: Vec<String> = bytes.iter().map(|byte| format!("={byte:02X}")).collect();
    coded.chunks(20).flat_map(|line| format!("{}=\r\n", line.concat()).into_bytes()).collect()
}

fn response(fields: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

const GET: &[u8] = b"GET /file.bin HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Bodies of HTTP that carry a file.
fn responses(file: &[u8]) -> Vec<Vec<u8>> {
    let whole = chunked(file);
    vec![
        response("", file),
        response("Content-Encoding: gzip\r\n", &gzip(file)),
        response("Content-Encoding: deflate\r\n", &deflate(file)),
        response("Content-Type: application/zip\r\n", &gzip(file)),
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &whole].concat(),
        response("Content-Range: bytes 100-999/2000\r\n", file),
    ]
}

#[test]
fn responses_of_http_are_stopped_in_every_coding_and_at_every_cut() {
    for (number, answer) in responses(&eicar()).iter().enumerate() {
        for size in (1..=answer.len()).step_by(3) {
            let mut talk = Talk::new(&checking(scan::Limits::default()), 80);
            talk.say(ASK, GET, 100).unwrap();
            assert_eq!(talk.say(TELL, answer, size), INFECTED, "response {number} in pieces of {size}");
            let heard = (talk.at[1] - 501) as usize;
            assert!(heard < answer.len(), "response {number} was delivered to its end");
            assert_eq!(talk.world.replies().len(), 2, "both sides are reset");
        }
    }
}

#[test]
fn a_clean_neighbour_and_a_clean_file_pass() {
    let mut clean = eicar();
    clean[10] ^= 1;
    for answer in responses(&clean) {
        let mut talk = Talk::new(&checking(scan::Limits::default()), 80);
        talk.say(ASK, GET, 100).unwrap();
        assert_eq!(talk.say(TELL, &answer, 37), Ok(()));
        // The same connection carries another file.
        talk.say(ASK, GET, 100).unwrap();
        assert_eq!(talk.say(TELL, &response("", &eicar()), 37), INFECTED);
    }
}

#[test]
fn bodies_that_end_with_the_connection_are_searched() {
    let mut talk = Talk::new(&checking(scan::Limits::default()), 80);
    talk.say(ASK, GET, 100).unwrap();
    let answer = [b"HTTP/1.0 200 OK\r\n\r\n".as_slice(), &eicar()].concat();
    assert_eq!(talk.say(TELL, &answer, 5), INFECTED);
    let mut talk = Talk::new(&checking(scan::Limits::default()), 80);
    talk.say(ASK, GET, 100).unwrap();
    talk.say(TELL, b"HTTP/1.0 200 OK\r\n\r\nclean", 5).unwrap();
    assert_eq!(talk.end(), Ok(()));
}

#[test]
fn uploads_are_stopped_as_bodies_and_as_parts_of_forms() {
    let form = [
        b"--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.com\"\r\n\r\n".as_slice(),
        &eicar(),
        b"\r\n--XX--\r\n",
    ]
    .concat();
    for (kind, body) in [("application/octet-stream", eicar()), ("multipart/form-data; boundary=XX", form)] {
        let head =
            format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        let request = [head.as_bytes(), &body].concat();
        for size in [1, 3, 10, request.len()] {
            let mut talk = Talk::new(&checking(scan::Limits::default()), 80);
            assert_eq!(talk.say(ASK, &request, size), INFECTED, "{kind} in pieces of {size}");
        }
    }
}

#[test]
fn an_own_signature_is_found_deep_in_a_long_file() {
    let mut file = vec![b'x'; 300_000];
    file[250_000..250_010].copy_from_slice(b"own-Marker");
    let mut talk = Talk::new(&checking(scan::Limits::default()), 80);
    talk.say(ASK, GET, 100).unwrap();
    assert_eq!(talk.say(TELL, &response("", &file), 1400), INFECTED);
    assert!(talk.at[1] < 501 + 252_000);
    let told = talk.world.events();
    assert_eq!(told, ["virus Own.Marker http", "drop virus"]);
}

/// A mail with an attachment in this coding.
fn mail(coding: &str, coded: &[u8]) -> Vec<u8> {
    let head = format!(
        "From: <a@a>\r\nSubject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=YY\r\n\r\n--YY\r\n\
         Content-Type: text/plain\r\n\r\nhello\r\n--YY\r\nContent-Type: application/octet-stream\r\n\
         Content-Disposition: attachment; filename=\"a.com\"\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
    );
    [head.as_bytes(), coded, b"\r\n--YY--\r\n"].concat()
}

fn mails() -> Vec<(&'static str, Vec<u8>)> {
    let file = eicar();
    vec![
        ("base64", mail("base64", &base64(&file))),
        ("quoted-printable", mail("quoted-printable", &quoted(&file))),
        ("7bit", mail("7bit", &file)),
        ("base64 of gzip", mail("base64", &base64(&gzip(&file)))),
    ]
}

#[test]
fn attachments_are_stopped_in_smtp() {
    for (coding, mail) in mails() {
        for size in [1, 2, 5, 60, 10_000] {
            let mut talk = Talk::new(&checking(scan::Limits::default()), 25);
            talk.say(TELL, b"220 mx ESMTP\r\n", 100).unwrap();
            for (ask, answer) in [
                (&b"EHLO a\r\n"[..], &b"250 mx\r\n"[..]),
                (b"MAIL FROM:<a@a>\r\n", b"250 ok\r\n"),
                (b"RCPT TO:<b@b>\r\n", b"250 ok\r\n"),
                (b"DATA\r\n", b"354 go\r\n"),
            ] {
                talk.say(ASK, ask, 100).unwrap();
                talk.say(TELL, answer, 100).unwrap();
            }
            let text = [&mail[..], b".\r\n"].concat();
            assert_eq!(talk.say(ASK, &text, size), INFECTED, "{coding} in pieces of {size}");
        }
    }
}

#[test]
fn attachments_are_stopped_in_pop3_and_imap() {
    for (coding, mail) in mails() {
        for size in [1, 7, 10_000] {
            let mut talk = Talk::new(&checking(scan::Limits::default()), 110);
            talk.say(TELL, b"+OK ready\r\n", 100).unwrap();
            for (ask, answer) in [(&b"USER a\r\n"[..], &b"+OK\r\n"[..]), (b"PASS b\r\n", b"+OK\r\n")] {
                talk.say(ASK, ask, 100).unwrap();
                talk.say(TELL, answer, 100).unwrap();
            }
            talk.say(ASK, b"RETR 1\r\n", 100).unwrap();
            let text = [b"+OK\r\n".as_slice(), &mail, b".\r\n"].concat();
            assert_eq!(talk.say(TELL, &text, size), INFECTED, "pop3, {coding} in pieces of {size}");

            let mut talk = Talk::new(&checking(scan::Limits::default()), 143);
            talk.say(TELL, b"* OK IMAP4rev1 ready\r\n", 100).unwrap();
            talk.say(ASK, b"a1 LOGIN a b\r\n", 100).unwrap();
            talk.say(TELL, b"a1 OK done\r\n", 100).unwrap();
            talk.say(ASK, b"a2 FETCH 1 BODY[]\r\n", 100).unwrap();
            let head = format!("* 1 FETCH (BODY[] {{{}}}\r\n", mail.len());
            let text = [head.as_bytes(), &mail, b")\r\na2 OK done\r\n"].concat();
            assert_eq!(talk.say(TELL, &text, size), INFECTED, "imap, {coding} in pieces of {size}");
        }
    }
}

#[test]
fn transfers_of_ftp_are_stopped_on_the_connection_that_was_announced() {
    for size in [1, 10, 100] {
        let mut talk = Talk::new(&checking(scan::Limits::default()), 21);
        talk.say(TELL, b"220 ftp\r\n", 100).unwrap();
        let IpAddr::V4(b4) = B4 else { panic!() };
        let [w, x, y, z] = b4.octets();
        let passive = format!("227 Entering Passive Mode ({w},{x},{y},{z},78,32)\r\n");
        for (ask, answer) in [
            (&b"USER a\r\n"[..], &b"331 pass\r\n"[..]),
            (b"PASS b\r\n", b"230 in\r\n"),
            (b"PASV\r\n", passive.as_bytes()),
            (b"RETR a.com\r\n", b"150 here\r\n"),
        ] {
            talk.say(ASK, ask, 100).unwrap();
            talk.say(TELL, answer, 100).unwrap();
        }
        let mut data = Talk::in_world(talk.world, 2000, 78 * 256 + 32);
        assert_eq!(data.say(TELL, &eicar(), size), INFECTED, "pieces of {size}");
    }
}

#[test]
fn what_meets_a_limit_is_refused_or_passes_as_the_operator_says() {
    for (closed, fate) in [(true, INFECTED), (false, Ok(()))] {
        let limits = scan::Limits { file_bytes: 1000, closed, ..scan::Limits::default() };
        let mut talk = Talk::new(&checking(limits), 80);
        talk.say(ASK, GET, 100).unwrap();
        assert_eq!(talk.say(TELL, &response("", &[b'x'; 3000]), 500), fate);
        assert!(talk.world.events()[0].starts_with("virus the file is too long"));
    }
    let limits = scan::Limits { refuse_parts: true, ..scan::Limits::default() };
    let mut talk = Talk::new(&checking(limits), 80);
    talk.say(ASK, GET, 100).unwrap();
    assert_eq!(talk.say(TELL, &response("Content-Range: bytes 100-102/2000\r\n", b"abc"), 500), INFECTED);
}

#[test]
fn a_flow_without_files_settles() {
    let mut talk = Talk::new(&checking(scan::Limits::default()), 22);
    talk.say(ASK, b"SSH-2.0-OpenSSH_9.2\r\n", 100).unwrap();
    talk.say(TELL, b"SSH-2.0-OpenSSH_9.2\r\n", 100).unwrap();
    let [client, server] = talk.at;
    let mut packet = seg(A4, 1000, B4, 22, TCP_ACK, client, server, b"x").packet_in(A, &mut talk.world.pool);
    assert!(talk.world.carry(&mut packet, B), "the flow goes the short way");
    talk.world.pool.give(packet.buffer);
}

#[test]
fn a_file_that_is_searched_no_more_passes_and_costs_nothing() {
    let mut talk = Talk::new(&checking(scan::Limits::default()), 80);
    talk.say(ASK, GET, 100).unwrap();
    let answer = response("", &[&[b'x'; 3000][..], &eicar()].concat());
    let (first, rest) = answer.split_at(1500);
    talk.say(TELL, first, 500).unwrap();
    talk.world.install(&spec(Action::Allow, vec![]));
    assert_eq!(talk.say(TELL, rest, 500), Ok(()));
}
