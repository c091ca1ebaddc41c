//! What rules ask of single packets of a capture.

use super::*;

const DNS: ([u8; 4], u16) = (SERVER, 53);

#[test]
fn checksums_are_asked_for_where_there_are_some() {
    let mut lab = Lab::ruled(
        "alert ip any any -> any any (ipv4-csum:invalid; sid:1;)\n\
         alert udp any any -> any any (udpv4-csum:invalid; sid:2;)\n\
         alert udp any any -> any any (udpv4-csum:valid; content:\"x\"; sid:3;)\n\
         alert udp any any -> any any (udpv6-csum:valid; sid:4;)\n\
         alert ip any any -> any any (l3_proto:ipv6; sid:5;)\n\
         alert ip any any -> any any (l3_proto:ipv4; content:\"x\"; sid:6;)",
    );
    let good = udp((CLIENT, 4000), DNS, b"x");
    lab.packet(&good);
    assert_eq!(lab.alerts(), [3, 6]);
    let mut bad = good.clone();
    bad[26] = 0x12;
    lab.packet(&bad);
    assert_eq!(lab.alerts(), [2, 6]);
    let mut bad = good;
    bad[10] ^= 0xff;
    lab.packet(&bad);
    assert!(lab.alerts().contains(&1));
}

#[test]
fn calls_of_onc_rpc_are_told_by_program_version_and_procedure() {
    let mut lab = Lab::ruled(
        "alert udp any any -> any any (rpc:100000,*,3; sid:1;)\n\
         alert udp any any -> any any (rpc:100000,3,*; sid:2;)\n\
         alert udp any any -> any any (rpc:100003; sid:3;)",
    );
    let call = |kind: u32, program: u32, version: u32, procedure: u32| {
        let words = [7, kind, 2, program, version, procedure];
        udp((CLIENT, 4000), (SERVER, 9111), &words.map(u32::to_be_bytes).concat())
    };
    for (packet, told) in [
        (call(0, 100_000, 2, 3), &[1][..]),
        (call(0, 100_000, 3, 3), &[1, 2]),
        (call(1, 100_000, 3, 3), &[]),
        (call(0, 100_003, 1, 1), &[3]),
    ] {
        lab.packet(&packet);
        assert_eq!(lab.alerts(), told);
    }
}

#[test]
fn asn1_is_looked_into_from_where_the_rule_says() {
    let mut lab = Lab::ruled(
        "alert udp any any -> any any (content:\"key\"; asn1:oversize_length 1000, relative_offset 1; sid:1;)\n\
         alert udp any any -> any any (content:\"key\"; asn1:oversize_length 1000, absolute_offset 5; sid:2;)",
    );
    lab.packet(&udp((CLIENT, 4000), (SERVER, 9111), b"key:\x04\x82\x10\x00aaaa"));
    assert_eq!(lab.alerts(), [1]);
    lab.packet(&udp((CLIENT, 4000), (SERVER, 9111), b"key:\x04\x82\x03\xe8aaaa"));
    assert_eq!(lab.alerts(), []);
}

#[test]
fn messages_of_ntp_are_asked_for_mode_stratum_version_and_reference() {
    let mut lab = Lab::ruled(
        "alert ntp any any -> any any (ntp.mode:client; ntp.version:4; sid:1;)\n\
         alert ntp any any -> any any (ntp.stratum:<3; ntp.mode:!client; sid:2;)\n\
         alert ntp any any -> any any (ntp.reference_id; content:\"RATE\"; sid:3;)",
    );
    let message = |first: u8, stratum: u8, reference: &[u8; 4]| {
        let mut bytes = vec![first, stratum];
        bytes.resize(48, 0);
        bytes[12..16].copy_from_slice(reference);
        bytes
    };
    lab.packet(&udp((CLIENT, 4000), (SERVER, 123), &message(0x23, 0, b"\0\0\0\0")));
    assert_eq!(lab.alerts(), [1]);
    lab.packet(&udp((SERVER, 123), (CLIENT, 4000), &message(0x24, 0, b"RATE")));
    assert_eq!(lab.alerts(), [2, 3]);
}

#[test]
fn packets_of_tagged_hosts_are_told_though_nothing_can_match_in_their_connection() {
    let mut lab = Lab::ruled_with(
        "alert udp any any -> any 9111 (content:\"x\"; tag:host,3,packets,src; sid:1;)",
        &[("outputs.eve-log.types", "[alert]")],
    );
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 501, b""));
    lab.packet(&tcp(true, PSH | ACK, 101, 501, b"one"));
    let flows = &lab.capture.core.flows;
    assert!((0..).map_while(|slot| flows.get(slot)).all(|flow| flow.settled), "no rule concerns it");
    lab.packet(&udp((CLIENT, 4000), (SERVER, 9111), b"x"));
    assert_eq!(lab.count(&["\"event_type\":\"packet\""]), 0);
    for told in [1, 2, 2] {
        lab.packet(&tcp(false, ACK, 501, 104, b""));
        assert_eq!(lab.count(&["\"event_type\":\"packet\""]), told);
    }
}

#[test]
fn where_there_is_no_payload_nothing_is_missing_in_it() {
    let mut lab = Lab::ruled("alert tcp any any -> any any (flow:to_server; content:!\"x\"; depth:4; sid:1;)");
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 501, b""));
    lab.packet(&tcp(true, PSH | ACK, 101, 501, b"x"));
    assert_eq!(lab.alerts(), []);
    lab.packet(&tcp(true, PSH | ACK, 102, 501, b"abcd"));
    assert_eq!(lab.alerts(), [1]);
}

#[test]
fn the_first_packet_of_a_connection_met_in_its_middle_is_not_of_an_established_one() {
    let rules = "alert tcp any any -> any any (flow:not_established; dsize:>0; sid:1;)\n\
                 alert tcp any any -> any any (flow:established; dsize:>0; sid:2;)";
    let mut lab = Lab::ruled_with(rules, &[("stream.midstream", "true")]);
    lab.packet(&tcp(true, PSH | ACK, 101, 501, b"abcd"));
    assert_eq!(lab.alerts(), [1]);
    lab.packet(&tcp(false, PSH | ACK, 501, 105, b"abcd"));
    assert_eq!(lab.alerts(), [2]);
}

#[test]
fn data_of_no_connection_says_nothing_to_rules_on_streams_alone() {
    let mut lab = Lab::ruled(
        "alert tcp any any -> any any (content:\"attack\"; sid:1;)\n\
         alert tcp any any -> any any (flow:only_stream; content:\"attack\"; sid:2;)\n\
         alert tcp-stream any any -> any any (content:\"attack\"; sid:3;)\n\
         alert tcp-pkt any any -> any any (content:\"attack\"; sid:4;)",
    );
    lab.packet(&tcp(true, PSH | ACK, 101, 501, b"an attack"));
    assert_eq!(lab.alerts(), [1, 4]);
}
