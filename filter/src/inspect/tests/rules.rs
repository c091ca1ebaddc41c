//! What the options of a rule mean.

use super::harness::*;
use crate::inspect::Judgement;
use weir_wire::numbers::*;

/// Whether a rule with these options matches a datagram with this payload.
#[track_caller]
fn check(options: &str, payload: &[u8], matches: bool) {
    let rule = format!("alert udp any any -> any 53 ({options} sid:1;)");
    let told = Conversation::new(&program(&rule), PROTOCOL_UDP, 53).datagram(CLIENT, payload);
    assert_eq!(
        told.sids,
        if matches { vec![1] } else { vec![] },
        "{options} on {:?}",
        payload.escape_ascii().to_string()
    );
}

#[test]
fn contents_and_their_places() {
    check(r#"content:"abc";"#, b"xxabcxx", true);
    check(r#"content:"abc";"#, b"xxABCxx", false);
    check(r#"content:"abc"; nocase;"#, b"xxAbCxx", true);
    check(r#"content:"|61 62|c";"#, b"abc", true);
    check(r#"content:!"abc";"#, b"xxx", true);
    check(r#"content:!"abc";"#, b"abc", false);
    check(r#"content:"abc"; offset:2;"#, b"xxabc", true);
    check(r#"content:"abc"; offset:2;"#, b"abcxx", false);
    check(r#"content:"abc"; depth:4;"#, b"xabc", true);
    check(r#"content:"abc"; depth:4;"#, b"xxabc", false);
    check(r#"content:"abc"; offset:1; depth:4;"#, b"xxabc", true);
    check(r#"content:"abc"; offset:1; depth:4;"#, b"xxxabc", false);
    check(r#"content:"abc"; startswith;"#, b"abcx", true);
    check(r#"content:"abc"; startswith;"#, b"xabc", false);
    check(r#"content:"abc"; endswith;"#, b"abcxabc", true);
    check(r#"content:"abc"; endswith;"#, b"abcx", false);
    check(r#"content:!"abc"; endswith;"#, b"abcx", true);
    check(r#"content:"abc"; startswith; endswith;"#, b"abc", true);
    check(r#"content:"abc"; fast_pattern:only;"#, b"xabc", true);
}

#[test]
fn places_relative_to_the_match_before() {
    check(r#"content:"a"; content:"b"; distance:0;"#, b"xbab", true);
    check(r#"content:"a"; content:"b"; distance:0;"#, b"ba", false);
    check(r#"content:"a"; content:"b"; distance:2;"#, b"a12b", true);
    check(r#"content:"a"; content:"b"; distance:2;"#, b"a1b", false);
    check(r#"content:"a"; content:"b"; within:3;"#, b"a12b", true);
    check(r#"content:"a"; content:"b"; within:3;"#, b"a123b", false);
    check(r#"content:"a"; content:"b"; distance:1; within:2;"#, b"a12b", true);
    check(r#"content:"a"; content:"b"; distance:1; within:1;"#, b"a12b", false);
    check(r#"content:"ab"; content:"ba"; distance:-2;"#, b"xaba", true);
    check(r#"content:"ab"; content:"x"; distance:-3; within:1;"#, b"xab", true);
    check(r#"content:"a"; content:!"b"; within:2;"#, b"a12b", true);
    check(r#"content:"a"; content:!"b"; within:3;"#, b"a12b", false);
    // The first place of the one before does not do, a later one does.
    check(r#"content:"a"; content:"b"; within:1;"#, b"axxab", true);
    check(r#"content:"a"; content:"b"; within:1; content:"c"; within:1;"#, b"ab abx abc", true);
    check(r#"content:"a"; content:!"b"; within:1; content:"c"; distance:0;"#, b"ab ad c", true);
    // Conditions with places of their own do not depend on each other's order.
    check(r#"content:"b"; content:"a";"#, b"ab", true);
}

#[test]
fn sizes() {
    check("dsize:3;", b"abc", true);
    check("dsize:>3;", b"abc", false);
    check("dsize:1<>4;", b"abc", true);
    check("isdataat:2;", b"abc", true);
    check("isdataat:3;", b"abc", false);
    check("isdataat:!3;", b"abc", true);
    check(r#"content:"a"; isdataat:1,relative;"#, b"ab", true);
    check(r#"content:"a"; isdataat:1,relative;"#, b"ba", false);
    check(r#"content:"a"; isdataat:!1,relative;"#, b"aba", true);
}

#[test]
fn expressions() {
    check(r#"pcre:"/a\d+b/";"#, b"xa12b", true);
    check(r#"pcre:!"/a\d+b/";"#, b"xa12b", false);
    check(r#"pcre:"/^x.y$/s";"#, b"x\ny", true);
    check(r#"content:"a"; pcre:"/^\d/R";"#, b"xa1", true);
    check(r#"content:"a"; pcre:"/^\d/R";"#, b"1ax", false);
    check(r#"content:"a"; pcre:"/^\d/R";"#, b"ax a1", true);
    check(r#"content:"a"; pcre:"/\d/R"; content:"b"; within:1;"#, b"a1x2b", true);
    check(r#"pcre:"/(.)\1/"; content:"z"; distance:0;"#, b"abbz", true);
}

#[test]
fn headers_are_honoured_in_both_directions() {
    let rules = program(
        "alert udp 10.0.0.1 any -> 10.0.0.2 53 (content:\"q\"; sid:1;)
         alert udp 10.0.0.2 53 -> any any (content:\"q\"; sid:2;)
         alert udp any 53 <> 10.0.0.1 40000 (content:\"q\"; sid:3;)
         alert udp any any -> any !53 (content:\"q\"; sid:4;)
         alert udp !10.0.0.1 any -> any any (content:\"q\"; sid:5;)
         alert udp any any -> any any (flow:to_server; content:\"q\"; sid:6;)
         alert udp any any -> any any (flow:to_client; content:\"q\"; sid:7;)
         alert tcp any any -> any any (content:\"q\"; sid:8;)
         alert ip any any -> any any (content:\"q\"; sid:9;)",
    );
    let mut c = Conversation::new(&rules, PROTOCOL_UDP, 53);
    assert_eq!(c.datagram(CLIENT, b"q").sids, [1, 3, 6, 9]);
    assert_eq!(c.datagram(SERVER, b"q").sids, [2, 3, 4, 5, 7, 9]);
}

#[test]
fn flows_that_no_rule_concerns_need_no_state() {
    let rules = program("alert tcp any any -> any 80 (content:\"x\"; sid:1;)");
    assert!(Conversation::new(&rules, PROTOCOL_UDP, 80).flow.is_none());
    assert!(Conversation::new(&rules, PROTOCOL_TCP, 81).flow.is_none());
    assert!(Conversation::new(&rules, PROTOCOL_TCP, 80).flow.is_some());
}

#[test]
fn conditions_on_packets() {
    let rules = program(
        "alert tcp any any -> any any (flags:S; sid:1;)
         alert tcp any any -> any any (flags:S+; sid:2;)
         alert tcp any any -> any any (flags:*SF,CE; sid:3;)
         alert tcp any any -> any any (flags:!S; sid:4;)
         alert tcp any any -> any any (flags:A; ack:77; seq:66; sid:5;)
         alert tcp any any -> any any (ttl:64; dsize:0; window:65535; sid:6;)
         alert tcp any any -> any any (ttl:<64; sid:7;)",
    );
    let mut c = Conversation::new(&rules, PROTOCOL_TCP, 80);
    assert_eq!(c.segment(CLIENT, TCP_SYN, 1, 0, b"").sids, [1, 2, 3, 6]);
    assert_eq!(c.segment(SERVER, TCP_SYN | TCP_ACK, 1, 2, b"").sids, [2, 3, 6]);
    assert_eq!(c.segment(CLIENT, TCP_ACK, 66, 77, b"x").sids, [4, 5]);
}

#[test]
fn icmp_types_and_numbers() {
    let rules = program(
        "alert icmp any any -> any any (itype:8; icode:0; icmp_id:258; icmp_seq:772; content:\"ping\"; sid:1;)
         alert icmp any any -> any any (itype:>8; sid:2;)",
    );
    let mut c = Conversation::new(&rules, PROTOCOL_ICMP, 0);
    assert_eq!(c.packet(CLIENT, b"\x08\0\0\0\x01\x02\x03\x04ping").sids, [1]);
}

#[test]
fn actions_have_an_order() {
    let rules = program(
        "alert tcp any any -> any any (content:\"x\"; priority:2; sid:1;)
         alert tcp any any -> any any (content:\"x\"; priority:1; sid:2;)
         reject tcp any any -> any any (content:\"xr\"; sid:3;)
         drop tcp any any -> any any (content:\"xrd\"; sid:4;)
         pass tcp any any -> any any (content:\"xrdp\"; sid:5;)",
    );
    let mut c = Conversation::tcp(&rules, 80);
    c.data(CLIENT, 0, b"x").is(Judgement::Pass, &[2, 1]);
    Conversation::tcp(&rules, 80).data(CLIENT, 0, b"xr").is(Judgement::Reject, &[3, 2, 1]);
    Conversation::tcp(&rules, 80).data(CLIENT, 0, b"xrd").is(Judgement::Drop, &[4, 3, 2, 1]);
    let mut c = Conversation::tcp(&rules, 80);
    let told = c.data(CLIENT, 0, b"xrdp");
    told.passes();
    assert!(told.settled);
    c.data(CLIENT, 4, b"xrd").passes();
}

#[test]
fn flow_bits_tie_rules_together() {
    let rules = program(
        "alert tcp any any -> any any (flow:to_server; content:\"USER root\"; flowbits:set,root; flowbits:noalert; sid:1;)
         drop tcp any any -> any any (flow:to_server; content:\"DELETE\"; flowbits:isset,root; sid:2;)
         alert tcp any any -> any any (flow:to_server; content:\"QUIT\"; flowbits:unset,root; sid:3;)",
    );
    let mut c = Conversation::tcp(&rules, 80);
    c.data(CLIENT, 0, b"DELETE ").passes();
    c.data(CLIENT, 7, b"USER root ").passes();
    c.data(CLIENT, 17, b"DELETE ").is(Judgement::Drop, &[2]);
    let mut c = Conversation::tcp(&rules, 80);
    c.data(CLIENT, 0, b"USER root ").passes();
    c.data(CLIENT, 10, b"QUIT ").is(Judgement::Pass, &[3]);
    c.data(CLIENT, 15, b"DELETE ").passes();
}

#[test]
fn rules_on_addresses_alone_fire_once_for_each_direction() {
    let rules = program("alert ip 10.0.0.1 any -> any any (sid:1;)");
    let mut c = Conversation::new(&rules, PROTOCOL_UDP, 53);
    assert_eq!(c.datagram(CLIENT, b"x").sids, [1]);
    assert_eq!(c.datagram(CLIENT, b"x").sids, [0; 0]);
    assert_eq!(c.datagram(SERVER, b"x").sids, [0; 0]);
}

#[test]
fn a_message_is_found_by_its_start_wherever_it_stands_in_the_stream() {
    let rules = program("alert tcp any any -> any any (flow:to_server; content:\"CMD\"; depth:3; sid:1;)");
    let mut c = Conversation::tcp(&rules, 80);
    c.data(CLIENT, 0, b"xCMD").passes();
    // The start of a segment.
    assert_eq!(c.data(CLIENT, 4, b"CMD").sids, [1]);
    // The start of what is said after the other side spoke, whatever the segments.
    c.data(SERVER, 0, b"ok").passes();
    c.data(CLIENT, 7, b"C").passes();
    c.data(CLIENT, 8, b"M").passes();
    assert_eq!(c.data(CLIENT, 9, b"D").sids, [1]);
}

#[test]
fn an_expression_that_does_not_compile_is_pointed_at() {
    use crate::inspect::RuleSetProgram;
    use weir_ids_rules::{Kind, RuleSet, Source, Variables};
    let text =
        "alert tcp any any -> any any (pcre:\"/a(b/\"; sid:1;)\nalert tcp any any -> any any (content:\"x\"; sid:2;)";
    let (set, _) = RuleSet::parse(&[Source { name: "t", text }], &Variables::default());
    let (program, problems) = RuleSetProgram::compile(&set);
    assert_eq!((program.rule_count(), problems.len()), (1, 1));
    assert_eq!((problems[0].kind, problems[0].line, problems[0].column), (Kind::Pattern, 1, 38));
}

#[test]
fn frames_are_judged_when_they_are_complete() {
    let rules = concat!(
        "alert tls any any -> any any (frame:tls.data; content:\"needle\"; sid:1;)\n",
        "alert tls any any -> any any (frame:tls.hdr; content:\"|16 03|\"; startswith; bsize:5; sid:2;)\n",
        "alert tls any any -> any any (frame:tls.hdr; content:\"needle\"; sid:3;)\n",
    );
    let mut c = Conversation::tcp(&program(rules), 443);
    // A record with the beginning of a long handshake message.
    c.data(CLIENT, 0, b"\x16\x03\x01\x00\x0a\x01\x00\x01\x00need").passes();
    c.data(CLIENT, 13, b"le").is(Judgement::Pass, &[1, 2]);
}

#[test]
fn places_are_asked_of_the_database_that_came_with_the_rules() {
    let program = program(concat!(
        "alert udp any any -> any 53 (geoip:src,DE; sid:1;)\n",
        "alert udp any any -> any 53 (geoip:src,!DE; sid:2;)\n",
        "alert udp any any -> any 53 (geoip:dst,FR; sid:3;)\n",
    ));
    let mut sets = crate::detect::sets::Sets::default();
    sets.add_places(crate::detect::sets::geo::tests::database("DE")).unwrap();
    let mut c = Conversation::new(&program, PROTOCOL_UDP, 53);
    c.memory.renew(std::iter::once(&sets), crate::event::Tells::default(), false);
    assert_eq!(c.datagram(CLIENT, b"x").sids, [1]);
}

#[test]
fn numbers_of_the_flow_are_known_to_rules() {
    let rule = "alert udp any any -> any 53 (flow.pkts_toserver:>1; sid:1;)";
    let mut c = Conversation::new(&program(rule), PROTOCOL_UDP, 53);
    c.facts.packets = [1, 0];
    assert_eq!(c.datagram(CLIENT, b"x").sids, []);
    c.facts.packets = [2, 0];
    assert_eq!(c.datagram(CLIENT, b"x").sids, [1]);
}
