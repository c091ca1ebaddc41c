//! Files by protocols made for them: FTP in both directions and both modes, SMB 2 written and read.

use super::*;
use crate::app::smb::tests::{piped, read_two, two, write_two};

fn logged_in() -> Vec<Turn> {
    let mut turns = vec![turn(false, "220 ftp\r\n")];
    for (ask, answer) in [("USER a\r\n", "331 pass\r\n"), ("PASS b\r\n", "230 in\r\n"), ("TYPE I\r\n", "200 ok\r\n")] {
        turns.extend([turn(true, ask), turn(false, answer)]);
    }
    turns
}

fn transfer(name: &str, lines: fn(u16) -> Vec<Line>, announce: &[(&str, &str)], asks: bool, file: &[u8]) -> Carrier {
    let mut turns = logged_in();
    announce.iter().for_each(|(ask, answer)| turns.extend([turn(true, ask), turn(false, answer)]));
    Carrier {
        name: format!("FTP, {name}"),
        lines,
        turns,
        asks,
        said: file.to_vec(),
        until: Until::Object,
        closes: true,
        undo: Box::new(<[u8]>::to_vec),
    }
}

#[test]
fn ftp() {
    let passive: fn(u16) -> Vec<Line> =
        |n| vec![Line { opener: A, source: 2000 + n, port: 21 }, Line { opener: A, source: 4000 + n, port: 20_000 }];
    let pasv = ("PASV\r\n", "227 Entering Passive Mode (10,0,0,2,78,32)\r\n");
    let epsv = ("EPSV\r\n", "229 Extended Passive Mode (|||20000|)\r\n");
    let (retrieve, store) = (("RETR a.com\r\n", "150 here\r\n"), ("STOR a.com\r\n", "150 go\r\n"));
    check(Knows::Whole, |file| transfer("PASV, RETR", passive, &[pasv, retrieve], false, file));
    check(Knows::Whole, |file| transfer("PASV, STOR", passive, &[pasv, store], true, file));
    check(Knows::Whole, |file| transfer("EPSV, RETR", passive, &[epsv, retrieve], false, file));
    check(Knows::Whole, |file| transfer("EPSV, APPE", passive, &[epsv, ("APPE a.com\r\n", "150 go\r\n")], true, file));
    let bare = ("PASV\r\n", "227 Entering Passive Mode. 10,0,0,2,78,32\r\n");
    check(Knows::Whole, |file| transfer("PASV without brackets", passive, &[bare, retrieve], false, file));
    check(Knows::Whole, |file| transfer("EPSV, STOU", passive, &[epsv, ("STOU\r\n", "150 go\r\n")], true, file));
    // Many clients open the connection first and say then what for.
    check(Knows::Whole, |file| {
        let mut carrier = transfer("PASV, connection first", passive, &[pasv, retrieve], false, file);
        let before = carrier.turns.len() - 2;
        carrier.turns.insert(before, Turn { line: 1, asks: true, bytes: vec![] });
        carrier
    });
    // The server opens the connection, from another port each time.
    let active: fn(u16) -> Vec<Line> =
        |n| vec![Line { opener: A, source: 2000 + n, port: 21 }, Line { opener: B, source: 4000 + n, port: 20_001 }];
    let port = ("PORT 10,0,0,1,78,33\r\n", "200 ok\r\n");
    let eprt = ("EPRT |1|10.0.0.1|20001|\r\n", "200 ok\r\n");
    check(Knows::Whole, |file| transfer("PORT, RETR", active, &[port, retrieve], true, file));
    check(Knows::Whole, |file| transfer("PORT, STOR", active, &[port, store], false, file));
    check(Knows::Whole, |file| transfer("EPRT, RETR", active, &[eprt, retrieve], true, file));
}

/// A share and a file on it are opened.
fn opened() -> Vec<Turn> {
    use crate::inspect::Direction;
    let mut script = piped("a.com");
    script[1].1 = two(3, true, 1, &[16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    script.iter().map(|(way, bytes)| turn(*way == Direction::Original, bytes)).collect()
}

#[test]
fn smb2() {
    let lines: fn(u16) -> Vec<Line> = |n| vec![Line { opener: A, source: 2000 + n, port: 445 }];
    check(Knows::Parts, |file| {
        let (said, head) = (write_two(3, file), 4 + 112);
        Carrier {
            name: "SMB 2, write".into(),
            lines,
            turns: opened(),
            asks: true,
            said,
            until: Until::Object,
            closes: false,
            undo: Box::new(move |bytes| bytes.get(head..).unwrap_or_default().to_vec()),
        }
    });
    check(Knows::Parts, |file| {
        let [(_, ask), (_, answer)] = read_two(3, file);
        let (said, head) = (answer, 4 + 80);
        Carrier {
            name: "SMB 2, read".into(),
            lines,
            turns: [opened(), vec![turn(true, ask)]].concat(),
            asks: false,
            said,
            until: Until::Object,
            closes: false,
            undo: Box::new(move |bytes| bytes.get(head..).unwrap_or_default().to_vec()),
        }
    });
    // Two writes, of which the second carries the end.
    check(Knows::Parts, |file| {
        let (first, second) = file.split_at(file.len() / 2);
        let mut said = write_two(4, second);
        // Its offset stands behind the fixed part's length.
        said[4 + 64 + 8..4 + 64 + 16].copy_from_slice(&(first.len() as u64).to_le_bytes());
        let before = first.to_vec();
        Carrier {
            name: "SMB 2, two writes".into(),
            lines,
            turns: [opened(), vec![turn(true, write_two(3, first))]].concat(),
            asks: true,
            said,
            until: Until::Object,
            closes: false,
            undo: Box::new(move |bytes| [&before[..], bytes.get(4 + 112..).unwrap_or_default()].concat()),
        }
    });
}
