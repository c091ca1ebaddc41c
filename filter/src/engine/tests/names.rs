//! Names that are said in other ways: in pieces, over QUIC, in DNS over TCP, by an alias, behind another request.

use super::sites::{DENIED, client_hello, deny, filtering, query, say};
use super::*;
use crate::app::http2::tests::{frame, literal};
use crate::app::quic::tests::{crypto, initial};
use crate::content::{self, Action as Judged, Answer};
use crate::inspect::Direction;

const BAD: &str = "bad.example";

#[test]
fn a_hello_in_several_records_is_put_together() {
    let hello = client_hello("www.bad.example", false);
    let message = &hello[5..];
    for length in [1, 2, 3, 7, 20, 50] {
        let record = |part: &[u8]| [&[22, 3, 1, 0, part.len() as u8][..], part].concat();
        let records: Vec<u8> = message.chunks(length).flat_map(record).collect();
        for size in [1, 4, 33, records.len()] {
            let mut world = World::new(&filtering(deny(), BAD));
            assert_eq!(say(&mut world, 443, &records, size).0, DENIED, "records of {length}, pieces of {size}");
        }
    }
}

/// Initial packets of QUIC with a hello, whose second part comes first where it is `swapped`.
fn initials(version: u32, name: &str, swapped: bool) -> Vec<Vec<u8>> {
    let hello = client_hello(name, false);
    let (head, tail) = hello[5..].split_at(30);
    let [head, tail] =
        [(0, head), (30, tail)].map(|(at, part)| initial(version, Direction::Original, &crypto(at, part)));
    if swapped { vec![tail, head] } else { vec![head, tail] }
}

#[test]
fn a_server_name_of_quic_is_read_from_packets_in_any_order() {
    for version in [1, 0x6b33_43cf] {
        for swapped in [false, true] {
            let mut world = World::new(&filtering(deny(), BAD));
            let mut say = |port, bytes: &[u8]| world.send(&Frame::udp(A4, port, B4, 443, bytes), A, B);
            let [first, second] = &initials(version, "www.bad.example", swapped)[..] else { panic!() };
            assert_eq!(say(5000, first), Ok(()), "half a name is none");
            assert_eq!(say(5000, second), DENIED, "version {version:x}, swapped {swapped}");
            assert_eq!(say(5000, second), Err(DropReason::FlowBlocked));
            for packet in initials(version, "good.example", swapped) {
                assert_eq!(say(5001, &packet), Ok(()));
            }
            let mut events = world.events();
            events.retain(|event| event != "quic");
            assert_eq!(events, ["content no www.bad.example", "drop content"]);
            assert!(world.replies().is_empty(), "who hears nothing tries TCP");
        }
    }
}

#[test]
fn questions_over_tcp_are_judged_however_they_are_cut() {
    let framed = |name: &[u8]| {
        let query = query(name);
        [&(query.len() as u16).to_be_bytes()[..], &query].concat()
    };
    let both = [framed(b"good.example"), framed(b"www.bad.example")].concat();
    for size in 1..=both.len() {
        let mut world = World::new(&filtering(deny(), BAD));
        let (fate, heard) = say(&mut world, 53, &both, size);
        assert_eq!(fate, DENIED, "pieces of {size}");
        assert!(heard.len() < both.len());
        assert_eq!(world.replies().len(), 2, "both sides are reset");
    }
    let mut world = World::new(&filtering(deny(), BAD));
    assert_eq!(say(&mut world, 53, &framed(b"good.example"), 3).0, Ok(()));
}

/// An answer: a question for "good.example", which is an alias of this name, which has an address.
fn aliased(alias: &[u8]) -> Vec<u8> {
    let mut bytes = query(b"good.example");
    (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80, 2);
    let name: Vec<u8> =
        alias.split(|&b| b == b'.').flat_map(|label| [&[label.len() as u8][..], label].concat()).collect();
    let name = [&name[..], &[0]].concat();
    bytes.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, name.len() as u8]);
    bytes.extend_from_slice(&name);
    bytes.extend_from_slice(&name);
    bytes.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
    bytes
}

#[test]
fn an_alias_of_a_denied_name_is_answered_otherwise() {
    for (answer, code, count) in [(None, 3, 0), (Some(Answer::Sinkhole), 0, 1)] {
        let mut world = World::new(&filtering(content::Rule { answer, ..deny() }, BAD));
        let ask = Frame::udp(A4, 5353, B4, 53, &query(b"good.example"));
        assert_eq!(world.send(&ask, A, B), Ok(()));
        let reply = |alias| Frame::udp(B4, 53, A4, 5353, &aliased(alias));
        assert_eq!(world.send(&reply(b"fine.example"), B, A), Ok(()));
        assert_eq!(world.send(&reply(b"cdn.bad.example"), B, A), DENIED);
        let replies = world.replies();
        let [(to, reply)] = &replies[..] else { panic!("one answer: {replies:?}") };
        let said = reply.payload();
        assert_eq!((*to, reply.ports()), (A, Some((53, 5353))));
        assert_eq!((said[2] & 0x80, said[3] & 15, said[7]), (0x80, code, count));
        assert!(weir_wire::checksum::verify_l4(reply));
        let events = world.events();
        assert!(events.contains(&"content no cdn.bad.example".to_owned()), "{events:?}");
        assert_eq!(world.send(&ask, A, B), Ok(()), "other questions of the flow go on");
    }
}

#[test]
fn a_request_behind_an_allowed_one_is_judged_for_itself() {
    let both = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\nGET / HTTP/1.1\r\nHost: bad.example\r\n\r\n";
    let first = both.len() / 2;
    for size in 1..=both.len() {
        let mut world = World::new(&filtering(deny(), BAD));
        let (fate, heard) = say(&mut world, 80, both, size);
        assert_eq!(fate, DENIED, "pieces of {size}");
        assert!(heard.len() < both.len());
        assert!(size > first || heard.len() >= first - first % size, "what was allowed passed");
    }
}

#[test]
fn a_request_of_http_2_is_refused_and_its_neighbour_is_not() {
    let asked = |name: &str| {
        let block = [&[0x82, 0x87, 0x84][..], &literal(":authority", name)].concat();
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..], &frame(1, 5, 1, &block)].concat()
    };
    for size in [1, 3, 1000] {
        let mut world = World::new(&filtering(deny(), BAD));
        let bad = asked("WWW.bad.example.");
        let (fate, heard) = say(&mut world, 80, &bad, size);
        assert_eq!(fate, DENIED);
        assert!(heard.len() < bad.len());
        let mut world = World::new(&filtering(deny(), BAD));
        assert_eq!(say(&mut world, 80, &asked("good.example"), size).0, Ok(()));
    }
}

#[test]
fn sites_and_files_that_are_only_listened_to_are_told_of_as_allowed() {
    let database = crate::scan::Database::read([("own.ndb", "Own.Marker:0:*:6f776e2d4d61726b6572\n")].into_iter());
    let scan = crate::scan::Policy { database: Some(Arc::new(database)), ..crate::scan::Policy::default() };
    let spec = Spec { listened: vec![SWITCH], scan: Arc::new(scan), ..filtering(deny(), BAD) };
    let mut world = World::new(&spec);
    let post = b"POST / HTTP/1.1\r\nHost: bad.example\r\nContent-Length: 10\r\n\r\nown-Marker";
    assert_eq!(say(&mut world, 80, post, 20).0, Ok(()));
    assert!(world.replies().is_empty(), "nobody is told");
    let (mut sites, mut files) = (vec![], vec![]);
    for event in world.engine.events().drain() {
        match event {
            Event::Content { finding, .. } => sites.push(finding.action),
            Event::Virus { finding, .. } => files.push((finding.infected, finding.blocked)),
            Event::Alert { .. }
            | Event::Record { .. }
            | Event::Drop { .. }
            | Event::Allow { .. }
            | Event::Shed { .. }
            | Event::Notice(_)
            | Event::File(_)
            | Event::Flow(_) => {}
        }
    }
    assert_eq!((sites, files), (vec![Judged::Log], vec![(true, false)]));
}
