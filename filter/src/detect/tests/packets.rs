//! Rules on packets, their marks and their verdicts.

use std::sync::Arc;

use weir_ids_rules::rule::{Action, Track};

use super::harness::*;
use crate::detect::threshold::RateFilter;
use crate::detect::{Adjustment, FlowVerdict, Verdict};

#[test]
fn a_packet_is_judged_by_itself() {
    let program = program(
        "alert udp any any -> any 53 (content:\"abc\"; sid:1;)\n\
         alert udp any any -> any 53 (content:\"abc\"; content:\"def\"; distance:1; sid:2;)\n\
         alert udp any 53 -> any any (content:\"abc\"; sid:3;)\n\
         alert tcp any any -> any any (content:\"abc\"; sid:4;)\n\
         alert udp any any -> any any (dsize:3; sid:5;)",
    );
    let mut flow = Conversation::new(&program, 17, 53);
    assert_eq!(flow.say(CLIENT, b"abc"), [1, 5]);
    assert_eq!(flow.say(CLIENT, b"..abc-def"), [1, 2]);
    assert_eq!(flow.say(SERVER, b"..abc"), [3]);
    assert_eq!(flow.say(CLIENT, b"ab"), []);
}

#[test]
fn rules_on_addresses_alone_are_told_once_a_direction() {
    let program = program(
        "alert ip any any -> 10.0.0.2 any (sid:1;)\n\
         alert tcp 10.0.0.2 any -> any any (sid:2;)",
    );
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, b""), [1]);
    assert_eq!(flow.say(SERVER, b""), [2]);
    assert_eq!(flow.say(CLIENT, b"x"), []);
}

#[test]
fn bits_are_set_before_they_are_asked_for() {
    let program = program(
        "alert udp any any -> any any (content:\"two\"; flowbits:isset,first; sid:1;)\n\
         alert udp any any -> any any (content:\"one\"; flowbits:set,first; flowbits:noalert; sid:2;)\n\
         alert udp any any -> any any (content:\"o\"; flowint:seen,+,1; noalert; sid:3;)\n\
         alert udp any any -> any any (content:\"o\"; flowint:seen,>,1; sid:4;)",
    );
    let mut flow = Conversation::new(&program, 17, 9);
    assert_eq!(flow.say(CLIENT, b"two"), []);
    assert_eq!(flow.say(CLIENT, b"one and two"), [1, 4]);
}

#[test]
fn a_pass_hides_what_acts_after_it_and_a_drop_does_not() {
    let rules = "alert udp any any -> any any (content:\"a\"; sid:1;)\n\
         drop udp any any -> any any (content:\"ab\"; sid:2;)\n\
         pass udp any any -> any any (content:\"abc\"; sid:3;)";
    let program = program(rules);
    let mut flow = Conversation::new(&program, 17, 9);
    assert_eq!(flow.say(CLIENT, b"ab"), [2, 1]);
    assert_eq!(flow.findings.verdict, Verdict::Drop);
    assert_eq!(flow.findings.flow, None);
    assert_eq!(flow.say(CLIENT, b"abc"), []);
    assert_eq!(flow.findings.verdict, Verdict::Pass);
}

#[test]
fn a_verdict_on_addresses_holds_for_the_flow() {
    let program = program("drop tcp any any -> any 80 (sid:1;)\nalert tcp any any -> any any (content:\"x\"; sid:2;)");
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, b"x"), [1, 2]);
    assert_eq!(flow.findings.flow, Some(FlowVerdict::Drop));
    assert_eq!(flow.say(CLIENT, b"x"), []);
}

#[test]
fn a_packet_has_so_many_alerts() {
    let rules: String =
        (1..=20).map(|sid| format!("alert udp any any -> any any (content:\"a\"; sid:{sid};)\n")).collect();
    let program = program(&rules);
    let mut flow = Conversation::new(&program, 17, 9);
    assert_eq!(flow.say(CLIENT, b"a").len(), 15);
    assert_eq!(flow.findings.discarded, 5);
    flow.shared.alerts_per_packet = 20;
    assert_eq!(flow.say(CLIENT, b"a").len(), 20);
}

#[test]
fn thresholds_are_kept() {
    let program = program(
        "alert udp any any -> any any (content:\"a\"; threshold:type limit, track by_src, count 1, seconds 5; sid:1;)",
    );
    let mut flow = Conversation::new(&program, 17, 9);
    let told: Vec<usize> = (0..8)
        .map(|second| {
            flow.seconds = second;
            flow.say(CLIENT, b"a").len()
        })
        .collect();
    assert_eq!(told, [1, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn a_pass_that_its_threshold_keeps_silent_hides_no_alert() {
    let program = program(
        "pass udp any any -> any any (content:\"a\"; threshold:type limit, track by_src, count 1, seconds 60; sid:1;)\n\
         alert udp any any -> any any (content:\"a\"; sid:2;)",
    );
    let mut flow = Conversation::new(&program, 17, 9);
    assert_eq!(flow.say(CLIENT, b"a"), []);
    assert_eq!(flow.say(CLIENT, b"a"), [2]);
    assert_eq!(flow.findings.verdict, Verdict::Pass);
}

#[test]
fn a_rate_counts_the_matches_that_the_threshold_lets_through() {
    let rate = |count| RateFilter { track: Track::Source, count, seconds: 60, action: Action::Drop, timeout: 60 };
    let verdicts = |count| {
        let limited = program(
            "alert udp any any -> any any (content:\"a\"; threshold:type limit, track by_src, count 2, seconds 60; sid:1;)",
        );
        let mut program = Arc::into_inner(limited).expect("the one owner");
        program.adjust(1, 1, &Adjustment::Rate(rate(count)));
        let mut flow = Conversation::new(&Arc::new(program), 17, 9);
        let mut say = || (flow.say(CLIENT, b"a").len(), flow.findings.verdict);
        [say(), say(), say()]
    };
    assert_eq!(verdicts(1), [(1, Verdict::Accept), (1, Verdict::Drop), (0, Verdict::Accept)]);
    assert_eq!(verdicts(2), [(1, Verdict::Accept), (1, Verdict::Accept), (0, Verdict::Accept)]);
}

#[test]
fn packets_without_payload_are_passed_over_once_all_was_judged() {
    let needle = "alert tcp any any -> any any (content:\"needle\"; sid:1;)";
    let mut flow = Conversation::new(&program(needle), 6, 80);
    assert!(!flow.passes_over(CLIENT), "rules on addresses are asked with the first packet");
    flow.say(CLIENT, b"");
    assert!(flow.passes_over(CLIENT) && !flow.passes_over(SERVER));
    flow.say(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(flow.passes_over(CLIENT));
    flow.say(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nneed");
    assert!(!flow.passes_over(CLIENT), "the answer may complete what rules ask of the request");
    flow.say(CLIENT, b"");
    assert!(flow.passes_over(CLIENT) && flow.passes_over(SERVER));
}

#[test]
fn packets_without_payload_are_judged_where_a_rule_may_take_them() {
    let sized = |port: u16| format!("alert tcp any any -> any {port} (dsize:0; sid:1;)");
    let mut flow = Conversation::new(&program(&sized(80)), 6, 80);
    assert_eq!(flow.say(CLIENT, b""), [1]);
    assert!(!flow.passes_over(CLIENT));
    assert_eq!(flow.say(CLIENT, b""), [1]);
    let mut other = Conversation::new(&program(&sized(81)), 6, 80);
    assert_eq!(other.say(CLIENT, b""), []);
    assert!(other.passes_over(CLIENT));
}

#[test]
fn packets_that_nothing_hears_are_passed_over_where_no_rule_may_take_them() {
    let needle = "alert udp any any -> any any (content:\"needle\"; sid:1;)\nalert tcp any any -> any any (content:\"!\"; dsize:1; sid:2;)";
    let mut flow = Conversation::new(&program(needle), 17, 9);
    flow.say(CLIENT, b"first");
    assert!(!flow.passes_over_with(SERVER, b"more"), "what the answers speak is not known yet");
    assert!(flow.passes_over_with(CLIENT, b"more") && !flow.passes_over_with(CLIENT, b"a needle"));
    assert_eq!(flow.say(CLIENT, b"a needle"), [1]);
    let mut tcp = Conversation::new(&program(needle), 6, 9);
    tcp.say(CLIENT, b"first");
    assert!(tcp.passes_over_with(CLIENT, b"?") && !tcp.passes_over_with(CLIENT, b"!"));
}

#[test]
fn packets_are_judged_that_are_heard_or_asked_for_whatever_they_hold() {
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01";
    let mut dns =
        Conversation::new(&program("alert dns any any -> any any (dns.query; content:\"x.bc\"; sid:1;)"), 17, 53);
    dns.say(CLIENT, question);
    assert!(!dns.passes_over_with(CLIENT, question));
    let mut sized = Conversation::new(&program("alert udp any any -> any 9 (dsize:<10; sid:1;)"), 17, 9);
    assert_eq!(sized.say(CLIENT, b"one"), [1]);
    assert!(!sized.passes_over_with(CLIENT, b"two"));
    assert_eq!(sized.say(CLIENT, b"two"), [1]);
}
