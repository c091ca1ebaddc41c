use super::*;
use crate::app::exercise::{all_cuts, storm};

fn tpkt(body: &[u8]) -> Vec<u8> {
    [&[3, 0][..], &(body.len() as u16 + 4).to_be_bytes(), body].concat()
}

fn core() -> Vec<u8> {
    let mut block = 0x0008_0004u32.to_le_bytes().to_vec();
    block.extend([0, 4, 0, 3, 1, 0xca, 3, 0xaa]);
    block.extend(0x409u32.to_le_bytes());
    block.extend(2600u32.to_le_bytes());
    let mut name = vec![b'P', 0, b'C', 0];
    name.resize(32, 0);
    block.extend(name);
    block.extend([4, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0]);
    block.extend([0; 64]);
    block.extend([1, 0xca, 1, 0, 0, 0, 0, 0, 16, 0, 7, 0, 1, 0]);
    block.extend([0; 64]);
    [&[1, 0xc0][..], &(block.len() as u16 + 4).to_le_bytes(), &block].concat()
}

fn script() -> Vec<(Direction, Vec<u8>)> {
    let cookie = b"Cookie: mstshash=user\r\n\x01\x01\x08\0\x03\0\0\0";
    let request = [&[6 + cookie.len() as u8, 0xe0, 0, 0, 0, 0, 0][..], cookie].concat();
    let channels = b"\x03\xc0\x14\0\x01\0\0\0rdpdr\0\0\0\0\0\0\0";
    let blocks = [&core()[..], channels].concat();
    let length = (blocks.len() as u16 | 0x8000).to_be_bytes();
    let connect = [&[2, 0xf0, 0x80, 0x7f, 0x65, 0x82, 1, 0][..], b"Duca", &length, &blocks].concat();
    vec![
        (Direction::Original, tpkt(&request)),
        (Direction::Reply, tpkt(&[14, 0xd0, 0, 0, 0, 0, 0, 2, 1, 8, 0, 1, 0, 0, 0])),
        (Direction::Original, tpkt(&connect)),
    ]
}

#[test]
fn an_opening_is_the_same_in_any_cut() {
    let script = script();
    let script: Vec<(Direction, &[u8])> = script.iter().map(|(way, bytes)| (*way, &bytes[..])).collect();
    let shown = all_cuts(start, &Settings::default(), &script);
    for part in [
        "\"event_type\":\"initial_request\",\"cookie\":\"user\",\"flags\":[\"restricted_admin_mode_required\"]",
        "\"server_supports\":[\"extended_client_data\"],\"protocol\":\"ssl\"",
        "\"version\":\"v5\",\"desktop_width\":1024,\"desktop_height\":768,\"color_depth\":8",
        "\"build\":\"Windows XP\",\"client_name\":\"PC\"",
        "\"capabilities\":[\"support_errinfo_pdf\"]},\"channels\":[\"rdpdr\"]",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    storm(start, &Settings::default(), &script, 2000);
}

#[test]
fn tls_ends_the_parsing() {
    let script: &[(Direction, &[u8])] = &[(Direction::Original, b"\x16\x03\x01\x00\x10")];
    let talk = crate::app::exercise::run(start, &Settings::default(), script, 0);
    assert_eq!(talk.over, Some(Fed::Finished));
}
