use super::*;
use crate::app::exercise::{Talk, all_cuts, run, storm};

fn frame(control: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x05, 0x64, data.len() as u8 + 5, control, 3, 0, 2, 0];
    out.extend(link::checksum(&out).to_le_bytes());
    for block in data.chunks(16) {
        out.extend(block);
        out.extend(link::checksum(block).to_le_bytes());
    }
    out
}

const MASTER: u8 = 0xc4;
const OUTSTATION: u8 = 0x44;

fn script() -> Vec<(Direction, Vec<u8>)> {
    // A request to read class 1 and 2, answered by a binary input and an analog one over two frames.
    let request = [0xc0, 0xc1, 1, 60, 2, 6, 60, 3, 6];
    let head = [0x40, 0xc1, 129, 0x80, 0x01, 1, 2, 0, 0, 1, 0x81, 0x01];
    let tail = [0x81, 30, 2, 0, 0, 0, 1, 5, 0];
    vec![
        (Direction::Original, frame(MASTER, &request)),
        (Direction::Reply, [frame(OUTSTATION, &head), frame(OUTSTATION, &tail)].concat()),
    ]
}

fn borrowed(script: &[(Direction, Vec<u8>)]) -> Vec<(Direction, &[u8])> {
    script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect()
}

#[test]
fn an_exchange_is_the_same_in_any_cut() {
    let script = script();
    let shown = all_cuts(start, &Settings::default(), &borrowed(&script));
    assert!(shown.starts_with("{\"type\":\"request\",\"control\":{\"dir\":true,\"pri\":true"), "{shown}");
    assert!(shown.contains("\"indicators\":[\"device_restart\",\"no_func_code_support\"]"), "{shown}");
    assert!(shown.contains("{\"group\":30,\"variation\":2,") && !shown.contains("malformed"), "{shown}");
    let talk = run(start, &Settings::default(), &borrowed(&script), 0);
    assert_eq!(talk.number(0, Field::Dnp3Function, Direction::Original, 0), Some(1));
    assert_eq!(talk.number(1, Field::Dnp3Indicators, Direction::Reply, 0), Some(0x8001));
    let response = talk.parser.transactions().get(1).unwrap().1;
    assert_eq!(response.special("dnp3.obj", "30,2", Direction::Reply), Some(true));
    assert_eq!(response.special("dnp3.obj", "30,3", Direction::Reply), Some(false));
}

#[test]
fn points_are_told_with_their_index() {
    // Analog inputs 5 and 6 by range, then one control by its index.
    let answer = [0xc0, 0xc0, 129, 0, 0, 30, 4, 0, 5, 6, 1, 0, 0xff, 0xff];
    let order = [0xc0, 0xc1, 5, 12, 1, 0x17, 1, 9, 3, 1, 100, 0, 0, 0, 100, 0, 0, 0, 0];
    let script = [(Direction::Original, frame(MASTER, &order)), (Direction::Reply, frame(OUTSTATION, &answer))];
    let shown = all_cuts(start, &Settings::default(), &borrowed(&script));
    let points = "\"points\":[{\"prefix\":0,\"index\":5,\"value\":1},{\"prefix\":0,\"index\":6,\"value\":-1}]";
    assert!(shown.contains(points), "{shown}");
    assert!(shown.contains("\"points\":[{\"prefix\":9,\"index\":9,\"op_type\":3,"), "{shown}");
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    assert_eq!(link::checksum(&[0x05, 0x64, 0x05, 0xc0, 0x01, 0x00, 0x00, 0x04]), 0x21e9);
}

#[test]
fn floods_and_endless_fragments_end_the_parsing() {
    let mut talk = Talk::new(start, Settings::default());
    for _ in 0..UNANSWERED {
        talk.say(Direction::Original, &frame(MASTER, &[0xc0, 0xc0, 1]), false);
    }
    assert_eq!(talk.over, None);
    talk.say(Direction::Original, &frame(MASTER, &[0xc0, 0xc0, 1]), false);
    assert_eq!(talk.over, Some(Fed::Failed));
    assert!(talk.shown().contains("dnp3.flooded"));
    let mut talk = Talk::new(start, Settings::default());
    talk.say(Direction::Reply, &frame(OUTSTATION, &[0x40; 200]), false);
    for sequence in 1..60u8 {
        let mut part = vec![sequence & 0x3f];
        part.resize(200, 7);
        talk.say(Direction::Reply, &frame(OUTSTATION, &part), false);
    }
    assert!(talk.shown().contains("dnp3.too_long_reassembly"));
}

#[test]
fn wrong_checksums_are_noted() {
    let mut talk = Talk::new(start, Settings::default());
    talk.say(Direction::Original, &frame(MASTER, &[0xc0, 0xc0, 1]), false);
    let mut bad = frame(MASTER, &[0xc1, 0xc0, 1]);
    *bad.last_mut().unwrap() ^= 1;
    talk.say(Direction::Original, &bad, false);
    assert!(talk.shown().contains("dnp3.bad_transport_crc"));
    let mut bad = frame(MASTER, &[0xc1, 0xc0, 1]);
    bad[8] ^= 1;
    talk.say(Direction::Original, &bad, false);
    assert!(talk.shown().contains("dnp3.bad_link_crc"));
}

#[test]
fn storms_break_nothing() {
    let script = script();
    storm(start, &Settings::default(), &borrowed(&script), 2000);
}

#[test]
fn too_many_points_are_told_of_an_object_and_of_all() {
    // Single bits (group 1, variation 1), from 0 to the last one, with 16 bits of range.
    let object = |count: u16| {
        let mut bytes = vec![1, 1, 1, 0, 0];
        bytes.extend_from_slice(&(count - 1).to_le_bytes());
        bytes.resize(bytes.len() + usize::from(count).div_ceil(8), 0);
        bytes
    };
    let odd = |objects: &[u16]| object::read(&objects.iter().flat_map(|&count| object(count)).collect::<Vec<u8>>()).1;
    assert_eq!(odd(&[16384, 16384]), None);
    assert_eq!(odd(&[16384, 16384, 1]), Some("dnp3.too_many_points"));
    assert_eq!(odd(&[16385]), Some("dnp3.max_points_per_object"));
}

#[test]
fn what_is_empty_is_not_told() {
    let nothing = [0xc0, 0xc1, 129, 0, 0];
    let shown = run(start, &Settings::default(), &[(Direction::Reply, &frame(OUTSTATION, &nothing)[..])], 0).shown();
    assert!(shown.contains("\"iin\":{}") && !shown.contains("\"objects\""), "{shown}");
}
