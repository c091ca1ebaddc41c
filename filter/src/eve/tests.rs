//! Members and encodings, compared with known values.

use super::*;
use crate::decode::View;
use crate::detect::Verdict;
use crate::event::Signature;
use weir_ids_rules::rule::RejectTo;

fn tuple(source: &str, sport: u16, destination: &str, dport: u16, protocol: u8) -> Tuple {
    Tuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        source_port: sport,
        destination_port: dport,
        protocol,
    }
}

#[test]
fn base64_is_that_of_rfc_4648() {
    let cases =
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
    for (bytes, text) in cases {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}

#[test]
fn flows_have_the_name_that_other_tools_give_them() {
    for (tuple, name) in [
        (tuple("128.232.110.120", 34855, "66.35.250.204", 80, 6), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (tuple("66.35.250.204", 80, "128.232.110.120", 34855, 6), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (tuple("192.168.1.52", 54585, "8.8.8.8", 53, 17), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        (tuple("192.168.0.89", 8, "192.168.0.1", 0, 1), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        (tuple("192.168.0.1", 0, "192.168.0.89", 0, 1), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    ] {
        assert_eq!(community_id(&tuple), name);
    }
}

#[test]
fn times_and_addresses_are_written_in_full() {
    assert_eq!(timestamp(Instant(1_700_000_000_123_456_789)), "2023-11-14T22:13:20.123456+0000");
    assert_eq!(timestamp(Instant::ZERO), "1970-01-01T00:00:00.000000+0000");
    assert_eq!(address("2001:db8::1".parse().unwrap()), "2001:0db8:0000:0000:0000:0000:0000:0001");
    assert_eq!(printable(b"a\x00\r\n\xffz"), "a.\r\n.z");
}

#[test]
fn a_line_has_the_members_of_its_head_in_order() {
    let inner = tuple("10.0.0.1", 1, "10.0.0.2", 2, 17);
    let outer = tuple("1.1.1.1", 0, "2.2.2.2", 0, 47);
    let head = Head {
        time: Instant::ZERO,
        flow: 7,
        number: Some(3),
        kind: "alert",
        vlan: &[5, 6],
        tuple: Some(&inner),
        community: None,
        source: Some(Source::Gre),
        ether: Some(([1; 6], [2; 6], None)),
        tunnel: Some((&outer, 1)),
        interfaces: None,
    };
    let mut line = String::new();
    super::head(&mut line, &head).end();
    assert_eq!(
        line,
        "{\"timestamp\":\"1970-01-01T00:00:00.000000+0000\",\"flow_id\":7,\"pcap_cnt\":3,\"event_type\":\"alert\",\
         \"vlan\":[5,6],\"src_ip\":\"10.0.0.1\",\"src_port\":1,\"dest_ip\":\"10.0.0.2\",\"dest_port\":2,\
         \"proto\":\"UDP\",\"ip_v\":4,\"pkt_src\":\"gre tunnel\",\
         \"ether\":{\"src_mac\":\"01:01:01:01:01:01\",\"dest_mac\":\"02:02:02:02:02:02\"},\
         \"tunnel\":{\"src_ip\":\"1.1.1.1\",\"dest_ip\":\"2.2.2.2\",\"proto\":\"GRE\",\"depth\":1}}"
    );
}

#[test]
fn alerts_say_what_the_rule_says_and_what_became_of_the_packet() {
    let signature = Signature {
        gid: 1,
        sid: 42,
        rev: 3,
        msg: "m".to_owned(),
        severity: 2,
        metadata: [("k", "a"), ("l", "x"), ("k", "b")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Signature::default()
    };
    let mut line = String::new();
    let mut json = Json::object(&mut line);
    alert(&mut json, &signature, true, None, "\"context\":{}");
    verdict(&mut json, Verdict::Drop, true, Some(RejectTo::Both), 6);
    json.end();
    assert_eq!(
        line,
        "{\"alert\":{\"action\":\"blocked\",\"gid\":1,\"signature_id\":42,\"rev\":3,\"signature\":\"m\",\
         \"category\":\"\",\"severity\":2,\"metadata\":{\"k\":[\"a\",\"b\"],\"l\":[\"x\"]},\"context\":{}},\
         \"verdict\":{\"action\":\"drop\",\"reject-target\":\"both\",\"reject\":[\"tcp-reset\"]}}"
    );
}

#[test]
fn a_dropped_packet_is_told_with_its_reason() {
    let ip = [0x45, 8, 0, 60, 0, 9, 0, 0, 63, 17, 0, 0];
    let view = View { ip: &ip, ..View::default() };
    let mut line = String::new();
    let mut json = Json::object(&mut line);
    drop_line(&mut json, &view, "rules", "to_server");
    json.end();
    let wanted =
        "{\"drop\":{\"len\":60,\"tos\":8,\"ttl\":63,\"ipid\":9,\"reason\":\"rules\"},\"direction\":\"to_server\"}";
    assert_eq!(line, wanted);
}
