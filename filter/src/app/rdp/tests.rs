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
        "\"version\":\"v5\",\"desktop_width\":1024,\"desktop_height\":768,\"color_depth\":16",
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

#[test]
fn colours_connection_and_screen_are_told_where_they_count() {
    let shown = |core: &[u8]| {
        let mut client = Client::default();
        client.core(core.get(4..).unwrap_or_default());
        let mut out = String::new();
        let mut json = Json::object(&mut out);
        client.log(&mut json);
        json.end();
        out
    };
    let whole = core();
    let high = whole.len() - 64 - 6;
    let mut older = whole.clone();
    older[high] = 0;
    assert!(shown(&older).contains(r#""color_depth":8"#), "{}", shown(&older));
    assert!(!shown(&whole).contains("connection_hint"));
    let mut screen = [&whole[..], &[6, 0, 0, 0, 0, 0]].concat();
    assert!(shown(&screen).ends_with(r#""connection_hint":"lan"}"#), "{}", shown(&screen));
    for number in [300u32, 200] {
        screen.extend(number.to_le_bytes());
    }
    screen.extend(90u16.to_le_bytes());
    for number in [150u32, 140] {
        screen.extend(number.to_le_bytes());
    }
    let told = r#""physical_width":300,"physical_height":200,"desktop_orientation":90,"scale_factor":150,"device_scale_factor":140"#;
    assert!(shown(&screen).contains(told), "{}", shown(&screen));
    let last = screen.len() - 4;
    screen[last] = 141;
    assert!(!shown(&screen).contains("scale_factor"));
}
