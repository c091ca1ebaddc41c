//! Flows: found, counted, aged, bounded.

use super::super::table::Table;
use super::*;

#[test]
fn both_directions_are_one_flow_and_are_counted() {
    let mut lab = Lab::new(&[], false);
    lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), b"question"));
    lab.packet(&udp((SERVER, 9999), (CLIENT, 5000), b"answer"));
    lab.end();
    let wanted = "\"pkts_toserver\":1,\"pkts_toclient\":1,\"bytes_toserver\":36,\"bytes_toclient\":34";
    assert_eq!(lab.count(&["\"src_port\":5000", wanted, "\"state\":\"established\""]), 1, "{}", lab.lines);
}

#[test]
fn a_flow_is_over_when_nothing_came_for_its_time() {
    let mut lab = Lab::new(&[], false);
    lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), b"one"));
    lab.seconds += 29;
    lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), b"two"));
    lab.seconds += 31;
    lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), b"three"));
    lab.end();
    assert_eq!(lab.count(&["\"reason\":\"timeout\"", "\"pkts_toserver\":2"]), 1);
    assert_eq!(lab.count(&["\"reason\":\"shutdown\"", "\"pkts_toserver\":1"]), 1);
}

#[test]
fn the_oldest_flows_give_way_when_there_are_too_many() {
    let mut lab = Lab::new(&[("flow.limit", "16")], false);
    for port in 1..=100u16 {
        lab.packet(&udp((CLIENT, port), (SERVER, 9999), b"x"));
    }
    lab.end();
    assert_eq!(lab.count(&["\"event_type\":\"flow\""]), 100);
    assert_eq!(lab.count(&["\"reason\":\"forced\""]), 84);
}

#[test]
fn an_icmp_error_belongs_to_the_flow_it_quotes() {
    let mut lab = Lab::new(&[], false);
    let sent = udp((CLIENT, 5000), (SERVER, 9999), b"x");
    lab.packet(&sent);
    let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
    error.extend(&sent[..28]);
    let sum = !weir_wire::checksum::sum(&error).fold();
    error[2..4].copy_from_slice(&sum.to_be_bytes());
    lab.packet(&ipv4(SERVER, CLIENT, 1, &error));
    lab.end();
    assert_eq!(lab.count(&["\"event_type\":\"flow\""]), 1, "{}", lab.lines);
    assert_eq!(lab.count(&["\"proto\":\"UDP\"", "\"pkts_toclient\":1"]), 1);
}

#[test]
fn rules_on_icmp_see_an_error_about_a_flow() {
    let mut lab = Lab::ruled(
        "alert icmp any any -> any any (itype:3; flow:established,to_client; sid:1;)\n\
         alert udp any any -> any any (flow:to_client; content:\"secret\"; sid:2;)\n\
         alert icmp 10.0.0.1 any -> any any (sid:3;)\n\
         alert icmp any any -> 10.0.0.1 any (content:\"secret\"; sid:4;)\n\
         alert icmp any any -> any any (sid:5;)",
    );
    let sent = udp((CLIENT, 5000), (SERVER, 9999), b"a secret");
    lab.packet(&sent);
    lab.packet(&udp((SERVER, 9999), (CLIENT, 5000), b"answer"));
    let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
    error.extend(&sent);
    let sum = !weir_wire::checksum::sum(&error).fold();
    error[2..4].copy_from_slice(&sum.to_be_bytes());
    lab.packet(&ipv4(SERVER, CLIENT, 1, &error));
    assert_eq!(lab.count(&["\"event_type\":\"alert\"", "\"proto\":\"ICMP\"", "\"src_ip\":\"10.0.0.2\""]), 2);
    assert_eq!(lab.alerts(), [1, 4]);
}

#[test]
fn the_age_of_a_flow_is_that_of_whole_seconds() {
    let mut lab = Lab::ruled("alert udp any any -> any any (flow.age:>0; sid:1;)");
    let sent = udp((CLIENT, 5000), (SERVER, 9999), b"x");
    for (millis, told) in [(5_900, &[][..]), (5_990, &[]), (6_100, &[1])] {
        lab.capture.frame(Link::Raw, &sent, Instant::from_millis(millis), &mut lab.lines);
        assert_eq!(lab.alerts(), told, "{millis}");
    }
}

#[test]
fn a_flow_of_icmp_tells_what_answered() {
    let echo = |kind: u8| {
        let mut message = vec![kind, 0, 0, 0, 0, 7, 0, 1];
        let sum = !weir_wire::checksum::sum(&message).fold();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    };
    for answered in [false, true] {
        let mut lab = Lab::new(&[], false);
        lab.packet(&ipv4(CLIENT, SERVER, 1, &echo(8)));
        if answered {
            lab.packet(&ipv4(SERVER, CLIENT, 1, &echo(0)));
        }
        lab.end();
        let told = ["\"event_type\":\"flow\"", "\"icmp_type\":8", "\"response_icmp_type\":0,\"response_icmp_code\":0"];
        assert_eq!(lab.count(&told), usize::from(answered), "{}", lab.lines);
    }
}

#[test]
fn a_table_finds_what_it_holds_after_any_removals() {
    let mut lab = Lab::new(&[], false);
    let mut table = Table::new(10_000, 7);
    let mut live = Vec::new();
    let mut state = 1u32;
    for n in 0..5000u32 {
        let view = View::default();
        let tuple = Tuple {
            source: std::net::Ipv4Addr::from(n / 100).into(),
            destination: std::net::Ipv4Addr::from(7).into(),
            source_port: (n % 100) as u16,
            destination_port: 1,
            protocol: 17,
        };
        let (key, from_low) = Key::of(&tuple, &view, true);
        let flow = lab.capture.core.new_flow(key, &tuple, from_low, &view);
        let (slot, gone) = table.insert(flow, Instant(u64::from(n)));
        assert!(gone.is_none());
        live.push((key, slot));
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state.is_multiple_of(3) {
            let (key, slot) = live.swap_remove(state as usize / 3 % live.len());
            assert_eq!(table.remove(slot).unwrap().key, key);
        }
    }
    assert_eq!(table.len(), live.len());
    assert!(live.iter().all(|(key, slot)| table.find(key, table.hash(key)) == Some(*slot)));
}

/// Memory of the one flow's streams after a request and its answer.
fn memory_of_http(types: &str) -> (usize, Lab) {
    let mut lab = Lab::new(&[("outputs.eve-log.types", types)], false);
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 200, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 201, b""));
    let asked = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n";
    lab.packet(&tcp(true, ACK | PSH, 101, 201, asked));
    let next = 101 + asked.len() as u32;
    let answer = [&b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"[..], &[b'x'; 1000]].concat();
    lab.packet(&tcp(false, ACK | PSH, 201, next, &answer));
    let slots: Vec<_> = lab.capture.core.flows.slots().collect();
    let memory = lab.capture.core.flows.get_mut(slots[0]).and_then(|flow| flow.session.as_ref().map(|s| s.memory()));
    lab.packet(&tcp(true, ACK, next, 201 + answer.len() as u32, b""));
    lab.end();
    (memory.unwrap(), lab)
}

#[test]
fn bytes_of_a_flow_are_kept_where_somebody_hears_of_them() {
    let (memory, lab) = memory_of_http("[alert, http]");
    assert!(memory >= 1000);
    assert_eq!(lab.count(&["\"event_type\":\"http\"", "\"length\":1000"]), 1, "{}", lab.lines);
    let (memory, lab) = memory_of_http("[alert, drop]");
    assert_eq!((memory, lab.lines.as_str()), (0, ""));
}

#[test]
fn a_closed_connection_gives_its_bytes_back_after_rules_have_looked_at_them() {
    for ips in [false, true] {
        let mut lab = Lab::ruled("alert tcp any any -> any any (content:\"the last word\"; sid:1;)");
        lab.capture.core.settings.ips = ips;
        lab.capture.core.settings.stream.inline = ips;
        lab.packet(&tcp(true, SYN, 100, 0, b""));
        lab.packet(&tcp(false, SYN | ACK, 200, 101, b""));
        lab.packet(&tcp(true, ACK, 101, 201, b""));
        lab.packet(&tcp(true, ACK | PSH, 101, 201, &[b'a'; 1000]));
        lab.packet(&tcp(true, ACK | PSH | FIN, 1101, 201, b"this is the last word"));
        assert!(lab.capture.core.reassembly >= 1021);
        lab.packet(&tcp(false, ACK | FIN, 201, 1123, b""));
        lab.packet(&tcp(true, ACK, 1123, 202, b""));
        assert_eq!((lab.capture.core.reassembly, lab.capture.core.flows.len()), (0, 1));
        assert_eq!(lab.alerts(), [1]);
        lab.end();
        assert_eq!((lab.alerts(), lab.capture.core.reassembly), (vec![], 0));
    }
}

#[test]
fn alerts_show_bodies_where_they_are_asked_for() {
    let rule = "alert http any any -> any any (flow:to_client; http.stat_code; content:\"200\"; sid:1;)";
    let told = |pairs: &[(&str, &str)]| {
        let mut lab = Lab::ruled_with(rule, pairs);
        lab.packet(&tcp(true, SYN, 100, 0, b""));
        lab.packet(&tcp(false, SYN | ACK, 200, 101, b""));
        let asked = b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nsent";
        lab.packet(&tcp(true, ACK | PSH, 101, 201, asked));
        let next = 101 + asked.len() as u32;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer";
        lab.packet(&tcp(false, ACK | PSH, 201, next, answer));
        lab.packet(&tcp(true, ACK, next, 201 + answer.len() as u32, b""));
        lab.end();
        assert_eq!(lab.count(&["\"event_type\":\"alert\""]), 1, "{}", lab.lines);
        let bodies = [
            "_request_body\":\"c2VudA==",
            "_response_body\":\"YW5zd2Vy",
            "printable\":\"answer",
            "y_printable\":\"sent",
        ];
        bodies.map(|body| lab.count(&["\"event_type\":\"alert\"", body]) == 1)
    };
    assert_eq!(told(&[]), [false; 4]);
    let (encoded, printable) =
        ("outputs.eve-log.types.alert.http-body", "outputs.eve-log.types.alert.http-body-printable");
    assert_eq!(told(&[(encoded, "yes")]), [true, true, false, false]);
    assert_eq!(told(&[(printable, "yes")]), [false, false, true, true]);
}

#[test]
fn datagrams_that_take_the_short_way_are_judged_and_counted_like_others() {
    let rules = "alert udp any any -> any 9999 (content:\"attack\"; sid:1;)
alert udp any any -> any any (content:\"twice\"; flow:established; sid:2;)
alert udp any 9999 -> any any (content:\"no\"; depth:2; sid:3;)
";
    let story: [(bool, &[u8], &[u32]); 10] = [
        (true, b"hello", &[]),
        (true, b"twice, but nobody has answered", &[]),
        (true, b"an attack", &[1]),
        (true, b"hello again", &[]),
        (false, b"an attack on the client", &[]),
        (true, b"twice", &[2]),
        (false, b"well", &[]),
        (false, b"no", &[3]),
        (false, b"oh no", &[]),
        (true, b"", &[]),
    ];
    let (client, server) = ((CLIENT, 5000), (SERVER, 9999));
    let mut labs = [Link::Ethernet, Link::Raw].map(|link| (link, Lab::ruled(rules)));
    for (link, lab) in &mut labs {
        let mut short = 0;
        for (from_client, data, wanted) in story {
            let mut frame = if *link == Link::Ethernet { vec![2; 12] } else { Vec::new() };
            frame.extend(if *link == Link::Ethernet { &[8, 0][..] } else { &[] });
            frame.extend(if from_client { udp(client, server, data) } else { udp(server, client, data) });
            lab.capture.frame(*link, &frame, Instant::from_secs(lab.seconds), &mut lab.lines);
            assert_eq!(lab.alerts(), wanted, "{link:?} {from_client} {}", data.escape_ascii());
            short += usize::from(lab.capture.core.flows.get(0).unwrap().unheard != [None; 2]);
        }
        assert_eq!(short, if *link == Link::Ethernet { 4 } else { 0 }, "{link:?}");
        lab.end();
        let sides = "\"pkts_toserver\":6,\"pkts_toclient\":4";
        assert_eq!(lab.count(&[sides, "\"state\":\"established\"", "\"alerted\":true"]), 1, "{}", lab.lines);
        assert_eq!(lab.capture.counters().packets, 10);
    }
}

#[test]
fn a_flow_that_is_over_takes_no_more_datagrams_by_the_short_way() {
    let mut lab = Lab::ruled("alert udp any any -> any any (content:\"attack\"; sid:1;)\n");
    let mut frame = vec![2; 12];
    frame.extend([8, 0]);
    frame.extend(udp((CLIENT, 5000), (SERVER, 9999), b"hello"));
    for seconds in [1000, 1001, 1029, 1100, 1101] {
        lab.capture.frame(Link::Ethernet, &frame, Instant::from_secs(seconds), &mut lab.lines);
    }
    lab.end();
    assert_eq!(lab.count(&["\"reason\":\"timeout\"", "\"pkts_toserver\":3"]), 1, "{}", lab.lines);
    assert_eq!(lab.count(&["\"reason\":\"shutdown\"", "\"pkts_toserver\":2"]), 1, "{}", lab.lines);
}

#[test]
fn packets_that_are_refused_count_in_what_their_flow_tells() {
    // A rule on addresses alone refuses the flow.
    let mut lab = Lab::inline("drop ip any any -> 10.0.0.2 any (sid:1;)");
    lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), b"question"));
    lab.packet(&udp((SERVER, 9999), (CLIENT, 5000), b"answer"));
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
    lab.packet(&tcp(true, FIN | ACK, 101, 501, b""));
    lab.end();
    assert_eq!(lab.count(&["\"event_type\":\"drop\""]), 5, "{}", lab.lines);
    assert_eq!(lab.count(&["\"event_type\":\"flow\"", "\"proto\":\"UDP\"", "\"state\":\"established\""]), 1);
    assert_eq!(lab.count(&["\"tcp_flags_ts\":\"13\",\"tcp_flags_tc\":\"12\""]), 1, "{}", lab.lines);
}

#[test]
fn what_ends_a_connection_that_is_not_there_is_refused() {
    for (flags, number) in [(RST, 1), (SYN | RST, 1), (FIN | ACK, 1), (ACK, 0)] {
        let mut lab = Lab::new(&[("exception-policy", "ignore")], true);
        lab.packet(&tcp(true, flags, 100, 0, b""));
        assert_eq!(lab.count(&["\"reason\":\"stream error\""]), number, "{flags:#x} {}", lab.lines);
    }
}

#[test]
fn icmpv6_messages_of_other_codes_are_other_flows() {
    let mut lab = Lab::new(&[], false);
    for code in [0, 3, 3] {
        let mut message = vec![3, code, 0, 0, 0, 0, 0, 0];
        message.extend([0x60, 0, 0, 0]);
        let mut packet = vec![0x60, 0, 0, 0, 0, message.len() as u8, 58, 64];
        packet.extend([1; 16]);
        packet.extend([2; 16]);
        packet.extend(message);
        lab.packet(&packet);
    }
    lab.end();
    assert_eq!(lab.count(&["\"event_type\":\"flow\"", "\"icmp_code\":0", "\"pkts_toserver\":1"]), 1, "{}", lab.lines);
    assert_eq!(lab.count(&["\"event_type\":\"flow\"", "\"icmp_code\":3", "\"pkts_toserver\":2"]), 1, "{}", lab.lines);
}

#[test]
fn a_pass_behind_a_drop_ends_the_list_and_lets_nothing_pass() {
    let rules = "drop udp any any -> any 9999 (content:\"q\"; sid:1;)\npass udp any any -> any 9999 (content:\"u\"; sid:2;)\n\
                 alert udp any any -> any 9999 (content:\"e\"; sid:3;)";
    let mut lab = Lab::inline_in_order(rules, ["drop", "pass", "reject", "alert"]);
    lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), b"question"));
    assert_eq!(lab.count(&["\"event_type\":\"drop\"", "\"reason\":\"rules\""]), 1, "{}", lab.lines);
    lab.lines = lab.lines.lines().filter(|line| line.contains("\"event_type\":\"alert\"")).collect();
    assert_eq!(lab.alerts(), [1]);
}

#[test]
fn a_reject_that_nobody_is_told_of_shows_in_the_alerts_of_its_packet() {
    let rules = "reject udp any any -> any 9999 (noalert; content:\"q\"; sid:1;)\nalert udp any any -> any 9999 (content:\"u\"; sid:2;)";
    let mut lab = Lab::inline(rules);
    lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), b"question"));
    assert_eq!(lab.count(&["\"event_type\":\"alert\"", "\"signature_id\":2", "\"reject\":["]), 1, "{}", lab.lines);
    assert_eq!(lab.count(&["\"event_type\":\"drop\"", "\"udplen\":16"]), 1, "{}", lab.lines);
}

#[test]
fn a_passive_observer_rejects_and_does_not_drop() {
    let rules =
        "reject udp any any -> any 9999 (content:\"q\"; sid:1;)\ndrop udp any any -> any 9999 (content:\"u\"; sid:2;)";
    for (mut lab, dropped) in [(Lab::ruled(rules), "allowed"), (Lab::inline(rules), "blocked")] {
        lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), b"question"));
        for (action, sid) in [("blocked", 1), (dropped, 2)] {
            let (action, sid) = (format!("\"action\":\"{action}\""), format!("\"signature_id\":{sid}"));
            assert_eq!(lab.count(&["\"event_type\":\"alert\"", &action, &sid]), 1, "{}", lab.lines);
        }
    }
}

#[test]
fn a_rule_may_have_the_rest_of_a_flow_go_on_uninspected() {
    let rules = "alert udp any any -> any 9999 (content:\"first\"; bypass; sid:1;)\nalert udp any any -> any any (content:\"q\"; sid:2;)";
    for mut lab in [Lab::ruled(rules), Lab::inline(rules)] {
        for text in [&b"q"[..], b"first q", b"q", b"first"] {
            lab.packet(&udp((CLIENT, 5000), (SERVER, 9999), text));
        }
        lab.packet(&udp((SERVER, 9999), (CLIENT, 5000), b"q"));
        lab.packet(&udp((CLIENT, 5001), (SERVER, 9999), b"q"));
        lab.end();
        let flow = [
            "\"event_type\":\"flow\"",
            "\"bypassed\":{\"pkts_toserver\":0",
            "\"bypass\":\"local\"",
            "\"state\":\"bypassed\"",
        ];
        assert_eq!(lab.count(&flow), 1, "{}", lab.lines);
        assert_eq!(
            lab.count(&["\"event_type\":\"flow\"", "\"pkts_toserver\":4,\"pkts_toclient\":1"]),
            1,
            "{}",
            lab.lines
        );
        assert_eq!(lab.alerts(), [1, 2, 2, 2]);
    }
}
