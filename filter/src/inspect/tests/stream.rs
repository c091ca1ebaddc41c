//! Reassembly seen from outside: contradictions, limits, gaps, ends.

use super::harness::*;
use crate::inspect::{Judgement, WINDOW};
use weir_wire::numbers::*;

const RULES: &str = r#"
drop tcp any any -> any any (msg:"both ways"; content:"ATTACK"; sid:1;)
alert tcp any any -> any any (msg:"watch"; content:"watched"; sid:2;)
"#;

fn start() -> Conversation {
    Conversation::tcp(&program(RULES), 80)
}

#[test]
fn a_retransmission_with_other_bytes_is_refused_and_the_true_one_passes() {
    let mut c = start();
    c.data(CLIENT, 0, b"ATTxxx").passes();
    c.data(CLIENT, 0, b"ATTACK").is(Judgement::Conflict, &[]);
    c.data(CLIENT, 3, b"ACK").is(Judgement::Conflict, &[]);
    c.data(CLIENT, 2, b"Txxxmore").passes();
    c.data(CLIENT, 0, b"ATTxxx").passes();
}

#[test]
fn bytes_ahead_of_order_bind_too() {
    let mut c = start();
    c.data(CLIENT, 4, b"CKyy").passes();
    c.data(CLIENT, 4, b"CZyy").is(Judgement::Conflict, &[]);
    c.data(CLIENT, 0, b"ATTACZ").is(Judgement::Conflict, &[]);
    c.data(CLIENT, 2, b"TACK").passes();
    c.data(CLIENT, 0, b"AT").is(Judgement::Drop, &[1]);
}

#[test]
fn acknowledged_bytes_are_free_to_be_repeated_anyhow() {
    let mut c = start();
    c.data(CLIENT, 0, b"hello ").passes();
    c.ack(SERVER, 6).passes();
    // A keep-alive with a byte of garbage before the window.
    c.data(CLIENT, 5, b"?").passes();
    c.data(CLIENT, 3, b"XXXworld").passes();
    c.data(CLIENT, 6, b"wo").passes();
    c.data(CLIENT, 6, b"WO").is(Judgement::Conflict, &[]);
}

#[test]
fn an_acknowledgment_of_bytes_not_seen_frees_nothing() {
    let mut c = start();
    c.data(CLIENT, 0, b"AT").passes();
    c.ack(SERVER, 500).passes();
    c.data(CLIENT, 2, b"TACK").is(Judgement::Drop, &[1]);
}

#[test]
fn a_gap_holds_back_the_match_until_it_is_filled() {
    let mut c = start();
    c.data(CLIENT, 10, b"ATTACK").passes();
    c.data(CLIENT, 0, b"012345678").passes();
    c.data(CLIENT, 9, b"9").is(Judgement::Drop, &[1]);
}

#[test]
fn data_on_the_syn_counts() {
    let mut c = Conversation::new(&program(RULES), PROTOCOL_TCP, 80);
    c.established = false;
    c.segment(CLIENT, TCP_SYN, 1000, 0, b"ATT").passes();
    c.segment(CLIENT, TCP_ACK, 1004, 1, b"ACK").is(Judgement::Drop, &[1]);
}

#[test]
fn data_on_and_behind_a_fin_is_searched() {
    let mut c = start();
    c.segment(CLIENT, TCP_FIN | TCP_ACK, 1001, 5001, b"ATTA").passes();
    c.data(CLIENT, 4, b"CK").is(Judgement::Drop, &[1]);
}

#[test]
fn a_reset_carries_no_stream_data() {
    let mut c = start();
    c.segment(CLIENT, TCP_RST | TCP_ACK, 1001, 5001, b"XXX").passes();
    c.data(CLIENT, 0, b"ATTACK").is(Judgement::Drop, &[1]);
}

#[test]
fn directions_do_not_mix() {
    let mut c = start();
    c.data(CLIENT, 0, b"ATT").passes();
    c.data(SERVER, 0, b"ACK").passes();
    c.data(SERVER, 3, b" ATTACK").is(Judgement::Drop, &[1]);
}

#[test]
fn an_alert_is_told_once_for_the_same_bytes() {
    let mut c = start();
    c.data(CLIENT, 0, b"is wat").passes();
    c.data(CLIENT, 6, b"ched").is(Judgement::Pass, &[2]);
    c.data(CLIENT, 6, b"ched").passes();
    c.data(CLIENT, 0, b"is watched").passes();
    c.data(CLIENT, 10, b" on").passes();
    c.data(CLIENT, 13, b" watched watched").is(Judgement::Pass, &[2]);
}

#[test]
fn memory_is_bounded_by_direction() {
    let mut c = start();
    c.memory.per_direction = 100;
    c.data(CLIENT, 0, &[b'x'; 80]).passes();
    c.data(CLIENT, 80, &[b'x'; 30]).is(Judgement::Limit, &[]);
    c.data(CLIENT, 120, &[b'x'; 30]).is(Judgement::Limit, &[]);
    c.ack(SERVER, 80).passes();
    c.data(CLIENT, 80, &[b'x'; 30]).passes();
}

#[test]
fn bytes_ahead_of_order_leave_room_for_those_before_them() {
    let mut c = start();
    c.memory.per_direction = 1000;
    let mut at = 300;
    while c.data(CLIENT, at, &[b'x'; 50]).judgement == Judgement::Pass {
        at += 50;
    }
    assert!(at > 300, "nothing was kept");
    c.data(CLIENT, 0, &[b'x'; 300]).passes();
    c.ack(SERVER, at).passes();
    c.data(CLIENT, at, b"ATTACK").is(Judgement::Drop, &[1]);
}

#[test]
fn memory_is_bounded_in_all_and_given_back() {
    let mut c = start();
    c.memory.limit = 5000;
    let mut sent = 0;
    while c.data(CLIENT, sent, &[b'x'; 500]).judgement == Judgement::Pass {
        sent += 500;
    }
    // What protocol detection still waits with counts as well.
    assert!((1000..=5000).contains(&sent), "{sent}");
    assert_eq!(c.memory.used, c.memory.held_by(weir_wire::PortId(1)));
    assert!(c.memory.used <= 5000, "{}", c.memory.used);
    c.flow.as_mut().unwrap().release(&mut c.memory);
    assert_eq!(c.memory.used, 0);
}

#[test]
fn one_byte_far_ahead_takes_little_memory() {
    let mut c = start();
    c.data(CLIENT, 500_000, b"x").passes();
    assert!(c.memory.used < 1000, "{}", c.memory.used);
    for i in 0..1000 {
        c.data(CLIENT, 500_002 + 2 * i, b"x");
    }
    assert!(c.memory.used < 64 << 10, "{}", c.memory.used);
}

#[test]
fn a_long_acknowledged_stream_takes_bounded_memory() {
    let mut c = start();
    c.depth = u64::MAX >> 1;
    for i in 0..3000u32 {
        c.data(CLIENT, i * 1000, &[b'x'; 1000]).passes();
        c.ack(SERVER, (i + 1) * 1000).passes();
        // What protocol detection still waits with counts as well.
        assert!(c.memory.used <= 3 * WINDOW + (64 << 10) + (128 << 10), "{} at {i}", c.memory.used);
    }
}

#[test]
fn beyond_the_depth_nothing_is_searched_and_the_flow_settles() {
    let mut c = start();
    c.depth = 100;
    assert!(!c.data(CLIENT, 0, &[b'x'; 97]).settled);
    assert!(!c.data(CLIENT, 97, b"ATTACK").settled);
    c.ack(SERVER, 103).passes();
    assert!(!c.data(SERVER, 0, &[b'y'; 200]).settled);
    let told = c.ack(CLIENT, 200);
    assert!(told.settled);
}

#[test]
fn a_connection_met_in_its_middle_is_searched_from_there() {
    let mut c = Conversation::new(&program(RULES), PROTOCOL_TCP, 80);
    c.data(CLIENT, 700, b"ATT").passes();
    c.data(CLIENT, 703, b"ACK").is(Judgement::Drop, &[1]);
}

#[test]
fn in_the_middle_bytes_before_the_first_seen_count_while_the_receiver_waits_for_them() {
    let mut c = Conversation::new(&program(RULES), PROTOCOL_TCP, 80);
    c.data(CLIENT, 703, b"ACK").passes();
    c.ack(SERVER, 700).passes();
    c.data(CLIENT, 703, b"XXX").is(Judgement::Conflict, &[]);
    c.data(CLIENT, 700, b"ATT").is(Judgement::Drop, &[1]);
    let mut c = Conversation::new(&program(RULES), PROTOCOL_TCP, 80);
    c.data(CLIENT, 703, b"ACK").passes();
    c.data(CLIENT, 700, b"ATT").is(Judgement::Drop, &[1]);
}

#[test]
fn a_stream_joined_late_goes_on_behind_what_the_receiver_has() {
    let mut c = Conversation::late(&program(RULES), 80);
    c.data(CLIENT, 700, b"old").passes();
    c.data(CLIENT, 760, b"CK").passes();
    c.ack(SERVER, 756).passes();
    c.data(CLIENT, 756, b"ATTA").is(Judgement::Drop, &[1]);
}

#[test]
fn what_a_late_stream_passes_over_is_not_let_through_unread() {
    let mut c = Conversation::late(&program(RULES), 80);
    c.data(CLIENT, 700, b"old").passes();
    c.ack(SERVER, 703).passes();
    for i in 0..300 {
        c.data(CLIENT, 720 + 2 * i, b"x").passes();
    }
    c.data(CLIENT, 703, b"ATTACK").is(Judgement::Limit, &[]);
    c.data(CLIENT, 703, b"A").is(Judgement::Limit, &[]);
}

#[test]
fn a_new_program_keeps_the_stream_and_sees_what_is_at_hand() {
    let mut c = start();
    c.data(CLIENT, 0, b"first half, ").passes();
    let other = program(r#"drop tcp any any -> any any (content:"half, second"; sid:9;)"#);
    assert!(c.replace(&other));
    c.data(CLIENT, 0, b"FIRST").is(Judgement::Conflict, &[]);
    c.data(CLIENT, 12, b"second half").is(Judgement::Drop, &[9]);
    let none = program(r#"drop udp any any -> any any (content:"x"; sid:9;)"#);
    assert!(!c.replace(&none));
}

#[test]
fn what_rules_remember_of_a_flow_outlives_new_rules() {
    let mut c = Conversation::tcp(
        &program(concat!(
            "alert tcp any any -> any any (content:\"one\"; flowbits:set,seen; flowint:n,=,7; sid:1;)\n",
            "alert tcp any any -> any any (content:\"one\"; sid:3;)\n",
        )),
        80,
    );
    c.data(CLIENT, 0, b"one ").is(Judgement::Pass, &[1, 3]);
    let next = program(concat!(
        "alert tcp any any -> any any (content:\"zero\"; flowbits:set,other; flowint:m,=,1; sid:5;)\n",
        "alert tcp any any -> any any (content:\"two\"; flowbits:isset,seen; flowint:n,==,7; sid:2;)\n",
        "alert tcp any any -> any any (content:\"two\"; flowbits:isset,other; sid:4;)\n",
        "alert tcp any any -> any any (content:\"one\"; sid:3;)\n",
    ));
    assert!(c.replace(&next));
    // The third rule has fired on these bytes before, under the old rules.
    c.data(CLIENT, 4, b"two").is(Judgement::Pass, &[2]);
}

#[test]
fn super_segments_are_searched_whole() {
    let mut c = start();
    let mut data = vec![b'x'; 65_000];
    data[64_990..64_996].copy_from_slice(b"ATTACK");
    c.data(CLIENT, 0, &data).is(Judgement::Drop, &[1]);
}

/// A segment whose urgent pointer names the byte at this offset of the stream.
fn urgent(c: &mut Conversation, offset: u32, data: &[u8], urgent: u32) -> Told {
    let mut l4 = vec![0x9c, 0x40, 0, 80];
    l4.extend_from_slice(&(1001 + offset).to_be_bytes());
    l4.extend_from_slice(&5001u32.to_be_bytes());
    l4.extend_from_slice(&[0x50, TCP_ACK | TCP_URG, 0xff, 0xff, 0, 0]);
    l4.extend_from_slice(&((urgent + 1 - offset) as u16).to_be_bytes());
    l4.extend_from_slice(data);
    c.packet(CLIENT, &l4)
}

#[test]
fn an_urgent_byte_hides_nothing_whether_it_is_read_or_not() {
    let mut c = start();
    urgent(&mut c, 0, b"ATT!", 3).passes();
    c.data(CLIENT, 4, b"ACK").is(Judgement::Drop, &[1]);
    let mut c = start();
    urgent(&mut c, 0, b"ATT!ACK", 3).is(Judgement::Drop, &[1]);
    let mut c = start();
    urgent(&mut c, 0, b"ATT", 3).passes();
    c.data(CLIENT, 3, b"!AC").passes();
    c.data(CLIENT, 6, b"K").is(Judgement::Drop, &[1]);
    let mut c = start();
    urgent(&mut c, 0, b"ATTA", 3).passes();
    c.data(CLIENT, 4, b"CK").is(Judgement::Drop, &[1]);
    let mut c = start();
    urgent(&mut c, 0, b"ordinary!", 8).passes();
    c.data(CLIENT, 9, b" interrupt").passes();
}

#[test]
fn urgent_bytes_are_bounded() {
    let mut c = start();
    let refused = (0..200).map(|i| urgent(&mut c, i, b"x", i)).position(|told| told.judgement == Judgement::Limit);
    assert_eq!(refused, Some(64));
}

#[test]
fn what_cannot_be_decided_within_bounds_is_refused_for_good() {
    let rules = program(r#"drop tcp any any -> any any (content:"evil"; pcre:"/^(a+)+(?!x)$/m"; sid:1;)"#);
    let mut c = Conversation::tcp(&rules, 80);
    let text = [b"evil\n".as_slice(), &[b'a'; 80], b"!"].concat();
    c.data(CLIENT, 0, &text).is(Judgement::Limit, &[]);
    c.data(CLIENT, 0, &text).is(Judgement::Limit, &[]);
    assert_eq!(c.memory.undecided, 1);
}
