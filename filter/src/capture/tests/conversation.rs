//! What inspection is given, seen through the protocols that it finds.

use super::*;

const ASK: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A whole exchange, with the request cut into pieces of `size` bytes that come in reversed order.
fn exchange(lab: &mut Lab, size: usize) {
    lab.packet(&tcp(true, SYN, 100, 0, b""));
    lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
    lab.packet(&tcp(true, ACK, 101, 501, b""));
    for (i, piece) in ASK.chunks(size).enumerate().collect::<Vec<_>>().into_iter().rev() {
        lab.packet(&tcp(true, PSH | ACK, 101 + (i * size) as u32, 501, piece));
    }
    let after = 101 + ASK.len() as u32;
    lab.packet(&tcp(false, PSH | ACK, 501, after, ANSWER));
    lab.packet(&tcp(true, ACK, after, 501 + ANSWER.len() as u32, b""));
}

#[test]
fn requests_are_read_whatever_the_order_of_their_segments() {
    for ips in [false, true] {
        for size in [1, 3, 7, 100] {
            let mut lab = Lab::new(&[], ips);
            exchange(&mut lab, size);
            lab.end();
            let found = lab.count(&["\"event_type\":\"http\"", "\"url\":\"/a\"", "\"status\":200", "\"length\":2"]);
            assert_eq!(found, 1, "inline {ips}, pieces of {size}: {}", lab.lines);
        }
    }
}

#[test]
fn rules_keep_transactions_out_of_the_log_and_leave_the_rest() {
    let what = ["http.host; content:\"h\"; ", "http.stat_code; content:\"200\"; ", "content:\"GET\"; "];
    for (asked, logged) in what.iter().map(|&asked| (asked, 0)).chain([("http.host; content:\"other\"; ", 1)]) {
        let rules = format!(
            "config http any any -> any any ({asked}config:logging disable, type tx, scope tx; sid:1;)\n\
             alert http any any -> any any (http.uri; content:\"/a\"; sid:2;)"
        );
        let mut lab = Lab::ruled(&rules);
        exchange(&mut lab, 100);
        lab.end();
        assert_eq!(lab.count(&["\"event_type\":\"http\""]), logged, "{asked}: {}", lab.lines);
        assert_eq!(lab.count(&["\"event_type\":\"flow\""]), 1, "{asked}");
        assert_eq!(lab.alerts(), [2], "{asked}");
    }
}

#[test]
fn files_of_what_passes_are_told_of() {
    let mut lab = Lab::ruled("pass http any any -> any any (http.uri; content:\"/a\"; sid:1;)");
    exchange(&mut lab, 100);
    lab.end();
    assert_eq!(lab.count(&["\"event_type\":\"http\""]), 1, "{}", lab.lines);
    assert_eq!(lab.count(&["\"event_type\":\"fileinfo\"", "\"size\":2"]), 1, "{}", lab.lines);
}

#[test]
fn the_same_capture_gives_the_same_lines() {
    let run = || {
        let mut lab = Lab::new(&[], false);
        exchange(&mut lab, 5);
        lab.end();
        lab.lines
    };
    assert_eq!(run(), run());
}

#[test]
fn passive_inspection_waits_for_the_acknowledgment() {
    for (ips, wanted) in [(false, 0), (true, 1)] {
        let mut lab = Lab::new(&[], ips);
        lab.packet(&tcp(true, SYN, 100, 0, b""));
        lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
        lab.packet(&tcp(true, ACK, 101, 501, b""));
        lab.packet(&tcp(true, PSH | ACK, 101, 501, ASK));
        lab.packet(&tcp(false, PSH | ACK, 501, 101, ANSWER));
        // The answer does not acknowledge the request.
        let known = lab.capture.core.flows.slots().any(|slot| {
            let flow = lab.capture.core.flows.get_mut(slot);
            flow.and_then(|flow| flow.inspection.as_ref()).is_some_and(|i| i.app().protocol.is_some())
        });
        assert_eq!(usize::from(known), wanted);
    }
}

#[test]
fn later_copies_of_segments_count_as_the_receiver_would_count_them() {
    let run = |ips: bool| {
        let mut lab = Lab::new(&[], ips);
        lab.packet(&tcp(true, SYN, 100, 0, b""));
        lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
        lab.packet(&tcp(true, ACK, 101, 501, b""));
        lab.packet(&tcp(true, PSH | ACK, 102, 501, &ASK[1..]));
        // It begins before the other, so a receiver of the customary kind believes it.
        let other = b"GET /z HTTP/1.1\r\n";
        lab.packet(&tcp(true, PSH | ACK, 101, 501, other));
        let after = 101 + ASK.len() as u32;
        lab.packet(&tcp(false, PSH | ACK, 501, after, ANSWER));
        lab.packet(&tcp(true, ACK, after, 501 + ANSWER.len() as u32, b""));
        lab.end();
        lab.lines
    };
    let (passive, inline) = (run(false), run(true));
    assert!(passive.contains("\"url\":\"/z\"") && !passive.contains("\"url\":\"/a\""), "{passive}");
    assert!(inline.contains("\"url\":\"/a\"") && !inline.contains("\"url\":\"/z\""), "{inline}");
    assert!(passive.contains("reassembly_overlap_different_data"));
}

#[test]
fn storms_of_segments_are_survived_within_bounds() {
    let mut state = 99u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for ips in [false, true] {
        let mut lab = Lab::new(&[("stream.midstream", "true"), ("stream.async-oneside", "true")], ips);
        for _ in 0..20_000 {
            let (flags, from_client) = (next() as u8, next() % 2 == 0);
            let (seq, ack) = ((next() % 400) as u32, (next() % 400) as u32);
            let length = (next() % 60) as usize;
            lab.packet(&tcp(from_client, flags, seq, ack, &[next() as u8; 60][..length]));
            if next() % 500 == 0 {
                lab.seconds += 40;
            }
        }
        lab.end();
        assert!(lab.count(&["\"event_type\":\"flow\""]) > 10);
        assert_eq!(lab.capture.core.reassembly, 0);
    }
}

/// A packet in a frame of Ethernet, with the MAC addresses 02:…:01 for the client and 02:…:02 for the server.
fn framed(from_client: bool, packet: &[u8]) -> Vec<u8> {
    let (client, server) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (source, destination) = if from_client { (client, server) } else { (server, client) };
    [destination.as_slice(), &source, &[8, 0], packet].concat()
}

/// A request and its answer in frames of Ethernet.
fn framed_exchange(lab: &mut Lab) {
    let after = 101 + ASK.len() as u32;
    let end = 501 + ANSWER.len() as u32;
    for (from_client, packet) in [
        (true, tcp(true, SYN, 100, 0, b"")),
        (false, tcp(false, SYN | ACK, 500, 101, b"")),
        (true, tcp(true, ACK, 101, 501, b"")),
        (true, tcp(true, PSH | ACK, 101, 501, ASK)),
        (false, tcp(false, PSH | ACK, 501, after, ANSWER)),
        (true, tcp(true, ACK, after, end, b"")),
        (false, tcp(false, FIN | ACK, end, after, b"")),
    ] {
        let frame = framed(from_client, &packet);
        lab.capture.frame(Link::Ethernet, &frame, Instant::from_secs(lab.seconds), &mut lab.lines);
    }
    lab.end();
}

#[test]
fn alerts_on_transactions_show_the_bytes_of_the_stream_and_later_events_the_bits_that_were_set() {
    let rule = "alert http any any -> any any (msg:\"a\"; http.uri; content:\"/a\"; flowbits:set,seen; sid:1;)";
    let mut lab = Lab::ruled(rule);
    framed_exchange(&mut lab);
    let alert = ["\"event_type\":\"alert\"", "\"stream\":1", "\"payload_printable\":\"GET /a HTTP/1.1"];
    assert_eq!(lab.count(&alert), 1, "{}", lab.lines);
    for kind in ["alert", "fileinfo", "flow"] {
        let parts = [&format!("\"event_type\":\"{kind}\""), "\"metadata\":{\"flowbits\":[\"seen\"]}"];
        assert_eq!(lab.count(&parts), 1, "{kind} {}", lab.lines);
    }
}

#[test]
fn events_show_macs_in_the_direction_of_their_addresses() {
    let mut lab = Lab::new(&[], true);
    framed_exchange(&mut lab);
    // Inline the server's segment completes the exchange, whose event shows the client first.
    let http = ["\"event_type\":\"http\"", "\"pcap_cnt\":5", "\"src_ip\":\"10.0.0.1\""];
    assert_eq!(lab.count(&http), 1, "{}", lab.lines);
    assert_eq!(lab.count(&[http[0], "\"src_mac\":\"02:00:00:00:00:01\",\"dest_mac\":\"02:00:00:00:00:02\""]), 1);
}

#[test]
fn some_protocols_show_the_packet_that_brought_their_event_about() {
    let ask = b"INVITE sip:bob@ex.com SIP/2.0\r\nContent-Length: 0\r\n\r\n";
    let answer = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (ips, source) in [(false, "\"src_port\":80,"), (true, "\"src_port\":4000,")] {
        let mut lab = Lab::new(&[], ips);
        let behind = 101 + ask.len() as u32;
        lab.packet(&tcp(true, SYN, 100, 0, b""));
        lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
        lab.packet(&tcp(true, ACK, 101, 501, b""));
        lab.packet(&tcp(true, PSH | ACK, 101, 501, ask));
        lab.packet(&tcp(false, ACK, 501, behind, b""));
        // Passive inspection reads what was acknowledged.
        assert_eq!(lab.count(&["\"sip\":{", "\"INVITE\"", source]), 1, "{}", lab.lines);
        // What the end of the capture brings about has the direction of the message.
        lab.packet(&tcp(false, PSH | ACK, 501, behind, answer));
        lab.end();
        assert_eq!(lab.count(&["\"sip\":{", "\"200\"", "\"src_port\":80,"]), 1, "{}", lab.lines);
    }
}

#[test]
fn bytes_that_were_acknowledged_and_never_came_are_told_of_where_somebody_reads() {
    let rules = "alert tcp any any -> any any (stream-event:reassembly_seq_gap; sid:1;)";
    // What came before the hole, and whether the hole is told of: a protocol that is not known yet is not read.
    for (before, told) in [(&b""[..], 1), (&b"GET /a HTTP/1.1\r\n"[..], 1), (&b"\x01\x02what"[..], 0)] {
        let mut lab = Lab::ruled(rules);
        lab.packet(&tcp(true, SYN, 100, 0, b""));
        lab.packet(&tcp(false, SYN | ACK, 500, 101, b""));
        lab.packet(&tcp(true, ACK, 101, 501, b""));
        let at = 101 + before.len() as u32;
        if !before.is_empty() {
            lab.packet(&tcp(true, PSH | ACK, 101, 501, before));
            lab.packet(&tcp(false, ACK, 501, at, b""));
        }
        lab.packet(&tcp(true, PSH | ACK, at + 50, 501, b"later"));
        assert_eq!(lab.count(&["reassembly_seq_gap"]), 0, "{}", lab.lines);
        lab.packet(&tcp(false, ACK, 501, at + 55, b""));
        assert_eq!(lab.count(&["\"event_type\":\"anomaly\"", "stream.reassembly_seq_gap"]), told, "{}", lab.lines);
        assert_eq!(lab.alerts().len(), told);
    }
}
