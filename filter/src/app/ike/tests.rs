use super::*;
use crate::app::exercise::{Talk, run, storm};

fn payload(next: u8, body: &[u8]) -> Vec<u8> {
    [&[next, 0][..], &(body.len() as u16 + 4).to_be_bytes(), body].concat()
}

fn message(next: u8, version: u8, exchange: u8, payloads: &[u8]) -> Vec<u8> {
    let length = (payloads.len() as u32 + 28).to_be_bytes();
    [&[7; 8][..], &[0; 8], &[next, version, exchange, 8, 0, 0, 0, 0], &length, payloads].concat()
}

fn transform(last: u8, kind: u8, id: u16) -> Vec<u8> {
    [&[last, 0, 0, 8, kind, 0][..], &id.to_be_bytes()].concat()
}

fn proposal() -> Vec<u8> {
    let transforms = [transform(3, 1, 12), transform(3, 2, 5), transform(3, 3, 12), transform(0, 4, 2)].concat();
    [&[0, 0][..], &(transforms.len() as u16 + 8).to_be_bytes(), &[1, 1, 0, 4], &transforms].concat()
}

fn version_two() -> Vec<u8> {
    let payloads =
        [payload(40, &proposal()), payload(34, b"nonce"), payload(0, &[&[0, 2, 0, 0][..], b"public"].concat())]
            .concat();
    message(33, 0x20, 34, &payloads)
}

fn version_one() -> Vec<u8> {
    // Encryption AES, hash SHA, a life of 28800 seconds in four bytes.
    let attributes = [0x80, 1, 0, 7, 0x80, 2, 0, 2, 0, 12, 0, 4, 0, 0, 0x70, 0x80];
    let transform = [&[0, 0][..], &(attributes.len() as u16 + 8).to_be_bytes(), &[1, 1, 0, 0], &attributes].concat();
    let proposal = [&[0, 0][..], &(transform.len() as u16 + 8).to_be_bytes(), &[1, 1, 0, 1], &transform].concat();
    let association = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &proposal].concat();
    let payloads = [payload(13, &association), payload(0, &[0xab, 0xcd])].concat();
    let mut out = message(1, 0x10, 2, &payloads);
    out[19] = 0;
    out
}

#[test]
fn a_proposal_of_version_two_is_told_with_its_weakness() {
    let bytes = version_two();
    let talk = run(start, &Settings::default(), &[(Direction::Original, &bytes)], 0);
    let shown = talk.shown();
    assert!(
        shown.contains(
            "\"payload\":[\"SecurityAssociation\",\"Nonce\",\"KeyExchange\",\"NoNextPayload\"],\"ikev2\":{\"errors\":0}"
        ),
        "{shown}"
    );
    assert!(shown.contains("[\"ike.weak_crypto_dh\"]"), "{shown}");
    let value = |buffer| talk.value(0, buffer, Direction::Original, 0);
    assert_eq!(value(Buffer::IkeNoncePayload), Some(b"nonce".to_vec()));
    assert_eq!(talk.number(0, Field::IkeKeyExchangeLength, Direction::Original, 0), Some(6));
}

#[test]
fn attributes_of_version_one_are_named() {
    let bytes = version_one();
    let mut talk = Talk::new(start, Settings::default());
    talk.say(Direction::Original, &bytes, true);
    talk.say(Direction::Reply, &bytes, true);
    let shown = talk.shown();
    assert!(shown.contains("\"vendor_ids\":[\"abcd\"]"), "{shown}");
    assert!(shown.contains("\"alg_enc\":\"EncAesCbc\",\"alg_enc_raw\":7"), "{shown}");
    let chosen = talk.parser.transactions().get(1).unwrap().1;
    assert_eq!(chosen.special("ike.chosen_sa_attribute", "alg_hash=2", Direction::Reply), Some(true));
    assert_eq!(chosen.special("ike.chosen_sa_attribute", "alg_hash=1", Direction::Reply), Some(false));
}

#[test]
fn what_was_agreed_is_told_of_later_messages_too() {
    let (one, two) = (version_one(), version_two());
    let mut answer = two.clone();
    answer[19] = 0x20;
    let mut later = message(46, 0x20, 35, &payload(35, &[0; 32]));
    later[19] = 0x20;
    let script = [(Direction::Original, &two[..]), (Direction::Reply, &answer), (Direction::Reply, &later)];
    let shown = run(start, &Settings::default(), &script, 0).shown();
    let algorithms = r#""role":"responder","alg_enc":"ENCR_AES_CBC","alg_auth":"AUTH_HMAC_SHA2_256_128","alg_prf":"PRF_HMAC_SHA2_256","alg_dh":"Modp1024","alg_esn":"NoESN""#;
    assert_eq!(shown.matches(algorithms).count(), 2, "{shown}");
    let mut sealed = message(5, 0x10, 2, &[0xee; 16]);
    sealed[19] = 1;
    let script = [(Direction::Original, &one[..]), (Direction::Reply, &one), (Direction::Original, &sealed)];
    let talk = run(start, &Settings::default(), &script, 0);
    let shown = talk.shown();
    assert!(shown.contains(r#""sa_life_duration":"Unknown","sa_life_duration_raw":28800"#), "{shown}");
    assert!(shown.contains(r#""payload":["SecurityAssociation","VendorID","Proposal","Transform"]"#), "{shown}");
    assert!(shown.contains(r#""payload":["Identification"],"ikev1":{"doi":1,"encrypted_payloads":true}"#), "{shown}");
    let list = talk.parser.transactions();
    let asked = |nth: usize, way| list.get(nth).unwrap().1.special("ike.chosen_sa_attribute", "alg_enc=7", way);
    assert_eq!(asked(0, Direction::Original), None, "nothing is chosen");
    assert_eq!(asked(1, Direction::Reply), Some(true));
    assert_eq!(asked(2, Direction::Original), None);
}

#[test]
fn a_server_that_does_not_choose_and_bytes_behind_the_last_payload_are_noted() {
    let twice = payload(0, &[proposal(), proposal()].concat());
    let said = message(33, 0x20, 34, &twice);
    for (way, odd) in [(Direction::Original, false), (Direction::Reply, true)] {
        let shown = run(start, &Settings::default(), &[(way, &said)], 0).shown();
        assert_eq!(shown.contains("ike.multiple_server_proposal"), odd, "{shown}");
        assert!(!shown.contains("ike.payload_extra_data"));
    }
    let more = message(40, 0x20, 34, &[payload(0, b"nonce"), vec![1, 2, 3]].concat());
    let shown = run(start, &Settings::default(), &[(Direction::Original, &more)], 0).shown();
    assert!(shown.contains("[\"ike.payload_extra_data\"]"), "{shown}");
}

#[test]
fn probes_need_the_length_to_be_right() {
    let tuple = crate::app::exercise::tuple(17);
    let bytes = version_two();
    assert_eq!(probe(Direction::Original, &bytes, &tuple), Probe::Yes);
    assert_eq!(probe(Direction::Original, &bytes[..bytes.len() - 1], &tuple), Probe::No);
}

#[test]
fn storms_break_nothing() {
    let (one, two) = (version_one(), version_two());
    storm(start, &Settings::default(), &[(Direction::Original, &one), (Direction::Reply, &two)], 2000);
}
