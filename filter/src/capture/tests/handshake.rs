//! Connections: how they are taken up, what is odd about segments, how they end.

use super::*;

/// The three segments of a handshake with initial numbers 100 and 500.
fn handshake(lab: &mut Lab) {
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 501, b""));
}

#[test]
fn a_connection_goes_through_its_states() {
    let mut lab = Lab::new(&[], false);
    handshake(&mut lab);
    lab.packet(&tcp(true, FIN | ACK, 101, 501, b""));
    lab.packet(&tcp(false, ACK, 501, 102, b""));
    lab.packet(&tcp(false, FIN | ACK, 501, 102, b""));
    lab.packet(&tcp(true, ACK, 102, 502, b""));
    lab.end();
    assert_eq!(lab.count(&["\"flow\"", "\"state\":\"closed\",\"reason\":\"shutdown\""]), 1, "{}", lab.lines);
    assert_eq!(lab.count(&["\"tcp_flags\":\"13\"", "\"syn\":true", "\"state\":\"closed\""]), 1);
    assert_eq!(lab.count(&["anomaly"]), 0);
}

#[test]
fn what_comes_with_a_syn_is_looked_at_once_the_connection_stands() {
    let rules = "alert http any any -> any any (content:\"GET\"; msg:\"page\"; sid:1;)\n\
                 alert tcp any any -> any any (content:\"GET\"; msg:\"bytes\"; sid:2;)";
    let mut lab = Lab::ruled(rules);
    let question = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n";
    let after = 101 + question.len() as u32;
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    lab.packet(&optioned(true, SYN, (100, 0), &cookie, question));
    lab.packet(&tcp(false, SYN | ACK, 500, after, b""));
    lab.packet(&tcp(true, ACK, after, 501, b""));
    lab.packet(&tcp(false, ACK, 501, after, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    lab.packet(&tcp(true, ACK, after, 539, b""));
    assert_eq!(lab.alerts(), [1, 2]);
}

#[test]
fn the_server_may_close_first() {
    let mut lab = Lab::new(&[], false);
    handshake(&mut lab);
    lab.packet(&tcp(false, FIN | ACK, 501, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 502, b""));
    lab.packet(&tcp(true, FIN | ACK, 101, 502, b""));
    lab.packet(&tcp(false, ACK, 502, 102, b""));
    lab.end();
    assert_eq!(lab.count(&["\"tcp\"", "\"state\":\"closed\""]), 1, "{}", lab.lines);
}

#[test]
fn odd_segments_of_the_handshake_are_named() {
    type Story = fn(&mut Lab);
    let stories: [(Story, &str); 6] = [
        (|lab| lab.packet(&tcp(false, SYN | ACK, 500, 300, b"")), "3whs_synack_with_wrong_ack"),
        (|lab| lab.packet(&tcp(true, SYN | ACK, 500, 101, b"")), "3whs_synack_in_wrong_direction"),
        (
            |lab| {
                lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
                lab.packet(&tcp(true, ACK, 101, 900, b""));
            },
            "3whs_right_seq_wrong_ack_evasion",
        ),
        (
            |lab| {
                lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
                lab.packet(&tcp(true, ACK, 99, 900, b""));
            },
            "3whs_wrong_seq_wrong_ack",
        ),
        (
            |lab| {
                lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
                lab.packet(&tcp(false, SYN | ACK, 800, 101, b""));
            },
            "3whs_synack_resend_with_diff_seq",
        ),
        (|lab| lab.packet(&tcp(true, SYN | FIN, 100, 0, b"")), "fin_syn"),
    ];
    for (story, event) in stories {
        let mut lab = Lab::new(&[], false);
        lab.packet(&tcp(true, SYN, 100, 0, b""));
        story(&mut lab);
        assert_eq!(lab.count(&["\"type\":\"stream\"", event]), 1, "{event}: {}", lab.lines);
    }
}

#[test]
fn odd_segments_of_an_established_connection_are_named() {
    for (segment, event) in [
        (tcp(true, SYN, 100, 0, b""), "est_syn_resend"),
        (tcp(true, SYN, 900, 0, b""), "est_syn_resend_diff_seq"),
        (tcp(false, SYN, 900, 0, b""), "est_syn_toclient"),
        (tcp(false, SYN | ACK, 500, 101, b""), "est_synack_resend"),
        (tcp(true, SYN | ACK, 500, 101, b""), "est_synack_toserver"),
        (tcp(true, ACK, 101 + 70_000, 501, b"x"), "est_packet_out_of_window"),
        (tcp(true, ACK, 101, 501 + 90_000, b""), "est_invalid_ack"),
        (tcp(true, 0, 101, 7, b"x"), "pkt_broken_ack"),
    ] {
        let mut lab = Lab::new(&[], false);
        handshake(&mut lab);
        lab.packet(&segment);
        assert_eq!(lab.count(&["\"stream.", event]), 1, "{event}: {}", lab.lines);
    }
}

#[test]
fn a_reset_is_believed_where_the_receiver_would_believe_it() {
    let mut lab = Lab::new(&[], false);
    handshake(&mut lab);
    lab.packet(&tcp(false, RST, 700, 0, b""));
    lab.packet(&tcp(true, PSH | ACK, 101, 501, b"hi"));
    assert_eq!(lab.count(&["suspected_rst_inject"]), 0);
    lab.packet(&tcp(false, RST | ACK, 501, 103, b""));
    lab.packet(&tcp(true, PSH | ACK, 103, 501, b"ho"));
    assert_eq!(lab.count(&["suspected_rst_inject"]), 0);
    lab.packet(&tcp(false, PSH | ACK, 501, 105, b"go on"));
    lab.packet(&tcp(false, PSH | ACK, 506, 105, b"!"));
    assert_eq!(lab.count(&["suspected_rst_inject"]), 1);
    lab.end();
    assert_eq!(lab.count(&["\"tcp\"", "\"state\":\"established\""]), 1);
}

#[test]
fn a_reset_that_does_not_answer_the_syn_is_named() {
    for (ack, events) in [(101, 0), (9, 2)] {
        let mut lab = Lab::new(&[], false);
        lab.packet(&tcp(true, SYN, 100, 0, b""));
        lab.packet(&tcp(false, RST | ACK, 0, ack, b""));
        let told = ["\"stream.pkt_invalid_ack\"", "\"stream.rst_invalid_ack\""].map(|name| lab.count(&[name]));
        assert_eq!(told.iter().sum::<usize>(), events, "{}", lab.lines);
    }
}

#[test]
fn a_side_that_refuses_an_older_connection_opens_its_own_again() {
    let mut lab = Lab::new(&[], false);
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, ACK, 900, 7777, b""));
    lab.packet(&tcp(true, RST, 7777, 0, b""));
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 501, b""));
    lab.end();
    assert_eq!(lab.count(&["suspected_rst_inject"]), 0, "{}", lab.lines);
    assert_eq!(lab.count(&["\"tcp\"", "\"state\":\"established\""]), 1, "{}", lab.lines);
}

#[test]
fn a_connection_met_in_its_middle_follows_the_policy() {
    let middle = tcp(true, PSH | ACK, 5000, 6000, b"hello");
    let mut lab = Lab::new(&[], false);
    lab.packet(&middle);
    lab.end();
    assert_eq!(lab.count(&["\"flow\"", "\"policy\":\"ignore\"", "\"tcp_flags\":\"00\""]), 1, "{}", lab.lines);
    let mut lab = Lab::new(&[("stream.midstream", "true")], false);
    lab.packet(&middle);
    lab.end();
    assert_eq!(lab.count(&["\"state\":\"established\"", "\"tcp\""]), 1);
    let mut lab = Lab::new(&[], true);
    lab.packet(&middle);
    lab.packet(&tcp(false, ACK, 6000, 5005, b""));
    lab.end();
    assert_eq!(lab.count(&["\"drop\"", "\"reason\":\"stream midstream\""]), 1, "{}", lab.lines);
    assert_eq!(lab.count(&["\"drop\"", "\"reason\":\"exception policy flow drop\""]), 1);
    let mut lab = Lab::new(&[("stream.midstream-policy", "bypass")], true);
    lab.packet(&middle);
    lab.end();
    assert_eq!(lab.count(&["\"state\":\"bypassed\"", "\"action\":\"pass\"", "\"policy\":\"bypass\""]), 1);
}

#[test]
fn segments_that_do_not_fit_are_dropped_inline() {
    let mut lab = Lab::new(&[], true);
    handshake(&mut lab);
    lab.packet(&tcp(true, ACK, 101 + 70_000, 501, b"x"));
    assert_eq!(lab.count(&["\"drop\"", "\"reason\":\"stream error\""]), 1, "{}", lab.lines);
}

#[test]
fn another_connection_between_the_same_ports_is_another_flow() {
    let mut lab = Lab::new(&[], false);
    handshake(&mut lab);
    lab.packet(&tcp(false, RST | ACK, 501, 101, b""));
    lab.packet(&tcp(true, SYN, 7000, 0, b""));
    lab.end();
    assert_eq!(lab.count(&["\"event_type\":\"flow\""]), 2);
    assert_eq!(lab.count(&["\"reason\":\"tcp_reuse\""]), 1);
}

#[test]
fn a_bad_checksum_keeps_a_segment_out_of_its_connection() {
    for (pairs, dropped) in [(&[][..], 1), (&[("checksum", "none")][..], 0)] {
        let mut lab = Lab::new(pairs, false);
        let mut syn = tcp(true, SYN, 100, 0, b"");
        syn[36] ^= 0xff;
        lab.packet(&syn);
        lab.end();
        assert_eq!(lab.count(&["\"event_type\":\"flow\"", "syn_sent"]), 1 - dropped, "{}", lab.lines);
    }
}

#[test]
fn of_several_syns_the_answered_one_counts() {
    for answered in [0, 1, 2] {
        let isns = [100u32, 9000, 70_000];
        let mut lab = Lab::new(&[], false);
        for isn in isns {
            lab.packet(&tcp(true, SYN, isn, 0, b""));
        }
        let isn = isns[answered];
        lab.packet(&tcp(false, SYN | ACK, 500, isn + 1, b""));
        lab.packet(&tcp(true, ACK, isn + 1, 501, b""));
        assert_eq!(lab.count(&["\"stream."]), 0, "{answered}: {}", lab.lines);
        lab.end();
        assert_eq!(lab.count(&["\"tcp\"", "\"state\":\"established\""]), 1, "{answered}: {}", lab.lines);
    }
}

#[test]
fn syns_are_remembered_within_a_bound() {
    let few = [("stream.max-syn-queued", "3")];
    for (options, floods) in [(&[][..], 1), (&few, 8)] {
        let mut lab = Lab::new(options, false);
        for isn in 0..12 {
            lab.packet(&tcp(true, SYN, isn * 100, 0, b""));
        }
        assert_eq!(lab.count(&["3whs_syn_flood"]), floods, "{}", lab.lines);
    }
}
