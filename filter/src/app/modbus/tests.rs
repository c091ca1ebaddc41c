use super::*;
use crate::app::exercise::{all_cuts, run, storm};

fn message(id: u8, body: &[u8]) -> Vec<u8> {
    [&[0, id, 0, 0][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fn script() -> Vec<(Direction, Vec<u8>)> {
    vec![
        (Direction::Original, message(1, &[1, 3, 0, 100, 0, 2])),
        (Direction::Original, message(2, &[1, 16, 1, 0xf4, 0, 2, 4, 0, 7, 0, 250])),
        (Direction::Reply, message(1, &[1, 3, 4, 0, 1, 0, 2])),
        (Direction::Reply, message(2, &[1, 16, 1, 0xf4, 0, 2])),
        (Direction::Reply, message(9, &[1, 0x83, 2])),
    ]
}

fn borrowed(script: &[(Direction, Vec<u8>)]) -> Vec<(Direction, &[u8])> {
    script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect()
}

#[test]
fn exchanges_are_the_same_in_any_cut() {
    let script = script();
    let shown = all_cuts(start, &Settings::default(), &borrowed(&script));
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(shown.contains("\"function_code\":\"RdHoldRegs\",\"access_type\":\"READ | HOLDING\""), "{shown}");
    for part in [
        "\"category\":\"PUBLIC_ASSIGNED\",\"error_flags\":\"NONE\",\"read\":{\"address\":100,\"quantity\":2}",
        "\"read\":{\"data\":\"\\\\x00\\\\x01\\\\x00\\\\x02\"}",
        "\"write\":{\"address\":500,\"quantity\":2,\"data\":",
        "\"write\":{\"address\":500,\"data\":2}",
        "\"exception\":{\"raw\":2,\"code\":\"IllegalDataAddr\"}",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(shown.contains("modbus.unsolicited_response"), "{shown}");
    assert!(!shown.contains("value_mismatch"), "{shown}");
    storm(start, &Settings::default(), &borrowed(&script), 2000);
}

#[test]
fn the_keyword_asks_for_functions_places_and_values() {
    let script = script();
    let talk = run(start, &Settings::default(), &borrowed(&script), 0);
    let holds = |nth: usize, argument: &str| {
        let transaction = talk.parser.transactions().get(nth).unwrap().1;
        transaction.special("modbus", argument, Direction::Original)
    };
    for argument in ["function 3", "function public", "access read holding, address 101", "unit 1, function !user"] {
        assert_eq!(holds(0, argument), Some(true), "{argument}");
    }
    for argument in ["function 4", "function user", "access read holding, address 102", "access write"] {
        assert_eq!(holds(0, argument), Some(false), "{argument}");
    }
    assert_eq!(holds(1, "access write holding, address 501, value >200"), Some(true));
    assert_eq!(holds(1, "access write holding, address 500, value >200"), Some(false));
    assert_eq!(holds(1, "access write holding, address 499<>501, value 7"), Some(true));
}

#[test]
fn numbers_of_devices_that_cannot_be_are_told_of() {
    for (unit, odd) in [(0, false), (1, false), (247, false), (248, true), (254, true), (255, false)] {
        let request = [0, 1, 0, 0, 0, 6, unit, 3, 0, 0, 0, 1];
        let shown = run(start, &Settings::default(), &[(Direction::Original, &request)], 0).shown();
        assert_eq!(shown.contains("modbus.invalid_unit_identifier"), odd, "{unit}: {shown}");
    }
}
